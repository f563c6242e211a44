# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Commands in throw-away instances: exit codes, binds, network, and that nothing stays behind."""

import os
import shutil
import signal
import subprocess

import pytest

import filetrees
import support


def test_runs_in_the_template(shared):
    result = shared("exec", "platform", "--", "sh", "-c", ". /etc/os-release; echo $ID; id -u; cat /etc/hostname")
    assert result.stdout.split()[:2] == ["debian", "0"]


@pytest.mark.parametrize("code", [0, 1, 7, 42, 100, 255])
def test_exit_code_is_the_commands_own(shared, code):
    shared("exec", "platform", "--", "sh", "-c", "exit %d" % code, code=code)


def test_killed_command(shared):
    shared("exec", "platform", "--", "sh", "-c", "kill -TERM $$", code=128 + 15)


def test_command_that_does_not_exist(shared):
    result = shared("exec", "platform", "--", "no-such-command", code=support.PRIVILEGE)
    assert "no-such-command" in result.stderr


def test_streams_are_passed_through(shared):
    result = shared("exec", "platform", "--", "sh", "-c", "cat; echo to-stderr >&2", stdin=None, input="some text")
    assert result.stdout == "some text"
    assert "to-stderr" in result.stderr


def test_arguments_reach_the_command_unchanged(shared):
    words = ["a b", "", "*", "$HOME", "--option", "--", "quote'\"", "ä\n"]
    result = shared("exec", "platform", "--", "printf", "%s\\0", *words)
    assert result.stdout.split("\0")[:-1] == words


def test_writes_are_thrown_away(shared):
    before = filetrees.files_of(shared.store)
    shared("exec", "platform", "--", "sh", "-c", "echo x > /new && rm /etc/hostname && echo y >> /etc/passwd && touch /usr/bin/more")
    shared("exec", "platform", "--", "sh", "-c", "test ! -e /new && test -e /etc/hostname")
    assert filetrees.files_of(shared.store) == before


def test_binds(shared, tmp):
    folder = os.path.join(tmp, "bound")
    support.write(folder + "/in", "from the host")
    script = "cat /data/in; ! touch /data/out 2>/dev/null"
    assert shared("exec", "--bind", folder + ":/data", "platform", "--", "sh", "-c", script).stdout == "from the host"
    assert os.listdir(folder) == ["in"]
    shared("exec", "--bind", folder + ":/some/new/place:rw", "platform", "--", "sh", "-c", "echo back > /some/new/place/out")
    assert open(folder + "/out").read() == "back\n"


@pytest.mark.parametrize("bind", ["nonsense", "/nonexistent-here:/data", "relative:/data", "/tmp:relative", "/tmp:/data:xx", "/tmp:/../../etc"])
def test_wrong_binds(shared, bind):
    result = support.command(*shared.argv("exec", "--bind", bind, "platform", "--", "true"), check=False)
    assert result.returncode == support.USAGE, result.stderr


def test_no_network_unless_asked(shared):
    script = "sed -n 's/:.*//p' /proc/net/dev | tr -d ' '"
    assert shared("exec", "platform", "--", "sh", "-c", script).stdout.split() == ["lo"]
    host = {line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line}
    assert set(shared("exec", "--network", "platform", "--", "sh", "-c", script).stdout.split()) == host


def test_host_is_not_visible(shared, tmp):
    script = """
        echo "pids: $(ls /proc | grep -c '^[0-9]')"
        echo "mounts:"; sed 's/.* - //' /proc/self/mountinfo
        hostname
        cat /proc/*/cmdline | tr '\\0' ' '
        ls -d '%s' 2>/dev/null || echo "no test folder"
    """ % tmp
    text = shared("exec", "platform", "--", "sh", "-c", script).stdout
    assert int(text.split("pids: ")[1].split()[0]) < 10
    assert "pytest" not in text
    assert "no test folder" in text


