# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Run a command, and see how long it takes until all of it is on the disk, with the processor time and memory that it takes."""

import contextlib
import ctypes
import dataclasses
import os
import subprocess
import time


@dataclasses.dataclass
class Run:
    """What a run has cost."""

    # until the file system is synced
    seconds: float
    # of all its processes that it has waited for
    cpu: float
    # of the largest process, MiB
    memory: float
    # what it has made, or moved; 0 when nobody asked
    bytes: int = 0


class Failed(Exception):
    """A command that did not do what it should."""


def run(command, place, log):
    """Run a bash script in a folder, whose file system is synced before and after."""
    sync(place)
    with open(log, "a") as said:
        said.write("+ %s\n" % command)
        said.flush()
        begin = time.monotonic()
        process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", command], cwd=place, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(log) as said:
            raise Failed("exit code %d of: %s\n%s" % (process.returncode, command, said.read()[-2000:]))
    sync(place)
    seconds = time.monotonic() - begin
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def sync(place):
    descriptor = os.open(place, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", place)
    finally:
        os.close(descriptor)


def size(path):
    """Bytes of a file, or of all files below a folder, each once."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    seen = {}
    for folder, _, names in os.walk(path):
        for name in names:
            meta = os.lstat(os.path.join(folder, name))
            seen[meta.st_dev, meta.st_ino] = meta.st_size
    return sum(seen.values())


@contextlib.contextmanager
def fresh_disk(folder, gigabytes=60):
    """A new ext4 with its journal, in a file: what was deleted before makes old ones slow."""
    image, place = os.path.join(folder, "disk"), os.path.join(folder, "place")
    with open(image, "wb") as file:
        file.truncate(gigabytes << 30)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-o", "loop,discard", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        os.remove(image)
