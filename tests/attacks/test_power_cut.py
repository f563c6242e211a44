# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The power fails: what had been complete is there and intact, and the rest is as if it had not begun.

The store is on a disk that is a file of a file system which clones files at once: such a clone is the disk at this moment, without what
the kernel had not written yet. It is mounted, which replays the journal, and looked at.
"""

import os
import shutil
import subprocess

import pytest

import disks
import filetrees
import support
from scene import STEPS, moments

ROUNDS = max(1, STEPS // 10)


class Powered:
    """A disk that can be cloned while it is used."""

    def __init__(self, tmp, kind):
        self.outer = disks.Disk(tmp, 3 << 30, "xfs", ["-m", "reflink=1"])
        self.inner = disks.Disk(self.outer.path, 400 << 20, kind)
        self.clone, self.seen = self.outer.path + "/clone", self.outer.path + "/seen"
        os.mkdir(self.seen)
        self.helper = support.Helper(self.inner.path + "/store")
        self.cuts = self.repaired = 0

    def cut(self):
        support.command("cp", "--reflink=always", self.inner.image, self.clone)
        self.cuts += 1

    def look(self, check):
        """What is there after the power is back."""
        options = "loop,nouuid" if self.inner.kind == "xfs" else "loop"
        support.command("mount", "-t", self.inner.kind, "-o", options, self.clone, self.seen)
        try:
            check(support.Helper(self.seen + "/store"))
        finally:
            support.command("umount", self.seen)
            os.unlink(self.clone)

    def remove(self):
        self.inner.remove()
        self.outer.remove()


@pytest.fixture(params=["ext4", "xfs"])
def powered(tmp, request):
    powered = Powered(tmp, request.param)
    yield powered
    powered.remove()


def test_power_cut(tmp, powered, publisher):
    chance = moments(23)
    roots, imports = {}, {}
    for version in ("1.0", "2.0"):
        root = support.make_tiny_root(tmp + "/root" + version, extra={
            "etc/version": version, "usr/lib/same": filetrees.big_content(2 << 20), "usr/lib/own": filetrees.big_content(3 << 20) + version.encode(),
            **{"usr/share/%d" % n: "%d" % n for n in range(200)}})
        roots[version], bundle = root, tmp + "/bundle" + version
        powered.helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
        imports[version] = ["import", *publisher.trust, bundle]

    def check(complete):
        def look(helper):
            found = support.json.loads(support.command(*helper.argv("--format", "json", "fsck"), check=False).stdout)["findings"]
            if found:
                powered.repaired += 1
                helper("fsck", "--repair")
            listed = [row["templateVersion"] for row in helper.json("list")["templates"]]
            assert set(complete) <= set(listed), (complete, listed, found)
            for version in listed:
                helper("checkout", "--raw", "tiny:" + version, tmp + "/out")
                filetrees.assert_same_tree(roots[version], tmp + "/out")
                shutil.rmtree(tmp + "/out")
            for words in imports.values():
                helper(*words)
            helper("gc")
            assert helper.json("fsck")["findings"] == [] and os.listdir(helper.store + "/tmp") == []
        return look

    def run(words, before, after):
        """The power fails while a verb runs, and when it has just returned."""
        running = subprocess.Popen(powered.helper.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with support.contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(chance.uniform(0, 0.4))
        powered.cut()
        assert running.wait() == 0
        powered.look(check(before))
        powered.cut()
        powered.look(check(after))

    powered.helper(*imports["1.0"])
    for _ in range(ROUNDS):
        run(imports["2.0"], ["1.0"], ["1.0", "2.0"])
        run(["gc", "--keep", "1"], ["2.0"], ["2.0"])
        # as it was at the beginning
        shutil.rmtree(powered.helper.store)
        powered.helper(*imports["1.0"])
    print("power cuts: %d, of which %d left something that fsck had to discard" % (powered.cuts, powered.repaired))
    assert powered.repaired == 0
