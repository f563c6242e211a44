# A package that no template has: a service that says on the console that it is there.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "The product's own service"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"
DEBIAN_DEPENDS = "systemd"

SRC_URI = "file://product-app.service file://postinst"

inherit dpkg-raw

do_install() {
    install -v -d ${D}/usr/lib/systemd/system
    install -v -m 644 ${WORKDIR}/product-app.service ${D}/usr/lib/systemd/system/
}
