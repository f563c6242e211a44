# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A store on a medium that cannot be written to: what only reads works, all else says why not and what to do."""

import os

import pytest

import disks
import support
from support import INTERNAL


@pytest.fixture
def read_only(tmp, shared):
    """The store with the platform, as it is on a medium."""
    disks.private()
    helper = support.Helper(tmp + "/medium")
    os.mkdir(helper.store)
    support.command("mount", "--bind", shared.store, helper.store)
    support.command("mount", "-o", "remount,bind,ro", helper.store)
    yield helper
    support.command("umount", helper.store)


def test_reading_works(tmp, read_only, shared):
    assert read_only.json("list")["templates"] == shared.json("list")["templates"]
    assert read_only.json("inspect", "platform")["digest"] == shared.json("inspect", "platform")["digest"]
    assert read_only.json("fsck")["findings"] == []
    read_only("checkout", "--raw", "platform", tmp + "/out")
    shared("diff", "platform", tmp + "/out")
    # nothing can be linked from there
    assert not read_only.json("checkout", "--raw", "--share", "platform", tmp + "/shared")["shared"]
    read_only("diff", "platform", "platform")


def test_what_writes_says_so(tmp, read_only, publisher, tiny_bundle, platform_bundle):
    deb = support.make_deb(tmp, "added")
    add = ["platform", "--add", deb]
    for words in (["import", *publisher.trust, tiny_bundle], ["import", *publisher.trust, platform_bundle], ["gc"], ["gc", "--dry-run"],
                  ["fsck", "--repair"], ["exec", "platform", "--", "true"], ["plan", *add, "--save", tmp + "/plan.json"],
                  ["install", "--update", "local", *add, "--output", tmp + "/out"], ["qa", "platform", deb]):
        error = read_only.error(*words, code=INTERNAL)
        assert read_only.store in error["message"] and "cannot be written to" in error["message"], (words, error)
        assert "--store" in error["hint"], (words, error)
    assert not os.path.exists(tmp + "/out") and not os.path.exists(tmp + "/plan.json")


def test_place_that_cannot_be_written_to(tmp, shared):
    """Not the store, but where the result is to go."""
    disks.private()
    os.mkdir(tmp + "/place")
    support.command("mount", "-t", "tmpfs", "-o", "ro", "none", tmp + "/place")
    try:
        for words in (["checkout", "--raw", "platform", tmp + "/place/out"], ["install", "--update", "local", "platform", "--remove", "nano", "--output", tmp + "/place/out"],
                      ["install", "--update", "local", "platform", "--remove", "nano", "--output", tmp + "/place/out.tar"]):
            error = shared.json(*words, code=INTERNAL)["error"]
            assert tmp + "/place" in error["message"] and "Read-only file system" in error["message"]
    finally:
        support.command("umount", tmp + "/place")
