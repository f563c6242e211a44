# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Results of install that are kept in the store: the same plan on the same template is done once."""

import json
import os
import time

import pytest

import filetrees
import support

# what marking a product writes each time, with the same content
NOW = (b"./usr/lib/os-release ",)
RANDOM = "cat /proc/sys/kernel/random/uuid > /usr/share/random-package/once\n"


@pytest.fixture
def words(tmp):
    """A request whose result nobody can make a second time."""
    deb = support.make_deb(tmp, "random-package", scripts={"postinst": RANDOM})
    return ["server", "--update", "none", "--add", deb, "--remove", "nano"]


def install(server, words, out, *more):
    """Install, and tell whether it was done anew, and what the package's script has written."""
    value = server.json("install", *words, "--output", out, *more)
    return value["report"]["reused"], open(out + "/usr/share/random-package/once").read(), value


def results(server):
    folder = os.path.join(server.store, "results")
    return {name: os.path.join(folder, name) for name in os.listdir(folder)} if os.path.isdir(folder) else {}


@pytest.fixture
def kept(server, tmp, words):
    """A result that is kept: the product of the first time, and where the result is."""
    # apt's caches are kept in the same way
    server("plan", *words)
    before = set(results(server))
    out = os.path.join(tmp, "first")
    reused, once, value = install(server, words, out)
    assert not reused
    # besides, there is the plan
    (name,) = [name for name in set(results(server)) - before if os.listdir(results(server)[name] + "/upper")]
    return out, once, value, results(server)[name]


def test_the_same_again_is_the_same_tree(server, tmp, words, kept):
    first, once, value, result = kept
    out = os.path.join(tmp, "second")
    reused, again, other = install(server, words, out)
    assert reused and again == once
    filetrees.assert_same_tree(first, out, ignore=NOW)
    assert open(first + "/etc/os-release").read() == open(out + "/etc/os-release").read()
    for key in ("planDigest", "stateDigest", "packages", "actions", "marks"):
        assert other["report"][key] == value["report"][key]
    # as a tar, too; and the result is as it was
    tar = os.path.join(tmp, "third.tar")
    assert server.json("install", *words, "--output", tar)["report"]["reused"]
    assert once.encode() in open(tar, "rb").read()
    # what is made anew differs in what this package does differently each time, in logs and in times
    fresh = os.path.join(tmp, "fresh")
    reused, other, _ = install(server, words, fresh, "--no-reuse")
    assert not reused and other != once

    def lines(tree):
        return [b" ".join(word for word in line.split(b" ") if not word.startswith(b"time="))
                for line in filetrees.mtree(tree) if not line.startswith((b"./var/log/", b"./usr/share/random-package/once", b"./var/lib/dpkg/status"))]
    assert lines(fresh) == lines(out)
    assert support.installed(fresh) == support.installed(out)


def caches(server):
    return [path for path in results(server).values() if os.path.exists(path + "/upper/srcpkgcache.bin")]


def test_what_apt_made_of_package_lists_is_kept(server, tmp, words):
    """Once for all plans on a template, until its lists are others."""
    # package files alone need no lists
    words = [*words, "--add", "tree"]
    first = server.json("plan", *words)
    (path,) = caches(server)
    assert server.json("plan", *words)["plan"]["digest"] == first["plan"]["digest"]
    # damaged ones are apt's to find
    with open(path + "/upper/srcpkgcache.bin", "r+b") as file:
        file.truncate(1000)
    assert server.json("plan", *words)["plan"]["digest"] == first["plan"]["digest"]
    assert caches(server) == [path]
    support.command("rm", "-r", path)
    server.json("plan", *words)
    assert caches(server) == [path]
    # what is asked of it with lists of its own is not for others
    support.command("rm", "-r", path)
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "from-repo")])
    server("plan", "server", "--update", "none", "--repo", repository, "--add", "from-repo")
    assert not caches(server)


def asks_apt(server, verb, *words, **options):
    return "apt-get" in server("-vv", verb, *words, **options).stderr


def test_the_same_question_asks_apt_once(server, tmp, words):
    saved = tmp + "/plan.json"
    # which keeps nothing
    assert asks_apt(server, "plan", *words) and asks_apt(server, "plan", *words)
    assert asks_apt(server, "install", *words, "--output", tmp + "/a")
    assert not asks_apt(server, "plan", *words, "--save", saved)
    assert not asks_apt(server, "install", *words, "--output", tmp + "/b")
    assert not asks_apt(server, "install", "server", "--plan", saved, "--output", tmp + "/c")
    assert asks_apt(server, "install", *words, "--output", tmp + "/d", "--no-reuse")
    # another file of that name
    support.make_deb(tmp, "random-package", scripts={"postinst": RANDOM + "true\n"})
    error = server.error("install", "server", "--plan", saved, "--output", tmp + "/e", code=support.REFUSED)
    assert "has another content now" in error["message"]
    assert asks_apt(server, "plan", *words)
    # a folder that apt sees is not known to be what it was
    for out in ("/f", "/g"):
        assert asks_apt(server, "install", *words, "--bind", tmp + ":/mnt", "--output", tmp + out)


def test_what_a_refused_plan_says_is_said_again(server, tmp):
    words = ["install", "server", "--update", "none", "--remove", "dpkg", "--output", tmp + "/out"]
    first, again = (server.json(*words, code=support.REFUSED)["error"] for _ in range(2))
    assert "dpkg" in first["message"] and again == first


def test_folders_are_read_anew(server, tmp):
    """A plan for a repository folder holds as long as its index does."""
    words = ["server", "--update", "none", "--repo", tmp + "/repo", "--add", "from-repo"]
    for version in ("1.0", "2.0", "2.0"):
        support.make_repository(tmp + "/repo", [support.make_deb(tmp, "from-repo", version)])
        support.command("rm", "-rf", tmp + "/out")
        (action,) = server.json("install", *words, "--output", tmp + "/out")["report"]["actions"]
        assert action["newVersion"] == version


def test_another_plan_is_done(server, tmp, words, kept):
    out = os.path.join(tmp, "other")
    assert not install(server, [word for word in words if word not in ("--remove", "nano")], out)[0]
    out += "-file"
    support.make_deb(tmp, "random-package", scripts={"postinst": RANDOM + "true\n"})
    assert not install(server, words, out)[0]


def test_a_broken_result_is_made_again(server, tmp, words, kept):
    _, once, _, result = kept
    status = os.path.join(result, "upper/var/lib/dpkg/status")
    with open(status, "r+") as file:
        file.truncate(os.path.getsize(status) // 2)
    reused, other, _ = install(server, words, tmp + "/a")
    assert not reused and other != once
    assert install(server, words, tmp + "/b")[:2] == (True, other)
    # as a machine that failed may have left it, had it not been synced
    support.write(result + "/record.json", "")
    assert not install(server, words, tmp + "/c")[0]


def test_results_go_when_nobody_uses_them(server, tmp, words, kept):
    _, _, _, result = kept
    orphan = os.path.join(server.store, "results", "0" * 64)
    os.makedirs(orphan + "/upper")
    with open(result + "/record.json") as file:
        record = json.load(file)
    support.write(orphan + "/record.json", json.dumps({**record, "template": "sha256:" + "0" * 64}))
    value = server.json("gc")
    assert value["results"] == 1 and os.path.exists(result) and not os.path.exists(orphan)
    old = time.time() - 31 * 86400
    os.utime(result + "/record.json", (old, old))
    assert server.json("gc", "--dry-run")["results"] == 1 and os.path.exists(result)
    assert server.json("gc")["results"] == 1 and not os.path.exists(result)
