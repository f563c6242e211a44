# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Which template this configuration builds on: for everything that takes a part of it.

# the digest alone decides what is built; where the bundle came from and where it is kept do not
TEMPLATE_PIN = "${@template_pin(d)}"
TEMPLATE_PIN[vardepvalue] = "${TEMPLATE_PIN}"

def template_pin(d):
    from imagetemplate import bundle, consume
    if d.getVar('TEMPLATE_MODE') != 'consume':
        return ''
    try:
        return consume.pin(d)
    except bundle.BundleError as error:
        bb.fatal('TEMPLATE_SOURCE: %s' % error)

# what the import found, for the tasks that follow it
TEMPLATE_IMPORTED = "${TMPDIR}/template/${DISTRO}-${DISTRO_ARCH}.json"
TEMPLATE_IMPORTED[vardepvalue] = ""
