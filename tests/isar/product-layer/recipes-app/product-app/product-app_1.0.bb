# A package that no template has: a service that says on the console that it is there.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "The product's own service"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"
DEBIAN_DEPENDS = "systemd"

# Isar makes both part of the package by their names
SRC_URI = "file://product-app.service file://postinst"

inherit dpkg-raw
