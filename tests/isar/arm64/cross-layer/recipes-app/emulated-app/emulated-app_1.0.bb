# A program of the product in C that is not cross built, as not every source can be.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "The product's other program"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"

ISAR_CROSS_COMPILE = "0"
DEBIAN_DEPENDS = "\${shlibs:Depends}"

SRC_URI = "file://src"
S = "${WORKDIR}/src"

inherit dpkg

do_prepare_build() {
    deb_debianize
}
