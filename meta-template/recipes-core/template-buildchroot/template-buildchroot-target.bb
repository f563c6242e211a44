# Stands in for sbuild-chroot-target when images are built on a template.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Build chroot for the target, from the imported template"

# Recipes depend on it by this name, and it goes into their hashes. That the file is named otherwise
# keeps away what was meant to be appended to Isar's recipe.
PN = "sbuild-chroot-target"

require template-buildchroot.inc

TEMPLATE_VARIANT = "target"
TEMPLATE_COMPONENT = "buildchroot-target"
TEMPLATE_DEPLOY_CHROOT = "${SCHROOT_TARGET_DIR}"
