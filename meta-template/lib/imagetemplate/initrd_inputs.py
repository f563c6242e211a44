# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Digests over all that update-initramfs makes an initrd of.

Runs by itself, as root: 'initrd_inputs.py ROOT KERNEL EPOCH < CONTENTS' prints them as JSON, where CONTENTS
has the paths in the initrd, one for each line.

What goes into an initrd is decided by scripts. They are inputs, with all of their configuration; so is
each file that ended up in it, the name of each module that could have, and each program that the scripts
mention and that is there: a new program of that name might make them do something else.
"""

import hashlib
import json
import os
import re
import stat
import sys

# scripts, and what they read; a path may be a file, a folder or nothing
CONFIGURATION = (
    "etc/console-setup", "etc/cryptsetup-initramfs", "etc/crypttab", "etc/default", "etc/fstab",
    "etc/initramfs-tools", "etc/iscsi", "etc/kernel", "etc/ld.so.conf", "etc/ld.so.conf.d", "etc/lvm",
    "etc/mdadm", "etc/modprobe.d", "etc/modules", "etc/modules-load.d", "etc/multipath", "etc/plymouth",
    "etc/systemd/network", "etc/udev", "usr/lib/initramfs-tools", "usr/lib/modprobe.d",
    "usr/lib/modules-load.d", "usr/lib/systemd/network", "usr/lib/udev", "usr/local/lib",
    "usr/sbin/mkinitramfs", "usr/sbin/update-initramfs", "usr/share/initramfs-tools",
)  # fmt: skip
SCRIPTS = (
    "etc/initramfs-tools", "usr/lib/initramfs-tools", "usr/sbin/mkinitramfs", "usr/sbin/update-initramfs",
    "usr/share/initramfs-tools",
)  # fmt: skip
PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "usr/lib/klibc/bin")
COMMENT = re.compile(rb"(?:^|(?<=\s))#.*", re.MULTILINE)
WORD = re.compile(rb"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")
# made from the files of folders that are hashed, in an order that has no meaning
GENERATED = ("etc/ld.so.cache",)


def digests(root, kernel, epoch, contents):
    """Digests by kind for the tree at `root`; files that are newer than `epoch` have its time in an initrd."""
    kinds = {
        "scripts and configuration": _describe(root, CONFIGURATION, None),
        "contents": _describe(root, contents, epoch),
        "modules": _modules(root, kernel),
        "programs that scripts look for": _programs(root),
    }
    return {kind: hashlib.sha256(b"\n".join(lines)).hexdigest() for kind, lines in kinds.items()}


def _describe(root, paths, epoch):
    """A line for each file at and below the paths, in order; folders that are contents are not entered."""
    found = set()
    for path in paths:
        for file in [path] if epoch is not None else _walk(root, path):
            if file not in GENERATED:
                found.update(_line(root, file, epoch))
    return sorted(found)


def _walk(root, path):
    full = os.path.join(root, path)
    if not os.path.isdir(full) or os.path.islink(full):
        yield path
    for folder, folders, files in os.walk(full):
        inside = os.path.relpath(folder, root)
        yield from (os.path.join(inside, name) for name in [*folders, *files])


def _line(root, path, epoch):
    full = os.path.join(root, path)
    try:
        status = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return
    fields = [path, oct(status.st_mode), str(status.st_uid), str(status.st_gid)]
    if stat.S_ISLNK(status.st_mode):
        fields.append(os.readlink(full))
    elif stat.S_ISREG(status.st_mode):
        with open(full, "rb") as file:
            fields.append(_hash(file))
        if epoch is not None:
            fields.append(str(min(int(status.st_mtime), epoch)))
    yield "\0".join(fields).encode(errors="surrogateescape")


def _hash(file):
    content = hashlib.sha256()
    while chunk := file.read(1 << 20):
        content.update(chunk)
    return content.hexdigest()


def _modules(root, kernel):
    """Names of all modules, and what says how they hang together."""
    top = os.path.join("usr/lib/modules", kernel)
    for path in sorted(_walk(root, top)):
        if os.path.basename(path).startswith("modules."):
            yield from _line(root, path, None)
        else:
            yield path.encode(errors="surrogateescape")
    yield from _line(root, f"boot/config-{kernel}", None)


def _programs(root):
    """Names of programs that a script mentions, whole or by their beginning ('fsck.' of 'fsck.$type')."""
    words = set()
    for path in SCRIPTS:
        for file in _walk(root, path):
            full = os.path.join(root, file)
            if os.path.isfile(full):
                with open(full, "rb") as script:
                    words.update(WORD.findall(COMMENT.sub(b"", script.read())))
    beginnings = tuple(word for word in words if word.endswith((b".", b"-")) and len(word) > 2)
    for folder in PROGRAMS:
        try:
            names = sorted(os.listdir(os.path.join(os.fsencode(root), folder.encode())))
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from (folder.encode() + b"/" + name for name in names if name in words or name.startswith(beginnings))


def main(root, kernel, epoch):
    """The command line."""
    contents = [os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer]
    print(json.dumps(digests(root, kernel, int(epoch), contents)))


if __name__ == "__main__":
    main(*sys.argv[1:])
