# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What hostile package scripts try against the machine that they run on, and that it fails.

attack.c holds the attacks. A postinst runs them by 'install', and a command by 'exec'; harmless ones run in a plain
chroot as well, to see that they are attacks at all.
"""

import contextlib
import os
import socket

import pytest

import attacker
import support

# in a chroot that root enters as Isar does, these work
IN_A_CHROOT = """
    chroot_fchdir proc_root proc_cwd enter_namespace program_of_host proc_descriptors disks device_kernel_log device_fuse
    loop_control kill_process trace_process key_of_host session_keyring mount_tmpfs mount_bind namespace_mount mount_new_api
    raw_socket packet_socket abstract_socket tcp_to_host write_proc_sys core_dump_handler bpf kernel_log
""".split()


@pytest.fixture(scope="module")
def state(session_dir):
    """What must not change. Others may mount elsewhere meanwhile."""
    def look():
        mounts = [point for point in support.mounts() if point.startswith((session_dir, "/mnt", "/sys", "/etc"))]
        with open("/proc/sys/kernel/core_pattern") as core, open("/proc/sys/kernel/pid_max") as pids:
            return mounts, socket.gethostname(), core.read(), pids.read(), sorted(os.listdir("/dev/shm"))
    return look


@contextlib.contextmanager
def leak():
    """A caller that has an open directory, and hands it down."""
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield {"pass_fds": [folder]}
    finally:
        os.close(folder)


@pytest.fixture(scope="module")
def by_install(session_dir, shared, attack, victim, state):
    out = os.path.join(session_dir, "hostile-out")
    deb = attacker.package(session_dir, attack, victim.words)
    before = state()
    with leak() as leaking:
        shared("install", "platform", "--add", deb, "--output", out, **leaking)
    assert state() == before
    return attacker.log(out)


@pytest.fixture(scope="module")
def by_exec(shared, attack, victim, state):
    before = state()
    with leak() as leaking:
        result = shared("exec", "--bind", os.path.dirname(attack) + ":/hostile", "platform", "--", "/hostile/attack", *victim.words, **leaking)
    assert state() == before
    return attacker.parse(result.stdout)


@pytest.fixture(scope="module")
def by_chroot(platform, attack, victim):
    return attacker.in_a_chroot(platform, attack, [*victim.words, *IN_A_CHROOT])


@pytest.mark.parametrize("name", attacker.ATTACKS)
def test_package_script(by_install, name):
    assert not by_install[name][0]


@pytest.mark.parametrize("name", attacker.ATTACKS)
def test_command(by_exec, name):
    assert not by_exec[name][0]


@pytest.mark.parametrize("name", IN_A_CHROOT)
def test_would_work_in_a_plain_chroot(by_chroot, name):
    worked, error = by_chroot[name]
    if not worked and (error in ("ENOSYS", "EAFNOSUPPORT", "ENODEV", "ENXIO") or name == "disks"):
        pytest.skip("this machine itself has or gives no %s: %s" % (name, error))
    assert worked, error


def test_kills_whatever_it_sees(shared, victim):
    script = "sleep 1000 & kill -9 -1; wait; echo alone"
    assert shared("exec", "platform", "--", "sh", "-c", script).stdout == "alone\n"
    assert victim.process.poll() is None


def test_helper_is_not_changed(shared):
    """Its program is what process 1 runs: neither it nor what it was started from can be opened or replaced."""
    before = os.stat(support.HELPER)
    script = """
        for process in /proc/[0-9]*; do
            case "$(readlink $process/exe 2>/dev/null)" in
            *isar-template*|*helper*) ( : >> $process/exe ) 2>/dev/null && echo "opened $process/exe" ;;
            esac
        done
        ( : >> /proc/1/exe ) 2>/dev/null && echo "opened /proc/1/exe"
        readlink /proc/1/fd/*
        true
    """
    assert shared("exec", "platform", "--", "sh", "-c", script).stdout == ""
    after = os.stat(support.HELPER)
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)


def test_every_process_has_the_filter(shared):
    """No way of starting a program gets rid of it."""
    script = "grep -h Seccomp: /proc/self/status; setsid sh -c 'grep -h Seccomp: /proc/self/status'; grep -h NoNewPrivs: /proc/self/status"
    assert shared("exec", "platform", "--", "sh", "-c", script).stdout.split() == ["Seccomp:", "2", "Seccomp:", "2", "NoNewPrivs:", "1"]


def test_qa_gives_scripts_no_more(shared, session_dir, attack, victim):
    """The same package, whose postinst now fails if any attack works."""
    with open(attack, "rb") as file:
        program = file.read()
    script = ("cp /usr/lib/hostile/attack /tmp/attack\nchmod +x /tmp/attack\n"
              "if /tmp/attack %s | grep ' yes ' >&2; then exit 1; fi\n" % " ".join(victim.words))
    deb = support.make_deb(os.path.join(session_dir, "strict"), "hostile", files={"usr/lib/hostile/attack": program},
                           scripts={"postinst": script}, arch=support.architecture())
    shared("qa", "platform", deb)


def test_caller_has_no_core_dumps_at_all(shared):
    """As sudo has it; then the limit cannot be raised in a container."""
    words = ["sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *shared.argv("exec", "platform", "--", "echo", "runs")]
    assert support.command(*words, timeout=60).stdout == "runs\n"
