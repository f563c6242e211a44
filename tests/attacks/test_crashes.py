# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Whenever the helper is killed, or a disk fails it: the store is good, what was complete is there, the next run succeeds.

strace ends the helper at a system call that changes something, or lets that call fail: at the first, the second, and so on, of
each thread. $ISAR_TEMPLATE_TEST_STEPS is how many of them a test takes at most, spread over all [default: 15].
"""

import collections
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

import support
from support import INTERNAL

STEPS = int(os.environ.get("ISAR_TEMPLATE_TEST_STEPS", "15"))
# what changes something that outlives the process, or what others see
CHANGES = ("rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir,mknod,mknodat,chmod,fchmod,fchmodat,"
           "chown,lchown,fchown,fchownat,setxattr,lsetxattr,fsetxattr,removexattr,utimensat,write,pwrite64,ftruncate,copy_file_range,"
           "fsync,fdatasync,syncfs,flock")
# what a full disk lets fail
GROWING = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,setxattr,lsetxattr,write,pwrite64,ftruncate,fsync,syncfs"

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: scripts/setup test")


class Scene:
    """A store as it was before, and copies of it in which something happens."""

    def __init__(self, folder, helper):
        self.folder, self.before = folder, helper.store
        self.helper = support.Helper(folder + "/store")
        self.listed = helper.json("list")["templates"]

    def reset(self):
        for name in os.listdir(self.folder):
            support.command("rm", "-rf", "--one-file-system", os.path.join(self.folder, name))
        support.command("cp", "-a", self.before, self.helper.store)

    def traced(self, words, *options):
        """Run a verb below strace; its exit code, or minus the signal."""
        argv = ["strace", "-f", "-qq", "-e", "signal=none", *options, *self.helper.argv(*words)]
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
        return result.returncode, result.stderr.decode(errors="replace")

    def steps(self, words, calls):
        """The numbers of the calls that are tried: all that a thread makes, or some of them spread over all."""
        self.reset()
        log = self.folder + "/trace"
        code, said = self.traced(words, "-o", log, "-e", "trace=" + calls)
        assert code == 0, said
        with open(log) as file:
            by_thread = collections.Counter(re.match(r"(\d+) +\w+\(", line).group(1) for line in file if re.match(r"\d+ +\w+\(", line))
        most = max(by_thread.values())
        return sorted({1 + at * (most - 1) // max(1, STEPS - 1) for at in range(STEPS)}) if most > STEPS else range(1, most + 1)

    def assert_good(self):
        value = self.helper.json("fsck")
        assert value["findings"] == []
        now = self.helper.json("list")["templates"]
        assert all(template in now for template in self.listed), (self.listed, now)
        assert not [mount for mount in support.mounts() if mount.startswith(self.folder)]
        support.wait_for(lambda: not support.processes(self.folder))

    def assert_clean(self):
        """Nothing is left by those who were killed."""
        self.helper("gc")
        left = [name for name in os.listdir(self.helper.store + "/tmp")]
        left += [name for name in os.listdir(self.folder) if name not in ("store", "trace", "out")]
        assert left == []


@pytest.fixture
def scene(tmp, helper, tiny_bundle, publisher):
    """A store with one release, and the bundle of the next one, which shares most with it."""
    helper("import", *publisher.trust, tiny_bundle)
    root = support.make_tiny_root(tmp + "/next", extra={"etc/version": "next\n", "usr/share/new/file": "new\n" * 100})
    scene = Scene(tmp + "/scene", helper)
    os.mkdir(scene.folder)
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
    kills = 0
    for step in scene.steps(words, CHANGES):
        scene.reset()
        code, _ = scene.traced(words, "-o", "/dev/null", "-e", "trace=" + CHANGES, "-e", "inject=%s:signal=KILL:when=%d" % (CHANGES, step))
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL, 0), (step, code)
        kills += code != 0
        scene.assert_good()
        assert_done(scene, verb, words)
    assert kills >= min(5, STEPS // 4)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("verb", ["import", "checkout", "gc"])
def test_a_disk_that_fails_at_any_step(scene, publisher, verb, error):
    words = prepare(scene, verb, publisher)
    failures = 0
    for step in scene.steps(words, GROWING):
        scene.reset()
        code, said = scene.traced(words, "-o", "/dev/null", "-e", "trace=" + GROWING, "-e", "inject=%s:error=%s:when=%d" % (GROWING, error, step))
        # what cannot be told, or removed, is no failure
        assert code in (0, INTERNAL), (step, code, said)
        failures += code != 0
        scene.assert_good()
        assert_done(scene, verb, words)
    assert failures >= 1


def test_killed_at_any_moment(scene, publisher):
    """Also with all that it has started."""
    chance = random.Random(20)
    words = scene.verbs["import"]
    scene.reset()
    begin = time.monotonic()
    scene.helper(*words)
    takes = time.monotonic() - begin
    for number in range(STEPS):
        scene.reset()
        running = subprocess.Popen(scene.helper.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        time.sleep(chance.uniform(0, takes))
        if number % 2:
            os.killpg(running.pid, signal.SIGKILL)
        else:
            running.kill()
        running.wait()
        scene.assert_good()
        assert_done(scene, "import", words)
