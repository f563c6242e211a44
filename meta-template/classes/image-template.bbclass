# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# The switch: checks TEMPLATE_MODE and brings in the class that images get in it.

TEMPLATE_CLASS_produce = "image-template-produce"
TEMPLATE_CLASS_consume = "image-template-consume"
TEMPLATE_CLASS = "${@d.getVar('TEMPLATE_CLASS_' + d.getVar('TEMPLATE_MODE')) or ''}"

# image.bbclass inherits these after rootfs.bbclass, so what they define replaces what is there;
# only images inherit them, and those read the mode as the recipe has it.
IMAGE_CLASSES:append = " ${TEMPLATE_CLASS}"

# as local.conf or the multiconfig has it, whatever a recipe says later
TEMPLATE_CONFIGURED_MODE := "${TEMPLATE_MODE}"
TEMPLATE_CONFIGURED_FORBID := "${TEMPLATE_FORBID}"
TEMPLATE_CONFIGURED_SOURCE := "${TEMPLATE_SOURCE}"
TEMPLATE_CONFIGURED_DIGEST := "${TEMPLATE_DIGEST}"

addhandler template_check_settings
template_check_settings[eventmask] = "bb.event.ConfigParsed"
python template_check_settings() {
    from imagetemplate import settings
    try:
        # workers get the configuration that has been checked
        if not d.getVar('BB_WORKERCONTEXT'):
            settings.check(d)
    except settings.SettingsError as error:
        bb.fatal(settings.where(d) + str(error))
    if d.getVar('TEMPLATE_MODE') == 'consume':
        for variant in ('target', 'host'):
            d.setVar('PREFERRED_PROVIDER_bootstrap-' + variant, 'template-bootstrap-' + variant)
}

addhandler template_check_multiconfigs
template_check_multiconfigs[eventmask] = "bb.event.MultiConfigParsed"
python template_check_multiconfigs() {
    from imagetemplate import settings
    try:
        if not d.getVar('BB_WORKERCONTEXT'):
            settings.check_multiconfigs(e.mcdata)
    except settings.SettingsError as error:
        bb.fatal(str(error))
}

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

# What layers are like is hashed from a file, which is written before any hash is made.
TEMPLATE_LAYERS = "${TMPDIR}/template/layers.json"

addhandler template_describe_layers
template_describe_layers[eventmask] = "bb.event.BuildStarted"
python template_describe_layers() {
    if d.getVar('TEMPLATE_MODE') == 'produce':
        from imagetemplate import anchors
        anchors.write_layers(d)
}
