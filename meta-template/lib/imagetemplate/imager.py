# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Make the image beside its root filesystem, with tools that were installed while packages were built."""

import os
import re

from . import helper, repository

# the commands that Isar's generate_wic_image has for a session
COMMANDS = "<<'EOIMAGER'\n"
# where it has wic leave what it makes, and has it moved to
WIC_FOLDER = re.compile(r"(?<![\w}/])/tmp/\$\{IMAGE_FULLNAME\}\.wic")
WIC_DEPLOY = "${PP_DEPLOY}"
TASK = "image_wic"
STATUS = "var/lib/dpkg/status"
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def link_wic(d, text):
    """Isar's generate_wic_image with wic's folder in the mount where the root filesystem is: there wic links files,
    and elsewhere it copies them. As it was where that cannot be."""
    top = d.getVar("STAGING_DIR")
    below = all(d.getVar(name).startswith(f"{top}/") for name in ("TEMPLATE_WIC_DIR", "DEPLOY_DIR_IMAGE", "IMAGE_ROOTFS"))
    if not below or top not in (d.getVar("SCHROOT_MOUNTS") or "").split() or not WIC_FOLDER.search(text):
        return text
    text = WIC_FOLDER.sub("${TEMPLATE_WIC_DIR}", text).replace(WIC_DEPLOY, "${DEPLOY_DIR_IMAGE}")
    clear = "    sudo rm -rf --one-file-system '${TEMPLATE_WIC_DIR}'\n"
    return f"{clear}{text}\n{clear}"


def use_sfdisk(d, text):
    """Isar's generate_wic_image with our stand-in for sgdisk in the session, which is thrown away. As it was where
    the session does not see our layer."""
    layer = d.getVar("LAYERDIR_template")
    if layer not in (d.getVar("SCHROOT_MOUNTS") or "").split():
        return text
    # not by its name: the layer is no part of signatures, wherever it is
    stand_in = "'${LAYERDIR_template}/files/sgdisk'"
    commands = f"{COMMANDS}        [ ! -x /sbin/sgdisk ] || mv /sbin/sgdisk /sbin/sgdisk.real\n"
    commands += f"        [ ! -x /sbin/sgdisk.real ] || install -m 755 {stand_in} /sbin/sgdisk\n"
    return text.replace(COMMANDS, commands)


def begin_layer(d):
    """Before the tools are installed: a session whose changes to the build chroot are kept."""
    tools = d.getVar("TEMPLATE_TOOLS_DIR")
    helper.as_root(d, "rm", "-rf", "--one-file-system", tools)
    # the root filesystem is not there yet, and nothing else is needed
    d.setVar("SCHROOT_MOUNTS", f"{d.getVar('REPO_ISAR_DIR')}/{d.getVar('DISTRO')}:/isar-apt")
    d.setVar("TEMPLATE_SESSION_DIR", os.path.join(tools, "new"))


def use_layer(d):
    """Have sessions of this task start with the tools, where it is certain that Isar would install the same.

    Returns why that is not so, or nothing.
    """
    tools = d.getVar("TEMPLATE_TOOLS_DIR")
    layer = os.path.join(tools, "layer")
    try:
        with open(os.path.join(layer, STATUS), encoding="utf-8", errors="replace") as file:
            status = repository.parse_packages(file.read())
    except FileNotFoundError:
        return "they were not installed"
    offered = repository.read_packages(os.path.join(d.getVar("REPO_ISAR_DIR"), d.getVar("DISTRO")))
    wanted = (d.getVar(f"INSTALL_{TASK}") or "").split()
    why = differing(wanted, status, offered)
    if not why:
        d.setVar("TEMPLATE_SESSION_DIR", os.path.join(tools, "session"))
        d.setVar("TEMPLATE_SESSION_LAYER", layer)
        d.setVar(f"INSTALL_{TASK}", "")
    return why


def differing(wanted, status, offered):
    """Whether apt might do anything now that it did not when it made `status`, as a reason, or nothing.

    Of package lists only those of self-built packages change meanwhile.
    """
    there = [stanza for stanza in status if stanza.get("Status", "").endswith(" installed")]
    installed = {stanza["Package"] for stanza in there}
    named = installed.union(f"{stanza['Package']}:{stanza.get('Architecture')}" for stanza in there)
    missing = [name for name in wanted if name not in named]
    if missing:
        return f"not installed is {' '.join(missing)}"
    concerned = set(installed)
    for stanza in status:
        for field in ("Depends", "Pre-Depends"):
            concerned.update(NAME.findall(stanza.get(field, "")))
    for stanza in offered:
        for name in [stanza["Package"], *NAME.findall(stanza.get("Provides", ""))]:
            if name in concerned:
                return f"{name} is built here"
    return ""
