# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Takes from do_image_wic what can be done beside it, or need not be done: for images, in the modes
# 'consume' and 'derive'.

python () {
    if not bb.utils.to_boolean(d.getVar('USING_WIC')):
        return
    from imagetemplate import imager
    text = d.getVar('generate_wic_image', False)
    if bb.utils.to_boolean(d.getVar('TEMPLATE_USE_SFDISK')):
        text = imager.use_sfdisk(d, text)
        d.appendVarFlag('do_image_wic', 'file-checksums', ' ${LAYERDIR_template}/files/sgdisk:True')
    if bb.utils.to_boolean(d.getVar('TEMPLATE_LINK_WIC')):
        text = imager.link_wic(d, text)
    d.setVar('generate_wic_image', text)
    if bb.utils.to_boolean(d.getVar('TEMPLATE_PREPARE_IMAGER')):
        bb.build.addtask('do_template_imager', 'do_image_wic', None, d)
        d.appendVarFlag('do_image_wic', 'prefuncs', ' template_use_tools')
        d.appendVarFlag('do_image_wic', 'postfuncs', ' template_end_session')
        d.appendVar('schroot_create_configs', '\n    template_layer_session\n')
}

# where wic works
TEMPLATE_WIC_DIR = "${WORKDIR}/template-wic"

# The tools are installed into a layer over the build chroot, by Isar's own function, while packages
# are built; sessions of do_image_wic then have three layers instead of two.
TEMPLATE_TOOLS_DIR = "${WORKDIR}/template-tools"
INSTALL_template_imager = "${INSTALL_image_wic}"

do_template_imager[depends] = "${SCHROOT_DEP} isar-apt:do_cache_config"
do_template_imager[vardeps] += "TEMPLATE_PIN INSTALL_template_imager"
do_template_imager[file-checksums] += "${TEMPLATE_LIB}"
do_template_imager[prefuncs] = "template_begin_tools"
do_template_imager[network] = "${TASK_USE_SUDO}"
# somebody waits for the packages, and not for this
BB_TASK_NICE_LEVEL:task-template-imager ?= "10"
do_template_imager[doc] = "Installs the tools that make the image, beside package builds"
do_template_imager() {
    # what cannot be installed now may be one that is built here: then it is left to do_image_wic
    set +e
    (
        set -e
        imager_run -d / -u root -- true
        # all that was downloaded was put into the session
        sudo rm -rf '${TEMPLATE_SESSION_DIR}/upper/var/cache/apt/archives'
        sudo mv -T '${TEMPLATE_SESSION_DIR}/upper' '${TEMPLATE_TOOLS_DIR}/layer'
        sudo rm -rf '${TEMPLATE_SESSION_DIR}'
    )
    rc=$?
    set -e
    if [ "$rc" -ne 0 ]; then
        bbnote "the tools that make the image are left to do_image_wic"
    fi
}

python template_begin_tools() {
    from imagetemplate import helper, imager
    try:
        imager.begin_layer(d)
    except helper.HelperError as error:
        bb.fatal(str(error))
}

python template_use_tools() {
    from imagetemplate import imager
    why = imager.use_layer(d)
    if why:
        bb.note('the tools that make the image are installed again: %s' % why)
}

# set by the functions above, for the task that they belong to
TEMPLATE_SESSION_DIR = ""
TEMPLATE_SESSION_LAYER = ""

# Isar has written the configuration of a session of schroot. The links keep options short: from newer
# versions of mount(8) the kernel takes no value of more than 255 bytes. What is written over the tools is
# thrown away: 'volatile' (Linux 5.10) spares waiting for all of it to be on disk.
template_layer_session() {
    if [ -n "${TEMPLATE_SESSION_DIR}" ]; then
        sudo -s <<'EOSUDO'
            set -e
            rm -rf --one-file-system '${TEMPLATE_SESSION_DIR}'
            mkdir -p '${TEMPLATE_SESSION_DIR}/upper' '${TEMPLATE_SESSION_DIR}/work'
            ln -s '${TEMPLATE_SESSION_DIR}' '${SBUILD_CONF_DIR}/session'
            ln -s '${SCHROOT_DIR}' '${SBUILD_CONF_DIR}/chroot'
            lower='${SBUILD_CONF_DIR}/chroot'
            more=
            if [ -n '${TEMPLATE_SESSION_LAYER}' ]; then
                ln -s '${TEMPLATE_SESSION_LAYER}' '${SBUILD_CONF_DIR}/layer'
                lower="${SBUILD_CONF_DIR}/layer:$lower"
                more=,volatile
            fi
            session='${SBUILD_CONF_DIR}/session'
            echo "union-mount-options=lowerdir=$lower,upperdir=$session/upper,workdir=$session/work$more" >> '${SCHROOT_CONF_FILE}'
EOSUDO
    fi
}

template_end_session() {
    sudo rm -rf --one-file-system '${TEMPLATE_TOOLS_DIR}/session'
}
