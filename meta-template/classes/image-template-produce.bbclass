# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Deploys an image as a template as well: for images, in mode 'produce'.

TEMPLATE_DEPLOY_DIR ?= "${DEPLOY_DIR}/template"
TEMPLATE_BUNDLE = "${TEMPLATE_NAME}-${TEMPLATE_VERSION}"
TEMPLATE_WORKDIR = "${WORKDIR}/template"

python () {
    if d.getVar('TEMPLATE_MODE') != 'produce':
        bb.fatal("an image recipe has to set TEMPLATE_MODE before it inherits image")
}

do_template_pack[depends] += " \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'buildchroot-target', 'sbuild-chroot-target:do_build', '', d)} \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'buildchroot-host', 'sbuild-chroot-host:do_build', '', d)} \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'bootstrap', 'bootstrap-target:do_build', '', d)} \
    ${@bb.utils.contains('TEMPLATE_COMPONENTS', 'bootstrap-host', 'bootstrap-host:do_build', '', d)} \
    isar-apt:do_cache_config \
    "
# where things are changes neither what is packed nor whether it has to be packed again
do_template_pack[vardepsexclude] += "BBLAYERS BB_TASKDEPDATA BB_CURRENT_MC TEMPLATE_DEPLOY_DIR TEMPLATE_WORKDIR \
    TEMPLATE_SIGNING_KEY TEMPLATE_STORE_DIR REPO_ISAR_DIR DEPLOY_DIR_BOOTSTRAP SCHROOT_TARGET_DIR SCHROOT_HOST_DIR"
do_template_pack[root_cleandirs] = "${TEMPLATE_WORKDIR}"
do_template_pack[dirs] = "${TEMPLATE_DEPLOY_DIR}"
do_template_pack[network] = "${TASK_USE_SUDO}"
do_template_pack[doc] = "Packs the image and what belongs to it into a bundle, and deploys it"
python do_template_pack() {
    from imagetemplate import helper, produce
    try:
        progress = bb.progress.ProgressHandler(d)
        report = produce.pack(d, bb.utils.lockfile, bb.utils.unlockfile, progress.update)
    except (helper.HelperError, produce.ProduceError) as error:
        bb.fatal(str(error))
    bb.plain(report)
}
addtask template_pack after do_rootfs_install before do_build
