# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Every file of a store, damaged in every way: fsck finds it, what reads it says so where it can see it, and it comes back.

What each verb looks at stands in docs/threat-model.md.
"""

import json
import os
import shutil

import pytest

import filetrees
import support
from support import INTERNAL, UNTRUSTED

WAYS = {
    "truncated": lambda path: os.truncate(path, os.path.getsize(path) // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "longer": lambda path: support.command("sh", "-c", 'printf x >> "$1"', "sh", path),
    "missing": os.unlink,
    "symlink": lambda path: replace(path, lambda: os.symlink("/etc/hostname", path)),
    "fifo": lambda path: replace(path, lambda: os.mkfifo(path)),
    "folder": lambda path: replace(path, lambda: os.mkdir(path)),
}


def replace(path, make):
    os.unlink(path)
    make()


@pytest.fixture
def stored(helper, tmp, publisher):
    """A store with one small template, and bundles of it and of another one that shares its files."""
    root = support.make_tiny_root(tmp + "/root", extra={"usr/lib/one": "one\n", "usr/lib/two": "two\n"})
    for name in ("tiny", "other"):
        support.write(root + "/etc/name", name)
        helper("pack", "--name", name, "--version", "1.0", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", tmp + "/" + name)
    support.write(root + "/etc/name", "tiny")
    helper.bundles = {name: ["import", *publisher.trust, tmp + "/" + name] for name in ("tiny", "other")}
    helper(*helper.bundles["tiny"])
    helper.pristine = tmp + "/pristine"
    support.command("cp", "-a", helper.store, helper.pristine)
    helper("checkout", "--raw", "tiny", tmp + "/expected")
    return helper


def files_below(folder):
    """Files that hold something, by path; a file with several names by one of them."""
    found = {}
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            full = os.path.join(path, name)
            if os.path.isfile(full) and not os.path.islink(full) and os.path.getsize(full):
                found.setdefault(os.stat(full).st_ino, full)
    return sorted(found.values())


def findings(helper):
    result = support.command(*helper.argv("--format", "json", "fsck"), check=False)
    value = json.loads(result.stdout)
    assert result.returncode == (UNTRUSTED if value["findings"] else 0), result
    return value["findings"]


def reset(helper):
    shutil.rmtree(helper.store)
    support.command("cp", "-a", helper.pristine, helper.store)


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("part", ["trees", "templates", "refs"])
def test_file_of_the_store(stored, tmp, part, way):
    for path in files_below(stored.store + "/" + part):
        WAYS[way](path)
        in_tree = "/root/" in path
        if in_tree and "-finish" not in path:
            out = tmp + "/out"
            error = stored.error("checkout", "--raw", "tiny", out, code=UNTRUSTED)
            assert path in error["message"] and "--repair" in error["hint"], error
            assert not os.path.exists(out)
        found = findings(stored)
        # a name that is gone is one that nobody has given
        assert found or (part, way) == ("refs", "missing"), path
        if in_tree:
            assert path in [finding["path"] for finding in found], (path, found)
        assert all(finding["discarded"] for finding in stored.json("fsck", "--repair")["findings"]), path
        assert stored.json("fsck")["findings"] == []
        # what was discarded comes back, and is good
        stored(*stored.bundles["tiny"])
        stored("checkout", "--raw", "tiny", tmp + "/again")
        filetrees.assert_same_tree(tmp + "/expected", tmp + "/again")
        assert stored.json("fsck")["findings"] == []
        shutil.rmtree(tmp + "/again")
        reset(stored)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_object_is_not_used_by_the_next_import(stored, tmp, way):
    """It is only another name of a file of a tree, so that file is another one here, as after a disk lost it."""
    for path in files_below(stored.store + "/objects"):
        support.command("cp", "-a", path, path + ".copy")
        os.rename(path + ".copy", path)
        WAYS[way](path)
    stored(*stored.bundles["other"])
    stored("checkout", "--raw", "other", tmp + "/out")
    support.write(tmp + "/expected/etc/name", "other")
    for name in ("etc/name", "usr/lib/one", "usr/lib/two", "etc/hostname"):
        with open(tmp + "/expected/" + name) as expected, open(tmp + "/out/" + name) as found:
            assert found.read() == expected.read()
    stored("fsck", "--repair")
    assert stored.json("fsck")["findings"] == []
    assert len(stored.json("list")["templates"]) == 2


@pytest.mark.parametrize("way", ["missing", "folder", "emptied"])
def test_instance_of_a_damaged_template(shared, tmp, publisher, platform_bundle, way):
    """exec and install see the files as they are: what they need has to fail, and fsck tells the rest."""
    helper = support.Helper(tmp + "/store")
    helper("import", *publisher.trust, platform_bundle)
    (tree,) = [tree for tree in os.listdir(helper.store + "/trees") if os.path.exists(helper.store + "/trees/" + tree + "/root/usr/bin/dpkg")]
    for name in ("usr/bin/dpkg", "var/lib/dpkg/status"):
        WAYS[way](os.path.join(helper.store, "trees", tree, "root", name))
    result = support.command(*helper.argv("exec", "platform", "--", "sh", "-c", 'test -n "$(dpkg --version)"'), check=False)
    assert result.returncode != 0
    result = support.command(*helper.argv("install", "--update", "local", "platform", "--remove", "nano", "--output", tmp + "/out"), check=False)
    assert result.returncode in (INTERNAL, UNTRUSTED, support.REFUSED, support.PACKAGE) and result.stderr, result
    assert not os.path.exists(tmp + "/out")
    assert len(helper.json("fsck", code=UNTRUSTED)["findings"]) >= 2
    helper("fsck", "--repair")
    helper("import", *publisher.trust, platform_bundle)
    assert helper("exec", "platform", "--", "dpkg", "--version").stdout
    assert helper.json("fsck")["findings"] == []
