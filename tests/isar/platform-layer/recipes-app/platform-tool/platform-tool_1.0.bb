# A package that takes something of another one in while it is built.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "What was built with a word"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"

DEPENDS = "platform-lib"
DEBIAN_BUILD_DEPENDS = "platform-lib"
DEBIAN_DEPENDS = "platform-lib"

SRC_URI = "file://rules"

inherit dpkg-raw

do_install() {
    install -d ${D}/usr/share/platform-tool
}
