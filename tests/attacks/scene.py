# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A place in which verbs are killed, or their disk fails, and what has to be true of it afterwards.

strace ends the helper at a system call that changes something, or lets that call fail: at the first, the second, and so on, of
each thread. $ISAR_TEMPLATE_TEST_STEPS is how many of them a test takes at most, spread over all [default: 15]; tests of verbs
that take long do a part of that. How many kills there were is told at the end of a run.
"""

import collections
import contextlib
import ctypes
import itertools
import os
import random
import re
import signal
import subprocess
import time

import support

STEPS = int(os.environ.get("ISAR_TEMPLATE_TEST_STEPS", "15"))
# of verbs that take long
FEW = max(2, STEPS // 6)
# what changes something that outlives the process, or what others see
CHANGES = ("rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir,mknod,mknodat,chmod,fchmod,fchmodat,"
           "chown,lchown,fchown,fchownat,setxattr,lsetxattr,fsetxattr,removexattr,utimensat,write,pwrite64,ftruncate,copy_file_range,"
           "fsync,fdatasync,syncfs,flock")
# what a full disk lets fail
GROWING = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,setxattr,lsetxattr,write,pwrite64,ftruncate,fsync,syncfs"
PR_SET_CHILD_SUBREAPER = 36
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)

# by verb; conftest tells them at the end
kills = collections.Counter()


class Scene:
    """A store as it was before, and copies of it in which something happens."""

    def __init__(self, folder, helper):
        self.folder, self.before = folder, helper.store
        os.mkdir(folder)
        self.helper = support.Helper(folder + "/store")
        self.listed = helper.json("list")["templates"]
        # where programs make temporary files
        self.temporary = folder + "-tmp"
        os.mkdir(self.temporary)
        self.environment = dict(os.environ, TMPDIR=self.temporary)
        # what loses its parent becomes a child of this process, so that nothing can hide
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.children = set(children())

    def reset(self):
        self.clear(os.listdir(self.folder))
        support.command("cp", "-a", self.before, self.helper.store)

    def clear(self, names):
        for name in names:
            support.command("rm", "-rf", "--one-file-system", os.path.join(self.folder, name))

    def traced(self, words, *options):
        """Run a verb below strace; its exit code, or minus the signal."""
        argv = ["strace", "-f", "-qq", "-e", "signal=none", *options, *self.helper.argv(*words)]
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False,
                                env=self.environment)
        return result.returncode, result.stderr.decode(errors="replace")

    def steps(self, words, calls, most=STEPS):
        """What is tried, as calls and numbers: of each call the first that a thread makes, the last, and some between."""
        self.reset()
        log = self.folder + "/trace"
        code, said = self.traced(words, "-o", log, "-e", "trace=" + calls)
        assert code == 0, said
        made = collections.Counter()
        with open(log) as file:
            for line in file:
                made.update(re.findall(r"^(\d+) +(\w+)\(", line))
        counts = collections.defaultdict(int)
        for (_, call), count in made.items():
            counts[call] = max(counts[call], count)
        tried = [[(call, number) for number in spread(counts[call], most)] for call in sorted(counts)]
        return [step for several in itertools.zip_longest(*tried) for step in several if step][:most]

    def kill_at(self, words, step, verb):
        """Kill a verb at this step; its exit code."""
        code, _ = self.traced(words, "-o", "/dev/null", "-e", "trace=" + step[0], "-e", "inject=%s:signal=KILL:when=%d" % step)
        kills[verb] += code != 0
        return code

    def fail_at(self, words, step, error):
        """Let a step of a verb fail; its exit code, and what it says."""
        return self.traced(words, "-o", "/dev/null", "-e", "trace=" + step[0], "-e", "inject=%s:error=%s:when=%d" % (step[0], error, step[1]))

    def kill_within(self, words, seconds, verb, chance, group):
        """Kill a verb at some moment, alone or with all that it has started in its process group."""
        running = subprocess.Popen(self.helper.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True, env=self.environment)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(chance.uniform(0, seconds))
        if group and running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.kill()
        running.wait()
        kills[verb] += running.returncode == -signal.SIGKILL

    def kill_all_over(self, words, verb, calls, seed):
        """Kill a verb at steps and at moments, and see each time that the same again completes it: how many kills there were."""
        before = kills[verb]
        for step in self.steps(words, calls, max(3, STEPS // 2)):
            self.reset()
            assert self.kill_at(words, step, verb) in (*KILLED, 0), step
            self.assert_done(words)
        chance = moments(seed)
        takes = self.takes(words)
        for number in range(FEW):
            self.reset()
            self.kill_within(words, takes, verb, chance, group=number % 2)
            self.assert_done(words)
        return kills[verb] - before

    def takes(self, words):
        """How long a verb takes that nobody kills."""
        self.reset()
        begin = time.monotonic()
        self.helper(*words, env=self.environment)
        return time.monotonic() - begin

    def assert_good(self):
        """What was there before is there, and nothing goes on."""
        support.wait_for(lambda: not self.orphans())
        assert not [mount for mount in support.mounts() if mount.startswith(self.folder)]
        assert not [backing for backing in loops() if backing.startswith(self.folder)]
        value = self.helper.json("fsck")
        assert value["findings"] == []
        now = self.helper.json("list")["templates"]
        assert all(template in now for template in self.listed), (self.listed, now)

    def assert_clean(self, *made):
        """Nothing is left by those who were killed, beside what was made."""
        self.helper("gc")
        left = os.listdir(self.helper.store + "/tmp") + os.listdir(self.temporary)
        left += [name for name in os.listdir(self.folder) if name not in ("store", "trace", "out", *made)]
        assert left == []

    def orphans(self):
        """Processes that go on without the one that has started them."""
        found = set(children()) - self.children
        for pid in list(found):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    found.discard(pid)
        return found


def spread(count, most):
    """Numbers from 1 to a count: first both ends, then those that are farthest from what there was."""
    parts = [(2 * number + 1) / 2 ** depth for depth in range(1, count.bit_length() + 1) for number in range(2 ** (depth - 1))]
    return list(dict.fromkeys([1, count, *(1 + int(part * (count - 1)) for part in parts[:most])]))


def children():
    with open("/proc/self/task/%d/children" % os.getpid()) as file:
        return [int(pid) for pid in file.read().split()]


def loops():
    """The files behind loop devices."""
    found = []
    for name in os.listdir("/sys/block"):
        with contextlib.suppress(OSError), open("/sys/block/%s/loop/backing_file" % name) as file:
            found.append(file.read().strip())
    return found


def moments(seed):
    """Each time the same ones."""
    return random.Random(seed)
