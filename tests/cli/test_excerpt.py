# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Once apt has said what to do, its later runs see an excerpt of the package lists. Nothing else differs by that."""

import gzip
import os
import re
import shutil

import pytest

import support


def runs(server, words):
    """Which lists apt has seen, each time that it was asked what it would do."""
    said = server("-vv", "plan", "server", "--update", "none", *words).stderr
    return re.findall(r"apt-get --simulate.*?Dir::State::lists=/run/isar-template/apt/(\w+)", said, re.DOTALL)


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
    words = ["--add", "tree", "--remove", "nano"]
    assert runs(server, words) == ["lists", "excerpt"]


def test_compressed_lists_are_read_as_a_whole(server, compressed):
    words = ["plan", "server", "--update", "none", "--add", "rsync", "--remove", "nano"]
    there, here = server.json(*words)["plan"]["actions"], compressed.json(*words)["plan"]["actions"]
    assert there == here
    assert runs(compressed, ["--add", "rsync"]) == ["lists"]


def test_files_that_need_nothing_need_no_lists(server, tmp):
    """Whether they do is the same question for apt, whatever else there is in the lists."""
    def deb(name, **fields):
        return support.make_deb(tmp, name, **fields)
    plain, needs = deb("plain", depends="libc6 (>= 2), nano | tree"), deb("needs", depends="tree")
    beside = deb("beside", depends="plain (= 1.0)")
    hopes, suggests = deb("hopes", recommends="tree"), deb("suggests", suggests="tree")
    table = [
        ([plain], ["excerpt"], {"plain"}),
        ([plain, beside], ["excerpt"], {"plain", "beside"}),
        ([suggests], ["excerpt"], {"suggests"}),
        ([needs], ["lists", "excerpt"], {"needs", "tree"}),
        # apt is asked twice: it takes what is recommended where there is some
        ([hopes], ["excerpt", "lists", "excerpt"], {"hopes", "tree"}),
        ([plain, "tree"], ["lists", "excerpt"], {"plain", "tree"}),
        ([plain, "-nano"], ["lists", "excerpt"], {"plain", "tree", "-nano"}),
    ]
    for request, expected, names in table:
        words = [word for what in request for word in (("--remove", what[1:]) if what.startswith("-") else ("--add", what))]
        plan = server.json("plan", "server", "--update", "none", *words)["plan"]
        assert {("-" if a["operation"] == "remove" else "") + a["package"] for a in plan["actions"]} == names, request
        assert runs(server, words) == expected, request
