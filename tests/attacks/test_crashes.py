# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Whenever the helper is killed, or a disk fails it: the store is good, what was complete is there, the next run succeeds."""

import os
import shutil
import signal

import pytest

import support
from scene import CHANGES, GROWING, STEPS, Scene, kills, moments
from support import INTERNAL

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: scripts/setup test")


@pytest.fixture
def scene(tmp, helper, tiny_bundle, publisher):
    """A store with one release, and the bundle of the next one, which shares most with it."""
    helper("import", *publisher.trust, tiny_bundle)
    root = support.make_tiny_root(tmp + "/next", extra={"etc/version": "next\n", "usr/share/new/file": "new\n" * 100})
    scene = Scene(tmp + "/scene", helper)
    scene.bundle = tmp + "/next-bundle"
    helper("pack", "--name", "tiny", "--version", "2.0", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", scene.bundle)
    scene.verbs = {
        "import": ["import", *publisher.trust, scene.bundle],
        "checkout": ["checkout", "--raw", "tiny:1.0", scene.folder + "/out"],
        "share": ["checkout", "--raw", "--share", "--component", "buildchroot-target", "tiny:1.0", scene.folder + "/out"],
        "gc": ["gc", "--keep", "1"],
    }
    return scene


def prepare(scene, verb, publisher):
    """What gc is to remove has to be there first."""
    if verb == "gc":
        support.Helper(scene.before)("import", *publisher.trust, scene.bundle)
        scene.listed = [row for row in support.Helper(scene.before).json("list")["templates"] if row["templateVersion"] == "2.0"]
    return scene.verbs[verb]


def assert_done(scene, verb, words):
    """The same again succeeds, and is complete."""
    if verb in ("checkout", "share") and os.path.exists(scene.folder + "/out"):
        # it had its name, so it is complete
        support.command("test", "-e", scene.folder + "/out/etc/hostname")
        shutil.rmtree(scene.folder + "/out")
    scene.helper(*words)
    scene.assert_good()
    if verb == "import":
        assert [row["templateVersion"] for row in scene.helper.json("list")["templates"]] == ["1.0", "2.0"]
    scene.assert_clean()


@pytest.mark.parametrize("verb", ["import", "checkout", "share", "gc"])
def test_killed_at_any_step(scene, publisher, verb):
    words = prepare(scene, verb, publisher)
    before = kills[verb]
    for step in scene.steps(words, CHANGES):
        scene.reset()
        code = scene.kill_at(words, step, verb)
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL, 0), (step, code)
        scene.assert_good()
        assert_done(scene, verb, words)
    assert kills[verb] - before >= min(5, STEPS // 4)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("verb", ["import", "checkout", "gc"])
def test_a_disk_that_fails_at_any_step(scene, publisher, verb, error):
    words = prepare(scene, verb, publisher)
    failures = 0
    for step in scene.steps(words, GROWING):
        scene.reset()
        code, said = scene.fail_at(words, step, error)
        # what cannot be told, or removed, is no failure
        assert code in (0, INTERNAL), (step, code, said)
        failures += code != 0
        scene.assert_good()
        assert_done(scene, verb, words)
    assert failures >= 1


def test_killed_at_any_moment(scene):
    """Also with all that it has started."""
    chance = moments(20)
    words = scene.verbs["import"]
    takes = scene.takes(words)
    for number in range(STEPS):
        scene.reset()
        scene.kill_within(words, takes, "import", chance, group=number % 2)
        scene.assert_good()
        assert_done(scene, "import", words)
