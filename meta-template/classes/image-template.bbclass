# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# The switch: checks TEMPLATE_MODE and brings in the class of the mode.

TEMPLATE_CLASS_produce = "image-template-produce"
TEMPLATE_CLASS_consume = "image-template-consume"
TEMPLATE_CLASS = "${@d.getVar('TEMPLATE_CLASS_' + d.getVar('TEMPLATE_MODE')) or ''}"

# image.bbclass inherits these after rootfs.bbclass, so what they define replaces what is there;
# only images inherit them, and those read the mode as the recipe has it.
IMAGE_CLASSES:append = " ${TEMPLATE_CLASS}"

addhandler template_check_settings
template_check_settings[eventmask] = "bb.event.ConfigParsed"
python template_check_settings() {
    from imagetemplate import settings
    try:
        # workers get the configuration that has been checked
        if not d.getVar('BB_WORKERCONTEXT'):
            settings.check(d)
    except settings.SettingsError as error:
        bb.fatal(str(error))
    if d.getVar('TEMPLATE_MODE') == 'consume':
        for variant in ('target', 'host'):
            d.setVar('PREFERRED_PROVIDER_bootstrap-' + variant, 'template-bootstrap-' + variant)
}
