# The product: the platform's image with a package of the repository and one of its own, and
# without some that the platform has.
#
# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT

DESCRIPTION = "Product on a platform"

IMAGE_INSTALL = "enable-fsck isar-exclude-docs sshd-regen-keys hello platform-tool product-app"
IMAGE_PREINSTALL:append = " nano"

require recipes-core/images/isar-image-base.bb
