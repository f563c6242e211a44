# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# The switch: checks TEMPLATE_MODE and brings in the class that images get in it.

TEMPLATE_CLASS_produce = "image-template-produce"
TEMPLATE_CLASS_consume = "image-template-consume"
TEMPLATE_CLASS_derive = "image-template-consume image-template-produce"
TEMPLATE_CLASS = "${@d.getVar('TEMPLATE_CLASS_' + d.getVar('TEMPLATE_MODE')) or ''}"

# image.bbclass inherits these after rootfs.bbclass, so what they define replaces what is there;
# only images inherit them, and those read the mode as the recipe has it.
IMAGE_CLASSES:append = " ${TEMPLATE_CLASS}"

# as local.conf or the multiconfig has it, whatever a recipe says later
TEMPLATE_CONFIGURED_MODE := "${TEMPLATE_MODE}"
TEMPLATE_CONFIGURED_FORBID := "${TEMPLATE_FORBID}"
TEMPLATE_CONFIGURED_QA := "${TEMPLATE_QA}"
TEMPLATE_CONFIGURED_SOURCE := "${TEMPLATE_SOURCE}"
TEMPLATE_CONFIGURED_DIGEST := "${TEMPLATE_DIGEST}"

addhandler template_check_settings
template_check_settings[eventmask] = "bb.event.ConfigParsed"
python template_check_settings() {
    from imagetemplate import configuration, settings, spelling
    # workers get the configuration that has been checked
    if d.getVar('BB_WORKERCONTEXT'):
        return
    for warning in spelling.warnings(d):
        bb.warn(settings.where(d) + warning)
    try:
        settings.check(d)
    except settings.SettingsError as error:
        template_stop(settings.where(d) + str(error))
    if not d.getVar('BBMULTICONFIG'):
        try:
            configuration.prepare({'': d}, d, template_fetch)
        except configuration.ConfigurationError as error:
            template_stop(str(error))
}

# after all configurations have been read, those of multiconfigs among them
addhandler template_prepare_multiconfigs
template_prepare_multiconfigs[eventmask] = "bb.event.MultiConfigParsed"
python template_prepare_multiconfigs() {
    from imagetemplate import configuration, settings
    if d.getVar('BB_WORKERCONTEXT'):
        return
    try:
        settings.check_multiconfigs(e.mcdata)
        configuration.prepare(e.mcdata, d, template_fetch)
    except (configuration.ConfigurationError, settings.SettingsError) as error:
        template_stop(str(error))
}

def template_stop(message):
    """bb.fatal for before parsing. There bitbake's client ends as soon as it knows that the server failed,
    and drops messages that it has not read by then."""
    import time
    bb.error(message)
    time.sleep(0.5)
    raise bb.BBHandledException()

def template_fetch(d):
    """Where the https bundle of a configuration is, after bitbake's fetcher has got it: mirrors,
    BB_NO_NETWORK and DL_DIR work as for any source."""
    from imagetemplate import bundle
    url = bundle.fetch_url(d)
    fetcher = bb.fetch2.Fetch([url], d)
    fetcher.download()
    return fetcher.localpath(url)

python () {
    from imagetemplate import settings
    configured = {name: d.getVar(name.replace('TEMPLATE_', 'TEMPLATE_CONFIGURED_'))
                  for name in ('TEMPLATE_MODE', 'TEMPLATE_FORBID', *settings.SHARED)}
    try:
        settings.check_recipe(d, configured)
        if bb.data.inherits_class('image', d):
            settings.check_image(d, configured)
    except settings.SettingsError as error:
        bb.fatal(str(error))
}

# beside the image: which template it was built on
TEMPLATE_PROVENANCE = "${DEPLOY_DIR_IMAGE}/${IMAGE_FULLNAME}.template.json"

# An image that is built from scratch replaces one that was built on a template, so what says so of
# that one has to go. The tasks of the mode 'off' are Isar's alone, and have no place for it.
addhandler template_forget_provenance
template_forget_provenance[eventmask] = "bb.build.TaskStarted"
python template_forget_provenance() {
    if e.task == 'do_rootfs_postprocess' and bb.data.inherits_class('image', d) \
            and not bb.data.inherits_class('image-template-consume', d):
        from imagetemplate import provenance
        provenance.forget(d)
}

# Where a build comes from is hashed from a file, which is written before any hash is made.
TEMPLATE_ORIGIN = "${TMPDIR}/template/origin-${@d.getVar('BB_CURRENT_MC') or 'default'}.json"
TEMPLATE_ORIGIN[vardepvalue] = ""

addhandler template_begin_build
template_begin_build[eventmask] = "bb.event.BuildStarted"
python template_begin_build() {
    from imagetemplate import configuration
    try:
        configuration.begin_build(d, e.getPkgs(), template_fetch, bb.warn)
    except configuration.ConfigurationError as error:
        bb.fatal(str(error))
}
