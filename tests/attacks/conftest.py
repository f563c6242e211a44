# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Fixtures of the tests that attack: those of the command line, whose folder has what both need."""

import importlib.util
import os
import shutil
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.path.join(TOP, "tests", "cli")
sys.path.insert(0, CLI)

# under a name of its own: this file is called conftest, too
specification = importlib.util.spec_from_file_location("cli_conftest", os.path.join(CLI, "conftest.py"))
cli_conftest = importlib.util.module_from_spec(specification)
specification.loader.exec_module(cli_conftest)

globals().update({name: value for name, value in vars(cli_conftest).items() if not name.startswith("__")})

import attacker  # noqa: E402
import forge  # noqa: E402
import support  # noqa: E402


@pytest.fixture(scope="session")
def small_bundle(session_dir):
    """A small bundle without a signature. All of its root file system is in one frame. Not to be changed."""
    root = support.make_tiny_root(os.path.join(session_dir, "small"))
    os.chmod(support.write(root + "/usr/bin/su", "#!/bin/sh\n"), 0o4755)
    os.symlink("tool", root + "/usr/bin/link")
    # times without fractions need no pax records
    for path, folders, files in os.walk(root, topdown=False):
        for name in [*files, *folders, "."]:
            os.utime(os.path.join(path, name), (1, 1), follow_symlinks=False)
    bundle = os.path.join(session_dir, "small-bundle")
    support.Helper(os.path.join(session_dir, "no-store"))(
        "pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root, "--output", bundle)
    return bundle


@pytest.fixture
def forged(tmp, small_bundle):
    """The small bundle, taken apart; to be signed when it is put together again."""
    copy = os.path.join(tmp, "bundle")
    shutil.copytree(small_bundle, copy)
    value = forge.Forge(copy)
    assert len(value.tree.frames) == len(value.finish.frames) == 1
    return value


@pytest.fixture(scope="session")
def attack(session_dir):
    """The program of the attacks, built."""
    folder = os.path.join(session_dir, "attack")
    os.mkdir(folder)
    return attacker.build(folder)


@pytest.fixture(scope="module")
def victim(session_dir):
    """What it tries to reach."""
    victim = attacker.Victim(session_dir)
    yield victim
    victim.close()


def pytest_terminal_summary(terminalreporter):
    """How many kills there were, by verb."""
    scene = sys.modules.get("scene")
    if scene and scene.kills:
        told = ", ".join("%s %d" % row for row in sorted(scene.kills.items()))
        terminalreporter.write_line("kills: %d (%s)" % (sum(scene.kills.values()), told))
