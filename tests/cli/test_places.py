# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Where a store can be, and where it is refused before anything is in it."""

import os

import pytest

import support
from support import USAGE


@pytest.fixture
def mounted(tmp):
    """Mounts something on a folder of the test, by mount's options."""
    points = []

    def mount(name, *options):
        point = os.path.join(tmp, name)
        os.mkdir(point)
        support.command("mount", *options, point)
        points.append(point)
        return point

    yield mount
    for point in reversed(points):
        support.command("umount", point)


def overlay(tmp, mounted):
    folders = [os.path.join(tmp, name) for name in ("lower", "upper", "work")]
    for folder in folders:
        os.mkdir(folder)
    return mounted("overlay", "-t", "overlay", "overlay", "-o", "lowerdir=%s,upperdir=%s,workdir=%s" % tuple(folders))


def refused(helper, tiny_bundle, publisher):
    error = helper.error("import", *publisher.trust, tiny_bundle, code=USAGE)
    assert "no store can be at" in error["message"] and "--store" in error["hint"]
    return error["message"]


def test_on_an_overlay(tmp, mounted, tiny_bundle, publisher):
    point = overlay(tmp, mounted)
    assert "overlay" in refused(support.Helper(point + "/store"), tiny_bundle, publisher)
    assert os.listdir(point) == []


def test_moved_to_an_overlay(tmp, mounted, helper, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    point = overlay(tmp, mounted)
    support.command("cp", "-a", helper.store, point + "/store")
    moved = support.Helper(point + "/store")
    assert "overlay" in moved.error("exec", "tiny", "--", "true", code=USAGE)["message"]
    # what only reads it works
    moved("checkout", "tiny", tmp + "/out")
    moved("list")


def test_without_attributes(mounted, tiny_bundle, publisher):
    point = mounted("ramfs", "-t", "ramfs", "ramfs", "-o", "mode=755")
    assert "attributes" in refused(support.Helper(point), tiny_bundle, publisher)
    # a place that was there stays
    assert os.listdir(point) == []


def test_what_a_mount_forbids_to_others_does_no_harm(mounted, platform_bundle, publisher):
    """Trees are used through mounts of their own: setuid programs, devices and programs work in them."""
    point = mounted("strict", "-t", "tmpfs", "tmpfs", "-o", "nosuid,nodev,noexec,mode=755")
    helper = support.Helper(point + "/store")
    helper("import", *publisher.trust, platform_bundle)
    script = "echo x > /dev/null && setpriv --reuid=1000 --clear-groups mount --version && stat -c %a /usr/bin/passwd"
    assert "4755" in helper("exec", "platform", "--", "sh", "-c", script).stdout
