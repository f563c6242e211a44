# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Package scripts look for the host and find nothing of it; whatever happens, nothing stays behind."""

import os
import signal
import subprocess

import pytest

import filetrees
import support

PROBE = r"""
out=/var/lib/probe
mkdir -p $out
cat /proc/self/mountinfo > $out/mounts
ls /proc | grep '^[0-9]' > $out/pids
for file in /proc/[0-9]*/cmdline; do tr '\0' ' ' < $file; echo; done > $out/commands 2>/dev/null
cat /proc/net/dev > $out/network
ls -l /proc/self/ns/ > $out/namespaces
hostname > $out/hostname
env > $out/environment
ls -la / > $out/root
ls /dev > $out/dev
cat /proc/self/status > $out/status
ls -l /proc/self/fd > $out/descriptors
if [ -x /usr/sbin/policy-rc.d ]; then code=0; /usr/sbin/policy-rc.d probe start || code=$?; echo $code; fi > $out/policy
( exec 3<>/dev/tcp/127.0.0.1/80 ) 2>/dev/null || true
"""


@pytest.fixture(scope="module")
def probe(session_dir, shared):
    """What a postinst saw, by name."""
    folder = os.path.join(session_dir, "probe")
    os.mkdir(folder)
    deb = support.make_deb(folder, "probe", scripts={"postinst": PROBE})
    environment = dict(os.environ, SECRET_OF_THE_HOST="do not tell")
    out = os.path.join(folder, "out")
    shared("install", "platform", "--add", deb, "--output", out, env=environment)
    found = {}
    for name in os.listdir(out + "/var/lib/probe"):
        with open(out + "/var/lib/probe/" + name, errors="replace") as file:
            found[name] = file.read()
    return found


def test_no_mounts_of_the_host(probe):
    allowed = ("/proc", "/sys", "/dev", "/run", "/tmp")
    for line in probe["mounts"].splitlines():
        point = line.split()[4]
        assert point == "/" or point.startswith(allowed) or "ro," in line.split()[5] + ",", line
    host = {point for point in support.mounts() if point not in ("/", "/proc", "/sys", "/dev", "/run", "/tmp")
            and not point.startswith(("/dev/", "/sys/", "/proc/", "/run/"))}
    inside = {line.split()[4] for line in probe["mounts"].splitlines()}
    assert not inside & host


def test_no_processes_of_the_host(probe):
    assert len(probe["pids"].split()) < 15
    assert "pytest" not in probe["commands"]
    assert "probe" in probe["commands"]


def test_no_network(probe):
    names = [line.split(":")[0].strip() for line in probe["network"].splitlines() if ":" in line]
    assert names == ["lo"]


def test_namespaces_of_its_own(probe):
    for name in ("mnt", "pid", "ipc", "uts", "net"):
        assert os.readlink("/proc/self/ns/" + name) not in probe["namespaces"], name


def test_environment_is_clean(probe):
    assert "SECRET_OF_THE_HOST" not in probe["environment"]
    assert "DEBIAN_FRONTEND=noninteractive" in probe["environment"]


def test_no_devices_of_the_host(probe):
    assert not [name for name in probe["dev"].split() if name.startswith(("vd", "sd", "nvme", "loop", "mem", "kmsg", "kvm", "fuse"))]


def test_no_open_files_of_the_host(probe):
    assert support.TOP not in probe["descriptors"]


def test_services_are_denied_to_start(probe):
    assert probe["policy"].strip() == "101"


def test_services_are_not_started_by_a_real_package(shared, tmp):
    """With what packages call: invoke-rc.d and deb-systemd-invoke."""
    deb = support.make_deb(tmp, "daemon", files={
        "lib/systemd/system/daemon-x.service": "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n",
        "etc/init.d/daemon-x": "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: daemon-x\n# Required-Start:\n# Required-Stop:\n"
                               "# Default-Start: 2\n# Default-Stop:\n### END INIT INFO\necho started > /var/lib/daemon-started\n"},
        scripts={"postinst": "chmod +x /etc/init.d/daemon-x\ndeb-systemd-helper enable daemon-x.service\n"
                             "deb-systemd-invoke start daemon-x.service || true\ninvoke-rc.d daemon-x start || true\n"},
        Depends="init-system-helpers")
    out = os.path.join(tmp, "out")
    shared("install", "platform", "--add", deb, "--output", out)
    assert not os.path.exists(out + "/var/lib/daemon-started")
    assert os.path.islink(out + "/etc/systemd/system/multi-user.target.wants/daemon-x.service")


