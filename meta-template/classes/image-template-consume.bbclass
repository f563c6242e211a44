# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Builds an image on the imported template: for images, in the modes 'consume' and 'derive'.
#
# Isar's do_rootfs_install runs as it is, with the functions below in place of its own: the tree
# comes from the template instead of the bootstrap, and one call of the helper replaces what Isar
# does in several calls of apt. Everything after do_rootfs_install is Isar's alone.

inherit image-template-imported
inherit image-template-imager

python () {
    from imagetemplate import settings
    if not settings.consumes(d):
        bb.fatal("%s sets TEMPLATE_MODE too late: an image recipe has to set it before it inherits image" % d.getVar('PN'))
    # the SDK of an image is built as ever
    if d.getVar('PN') == d.getVar('BPN'):
        template_take_over(d)
        template_say_so(d)
    else:
        bb.build.deltask('do_template_provenance', d)
}

def template_take_over(d):
    from imagetemplate import apt_files, consume
    try:
        commands = consume.install_commands(d, (d.getVar('ROOTFS_INSTALL_COMMAND') or '').split())
    except consume.ConsumeError as error:
        bb.fatal(str(error))
    d.setVar('ROOTFS_INSTALL_COMMAND', ' '.join(commands))

    # do_rootfs_install calls it by this name
    template_give_name(d, 'template_prepare_rootfs', 'rootfs_prepare')

    # Isar removes the tree that is there, and all that is in what is mounted there
    d.appendVarFlag('do_rootfs_install', 'prefuncs', ' template_unmount_leftovers')

    # bitbake does not see rootfs_prepare and python modules in what Isar declares
    d.appendVarFlag('do_rootfs_install', 'vardeps', ' rootfs_prepare ROOTFS_PACKAGES TEMPLATE_PIN TEMPLATE_KEEP'
                    ' TEMPLATE_REMOVE TEMPLATE_ALLOW_UPGRADE TEMPLATE_ALLOW_SUITE'
                    ' TEMPLATE_ALLOW_ORPHANED_MODULES')
    d.appendVarFlag('do_rootfs_install', 'file-checksums', ' ${TEMPLATE_LIB}')
    try:
        apt_files.watch(d, 'do_rootfs_install')
    except apt_files.AptFilesError as error:
        bb.fatal(f"{d.getVar('PN')}: {error}")
    bb.build.addtask('do_template_rootfs', 'do_rootfs_install', None, d)

    # Isar runs localepurge in the tree, and downloads it from there; and the template has been through
    # it: what cannot be done twice is undone, unless it would give the same (see template_purge_locales)
    d.prependVar('image_install_localepurge_download', '    template_borrow_resolvconf\n')
    d.appendVar('image_install_localepurge_download', '    template_return_resolvconf\n')
    d.prependVar('image_install_localepurge_install', '    template_reset_locales\n')
    d.prependVar('do_rootfs_finalize', '    template_set_times\n')

    # an initrd takes long to make, and mostly is the one that the template's image had
    if d.getVar('rootfs_generate_initramfs', False):
        template_give_name(d, 'rootfs_generate_initramfs', 'template_generate_initramfs_again')
        template_give_name(d, 'template_generate_initramfs', 'rootfs_generate_initramfs')
        d.appendVarFlag('do_generate_initramfs', 'vardeps', ' template_generate_initramfs_again TEMPLATE_REUSE_INITRD')
        d.appendVarFlag('do_generate_initramfs', 'file-checksums', ' ${TEMPLATE_LIB}')

    # the root filesystem is made faster than it is packed and unpacked
    if d.getVar('SSTATE_SKIP_CREATION') is None:
        d.setVar('SSTATE_SKIP_CREATION', '1')

def template_give_name(d, function, name):
    """Have a function run when another one is called by its name."""
    d.setVar(name, d.getVar(function, False))
    for flag in ('func', 'python', 'progress', 'filename', 'lineno'):
        d.setVarFlag(name, flag, d.getVarFlag(function, flag, False))

# While other tasks build packages, the tree is made ready beside its place. Whoever takes it leaves
# nothing for a second time.
TEMPLATE_ROOTFS = "${WORKDIR}/template-rootfs"
do_template_rootfs[depends] = "template-import:do_template_import"
do_template_rootfs[vardeps] += "TEMPLATE_PIN"
do_template_rootfs[root_cleandirs] = "${TEMPLATE_ROOTFS}"
do_template_rootfs[network] = "${TASK_USE_SUDO}"
# somebody waits for the packages, and not for this
BB_TASK_NICE_LEVEL:task-template-rootfs ?= "10"
do_template_rootfs[doc] = "Takes the root filesystem out of the imported template"
python do_template_rootfs() {
    from imagetemplate import consume
    try:
        progress = bb.progress.ProgressHandler(d)
        consume.checkout(d, 'rootfs', d.getVar('TEMPLATE_ROOTFS'), progress.update)
    except consume.ConsumeError as error:
        bb.fatal(str(error))
}

python template_unmount_leftovers() {
    from imagetemplate import consume
    try:
        for point in consume.unmount_leftovers(d, d.getVar('ROOTFSDIR')):
            bb.warn(f"{point} was left mounted by a build that was killed, unmounted")
    except consume.ConsumeError as error:
        bb.fatal(str(error))
}

python template_prepare_rootfs() {
    from imagetemplate import consume
    try:
        consume.take_rootfs(d, d.getVar('TEMPLATE_ROOTFS'), d.getVar('ROOTFSDIR'), d.rootfs_progress.update)
    except consume.ConsumeError as error:
        bb.fatal(str(error))
}

