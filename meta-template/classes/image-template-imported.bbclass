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

# The digest of a local bundle is read while parsing, so another bundle at the same place is a reason
# to parse again.
python () {
    from imagetemplate import bundle
    if d.getVar('TEMPLATE_MODE') == 'consume' and not d.getVar('TEMPLATE_DIGEST'):
        location = bundle.parse_source(d.getVar('TEMPLATE_SOURCE')).location
        bb.parse.mark_dependency(d, bundle.index_path(location))
}

# what the import found, for the tasks that follow it
TEMPLATE_IMPORTED = "${TMPDIR}/template/${DISTRO}-${DISTRO_ARCH}.json"
TEMPLATE_IMPORTED[vardepvalue] = ""