def test_daemon_of_a_script_does_not_survive(shared, tmp):
    marker = "6%d" % os.getpid()
    deb = support.make_deb(tmp, "daemon", scripts={"postinst": "setsid sleep %s >/dev/null 2>&1 </dev/null &\n" % marker})
    mounts = support.mounts()
    shared("install", "platform", "--add", deb, "--output", os.path.join(tmp, "out"))
    support.wait_for(lambda: not support.processes("sleep " + marker), 5)
    assert support.mounts() == mounts


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_midway(shared, tmp, number):
    """No process, no mount, nothing that looks like a result."""
    marker = "5%03d%d" % (number, os.getpid())
    deb = support.make_deb(tmp, "slow", scripts={"postinst": "setsid sleep %s &\nsleep %s\n" % (marker, marker)})
    mounts = support.mounts()
    before = filetrees.files_of(shared.store)
    out = os.path.join(tmp, "result")
    process = subprocess.Popen(shared.argv("install", "platform", "--add", deb, "--output", out),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    support.wait_for(lambda: len(support.processes("sleep " + marker)) >= 2, 60)
    process.send_signal(number)
    process.wait(timeout=20)
    support.wait_for(lambda: not support.processes("sleep " + marker), 10)
    assert support.mounts() == mounts
    assert not os.path.exists(out)
    # a rerun works, and whatever the killed one left is not in its way
    shared("install", "platform", "--remove", "nano", "--no-reuse", "--output", out)
    left = {os.fsdecode(name) for name, size in set(filetrees.files_of(shared.store)) - set(before) if size > 0}
    # the plan was complete, and answers the same question again; of the result nothing is kept
    (plan,) = {name.split("/")[1] for name in left}
    assert left == {"results/%s%s" % (plan, part) for part in ("", "/upper", "/record.json")}, left
    assert shared.json("fsck")["findings"] == []


def test_ends_with_the_process_it_is_told_to_watch(shared, tmp):
    marker = "4%d" % os.getpid()
    deb = support.make_deb(tmp, "slow", scripts={"postinst": "sleep %s\n" % marker})
    watched = subprocess.Popen(["sleep", "600"])
    out = os.path.join(tmp, "result")
    process = subprocess.Popen(shared.argv("install", "platform", "--die-with", str(watched.pid), "--add", deb, "--output", out),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    support.wait_for(lambda: support.processes("sleep " + marker), 60)
    watched.kill()
    watched.wait()
    assert process.wait(timeout=20) != 0
    support.wait_for(lambda: not support.processes("sleep " + marker), 10)
    assert not os.path.exists(out)


def test_devices_of_the_host_cannot_be_changed(shared, tmp):
    """They are usable, but their mode and owner are those of the host, and stay."""
    names = ("full", "null", "random", "tty", "urandom", "zero")
    before = {name: os.stat("/dev/" + name)[:6] for name in names}
    script = "for f in %s /proc/keys; do chmod 600 /dev/$f; chown games /dev/$f; touch /dev/$f /proc/keys; done 2>/dev/null\n" \
        "echo > /dev/null; head -c 3 /dev/zero | wc -c\n" % " ".join(names)
    deb = support.make_deb(tmp, "meddler", scripts={"postinst": "set +e\n" + script + "true\n"})
    shared("install", "platform", "--add", deb, "--output", tmp + "/out")
    assert shared("exec", "platform", "--", "sh", "-c", script).stdout.strip() == "3"
    assert {name: os.stat("/dev/" + name)[:6] for name in names} == before


def test_a_caller_that_ignores_its_children(shared):
    words = ["env", "--ignore-signal=CHLD", *shared.argv("exec", "platform", "--", "echo", "heard")]
    assert support.command(*words, timeout=60).stdout == "heard\n"
