# Verifies the template of this configuration and imports it into the store.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Imported image template"

LICENSE = "MIT"

inherit image-template-standin

python () {
    from imagetemplate import bundle, settings
    if not settings.consumes(d):
        return
    if bundle.source(d).scheme == bundle.HTTPS:
        d.setVar('SRC_URI', bundle.fetch_url(d))
}

do_fetch[vardeps] += "TEMPLATE_PIN"
# the helper reads the bundle where it is, or fetches what the store lacks of it
do_unpack[noexec] = "1"

# A bundle that has moved is the same one. What is trusted is a reason to verify again, and to build
# nothing else: the layer keeps the hash of this task out of those that follow it.
do_template_import[vardepsexclude] += "TEMPLATE_SOURCE"
do_template_import[vardeps] += "TEMPLATE_PIN TEMPLATE_IDENTITY TEMPLATE_PARENT_IDENTITIES ${@' '.join(template_apt_settings(d))}"
do_template_import[file-checksums] += "${TEMPLATE_LIB} ${TEMPLATE_ALLOWED_SIGNERS}:True \
    ${@d.getVar('TEMPLATE_REVOKED_KEYS') + ':True' if d.getVar('TEMPLATE_REVOKED_KEYS') else ''}"
do_template_import[network] = "${TASK_USE_SUDO}"
do_template_import[doc] = "Verifies the template and imports it into the store"
python do_template_import() {
    from imagetemplate import bundle, consume
    source = bundle.source(d)
    location = source.location
    if source.scheme == bundle.HTTPS:
        location = bb.fetch2.Fetch([d.getVar('SRC_URI')], d).localpath(d.getVar('SRC_URI'))
    try:
        progress = bb.progress.ProgressHandler(d)
        told, warnings = consume.import_bundle(d, location, progress.update)
    except consume.ConsumeError as error:
        bb.fatal(str(error))
    for warning in warnings:
        bb.warn(warning)
    bb.plain(told)
}

def template_apt_settings(d):
    from imagetemplate import consume
    return consume.APT_SETTINGS

addtask template_import after do_fetch before do_build
