# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Somebody is killed in the middle of the package transaction: it ends with them, and the next build is as if nothing had been."""

import os
import signal
import subprocess
import threading
import time

import pytest

from bitbake_build import Build

IMAGE = "product-image"
AGAIN = "-f -c rootfs_install mc:%s:" + IMAGE


def processes():
    """PID, name of the program and command line of each."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                name = file.read().strip()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        yield int(pid), name, line


def helpers(workspace):
    """Everything of the helper that runs a transaction, the process 1 of its sandboxes as well."""
    return [(pid, line) for pid, name, line in processes() if workspace.helper in line and " install " in line and name != "sudo"]


# by the way they are called
VICTIMS = {
    "helper": lambda workspace, name, line: name == "isar-template" and " install " in line,
    "sudo": lambda workspace, name, line: name == "sudo" and workspace.helper in line and " install " in line,
    "worker": lambda workspace, name, line: f"{workspace.isar}/bitbake/bin/bitbake-worker" in line,
    "cooker": lambda workspace, name, line: f"{workspace.isar}/bitbake/bin/bitbake-server" in line,
}


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    return condition()


def mounts(path):
    """What is mounted below a folder, by its type."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        return sorted((point, kind) for _, point, kind, *_ in map(str.split, file) if point.startswith(path))


def bitbake_is_gone(workspace):
    return not [line for _, _, line in processes() if f"{workspace.isar}/bitbake/bin/" in line]


@pytest.fixture(scope="module")
def build(workspace, bundle, consume_settings):
    with Build(workspace, "killed", consume_settings(bundle), workspace.product_layers) as build:
        build.build(IMAGE)
        yield build


@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_stays(build, workspace, victim):
    assert wait_for(lambda: bitbake_is_gone(workspace), 60)
    before = mounts(build.path)
    arguments = AGAIN % build.multiconfig
    running = threading.Thread(target=build.bitbake, args=(arguments, False))
    running.start()

    def chosen():
        # not before the transaction itself runs, which has its own root
        return helpers(workspace) and [pid for pid, name, line in processes() if VICTIMS[victim](workspace, name, line)]

    pids = wait_for(chosen, 120)
    assert pids, build.errors()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it went with the one before
    assert wait_for(lambda: not helpers(workspace), 20), helpers(workspace)
    running.join(120)
    assert not running.is_alive()
    assert wait_for(lambda: bitbake_is_gone(workspace), 60)
    assert not [point for point, kind in mounts(build.path) if kind == "overlay"]

    assert build.bitbake(arguments), build.errors()
    assert mounts(build.path) == before
    store = os.path.join(build.path, "template-store")
    for verb in (["fsck"], ["gc"]):
        subprocess.run([workspace.helper, "--store", store, *verb], check=True, stdin=subprocess.DEVNULL)
    assert os.listdir(os.path.join(store, "tmp")) == []
