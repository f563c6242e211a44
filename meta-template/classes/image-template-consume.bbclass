# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Builds an image on the imported template: for images, in mode 'consume'.
#
# Isar's do_rootfs_install runs as it is, with the functions below in place of its own: the tree
# comes from the template instead of the bootstrap, and one call of the helper replaces what Isar
# does in several calls of apt. Everything after do_rootfs_install is Isar's alone.

inherit image-template-imported

do_rootfs_install[depends] += "template-import:do_template_import"
# bitbake does not see rootfs_prepare and python modules in what Isar declares
do_rootfs_install[vardeps] += "rootfs_prepare TEMPLATE_PIN TEMPLATE_KEEP TEMPLATE_REMOVE TEMPLATE_ALLOW_UPGRADE"

# The root filesystem is made faster than it is packed and unpacked.
SSTATE_SKIP_CREATION ?= "1"

# What this class replaces has to be there, or packages would be installed twice or not at all.
python () {
    if d.getVar('TEMPLATE_MODE') != 'consume':
        bb.fatal("an image recipe has to set TEMPLATE_MODE before it inherits image")
    known = ('rootfs_install_pkgs_update', 'rootfs_install_pkgs_download', 'rootfs_install_pkgs_isar_download',
             'rootfs_install_pkgs_install')
    found = [c for c in (d.getVar('ROOTFS_INSTALL_COMMAND') or '').split() if c.startswith('rootfs_install_pkgs_')]
    if found != list(known):
        bb.fatal("meta-template does not fit this Isar: ROOTFS_INSTALL_COMMAND installs packages by '%s', known is '%s'"
                 % (' '.join(found), ' '.join(known)))
}

python rootfs_prepare() {
    from imagetemplate import consume, helper
    try:
        consume.checkout(d, 'rootfs', d.getVar('ROOTFSDIR'), d.rootfs_progress.update)
    except (helper.HelperError, consume.ConsumeError) as error:
        bb.fatal(str(error))
}

# The helper refreshes the lists of isar-apt; the lock of isar-apt is taken before this function
# and held until rootfs_install_pkgs_download is through.
rootfs_install_pkgs_update() {
    :
}

# the helper brings its own
rootfs_install_resolvconf() {
    :
}

python rootfs_install_pkgs_download() {
    from imagetemplate import consume, helper
    try:
        consume.install(d, d.getVar('ROOTFSDIR'), d.rootfs_progress.update)
    except (helper.HelperError, consume.ConsumeError) as error:
        bb.fatal(str(error))
}
rootfs_install_pkgs_download[progress] = ""
rootfs_install_pkgs_download[weight] = "8000"

rootfs_install_pkgs_isar_download() {
    :
}

# In a new root filesystem these files are the build host's and make way for those of packages; in
# the template they are what packages have put there.
rootfs_install_clean_files() {
    :
}

rootfs_install_pkgs_install() {
    :
}
rootfs_install_pkgs_install[progress] = ""
rootfs_install_pkgs_install[weight] = "1"

# Isar runs localepurge in the tree, and downloads it from there.
image_install_localepurge_download:prepend() {
    template_borrow_resolvconf
}
image_install_localepurge_download:append() {
    template_return_resolvconf
}

# The template has been through it: what cannot be done twice is undone.
image_install_localepurge_install:prepend() {
    template_reset_locales
}

template_borrow_resolvconf() {
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
    sudo -s <<'EOSUDO'
        set -e
        rm -f '${ROOTFSDIR}/etc/resolv.conf'
        if [ -e '${WORKDIR}/template-resolv.conf' ] || [ -L '${WORKDIR}/template-resolv.conf' ]; then
            mv -T '${WORKDIR}/template-resolv.conf' '${ROOTFSDIR}/etc/resolv.conf'
        fi
EOSUDO
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
do_rootfs_finalize:prepend() {
    sudo find '${ROOTFSDIR}' -newermt "$(date -d@${SOURCE_DATE_EPOCH} '+%Y-%m-%d %H:%M:%S')" \
        -exec touch -h -d@${SOURCE_DATE_EPOCH} '{}' +
}
