# A program of the platform in C, with a line that another program wrote while it was built.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "The platform's own program"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"

DEPENDS = "cross-words-native"
DEBIAN_BUILD_DEPENDS = "cross-words:native"
DEBIAN_DEPENDS = "\${shlibs:Depends}"

SRC_URI = "file://src"
S = "${WORKDIR}/src"

inherit dpkg

do_prepare_build() {
    deb_debianize
}
