# A program of the product in C, with a service that runs it.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "The product's own program"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"

DEPENDS = "cross-words-native"
DEBIAN_BUILD_DEPENDS = "cross-words:native"
DEBIAN_DEPENDS = "\${shlibs:Depends}"

SRC_URI = "file://src file://cross-app.service"
S = "${WORKDIR}/src"

inherit dpkg

do_prepare_build() {
    deb_debianize
}
