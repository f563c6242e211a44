# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Leave the locales as the template has them, and have localepurge look at what was installed."""

import os

from . import helper, verified

PACKAGE = "localepurge"
PURGE = "template_purge_locales"
# Isar's commands, and what is left of them
COMMANDS = {"image_install_localepurge_download": "", "image_install_localepurge_install": PURGE}
SETTINGS = ("LOCALE_DEFAULT", "LOCALE_GEN")
# as Isar has it
CONFIGURATION = """\
#USE_DPKG
MANDELETE
DONTBOTHERNEWLOCALE
#SHOWFREEDSPACE
#QUICKNDIRTYCALC
#VERBOSE
{}
"""
# what the package came with goes with it
AUTO_REMOVE = (
    "--auto-remove",
    "-o", "APT::AutoRemove::RecommendsImportant=false", "-o", "APT::AutoRemove::SuggestsImportant=false",
)  # fmt: skip


def are_kept(d, commands):
    """Whether the locales of the product are those of the template; `commands` are ROOTFS_INSTALL_COMMAND."""
    settings = (verified.read(d).get("anchors") or {}).get("settings") or {}
    return (
        d.getVar("TEMPLATE_REUSE_LOCALES") == "1"
        # otherwise --auto-remove would take along what is to be kept
        and d.getVar("TEMPLATE_KEEP") != "1"
        and set(COMMANDS) <= set(commands)
        and PACKAGE not in (d.getVar("ROOTFS_PACKAGES") or "").split()
        and PACKAGE not in (settings.get("ROOTFS_PACKAGES") or "").split()
        and all(settings.get(name) == d.getVar(name) for name in SETTINGS)
    )


def purge(d, root, kept):
    """Remove what is in other languages than those `kept`, and localepurge itself, which was installed."""
    configuration = os.path.join(root, "etc", "locale.nopurge")
    helper.as_root(d, "tee", configuration, text=CONFIGURATION.format(kept))
    environment = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]
    for command in ([PACKAGE], ["apt-get", "purge", "--yes", *AUTO_REMOVE, PACKAGE]):
        print(helper.as_root(d, "chroot", root, *environment, *command), flush=True)
