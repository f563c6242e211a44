# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The demo does what it shows, in its time, and cleans up after itself."""

import os
import signal
import subprocess

import support

# seconds; 240 are promised on two cores, twice as long is allowed where other work runs beside it
LIMIT = 480


def run_demo(tmp):
    environment = dict(os.environ, DEMO_DIR=tmp, DEMO_MIRROR=support.MIRROR or "", DEMO_SUITE=support.SUITE,
                       ISAR_TEMPLATE=support.HELPER)
    return subprocess.Popen([os.path.join(support.TOP, "demo/run")], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def test_demo(tmp):
    mounts = support.mounts()
    process = run_demo(tmp)
    text, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, text
    for words in ("dpkg --audit has no complaint", "hello-service.service is there and enabled", "nano is gone with its",
                  "nothing is left mounted", "what took how long", "How to go on with Isar"):
        assert words in text, text
    assert os.listdir(tmp) == []
    assert support.mounts() == mounts


def test_interrupted_demo_cleans_up(tmp):
    process = run_demo(tmp)
    support.wait_for(lambda: os.path.isdir(os.path.join(tmp, (os.listdir(tmp) or ["none"])[0], "platform", "var/lib/dpkg")), 60)
    # as Ctrl-C does: the whole foreground group
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert os.listdir(tmp) == []
