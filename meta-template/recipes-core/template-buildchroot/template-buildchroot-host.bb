# Stands in for sbuild-chroot-host when images are built on a template.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Build chroot for the host, from the imported template"

# Recipes depend on it by this name, and it goes into their hashes. That the file is named otherwise
# keeps away what was meant to be appended to Isar's recipe.
PN = "sbuild-chroot-host"

require template-buildchroot.inc

TEMPLATE_VARIANT = "host"
TEMPLATE_COMPONENT = "buildchroot-host"
TEMPLATE_DEPLOY_CHROOT = "${SCHROOT_HOST_DIR}"
