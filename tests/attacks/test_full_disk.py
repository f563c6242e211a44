# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A disk that is full, at any point: exit code 1, which says so; nothing is left, and with more room the same succeeds."""

import os

import pytest

import disks
import filetrees
import support
from support import INTERNAL


@pytest.fixture
def disk(tmp):
    disk = disks.Disk(tmp, 1 << 30)
    yield disk
    disk.remove()


def assert_full(helper, *words):
    error = helper.json(*words, code=INTERNAL)["error"]
    assert "no space left" in error["message"].lower(), error
    return error


def assert_good(helper, templates):
    assert helper.json("fsck")["findings"] == []
    assert [row["templateVersion"] for row in helper.json("list")["templates"]] == templates
    helper("gc")
    assert os.listdir(helper.store + "/tmp") == []


@pytest.mark.parametrize("free", [0, 300 << 10, 3 << 20, 6 << 20])
def test_store_without_room(tmp, disk, publisher, free):
    """For what is imported, and for what installing packages makes."""
    helper = support.Helper(disk.path + "/store")
    bundles = {}
    for version in ("1.0", "2.0"):
        root = support.make_tiny_root(tmp + "/root" + version, extra={"usr/lib/" + version: filetrees.big_content(8 << 20), "etc/version": version})
        bundles[version] = tmp + "/bundle" + version
        helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundles[version])
    helper("import", *publisher.trust, bundles["1.0"])
    with disk.leaves(free):
        assert_full(helper, "import", *publisher.trust, bundles["2.0"])
        assert_good(helper, ["1.0"])
        helper("checkout", "--raw", "tiny", tmp + "/out")
        filetrees.assert_same_tree(tmp + "/root1.0", tmp + "/out")
    helper("import", *publisher.trust, bundles["2.0"])
    assert_good(helper, ["1.0", "2.0"])


@pytest.mark.parametrize("count", [0, 3, 10])
def test_store_without_inodes(tmp, publisher, tiny_bundle, count):
    disk = disks.Disk(tmp, 16 << 20, options=["-N", "256"])
    try:
        helper = support.Helper(disk.path + "/store")
        root = support.make_tiny_root(tmp + "/root", extra={"etc/more/%d" % number: "%d" % number for number in range(30)})
        bundle = tmp + "/bundle"
        helper("pack", "--name", "tiny", "--version", "2.0", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
        helper("import", *publisher.trust, tiny_bundle)
        with disk.leaves_inodes(count):
            assert_full(helper, "import", *publisher.trust, bundle)
            assert_full(helper, "checkout", "--raw", "tiny", disk.path + "/out")
            assert sorted(os.listdir(disk.path)) == ["ballast", "lost+found", "store"]
        assert_good(helper, ["1.0"])
        helper("import", *publisher.trust, bundle)
        assert_good(helper, ["1.0", "2.0"])
    finally:
        disk.remove()


@pytest.mark.parametrize("free", [0, 1 << 20])
def test_place_without_room(tmp, disk, helper, publisher, free):
    """For checkouts, bundles and saved plans."""
    root = support.make_tiny_root(tmp + "/root", extra={"usr/lib/big": filetrees.big_content(8 << 20)})
    pack = ["pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root, "--sign", publisher.key, "--output"]
    helper(*pack, tmp + "/bundle")
    helper("import", *publisher.trust, tmp + "/bundle")
    verbs = [["checkout", "--raw", "tiny", disk.path + "/out"],
             ["checkout", "--no-store", "--raw", *publisher.trust, tmp + "/bundle", disk.path + "/out"],
             [*pack, disk.path + "/bundle"], [*pack, disk.path + "/bundle.tar"]]
    with disk.leaves(free):
        for words in verbs:
            assert_full(helper, *words)
            assert sorted(os.listdir(disk.path)) == ["ballast", "lost+found"]
    for words in verbs:
        helper(*words)
        support.command("rm", "-r", words[-1])


def test_install_without_room(tmp, disk, shared, publisher, platform_bundle):
    """In the store, where the packages are unpacked, and where the product goes."""
    deb = support.make_deb(tmp, "large", files={"usr/share/large/file": filetrees.big_content(10 << 20)})
    helper = support.Helper(disk.path + "/store")
    helper("import", *publisher.trust, platform_bundle)
    words = ["install", "--update", "local", "platform", "--add", deb, "--output"]
    with disk.leaves(1 << 20):
        assert_full(helper, *words, tmp + "/out")
        assert not os.path.exists(tmp + "/out")
        assert_good(helper, ["1.0"])
        for out in (disk.path + "/out", disk.path + "/out.tar"):
            assert_full(shared, *words, out)
        assert sorted(os.listdir(disk.path)) == ["ballast", "lost+found", "store"]
    helper(*words, disk.path + "/out")
    assert_good(helper, ["1.0"])
