# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Deploys an image as a template as well: for images, in the modes 'produce' and 'derive'.

TEMPLATE_BUNDLE = "${TEMPLATE_NAME}-${TEMPLATE_VERSION}"
TEMPLATE_WORKDIR = "${WORKDIR}/template"

python () {
    from imagetemplate import release, settings
    if not settings.produces(d):
        bb.fatal("%s sets TEMPLATE_MODE too late: an image recipe has to set it before it inherits image" % d.getVar('PN'))
    if d.getVar('PN') != d.getVar('BPN'):
        # the SDK of an image is no template
        bb.build.deltask('do_template_pack', d)
        return
    try:
        settings.check_release(d)
    except settings.SettingsError as error:
        # other images may be fine
        raise bb.parse.SkipRecipe(str(error))
    for path in release.key_files(d.getVar('TEMPLATE_SIGNING_KEY')):
        bb.parse.mark_dependency(d, path)
    components = (d.getVar('TEMPLATE_COMPONENTS') or '').split()
    if (d.getVar('TEMPLATE_EXCLUDE') or '').strip():
        template_leave_out(d)
    elif 'base-apt' in components:
        # what makes disk images is downloaded when they are made
        bb.build.addtask('do_template_pack', None, 'do_image', d)
    if settings.consumes(d):
        d.appendVarFlag('do_rootfs_install', 'postfuncs', ' template_keep_rootfs')
        d.appendVarFlag('do_rootfs_install', 'root_cleandirs', ' ${TEMPLATE_SNAPSHOT}')
    if 'initrd' in components and 'generate-initrd' in (d.getVar('ROOTFS_FEATURES') or '').split():
        bb.build.addtask('do_template_pack', None, 'do_generate_initramfs', d)
}

def template_leave_out(d):
    """The image without some of its packages is a template and nothing else."""
    for name in ('IMAGE_INSTALL', 'IMAGE_PREINSTALL'):
        d.setVar(name + ':remove', ' ${TEMPLATE_EXCLUDE}')
    d.setVarFlag('do_build', 'deps', ['do_template_pack'])

# Of an image that is itself built on a template, bitbake keeps nothing that could be packed: it would
# take longer than making it again.
TEMPLATE_SNAPSHOT = "${WORKDIR}/template-snapshot"
template_keep_rootfs() {
    # seen through a mount of its own, the tree has no other mounts in it, WORKDIR itself among them
    sudo unshare --mount sh -ec '
        mount --bind "$1" "$1"
        cd "$1"
        cp -a --reflink=auto . "$2"
        rm -rf "$2/var/cache/apt/archives"
    ' sh '${ROOTFSDIR}' '${TEMPLATE_SNAPSHOT}'
}

def template_describe(d, what):
    from imagetemplate import release, settings
    try:
        if what == 'key':
            return release.describe_key(d.getVar('TEMPLATE_SIGNING_KEY'))
        return release.describe_settings(d)
    except settings.SettingsError as error:
        bb.fatal(str(error))

# what the bundle records and who signs it, by content
TEMPLATE_SETTINGS = "${@template_describe(d, 'settings')}"
TEMPLATE_SETTINGS[vardepvalue] = "${TEMPLATE_SETTINGS}"
TEMPLATE_SIGNER = "${@template_describe(d, 'key')}"
TEMPLATE_SIGNER[vardepvalue] = "${TEMPLATE_SIGNER}"
TEMPLATE_BASE_RELEASE = "${@template_base(d)}"
TEMPLATE_BASE_RELEASE[vardepvalue] = "${TEMPLATE_BASE_RELEASE}"

def template_base(d):
    from imagetemplate import bundle
    path = d.getVar('TEMPLATE_BASE')
    try:
        return bundle.read_digest(path) if path else ''
    except bundle.BundleError as error:
        bb.fatal('TEMPLATE_BASE: %s' % error)

do_template_pack[depends] += " \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'buildchroot-target', 'sbuild-chroot-target:do_build', '', d)} \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'buildchroot-host', 'sbuild-chroot-host:do_build', '', d)} \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'bootstrap', 'bootstrap-target:do_build', '', d)} \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'bootstrap-host', 'bootstrap-host:do_build', '', d)} \
    isar-apt:do_cache_config \
    "
# when the root filesystem comes from sstate, nothing else has filled isar-apt
do_template_pack[deptask] = "do_deploy_deb"
do_template_pack[rdeptask] = "do_deploy_deb"
# bitbake sees neither python modules nor what they read; where things are is no reason to pack again
do_template_pack[vardeps] += "TEMPLATE_NAME TEMPLATE_VERSION TEMPLATE_COMPONENTS TEMPLATE_SETTINGS TEMPLATE_SIGNER TEMPLATE_BASE_RELEASE"
do_template_pack[file-checksums] += "${LAYERDIR_template}/lib/imagetemplate/*.py:True ${TEMPLATE_ORIGIN}:True"
do_template_pack[root_cleandirs] = "${TEMPLATE_WORKDIR}"
do_template_pack[dirs] = "${TEMPLATE_DEPLOY_DIR}"
do_template_pack[network] = "${TASK_USE_SUDO}"
do_template_pack[doc] = "Packs the image and what belongs to it into a bundle, and deploys it"
python do_template_pack() {
    from imagetemplate import helper, produce, release
    try:
        progress = bb.progress.ProgressHandler(d)
        report, warnings = produce.pack(d, bb.utils.lockfile, bb.utils.unlockfile, progress.update)
    except (helper.HelperError, produce.ProduceError, release.ClaimError) as error:
        bb.fatal(str(error))
    for warning in warnings:
        bb.warn(warning)
    bb.plain(report)
}
addtask template_pack after do_rootfs_install before do_build