python template_generate_initramfs() {
    from imagetemplate import consume
    deployed = d.expand('${DEPLOYDIR}/${INITRD_DEPLOY_FILE}')
    try:
        if not consume.reuse_initrd(d, d.getVar('ROOTFSDIR'), deployed):
            bb.build.exec_func('template_generate_initramfs_again', d)
    except consume.ConsumeError as error:
        bb.fatal(str(error))
}

# the lock of isar-apt was taken before rootfs_install_pkgs_update
template_install_packages[isar-apt-lock] = "release-after"
template_install_packages[weight] = "8000"
python template_install_packages() {
    from imagetemplate import consume, provenance
    try:
        result = consume.install(d, d.getVar('ROOTFSDIR'), d.rootfs_progress.update)
        provenance.remember(d, result)
    except consume.ConsumeError as error:
        bb.fatal(str(error))
}

template_borrow_resolvconf() {
    if [ "${@repr(bb.utils.to_boolean(d.getVar('BB_NO_NETWORK')))}" = "True" ]; then
        return
    fi
    sudo -s <<'EOSUDO'
        set -e
        rm -rf '${WORKDIR}/template-resolv.conf'
        if [ -e '${ROOTFSDIR}/etc/resolv.conf' ] || [ -L '${ROOTFSDIR}/etc/resolv.conf' ]; then
            mv -T '${ROOTFSDIR}/etc/resolv.conf' '${WORKDIR}/template-resolv.conf'
        fi
        cp -L /etc/resolv.conf '${ROOTFSDIR}/etc/resolv.conf'
EOSUDO
}

template_return_resolvconf() {
    if [ "${@repr(bb.utils.to_boolean(d.getVar('BB_NO_NETWORK')))}" = "True" ]; then
        return
    fi
    sudo -s <<'EOSUDO'
        set -e
        rm -f '${ROOTFSDIR}/etc/resolv.conf'
        if [ -e '${WORKDIR}/template-resolv.conf' ] || [ -L '${WORKDIR}/template-resolv.conf' ]; then
            mv -T '${WORKDIR}/template-resolv.conf' '${ROOTFSDIR}/etc/resolv.conf'
        fi
EOSUDO
}

# what is left of Isar's image_install_localepurge_install where the locales are those of the template
template_purge_locales[weight] = "100"
python template_purge_locales() {
    from imagetemplate import helper, locales
    try:
        locales.purge(d, d.getVar('ROOTFSDIR'), get_nopurge(d))
    except helper.HelperError as error:
        bb.fatal(str(error))
}

template_reset_locales() {
    sudo -s <<'EOSUDO'
        set -e
        if [ -L '${ROOTFSDIR}/etc/locale.conf' ]; then
            rm -f '${ROOTFSDIR}/etc/locale.conf'
        fi
        # all locales once and commented out, as before Isar appends those it wants and has them generated
        list='${ROOTFSDIR}/etc/locale.gen'
        sed '/^[^#]/s/^/# /' "$list" | awk '!/^# [^ ]+ [^ ]+$/ || !seen[$0]++' > "$list.once"
        cat "$list.once" > "$list"
        rm "$list.once"
EOSUDO
}

# Isar gives each newer file the time of the build by a process of its own; a template brings many
# such files, so most get it here at once and Isar finds few.
template_set_times() {
    sudo find '${ROOTFSDIR}' -newermt "$(date -d@${SOURCE_DATE_EPOCH} '+%Y-%m-%d %H:%M:%S')" \
        -exec touch -h -d@${SOURCE_DATE_EPOCH} '{}' +
}

# What says of the image that it was built on a template: beside it, in it, and in the log.

TEMPLATE_TRANSACTION_DIR = "${WORKDIR}/template-transaction"
TEMPLATE_MARK = "${WORKDIR}/template-os-release"

def template_say_so(d):
    # what was done goes with the root filesystem, should that be put into sstate
    d.appendVarFlag('do_rootfs_install', 'sstate-plaindirs', ' ${TEMPLATE_TRANSACTION_DIR}')
    d.appendVarFlag('do_rootfs_postprocess', 'depends', ' template-import:do_template_import')
    d.appendVarFlag('do_rootfs_postprocess', 'file-checksums', ' ${TEMPLATE_LIB}')
    d.prependVar('ROOTFS_POSTPROCESS_COMMAND', 'template_write_provenance ')
    # Isar's check for changed files knows that this function changes os-release
    d.appendVar('image_postprocess_mark', '    template_mark_os_release\n')
    d.appendVar('ROOTFS_POSTPROCESS_COMMAND', " ${@bb.utils.contains('ROOTFS_FEATURES', 'generate-sbom', 'template_name_in_sboms', '', d)}")

python template_write_provenance() {
    from imagetemplate import consume, provenance
    try:
        provenance.write(d)
    except consume.ConsumeError as error:
        bb.fatal(str(error))
}

# in place of what a template has from one below it, or from being post-processed before
template_mark_os_release() {
    if [ -e '${IMAGE_ROOTFS}/etc/os-release' ]; then
        sudo sed -i -e '/^ISAR_TEMPLATE_/d' -e '$a\' '${IMAGE_ROOTFS}/etc/os-release'
        sudo tee -a '${IMAGE_ROOTFS}/etc/os-release' < '${TEMPLATE_MARK}'
    fi
}

python template_name_in_sboms() {
    from imagetemplate import provenance
    for warning in provenance.name_in_sboms(d):
        bb.warn(warning)
}

do_template_provenance[vardeps] += "TEMPLATE_PIN"
do_template_provenance[doc] = "Tells which template the image was built on"
python do_template_provenance() {
    from imagetemplate import provenance
    bb.plain(provenance.tell(d))
}
addtask template_provenance after do_image do_deploy before do_build
