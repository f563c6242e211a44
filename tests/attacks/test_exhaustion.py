# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Package scripts that use up the machine: what is bounded, and that all of it is given back."""

import os
import platform
import re
import subprocess

import pytest

import support

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exhaust.c")
PROCESS_LIMIT = 16384


@pytest.fixture(scope="module")
def exhaust(session_dir):
    folder = os.path.join(session_dir, "exhaust")
    os.mkdir(folder)
    support.command("gcc", "-O1", "-static", "-o", folder + "/exhaust", SOURCE)
    return folder


def test_processes(shared, exhaust):
    version = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    if version < (6, 14):
        pytest.skip("before Linux 6.14 only the caller's control group bounds the number of processes")
    text = shared("exec", "--bind", exhaust + ":/exhaust", "platform", "--", "/exhaust/exhaust", "processes").stdout
    count, error = re.match(r"(\d+) processes, then (\w+)", text).groups()
    assert int(count) < PROCESS_LIMIT
    assert error == "EAGAIN"
    support.wait_for(lambda: not support.processes("/exhaust/exhaust processes"), 20)


def test_host_keeps_its_own_limit_of_processes(shared):
    before = open("/proc/sys/kernel/pid_max").read()
    inside = shared("exec", "platform", "--", "cat", "/proc/sys/kernel/pid_max").stdout
    assert open("/proc/sys/kernel/pid_max").read() == before
    assert int(inside) <= int(before)


def test_memory_is_taken_from_the_sandbox_first(shared):
    assert int(shared("exec", "platform", "--", "cat", "/proc/self/oom_score_adj").stdout) >= 500


@pytest.fixture
def small_disk(tmp):
    path = tmp + "/small"
    os.mkdir(path)
    support.command("mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "none", path)
    yield path
    support.command("umount", path)


def test_disk(small_disk, tmp, publisher, exhaust):
    """Ended while others can still write, and everything is free again."""
    root = support.make_tiny_root(tmp + "/root")
    support.command("cp", exhaust + "/exhaust", root + "/usr/bin/exhaust")
    helper = support.Helper(small_disk + "/store")
    helper("pack", "--name", "p", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", tmp + "/bundle")
    helper("import", *publisher.trust, tmp + "/bundle")
    result = support.command(*helper.argv("exec", "p", "--", "/usr/bin/exhaust", "disk"), check=False, timeout=120)
    assert result.returncode == support.INTERNAL
    assert "filling the disk" in result.stderr
    # it was ended before it met the end of the disk
    assert "ENOSPC" not in result.stdout
    free = os.statvfs(small_disk)
    assert free.f_bavail > free.f_blocks * 0.8


def test_endless_line_of_output(shared, tmp):
    """The helper keeps little of what it is told."""
    deb = support.make_deb(tmp, "chatter", scripts={"postinst": "head -c 300000000 /dev/zero | tr '\\0' x\n"})
    process = subprocess.Popen(shared.argv("install", "platform", "--add", deb, "--output", tmp + "/out"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss < 400 << 10


def test_lies_about_progress(shared, tmp):
    """Everything that apt and dpkg have open gets lines like theirs."""
    script = """
        for file in /proc/[0-9]*/fd/*; do
            [ -p "$file" ] || continue
            timeout 1 sh -c 'for n in 1 2 3 4 5 6 7 8 9; do echo "pmerror:liar:50.0:lie $n"; echo "status: liar : error : lie $n"; done > "$0"' "$file" 2>/dev/null || true
        done
        true
    """
    deb = support.make_deb(tmp, "liar", scripts={"postinst": script})
    result = support.command(*shared.argv("install", "platform", "--add", deb, "--output", tmp + "/out"), check=False, timeout=120)
    assert result.returncode in (support.DONE, support.PACKAGE), result.stderr
