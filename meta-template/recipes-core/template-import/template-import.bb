# Verifies the template of this configuration and imports it into the store.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Imported image template"

LICENSE = "MIT"

inherit image-template-imported

python () {
    from imagetemplate import bundle
    if d.getVar('TEMPLATE_MODE') != 'consume':
        raise bb.parse.SkipRecipe("TEMPLATE_MODE is not 'consume'")
    source = bundle.parse_source(d.getVar('TEMPLATE_SOURCE'))
    if source.is_remote:
        # bitbake's fetcher: mirrors, BB_NO_NETWORK and DL_DIR work as for any source
        checksum = d.getVarFlag('TEMPLATE_SOURCE', 'sha256sum')
        d.setVar('SRC_URI', '%s;sha256sum=%s' % (source.location, checksum))
    d.setVarFlag('SRC_URI', 'vardepvalue', '')
}

# the helper reads the bundle where it is
do_unpack[noexec] = "1"

# where the bundle comes from is no reason to build anything again
do_template_import[vardepsexclude] += "TEMPLATE_SOURCE"
do_template_import[vardeps] += "TEMPLATE_PIN TEMPLATE_IDENTITY"
do_template_import[file-checksums] += "${TEMPLATE_ALLOWED_SIGNERS}:True \
    ${@d.getVar('TEMPLATE_REVOKED_KEYS') + ':True' if d.getVar('TEMPLATE_REVOKED_KEYS') else ''}"
do_template_import[network] = "${TASK_USE_SUDO}"
do_template_import[doc] = "Verifies the template and imports it into the store"
python do_template_import() {
    from imagetemplate import bundle, consume, helper
    source = bundle.parse_source(d.getVar('TEMPLATE_SOURCE'))
    location = source.location
    if source.is_remote:
        location = bb.fetch2.Fetch([d.getVar('SRC_URI')], d).localpath(d.getVar('SRC_URI'))
    try:
        progress = bb.progress.ProgressHandler(d)
        bb.plain(consume.import_bundle(d, location, progress.update))
    except (helper.HelperError, consume.ConsumeError) as error:
        bb.fatal(str(error))
}
addtask template_import after do_fetch before do_build
