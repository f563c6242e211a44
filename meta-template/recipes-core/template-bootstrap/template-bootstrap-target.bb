# Stands in for isar-mmdebstrap-target when images are built on a template.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Bootstrap of the target, from the imported template"

require template-bootstrap.inc

PROVIDES += "bootstrap-target"

TEMPLATE_COMPONENT = "bootstrap"
TEMPLATE_DEPLOY_BOOTSTRAP = "${DEPLOY_DIR_BOOTSTRAP}/${DISTRO}-${DISTRO_ARCH}.tar.zst"