def test_namespaces_are_new(shared):
    text = shared("exec", "platform", "--", "sh", "-c", "for n in mnt pid ipc uts net; do readlink /proc/self/ns/$n; done").stdout
    for line in text.split():
        assert line != os.readlink("/proc/self/ns/" + line.split(":")[0]), line


def test_small_dev(shared):
    text = shared("exec", "platform", "--", "sh", "-c", "ls /dev; echo x > /dev/null; head -c 4 /dev/urandom | wc -c; ls -l /dev/fd/ >/dev/null; : > /dev/shm/x").stdout
    names = text.split()
    assert {"null", "zero", "full", "random", "urandom", "tty"} <= set(names)
    assert not [name for name in names if name.startswith(("vd", "sd", "loop", "mem", "kmsg", "nvme"))]


def test_hardware_of_the_host_cannot_be_changed(shared):
    script = """
        for file in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/power/state; do
            if ( : > $file ) 2>/dev/null && [ "$file" != /proc/sys/kernel/hostname ]; then echo "wrote $file"; fi
        done
        mknod /tmp/disk b 254 0 2>/dev/null && head -c 1 /tmp/disk >/dev/null 2>&1 && echo "read the disk"
        mount -o remount,rw /proc/sys 2>/dev/null && echo "remounted"
        true
    """
    assert shared("exec", "platform", "--", "sh", "-c", script).stdout == ""


def start(helper, *words):
    return subprocess.Popen(helper.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ended_helper_takes_everything_along(shared, number):
    mounts = support.mounts()
    marker = "9%03d%d" % (number, os.getpid())
    process = start(shared, "exec", "platform", "--", "sh", "-c", "trap '' TERM INT; setsid sleep %s & sleep %s; sleep %s" % (marker, marker, marker))
    support.wait_for(lambda: len(support.processes("sleep " + marker)) >= 3)
    process.send_signal(number)
    process.communicate(timeout=20)
    support.wait_for(lambda: not support.processes("sleep " + marker), 10)
    assert support.mounts() == mounts
    if number == signal.SIGINT:
        assert process.returncode == 130
    shared("exec", "platform", "--", "true")


def test_background_processes_do_not_outlive_the_command(shared):
    marker = "8%d" % os.getpid()
    shared("exec", "platform", "--", "sh", "-c", "setsid sleep %s >/dev/null 2>&1 </dev/null & sleep 0.2" % marker)
    support.wait_for(lambda: not support.processes("sleep " + marker), 5)


def test_ends_with_the_process_it_is_told_to_watch(shared):
    marker = "7%d" % os.getpid()
    watched = subprocess.Popen(["sleep", "600"])
    process = start(shared, "exec", "--die-with", str(watched.pid), "platform", "--", "sleep", marker)
    support.wait_for(lambda: support.processes("sleep " + marker))
    watched.kill()
    watched.wait()
    process.communicate(timeout=20)
    assert process.returncode != 0
    support.wait_for(lambda: not support.processes("sleep " + marker), 10)


def test_two_at_once(shared):
    children = [start(shared, "exec", "platform", "--", "sh", "-c", "echo %d > /mark; sleep 0.5; cat /mark" % index) for index in range(3)]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == ["0", "1", "2"]


def test_builds_a_package_in_a_real_build_chroot(helper, tmp, build_chroot, publisher):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "p", "--version", "1", "--component", "rootfs=" + root,
           "--component", "buildchroot-target=" + build_chroot, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    shutil.copytree(os.path.join(support.TOP, "demo/hello-service"), tmp + "/build/hello-service")
    helper("exec", "--component", "buildchroot-target", "--bind", tmp + "/build:/build:rw", "p", "--",
           "sh", "-c", "cd /build/hello-service && dpkg-buildpackage --build=binary --no-sign")
    deb = tmp + "/build/hello-service_1.0_%s.deb" % support.architecture()
    assert "./usr/bin/hello-service" in support.command("dpkg-deb", "--fsys-tarfile", deb, text=False).stdout.decode(errors="replace")
