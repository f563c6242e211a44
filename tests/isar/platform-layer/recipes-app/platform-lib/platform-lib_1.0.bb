# A package that another one is built with: a word in a file.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "A word that others are built with"
MAINTAINER = "The isar-template authors <isar-users@googlegroups.com>"

SRC_URI = "file://word"

inherit dpkg-raw

do_install() {
    install -d ${D}/usr/share/platform-lib
    install -m 644 ${WORKDIR}/word ${D}/usr/share/platform-lib/word
}
