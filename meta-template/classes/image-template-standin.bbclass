# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# A recipe that stands in for one of Isar's, in mode 'consume'.

inherit image-template-imported

# A place for each release, and none of Isar's, whose recipe may have the same PN: so what was built
# in one mode is still there, and still right, when the mode or the release changes back.
TEMPLATE_STANDIN ?= "${PN}"
WORKDIR = "${TMPDIR}/work/${DISTRO}-${DISTRO_ARCH}/${TEMPLATE_STANDIN}/${PV}-${PR}${TEMPLATE_PLACE}"
# nooelint: oelint.vars.bbvars.STAMP - Isar's image.bbclass does it as well
STAMP = "${STAMPS_DIR}/${DISTRO}-${DISTRO_ARCH}/${TEMPLATE_STANDIN}/${PV}-${PR}${TEMPLATE_PLACE}"
STAMPCLEAN = "${STAMPS_DIR}/${DISTRO}-${DISTRO_ARCH}/${TEMPLATE_STANDIN}/*-*"

python () {
    from imagetemplate import settings
    if not settings.consumes(d):
        raise bb.parse.SkipRecipe("TEMPLATE_MODE is neither 'consume' nor 'derive'")
}
