# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Whatever changes in the store is found, named, and can be discarded without loss of anything else."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import filetrees
import support
from support import UNTRUSTED


@pytest.fixture
def stored(helper, tiny_bundle, publisher):
    """A helper whose store holds a small template."""
    helper("import", *publisher.trust, "--gc-root", tiny_bundle, tiny_bundle)
    return helper


def flip(path, at=0):
    """Change one bit of a file, as a disk does: nothing else of it changes."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def findings(helper, code=UNTRUSTED, *words):
    return helper.json("fsck", *words, code=code)["findings"]


def files_below(folder):
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            full = os.path.join(path, name)
            if os.path.isfile(full) and not os.path.islink(full) and os.path.getsize(full):
                yield full


def tree_of(helper, name):
    """The root of the tree that has a file."""
    for tree in os.listdir(helper.store + "/trees"):
        root = os.path.join(helper.store, "trees", tree, "root")
        if os.path.lexists(os.path.join(root, name)):
            return root
    raise AssertionError(name)


def test_a_store_that_is_good(stored):
    value = stored.json("fsck")
    assert value["findings"] == [] and value["templates"] == 1 and value["trees"] >= 3 and value["objects"] > 0 and value["bytes"] > 0
    assert "all is as it was verified" in stored("fsck").stdout
    # repairing it changes nothing
    before = filetrees.files_of(stored.store)
    stored("fsck", "--repair")
    assert filetrees.files_of(stored.store) == before


def test_every_flipped_bit_is_found(stored):
    """In each file of each tree, and of what is known of the template and who keeps it."""
    checked = 0
    for folder in ("trees", "templates", "refs", "roots"):
        for path in files_below(os.path.join(stored.store, folder)):
            at = os.path.getsize(path) // 2
            flip(path, at)
            found = findings(stored)
            if folder == "trees":
                assert path in [finding["path"] for finding in found], (path, found)
                assert all(finding["templates"] == ["tiny:1.0"] for finding in found if finding["what"] == "tree"), (path, found)
            assert found and not any(finding["discarded"] for finding in found), path
            flip(path, at)
            checked += 1
    assert checked > 15
    stored("fsck")


@pytest.mark.parametrize("change,said", [
    (lambda root: os.chmod(root + "/etc/hostname", 0o600), "mode"),
    (lambda root: os.chown(root + "/etc/hostname", 1, 1), "owner"),
    (lambda root: os.utime(root + "/etc/hostname", (1, 1)), "time"),
    (lambda root: os.setxattr(root + "/etc/hostname", "user.x", b"y"), "attributes"),
    (lambda root: os.unlink(root + "/etc/hostname"), "missing"),
    (lambda root: os.truncate(root + "/etc/hostname", 1), "bytes instead of"),
    (lambda root: support.write(root + "/etc/more", "x"), "the table of contents has not"),
    (lambda root: os.chmod(root + "/etc", 0o700), "mode"),
])
def test_every_change_of_a_tree_is_found(stored, change, said):
    root = tree_of(stored, "etc/hostname")
    change(root)
    found = findings(stored)
    assert any(said in finding["detail"] and finding["path"].startswith(root) for finding in found), found
    text = stored("fsck", code=UNTRUSTED)
    assert "tiny:1.0" in text.stdout and said in text.stdout and "--repair" in text.stderr


def test_what_is_damaged_is_discarded_and_comes_back(stored, tmp, publisher, tiny_bundle):
    """And another template that shares the store stays as it is."""
    other = support.make_tiny_root(tmp + "/other", extra={"etc/own": "own\n"})
    stored("pack", "--name", "other", "--version", "2.0", "--component", "rootfs=" + other, "--sign", publisher.key, "--output", tmp + "/other-bundle")
    stored("import", *publisher.trust, tmp + "/other-bundle")
    damaged = os.path.join(tree_of(stored, "usr/bin/cc"), "usr/bin/cc")
    flip(damaged)
    found = findings(stored, 0, "--repair")
    assert {finding["what"] for finding in found} == {"tree", "object"} and all(finding["discarded"] for finding in found)
    assert findings(stored, 0) == []
    assert [row["name"] for row in stored.json("list")["templates"]] == ["other"]
    stored("checkout", "--raw", "other", tmp + "/checkout")
    error = stored.error("checkout", "tiny", tmp + "/gone", code=support.USAGE)
    assert error["kind"] == "not-found"
    value = stored.json("import", *publisher.trust, tiny_bundle)
    assert 0 < value["bytesWritten"] < value["bytesShared"]
    assert findings(stored, 0) == []
    stored("checkout", "--raw", "--component", "buildchroot-target", "tiny", tmp + "/again")
    with open(tmp + "/again/usr/bin/cc") as file:
        assert file.read() == "compiler"


def test_damaged_object_without_a_tree_is_not_linked_by_the_next_import(stored, tmp, publisher, tiny_bundle):
    """What a template has left behind would be taken for good."""
    name = os.path.join(tree_of(stored, "usr/bin/cc"), "usr/bin/cc")
    inode = os.stat(name).st_ino
    (thing,) = [path for path in files_below(stored.store + "/objects") if os.stat(path).st_ino == inode]
    keep = tmp + "/object"
    os.link(thing, keep)
    for folder in ("trees", "templates", "refs"):
        for entry in os.listdir(os.path.join(stored.store, folder)):
            shutil.rmtree(os.path.join(stored.store, folder, entry))
    flip(thing)
    (found,) = findings(stored, 0, "--repair")
    assert (found["what"], found["path"], found["templates"]) == ("object", thing, [])
    stored("import", *publisher.trust, tiny_bundle)
    assert findings(stored, 0) == []


def test_copy_that_checkouts_share(stored, tmp):
    stored("checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny", tmp + "/one")
    flip(tmp + "/one/usr/bin/cc")
    (found,) = findings(stored)
    assert found["what"] == "shared" and found["templates"] == ["tiny:1.0"] and found["path"].endswith("/shared/usr/bin/cc")
    (found,) = findings(stored, 0, "--repair")
    stored("checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny", tmp + "/two")
    with open(tmp + "/two/usr/bin/cc") as file:
        assert file.read() == "compiler"


def test_result_of_an_install(helper, platform_bundle, publisher, tmp):
    helper("import", *publisher.trust, platform_bundle)
    deb = support.make_deb(tmp, "kept", files={"usr/share/kept/file": "content\n"})
    words = ["install", "platform", "--add", deb, "--output"]
    helper(*words, tmp + "/one")
    # and the plan that it came of
    assert helper.json("fsck")["results"] == 2
    (path,) = [path for path in files_below(helper.store + "/results") if path.endswith("/usr/share/kept/file")]
    flip(path)
    (found,) = findings(helper)
    assert found["what"] == "result" and path.startswith(found["path"])
    findings(helper, 0, "--repair")
    assert not helper.json(*words, tmp + "/two")["report"]["reused"]
    with open(tmp + "/two/usr/share/kept/file") as file:
        assert file.read() == "content\n"


def test_what_is_in_use_is_not_discarded(helper, platform_bundle, publisher):
    helper("import", *publisher.trust, platform_bundle)
    flip(os.path.join(tree_of(helper, "usr/bin/nano"), "usr/bin/nano"), 999)
    running = subprocess.Popen(helper.argv("exec", "platform", "--", "sh", "-c", "echo here; exec sleep 100"), stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "here\n"
        result = helper("fsck", "--repair", code=UNTRUSTED)
        assert "in use" in result.stderr and "discarded\n" not in result.stdout
        assert helper.json("list")["templates"]
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait()
    assert re.search("all discarded", helper("fsck", "--repair").stdout)
    assert helper.json("list")["templates"] == []


def test_needs_root(stored, reachable_helper, tmp):
    result = support.as_nobody(reachable_helper, "--store", stored.store, "fsck", tmp=tmp)
    assert result.returncode == support.PRIVILEGE and "sudo" in result.stderr
