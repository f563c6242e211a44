# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A clock that jumps: nothing is lost because of what time it is said to be."""

import os
import shutil

import pytest

import filetrees
import support
from support import UNTRUSTED

pytestmark = pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not installed: scripts/setup test")


class Timed(support.Helper):
    """The helper at another time."""

    def __init__(self, store, when):
        super().__init__(store)
        self.when = when

    def argv(self, *words):
        return ["faketime", "-f", self.when, *super().argv(*words)]


def pack(helper, tmp, publisher, version):
    root = support.make_tiny_root(tmp + "/root" + version, extra={"etc/version": version})
    bundle = tmp + "/bundle" + version
    helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
    return bundle


def test_order_of_versions_and_what_is_kept(tmp, helper, publisher):
    """The newest version is the highest, not the last that was imported; roots count by whether they exist."""
    ahead, behind = Timed(helper.store, "+3650d"), Timed(helper.store, "-3650d")
    support.write(tmp + "/keeps", "")
    for at, version in ((ahead, "1.0"), (helper, "3.0"), (behind, "2.0")):
        at("import", *publisher.trust, *(["--gc-root", tmp + "/keeps"] if at is behind else []), pack(helper, tmp, publisher, version))
    for at in (ahead, helper, behind):
        assert [row["templateVersion"] for row in at.json("list")["templates"]] == ["1.0", "2.0", "3.0"]
        assert at.json("inspect", "tiny")["templateVersion"] == "3.0"
        assert at.json("gc")["removed"] == []
        assert at.json("fsck")["findings"] == []
    imported = {row["templateVersion"]: row["imported"][:4] for row in helper.json("list")["templates"]}
    assert imported["2.0"] < imported["3.0"] < imported["1.0"]
    # the root that was noted long ago keeps what it keeps
    ahead("gc", "--keep", "1")
    assert [row["templateVersion"] for row in helper.json("list")["templates"]] == ["2.0", "3.0"]
    helper("checkout", "--raw", "tiny:2.0", tmp + "/out")
    filetrees.assert_same_tree(tmp + "/root2.0", tmp + "/out")


def test_locks_and_what_is_in_use(tmp, helper, publisher):
    """They are no matter of time."""
    helper("import", *publisher.trust, pack(helper, tmp, publisher, "1.0"))
    scratch = helper.store + "/tmp/scratch-old"
    os.makedirs(scratch)
    support.write(scratch + ".lock", "")
    for when in ("+3650d", "-3650d"):
        Timed(helper.store, when)("checkout", "--raw", "tiny", tmp + "/out" + when)
        Timed(helper.store, when)("gc")
    assert os.listdir(helper.store + "/tmp") == []


def test_result_that_nobody_used_for_long(tmp, shared, publisher):
    """With a clock that is ahead it goes too early, and is made again; with one that was ahead it stays longer."""
    helper = support.Helper(tmp + "/store")
    support.command("cp", "-a", shared.store, helper.store)
    # those of other tests
    support.command("find", helper.store + "/results", "-mindepth", "1", "-delete")
    deb = support.make_deb(tmp, "kept")
    number = iter(range(9))

    def install(at):
        return at.json("install", "--update", "local", "platform", "--add", deb, "--output", "%s/out%d" % (tmp, next(number)))["report"]["reused"]

    ahead = Timed(helper.store, "+3650d")
    assert not install(helper)
    assert helper.json("gc")["results"] == 0 and install(helper)
    # with the plan that it came of
    assert ahead.json("gc")["results"] == 2
    assert not install(ahead)
    assert helper.json("gc")["results"] == 0 and install(helper)
    assert helper.json("fsck")["findings"] == [] and helper.json("list")["templates"]


def test_validity_of_a_key_is_that_of_the_time_of_import(tmp, helper, publisher):
    bundle = pack(helper, tmp, publisher, "1.0")
    signers = support.allow(tmp, publisher.key, options='namespaces="isar-template",valid-before="20500101"')
    trust = ["--allowed-signers", signers, "--identity", support.IDENTITY]
    late = Timed(helper.store, "@2060-01-01 00:00:00")
    assert late.error("import", *trust, bundle, code=UNTRUSTED)["kind"] == "key-expired"
    helper("import", *trust, bundle)
    # what was imported stays
    late("checkout", "--raw", "tiny", tmp + "/out")
    late("gc")
    assert len(late.json("list")["templates"]) == 1
    # and the time can be said
    late("verify", *trust, "--verify-time", "20300101", bundle)
