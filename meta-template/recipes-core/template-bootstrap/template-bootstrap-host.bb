# Stands in for isar-mmdebstrap-host when images are built on a template.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Bootstrap of the build host, from the imported template"

require template-bootstrap.inc

PROVIDES += "bootstrap-host"

TEMPLATE_COMPONENT = "bootstrap-host"
TEMPLATE_DEPLOY_BOOTSTRAP = "${DEPLOY_DIR_BOOTSTRAP}/${HOST_DISTRO}-host_${DISTRO}-${DISTRO_ARCH}.tar.zst"
