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
# with nothing that came with it, these do what apt does with them, which would take a second
REMOVE_ALONE = (("dpkg", "--purge", PACKAGE), ("dpkg", "--configure", "--pending"))
REMOVE_ALL = ((
    "apt-get", "purge", "--yes", "--auto-remove",
    "-o", "APT::AutoRemove::RecommendsImportant=false", "-o", "APT::AutoRemove::SuggestsImportant=false",
    PACKAGE,
),)  # fmt: skip


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


def take_out(d, actions):
    """Of what was done, leave out what purge() will undo."""
    came = [a for a in actions if a["operation"] == "install" and a["askedBy"] == "dependency"]
    # whatever came because something needed it may have come for localepurge
    d.setVar("TEMPLATE_LOCALEPURGE_ALONE", "0" if came else "1")
    actions[:] = [action for action in actions if action["package"] != PACKAGE]


def purge(d, root, kept):
    """Remove what is in other languages than those `kept`, and localepurge itself, which was installed."""
    configuration = os.path.join(root, "etc", "locale.nopurge")
    helper.as_root(d, "tee", configuration, text=CONFIGURATION.format(kept))
    environment = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]
    remove = REMOVE_ALONE if d.getVar("TEMPLATE_LOCALEPURGE_ALONE") == "1" else REMOVE_ALL
    for command in ((PACKAGE,), *remove):
        print(helper.as_root(d, "chroot", root, *environment, *command), flush=True)
