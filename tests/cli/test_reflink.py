# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Checkouts on file systems whose files can share their blocks."""

import os
import shutil

import pytest

import filetrees
import support

KINDS = {"xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"], "ext4": ["mkfs.ext4", "-q"]}


@pytest.fixture(params=KINDS)
def disk(request, tmp):
    """A file system of that kind."""
    make = KINDS[request.param]
    if not shutil.which(make[0]):
        pytest.skip(make[0] + " is not installed: run scripts/setup test")
    image, place = os.path.join(tmp, "image"), os.path.join(tmp, "place")
    with open(image, "wb") as file:
        file.truncate(2 << 30)
    support.command(*make, image)
    os.mkdir(place)
    if support.command("mount", "-o", "loop", image, place, check=False).returncode:
        pytest.skip("this kernel has no " + request.param)
    place = os.path.join(place, "inside")
    os.mkdir(place)
    yield request.param, place
    support.command("umount", os.path.dirname(place))


def used(place):
    support.command("sync", "-f", place)
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def test_blocks_are_shared_where_that_is_possible(disk, platform_bundle, publisher):
    kind, place = disk
    helper = support.Helper(place + "/store")
    helper("import", *publisher.trust, platform_bundle)
    before, out = used(place), place + "/out"
    said = helper("-v", "checkout", "platform", out).stderr
    size = int(support.command("du", "-s", "--apparent-size", "-B1", out).stdout.split()[0])
    more = used(place) - before
    if kind == "ext4":
        assert "copied" in said and more > size / 2
    else:
        assert "reflink" in said and more < size / 2
    # and nobody reaches the store through them
    with open(out + "/usr/bin/dpkg", "r+b") as file:
        file.write(b"changed")
    helper("fsck")
    helper("checkout", "platform", place + "/again")
    assert open(place + "/again/usr/bin/dpkg", "rb").read(7) != b"changed"
    support.command("cp", place + "/again/usr/bin/dpkg", out + "/usr/bin/dpkg")
    support.command("touch", "-r", place + "/again/usr/bin/dpkg", out + "/usr/bin/dpkg")
    filetrees.assert_same_tree(out, place + "/again", sparse=False)
