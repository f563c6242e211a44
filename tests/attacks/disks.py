# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""File systems in files. They are mounted where nobody but this process and its children sees them, and vanish with it."""

import contextlib
import ctypes
import errno
import functools
import os
import shutil

import pytest

import support

CLONE_NEWNS = 0x20000


@functools.cache
def private():
    """A mount namespace of our own, in which nothing that is mounted reaches the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    support.command("mount", "--make-rprivate", "/")


class Disk:
    """A file system that is mounted. Its file gets its blocks when they are written."""

    def __init__(self, folder, size, kind="ext4", options=()):
        private()
        if not shutil.which("mkfs." + kind):
            pytest.skip("mkfs.%s is not installed: scripts/setup test" % kind)
        self.image, self.path, self.kind = folder + "/disk-" + kind, folder + "/mnt-" + kind, kind
        os.mkdir(self.path)
        with open(self.image, "wb") as file:
            file.truncate(size)
        quiet = ["-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"] if kind == "ext4" else ["-q"]
        support.command("mkfs." + kind, *quiet, *options, self.image)
        self.mount(self.image)

    def mount(self, image, options="loop"):
        result = support.command("mount", "-t", self.kind, "-o", options, image, self.path, check=False)
        if "unknown filesystem type" in result.stderr:
            pytest.skip("the kernel has no %s" % self.kind)
        assert result.returncode == 0, result.stderr

    def unmount(self):
        support.command("umount", self.path)

    @contextlib.contextmanager
    def leaves(self, free):
        """As long as it lasts the disk has no more room than this."""
        ballast = self.path + "/ballast"
        with open(ballast, "wb") as file:
            size, step = 0, 1 << 28
            while step >= 1024:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    step //= 2
            file.truncate(max(0, size - free))
        try:
            yield
        finally:
            os.unlink(ballast)

    @contextlib.contextmanager
    def leaves_inodes(self, count):
        """The same for how many files it can have."""
        ballast = self.path + "/ballast"
        os.mkdir(ballast)
        for number in range(os.statvfs(self.path).f_favail - count):
            os.mknod("%s/%d" % (ballast, number))
        try:
            yield
        finally:
            shutil.rmtree(ballast)

    def remove(self):
        with contextlib.suppress(AssertionError):
            self.unmount()
        os.unlink(self.image)
