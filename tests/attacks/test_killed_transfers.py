# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Whenever a transfer to or from a registry is killed: what has a name is complete, there and here, and the next run makes it so."""

import os
import shutil

import pytest

import registry
import support
from scene import CHANGES, Scene

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: scripts/setup test")

# what a registry sees
SENT = CHANGES + ",connect,sendto"
REPOSITORIES = "data/docker/registry/v2/repositories"


class Transfers(Scene):
    """A bundle in Debian's registry, a place there that is empty, and a store."""

    def __init__(self, tmp, helper, publisher, docker):
        super().__init__(tmp + "/scene", helper)
        self.docker, self.trust, self.tmp = docker, publisher.trust, tmp
        self.bundle = registry.pack(tmp, publisher, name="moved")
        self.there, self.new = ("oci://%s/%s/tiny" % (docker.host, name) for name in ("there", "new"))
        self.digest = helper.json("push", "--force", "--plain-http", self.bundle, self.there)["digest"]
        self.out = self.folder + "/out"
        self.verbs = {
            "push": ["push", "--plain-http", self.bundle, self.new],
            "pull": ["pull", "--plain-http", self.there + ":1.0", self.out],
            "pull tar": ["pull", "--plain-http", self.there + ":1.0", self.out + ".tar"],
            "import oci": ["import", "--plain-http", *publisher.trust, self.there + ":1.0"],
        }

    def begin(self, verb):
        self.verb = verb
        return self.verbs[verb]

    def reset(self):
        super().reset()
        support.command("rm", "-rf", os.path.join(self.docker.folder, REPOSITORIES, "new"))

    def pulled(self):
        """Whether the new place has the bundle; if so, all of it."""
        target = self.tmp + "/pulled"
        shutil.rmtree(target, ignore_errors=True)
        result = support.command(*self.helper.argv("pull", "--plain-http", self.new + ":1.0", target), check=False)
        if result.returncode == 0:
            self.helper("verify", *self.trust, target)
        else:
            assert "has no '1.0'" in result.stderr, result.stderr
        return result.returncode == 0

    def assert_done(self, words):
        """What has its name is complete, and the same again makes it so."""
        self.assert_good()
        made = self.out + (".tar" if self.verb == "pull tar" else "")
        if self.verb == "push":
            self.pulled()
        elif os.path.exists(made):
            self.helper("verify", *self.trust, made)
            support.command("rm", "-r", made)
        value = self.helper.json(*words, env=self.environment)
        assert value["digest"] == self.digest
        if self.verb == "push":
            assert self.pulled()
        elif self.verb.startswith("pull"):
            self.helper("verify", *self.trust, made)
            assert sorted(os.listdir(self.folder)) == sorted([os.path.basename(made), "store"])
            support.command("rm", "-r", made)
        self.assert_clean()


@pytest.fixture
def transfers(tmp, helper, publisher, tiny_bundle, docker):
    helper("import", *publisher.trust, tiny_bundle)
    return Transfers(tmp, helper, publisher, docker)


@pytest.mark.parametrize("verb", ["push", "pull", "pull tar", "import oci"])
def test_transfer_that_is_killed(transfers, verb):
    words = transfers.begin(verb)
    assert transfers.kill_all_over(words, verb, SENT, 23) >= 3
