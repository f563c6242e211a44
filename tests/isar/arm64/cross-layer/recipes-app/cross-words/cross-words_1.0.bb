# A program that others run while they are built: it is built for the machine that builds.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Writes a line of C"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"

SRC_URI = "file://src"
S = "${WORKDIR}/src"

inherit dpkg

do_prepare_build() {
    deb_debianize
}
