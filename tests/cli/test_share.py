# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Checkouts that have their files in common: build chroots, which are only read."""

import os
import subprocess

import pytest

import filetrees
import support
from support import USAGE

FILE = "usr/lib/tool"


@pytest.fixture
def imported(helper, tmp, publisher):
    root = support.make_tiny_root(tmp + "/root", extra={FILE: "tool\n" * 1000})
    os.link(root + "/" + FILE, root + "/usr/lib/same")
    os.symlink("tool", root + "/usr/lib/link")
    bundle = tmp + "/bundle"
    helper("pack", "--name", "tiny", "--version", "1", "--component", "rootfs=" + root, "--component",
           "buildchroot-target=" + root, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    return helper


def share(helper, target):
    value = helper.json("checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny", target)
    assert value["entries"] > 10
    return value["shared"]


def test_checkouts_have_files_in_common_and_nothing_else(imported, tmp):
    one, two = tmp + "/one", tmp + "/two"
    assert share(imported, one) and share(imported, two)
    filetrees.assert_same_tree(tmp + "/root", one)
    filetrees.assert_same_tree(one, two)
    assert os.path.samefile(one + "/" + FILE, two + "/" + FILE)
    # what is made, removed or replaced in one is not in the other
    os.unlink(one + "/usr/lib/same")
    support.write(one + "/usr/lib/new", "new")
    support.write(one + "/usr/lib/tool.new", "another")
    os.rename(one + "/usr/lib/tool.new", one + "/" + FILE)
    filetrees.assert_same_tree(tmp + "/root", two)


def test_the_store_cannot_be_reached(imported, tmp):
    share(imported, tmp + "/one")
    inode = os.stat(tmp + "/one/" + FILE).st_ino
    for top in ("objects", "trees"):
        for folder, _, files in os.walk(os.path.join(imported.store, top)):
            # the copy is there for this alone
            if "/shared" not in folder:
                assert inode not in [os.lstat(os.path.join(folder, name)).st_ino for name in files]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: support.write(path, "changed"),
        lambda path: os.chmod(path, 0o600),
        lambda path: os.chown(path, 1234, 0),
        lambda path: os.utime(path, (1, 1)),
    ],
    ids=["written", "closed", "given away", "aged"],
)
def test_what_was_changed_through_a_checkout_is_found_by_the_next(imported, tmp, change):
    share(imported, tmp + "/one")
    change(tmp + "/one/" + FILE)
    result = imported("checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny", tmp + "/two")
    assert "usr/lib/" in result.stderr and "was changed through a checkout" in result.stderr
    filetrees.assert_same_tree(tmp + "/root", tmp + "/two")
    assert "was changed" not in imported(
        "checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny", tmp + "/three").stderr
    # neither was what others are made of
    imported("checkout", "--raw", "tiny", tmp + "/rootfs")
    filetrees.assert_same_tree(tmp + "/root", tmp + "/rootfs")


def test_on_another_file_system_files_are_copied(imported, tmp):
    os.mkdir(tmp + "/other")
    support.command("mount", "-t", "tmpfs", "none", tmp + "/other")
    try:
        assert not share(imported, tmp + "/other/one")
        filetrees.assert_same_tree(tmp + "/root", tmp + "/other/one")
    finally:
        support.command("umount", tmp + "/other")
    assert not [folder for folder in os.listdir(imported.store + "/tmp") if folder.startswith("scratch")]


def test_several_at_once_make_one_copy(imported, tmp):
    words = ["checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny"]
    running = [subprocess.Popen(imported.argv(*words, tmp + "/%d" % number), stderr=subprocess.DEVNULL) for number in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert len({os.stat("%s/%d/%s" % (tmp, number, FILE)).st_ino for number in range(4)}) == 1


def test_the_copy_goes_with_the_template_and_checkouts_stay(imported, tmp, publisher):
    share(imported, tmp + "/one")
    support.write(tmp + "/root/etc/next", "next")
    imported("pack", "--name", "tiny", "--version", "2", "--component", "rootfs=" + tmp + "/root", "--sign",
             publisher.key, "--output", tmp + "/next")
    imported("import", *publisher.trust, tmp + "/next")
    imported("gc", "--keep", "1")
    assert not support.command("find", imported.store, "-name", "shared").stdout
    assert os.stat(tmp + "/one/" + FILE).st_size == 5000


def test_it_is_for_raw_trees_of_the_store(imported, tmp):
    assert "--raw" in imported.error("checkout", "--share", "tiny", tmp + "/one", code=USAGE)["message"]
    error = imported.error("checkout", "--raw", "--share", "--no-store", tmp + "/bundle", tmp + "/one", code=USAGE)
    assert "--no-store" in error["message"]
    assert not os.path.exists(tmp + "/one")
