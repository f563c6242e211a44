# The product of the tests of cross builds: with a program of its own, without some of the platform's packages.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Product on a platform of another architecture"

IMAGE_INSTALL = "enable-fsck isar-exclude-docs sshd-regen-keys hello platform-tool cross-tool cross-app emulated-app"
IMAGE_PREINSTALL:append = " nano"

require recipes-core/images/isar-image-base.bb
