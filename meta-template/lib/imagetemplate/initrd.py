# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Use the initrd of the template where making one would give the same."""

import glob
import json
import os
import subprocess

from . import helper, initrd_inputs

COMPONENT = "initrd"
IMAGE, RECORD = "initrd.img", "record.json"
# raised when what decides about an initrd is looked at in another way
VERSION = 1
# where update-initramfs notes that it made an initrd, in some releases
STATE = "var/lib/initramfs-tools"


def kernel_of(root):
    """The one kernel of a tree; None when there are none or more."""
    found = glob.glob(os.path.join(glob.escape(root), "boot", "vmlinu[xz]-*"))
    return os.path.basename(found[0]).split("-", 1)[1] if len(found) == 1 else None


def inputs(d, root, kernel, contents):
    """The digests of initrd_inputs for a tree, of which only root may read all."""
    script = os.path.abspath(initrd_inputs.__file__)
    arguments = ["python3", "-B", script, root, kernel, d.getVar("SOURCE_DATE_EPOCH") or "0"]
    text = "".join(f"{path}\n" for path in contents)
    return json.loads(helper.as_root(d, *arguments, text=text))


def stage(d, root, initrd, path):
    """Put the initrd of a finished tree, and what it was made of, at `path`; returns why not, or None."""
    kernel = kernel_of(root)
    if not kernel or not os.path.exists(initrd):
        return "the image has no kernel, or more than one"
    if not uses_initramfs_tools(d):
        return "the initrd was not made by update-initramfs"
    listing = helper.as_root(d, "chroot", root, "lsinitramfs", f"/boot/initrd.img-{kernel}")
    contents = listing.splitlines()
    os.makedirs(path)
    with open(initrd, "rb") as source, open(os.path.join(path, IMAGE), "wb") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
    record = {
        "version": VERSION,
        **_making(d, kernel),
        "state": _read(os.path.join(root, STATE, kernel)),
        "inputs": inputs(d, root, kernel, contents),
        "contents": contents,
    }
    with open(os.path.join(path, RECORD), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    return None


def differences(d, root, record):
    """What is different in a tree from that which the recorded initrd was made of; nothing: it can be used."""
    if record.get("version") != VERSION:
        return ["how initrds are compared"]
    making = _making(d, kernel_of(root))
    found = [name for name, value in making.items() if record.get(name) != value]
    if not found:
        here = inputs(d, root, making["kernel"], record["contents"])
        found = [name for name, value in here.items() if record["inputs"].get(name) != value]
    return found


def use(d, root, record, initrd, deployed):
    """Put the recorded initrd where update-initramfs would have put it, and Isar after that."""
    kernel = record["kernel"]
    target = os.path.join(root, "boot", f"initrd.img-{kernel}")
    helper.as_root(d, "install", "-m", "0644", initrd, target)
    if record["state"]:
        state = os.path.join(root, STATE)
        helper.as_root(d, "install", "-d", state)
        helper.as_root(d, "tee", os.path.join(state, kernel), text=record["state"])
    subprocess.run(["install", "-m", "0755", initrd, deployed], check=True)


def uses_initramfs_tools(d):
    """Whether it is update-initramfs that makes the initrd."""
    return (d.getVar("ROOTFS_INITRAMFS_GENERATOR_CMD") or "") == "update-initramfs"


def _making(d, kernel):
    return {
        "kernel": kernel,
        "generator": d.getVar("ROOTFS_INITRAMFS_GENERATOR_CMDLINE"),
        "epoch": d.getVar("SOURCE_DATE_EPOCH"),
    }


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None
