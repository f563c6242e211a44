# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Whenever a verb that makes something from the store, or for it, is killed: nothing of it goes on, nothing is mounted, nothing
is in the way of the next run, which leaves nothing of the killed one."""

import os
import re
import shutil
import subprocess

import pytest

import filetrees
import support
from scene import CHANGES, FEW, GROWING, KILLED, STEPS, Scene, kills, moments
from support import DIFFERS, INTERNAL, PACKAGE, USAGE

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: scripts/setup test")

SECOND = "second@example.org"


# -- bundles ------------------------------------------------------------------------------------------------


class Bundles(Scene):
    """Small trees and bundles of them."""

    def __init__(self, tmp, helper, publisher):
        super().__init__(tmp + "/scene", helper)
        root = support.make_tiny_root(tmp + "/root", extra={"usr/lib/big": filetrees.big_content(3 << 20)})
        pack = ["pack", "--name", "tiny", "--version", "3.0", "--component", "rootfs=" + root, "--sign", publisher.key, "--output"]
        self.whole, self.place = tmp + "/whole", self.folder + "/bundle"
        for ending in ("", ".tar"):
            helper(*pack, self.whole + ending)
        key = support.make_key(tmp, "second")
        self.second = ["--allowed-signers", support.allow(tmp, key, identity=SECOND, name="second-signers"), "--identity", SECOND]
        self.first = publisher.trust
        self.verbs = {"pack": [*pack, self.place], "pack tar": [*pack, self.place + ".tar"],
                      "sign": ["sign", "--key", key, self.place], "sign tar": ["sign", "--key", key, self.place + ".tar"]}

    def begin(self, verb):
        self.verb = verb
        self.bundle = self.verbs[verb][-1]
        return self.verbs[verb]

    def reset(self):
        self.clear(os.listdir(self.folder))
        if self.verb.startswith("sign"):
            support.command("cp", "-a", self.whole + self.bundle[len(self.place):], self.bundle)

    def assert_done(self, words):
        """What has its name is complete; the same again makes the same."""
        support.wait_for(lambda: not self.orphans())
        if os.path.exists(self.bundle):
            self.helper("verify", *self.first, self.bundle)
        if self.verb.startswith("pack") and os.path.exists(self.bundle):
            support.command("rm", "-r", self.bundle)
        self.helper(*words, env=self.environment)
        self.helper("verify", *self.first, self.bundle)
        if self.verb.startswith("sign"):
            self.helper("verify", *self.second, self.bundle)
        assert os.listdir(self.folder) == [os.path.basename(self.bundle)]
        assert os.listdir(self.temporary) == []
        if os.path.isdir(self.bundle):
            names = [os.path.relpath(os.path.join(path, name), self.bundle) for path, _, files in os.walk(self.bundle) for name in files]
            assert not [name for name in names if not re.fullmatch("oci-layout|index.json|blobs/sha256/[0-9a-f]{64}", name)]
        else:
            support.command("tar", "-t", "-f", self.bundle)


@pytest.fixture
def bundles(tmp, helper, publisher, tiny_bundle):
    helper("import", *publisher.trust, tiny_bundle)
    return Bundles(tmp, helper, publisher)


@pytest.mark.parametrize("verb", ["pack", "pack tar", "sign", "sign tar"])
def test_bundle_when_its_maker_is_killed(bundles, verb):
    words = bundles.begin(verb)
    assert bundles.kill_all_over(words, verb, CHANGES, 21) >= 2


@pytest.mark.parametrize("verb", ["pack", "pack tar", "sign", "sign tar"])
def test_bundle_when_its_disk_fails(bundles, verb):
    words = bundles.begin(verb)
    for step in bundles.steps(words, GROWING, FEW):
        bundles.reset()
        # ssh-keygen's own failures are told as such
        code, said = bundles.fail_at(words, step, "ENOSPC")
        assert code in (0, INTERNAL) or "ssh-keygen" in said, (step, code, said)
        bundles.assert_done(words)


# -- package transactions -----------------------------------------------------------------------------------


class Products(Scene):
    """A template that packages are installed on. Its store is used over and over: all that the killed have left adds up."""

    def __init__(self, tmp, shared):
        super().__init__(tmp + "/scene", shared)
        support.command("cp", "-a", self.before, self.helper.store)
        self.marker = "6%d" % os.getpid()
        script = "setsid sleep %s &\nsleep 0.2\nkill $!\n" % self.marker
        self.deb = support.make_deb(tmp, "kept", scripts={"postinst": script}, files={"usr/share/kept/file": "content\n"})
        self.out, add = self.folder + "/out", ["platform", "--add", self.deb]
        self.verbs = {
            "install": ["install", "--update", "local", *add, "--output", self.out],
            "install tar": ["install", "--update", "local", *add, "--output", self.out + ".tar"],
            "install root": ["install", "--update", "local", *add, "--root", self.out],
            "plan": ["plan", "--update", "local", *add, "--save", self.out + ".json"],
            "exec": ["exec", "platform", "--", "sh", "-c", "rm -rf /usr/share/doc; setsid sleep %s & sleep 0.3; kill $!" % self.marker],
            "qa": ["qa", "--update", "local", "platform", self.deb],
        }

    def begin(self, verb):
        self.verb = verb
        return self.verbs[verb]

    def reset(self):
        # what has its name; what the killed have left stays
        self.clear(["out", "out.tar", "out.json", "store/results"])
        if self.verb == "install root":
            # a build makes the tree anew when its task is run again
            self.helper("checkout", "--raw", "platform", self.out)

    def assert_done(self, words):
        self.assert_good()
        assert not support.processes("sleep " + self.marker)
        # it had its name, so it is complete; a saved plan and a product are not replaced by accident
        if os.path.isdir(self.out) and self.verb == "install":
            support.command("test", "-e", self.out + "/usr/share/kept/file")
        self.reset()
        self.helper(*words, env=self.environment)
        made = {"install tar": ["out.tar"], "plan": ["out.json"]}.get(self.verb, [])
        if self.verb == "install tar":
            support.command("tar", "-t", "-f", self.out + ".tar", "usr/share/kept/file")
        elif self.verb == "plan":
            self.helper("install", "platform", "--plan", self.out + ".json", "--output", self.out)
        self.assert_clean(*made)


@pytest.fixture
def products(tmp, shared):
    return Products(tmp, shared)


@pytest.mark.parametrize("verb", ["install", "install tar", "install root", "plan", "exec", "qa"])
def test_transaction_that_is_killed(products, verb):
    words = products.begin(verb)
    chance = moments(22)
    takes = products.takes(words)
    for number in range(FEW):
        products.reset()
        products.kill_within(words, takes, verb, chance, group=number % 2)
        if number % 5 == FEW % 5:
            products.assert_done(words)
    for step in products.steps(words, CHANGES, FEW) if STEPS > 15 else [("rename", 1)]:
        products.reset()
        # a part of it may be what is killed, and the whole tells so; dpkg-deb does as of a file that is no package
        assert products.kill_at(words, step, verb) in (*KILLED, 0, INTERNAL, PACKAGE, DIFFERS, USAGE)
    products.assert_done(words)


def test_sudo_that_is_killed(products):
    """It stands between the helper and who waits for it, and takes no signal along."""
    if support.command("sudo", "-n", "true", check=False).returncode != 0:
        pytest.skip("sudo is not installed, or asks for a password")
    words = products.begin("install")
    products.reset()
    argv = products.helper.argv("install", "--die-with", str(os.getpid()), *words[1:])
    running = subprocess.Popen(["sudo", "-n", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    support.wait_for(lambda: support.processes("sleep " + products.marker))
    running.kill()
    running.wait()
    kills["sudo"] += 1
    products.assert_done(words)
