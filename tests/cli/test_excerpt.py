# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Once apt has said what to do, its later runs see an excerpt of the package lists. Nothing else differs by that."""

import gzip
import os
import shutil

import pytest

import support

WHOLE = "Dir::State::lists=/run/isar-template/apt/lists"
EXCERPT = "Dir::State::lists=/run/isar-template/apt/excerpt"


@pytest.fixture
def compressed(server, publisher, tmp):
    """The same system, whose apt has its lists compressed, as in images of containers."""
    tree = tmp + "/compressed"
    support.command("cp", "-a", server.tree, tree)
    folder = tree + "/var/lib/apt/lists"
    for name in os.listdir(folder):
        if name.endswith("_Packages"):
            with open(folder + "/" + name, "rb") as plain, gzip.open(folder + "/" + name + ".gz", "wb", 1) as packed:
                shutil.copyfileobj(plain, packed)
            os.unlink(folder + "/" + name)
    support.write(tree + "/etc/apt/apt.conf.d/compressed", 'Acquire::GzipIndexes "true";\n')
    helper = support.Helper(tmp + "/store")
    helper("pack", "--name", "server", "--version", "1.0", "--component", "rootfs=" + tree, "--sign", publisher.key, "--output", tmp + "/bundle")
    helper("import", *publisher.trust, tmp + "/bundle")
    return helper


def test_apt_reads_all_lists_once(server, tmp):
    """Whatever kind of change: its second run and those after it see the excerpt."""
    words = ["--update", "none", "--add", "tree", "--remove", "nano"]
    said = server("-vv", "plan", "server", *words).stderr
    runs = [line for line in said.splitlines() if "apt-get --simulate" in line or "Dir::State::lists" in line]
    assert sum(WHOLE in line for line in runs) == 1 and EXCERPT in said, said


def test_compressed_lists_are_read_as_a_whole(server, compressed):
    words = ["plan", "server", "--update", "none", "--add", "rsync", "--remove", "nano"]
    there, here = server.json(*words)["plan"]["actions"], compressed.json(*words)["plan"]["actions"]
    assert there == here
    assert EXCERPT not in compressed("-vv", *words, "--remove", "openssl").stderr
