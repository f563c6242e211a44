# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# For everything that takes a part of the template, in mode 'consume'.

# what runs in the tasks, which bitbake does not see
TEMPLATE_LIB = "${LAYERDIR_template}/lib/imagetemplate/*.py:True"

# The digest of a local bundle is read while parsing, so another bundle at the same place is a reason
# to parse again.
python () {
    from imagetemplate import bundle, settings
    if settings.consumes(d) and not bundle.named_digest(d):
        bb.parse.mark_dependency(d, bundle.index_path(bundle.source(d).location))
}
