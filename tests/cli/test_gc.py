# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What gc removes from the store, what it keeps, and that it never harms what is kept."""

import os
import shutil
import signal
import subprocess
import time

import pytest

import filetrees
import support
from support import PRIVILEGE, UNTRUSTED, USAGE


class Releases:
    """Makes and imports releases that have most files in common."""

    def __init__(self, tmp, helper, publisher):
        self.tmp, self.helper, self.publisher, self.count = tmp, helper, publisher, 0

    def pack(self, version, name="tiny", **extra):
        self.count += 1
        root = support.make_tiny_root(os.path.join(self.tmp, "root-%d" % self.count), extra={
            "usr/lib/common": "the same everywhere" * 1000, "usr/lib/own-%d" % self.count: filetrees.big_content(200000 + self.count), **extra})
        for folder, folders, files in os.walk(root):
            for each in folders + files:
                os.utime(os.path.join(folder, each), (1700000000, 1700000000))
        bundle = os.path.join(self.tmp, "bundle-%d" % self.count)
        self.helper("pack", "--name", name, "--version", version, "--component", "rootfs=" + root, "--sign", self.publisher.key,
                    "--output", bundle)
        return bundle

    def add(self, version, *options, name="tiny", **extra):
        """Import a new release; its digest."""
        bundle = self.pack(version, name, **extra)
        return self.helper.json("import", *options, *self.publisher.trust, bundle)["digest"]


@pytest.fixture
def releases(tmp, helper, publisher):
    return Releases(tmp, helper, publisher)


def stored(helper):
    """The templates of the store by digest, also those without a name."""
    return {"sha256:" + name for name in os.listdir(helper.store + "/templates")}


def links(helper):
    """Trees and objects as they are on disk; no object may be without a tree."""
    trees = os.listdir(helper.store + "/trees")
    counts = []
    for folder, _, files in os.walk(helper.store + "/objects"):
        counts += [os.lstat(os.path.join(folder, name)).st_nlink for name in files]
    return len(trees), counts


def assert_tidy(helper):
    """Nothing is there that no template needs."""
    trees, counts = links(helper)
    assert counts and min(counts) > 1
    assert os.listdir(helper.store + "/tmp") == []
    needed = set()
    for digest in stored(helper):
        for component in helper.json("inspect", digest)["manifest"]["components"]:
            needed.add(component["tree"]["tocDigest"])
            needed |= {component["finish"]["tocDigest"]} if "finish" in component else set()
    assert trees == len(needed)


def brief(rows):
    return [(row["name"], row["templateVersion"], row["digest"], row["why"]) for row in rows]


def test_a_replaced_release_goes_and_the_other_stays_as_it_was(helper, tmp, releases):
    old = releases.add("1.0")
    new = releases.add("1.0")
    other = releases.add("5", name="other")
    helper("checkout", "--raw", other, tmp + "/other-before")
    size = int(support.command("du", "-sk", helper.store).stdout.split()[0])
    value = helper.json("gc")
    assert brief(value["removed"]) == [("tiny", "1.0", old, "replaced")]
    assert brief(value["kept"]) == [("other", "5", other, ["named"]), ("tiny", "1.0", new, ["named"])]
    assert stored(helper) == {new, other}
    # its own large file, and what it had alone
    assert 200000 < value["bytesFreed"] < 400000
    assert size - int(support.command("du", "-sk", helper.store).stdout.split()[0]) > 195
    assert value["trees"] > 0 and value["objects"] > 0 and not value["nothingToDo"]
    assert_tidy(helper)
    helper("checkout", "--raw", other, tmp + "/other-after")
    filetrees.assert_same_tree(tmp + "/other-before", tmp + "/other-after")
    helper("checkout", "--raw", "tiny", tmp + "/tiny-after")
    filetrees.assert_same_tree(tmp + "/root-2", tmp + "/tiny-after")
    assert helper.json("gc")["nothingToDo"] is True
    assert "nothing to do" in helper("gc").stdout
    assert "not in store" in helper.error("inspect", old, code=USAGE)["message"]
    # what is gone can come again
    helper("import", *releases.publisher.trust, tmp + "/bundle-1")
    helper("checkout", "--raw", "tiny", tmp + "/again")
    filetrees.assert_same_tree(tmp + "/root-1", tmp + "/again")


def test_a_root_keeps_a_template_as_long_as_its_file_exists(helper, tmp, releases):
    root, second = support.write(tmp + "/build/root"), support.write(tmp + "/build/second")
    old = releases.add("1.0", "--gc-root", root)
    releases.add("1.0", "--gc-root", os.path.relpath(root, os.getcwd()))
    replaced = releases.add("1.0")
    value = helper.json("import", "--gc-root", second, *releases.publisher.trust, tmp + "/bundle-1")
    assert value["nothingToDo"] and value["gcRoot"] == second
    releases.add("1.0")
    before = filetrees.files_of(helper.store + "/roots")
    helper("import", "--gc-root", second, *releases.publisher.trust, tmp + "/bundle-1")
    assert filetrees.files_of(helper.store + "/roots") == before
    releases.add("1.0")

    value = helper.json("gc")
    assert replaced in [row["digest"] for row in value["removed"]] and old in stored(helper)
    kept = {row["digest"]: row for row in value["kept"]}
    assert (kept[old]["why"], kept[old]["roots"]) == (["rooted"], [root, second])
    text = helper("gc", "-v").stdout
    assert old in text and root in text
    os.unlink(root)
    value = helper.json("gc")
    assert value["forgottenRoots"] == [root] and old in stored(helper)
    shutil.rmtree(tmp + "/build")
    value = helper.json("gc")
    assert value["forgottenRoots"] == [second]
    assert old in [row["digest"] for row in value["removed"]] and len(stored(helper)) == 1
    assert os.listdir(helper.store + "/roots") == []
    # a file that comes back keeps nothing: it was forgotten
    support.write(root)
    assert helper.json("gc")["nothingToDo"]


def test_a_root_has_to_exist(helper, tmp, releases):
    bundle = releases.pack("1.0")
    error = helper.error("import", "--gc-root", tmp + "/no/file", *releases.publisher.trust, bundle, code=USAGE)
    assert "no/file" in error["message"] and error["hint"]
    assert helper.json("list")["templates"] == []


def test_a_root_may_have_any_name(helper, tmp, releases):
    name = os.path.join(os.fsencode(tmp), b"root-\xff\n")
    with open(name, "w"):
        pass
    old = releases.add("1.0", "--gc-root", os.fsdecode(name))
    releases.add("1.0")
    helper("gc")
    assert old in stored(helper)
    os.unlink(name)
    helper("gc")
    assert old not in stored(helper)


def test_a_root_that_cannot_be_read_stops_everything(helper, tmp, releases):
    old = releases.add("1.0", "--gc-root", support.write(tmp + "/root"))
    releases.add("1.0")
    document = os.path.join(helper.store, "roots", os.listdir(helper.store + "/roots")[0])
    support.write(document, "{")
    assert os.path.basename(document) in helper.error("gc", code=UNTRUSTED)["message"]
    assert old in stored(helper)


def test_keep_keeps_the_newest_versions_of_each_name(helper, tmp, releases):
    digests = {version: releases.add(version) for version in ("1.9", "1.10", "1.2", "1.11")}
    other = releases.add("1", name="other")
    root = support.write(tmp + "/root")
    rooted = releases.add("0.1", "--gc-root", root)
    value = helper.json("gc", "--keep", "2")
    assert {(row["templateVersion"], row["why"]) for row in value["removed"]} == {("1.9", "old"), ("1.2", "old")}
    assert stored(helper) == {digests["1.10"], digests["1.11"], other, rooted}
    # what a root keeps keeps its name
    helper("inspect", "tiny:0.1")
    assert [row["templateVersion"] for row in helper.json("list")["templates"]] == ["1", "0.1", "1.10", "1.11"]
    helper.error("inspect", "tiny:1.9", code=USAGE)
    os.unlink(root)
    helper("gc", "--keep", "1")
    assert stored(helper) == {digests["1.11"], other}
    assert_tidy(helper)
    assert "--keep" in helper("gc", "--keep", "0", code=USAGE).stderr


def test_dry_run_changes_nothing_and_tells_the_same(helper, tmp, releases):
    releases.add("1.0", "--gc-root", support.write(tmp + "/root"))
    releases.add("1.0")
    releases.add("0.9")
    releases.add("2.0")
    os.unlink(tmp + "/root")
    support.write(helper.store + "/tmp/scratch-dead.lock")
    support.write(helper.store + "/tmp/scratch-dead/root/file", "x" * 10000)
    before = filetrees.files_of(helper.store)
    planned = helper.json("gc", "--keep", "1", "--dry-run")
    assert filetrees.files_of(helper.store) == before
    assert "would remove" in helper("gc", "--keep", "1", "--dry-run").stdout
    done = helper.json("gc", "--keep", "1")
    assert (planned.pop("dryRun"), done.pop("dryRun")) == (True, False)
    assert planned == done and len(done["removed"]) == 3 and done["leftovers"] == 1
    assert_tidy(helper)


def test_what_the_dead_have_left_goes(helper, releases):
    digest = releases.add("1.0")
    tmp = helper.store + "/tmp/"
    support.write(tmp + ".tmpAbCdEf", "half a record")
    support.write(tmp + "scratch-x.lock")
    support.write(tmp + "scratch-x/0/root/file", "x" * 100000)
    support.write(tmp + "import-%s.lock" % ("0" * 64))
    support.write(helper.store + "/templates/%s/index.json" % ("0" * 64), "{}")
    support.write(helper.store + "/trees/%s/root/file" % ("1" * 64), "y" * 100000)
    support.write(helper.store + "/objects/00/%s" % ("2" * 62), "z" * 100000)
    support.write(helper.store + "/refs/gone/1", "sha256:" + "3" * 64 + "\n")
    planned, value = helper.json("gc", "--dry-run"), helper.json("gc")
    assert (value["leftovers"], value["trees"], value["objects"]) == (4, 1, 1)
    assert planned == {**value, "dryRun": True}
    assert os.listdir(helper.store + "/refs") == ["tiny"]
    assert 300000 <= value["bytesFreed"] < 350000
    assert stored(helper) == {digest}
    assert_tidy(helper)


@pytest.fixture
def reader(helper):
    """Starts commands in a template that wait; whatever is left of them ends with the test."""
    started = []

    def start(*words):
        process = subprocess.Popen(helper.argv(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process
    yield start
    for process in started:
        process.kill()
        process.communicate()


WAIT = ["--", "/bin/sh", "-c", "echo ready; read line; cat /usr/lib/own; ls /usr/lib/late | wc -l"]


@pytest.fixture
def runnable(tmp, helper, platform, publisher):
    """Imports a release in which commands can run; its digest."""
    def add(which):
        root = os.path.join(tmp, "system-" + which)
        support.command("cp", "-a", platform, root)
        support.write(root + "/usr/lib/own", which)
        for index in range(100):
            support.write(root + "/usr/lib/late/%d" % index, which)
        bundle = os.path.join(tmp, "system-bundle-" + which)
        helper("pack", "--name", "system", "--version", "1.0", "--component", "rootfs=" + root, "--sign", publisher.key,
               "--output", bundle)
        return helper.json("import", *publisher.trust, bundle)["digest"]
    return add


def test_what_runs_is_kept_and_what_was_killed_is_not(helper, tmp, runnable, reader):
    old = runnable("old")
    one, two = reader("exec", "system", *WAIT), reader("exec", old, *WAIT)
    new = runnable("new")
    assert brief(helper.json("gc")["kept"]) == [
        ("system", "1.0", digest, ["in-use"] if digest == old else ["named"]) for digest in sorted((old, new))]
    assert one.communicate("go\n", timeout=60)[0] == "old100\n"
    assert one.returncode == 0
    assert old in [row["digest"] for row in helper.json("gc")["kept"]]
    two.send_signal(signal.SIGKILL)
    two.wait()
    assert [row["digest"] for row in helper.json("gc")["removed"]] == [old]
    assert_tidy(helper)
    helper("checkout", "--raw", "system", tmp + "/out")
    filetrees.assert_same_tree(tmp + "/system-new", tmp + "/out")


def test_a_checkout_beside_gc_is_whole(helper, tmp, runnable):
    old = runnable("old")
    runnable("new")
    checkout = subprocess.Popen(helper.argv("checkout", "--raw", old, tmp + "/out"), stdout=subprocess.DEVNULL)
    support.wait_for(lambda: [name for name in os.listdir(tmp) if name.startswith(".out.")])
    assert ["in-use"] in [row["why"] for row in helper.json("gc")["kept"]]
    assert checkout.wait() == 0
    filetrees.assert_same_tree(tmp + "/system-old", tmp + "/out")


def test_gc_killed_midway_leaves_a_store_that_works(helper, tmp, runnable, publisher):
    runnable("keep")
    helper("checkout", "--raw", "system", tmp + "/before")
    for round_, delay in enumerate((0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)):
        # an older release is thrown over the one that is kept, which then gets its name back
        if not os.path.exists(tmp + "/system-bundle-go"):
            runnable("go")
        else:
            helper("import", *publisher.trust, tmp + "/system-bundle-go")
        helper("import", *publisher.trust, tmp + "/system-bundle-keep")
        process = subprocess.Popen(helper.argv("gc"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        out = "%s/out-%d" % (tmp, round_)
        helper("checkout", "--raw", "system", out)
        filetrees.assert_same_tree(tmp + "/before", out)
        shutil.rmtree(out)
        if round_ % 2:
            helper("gc")
            assert_tidy(helper)
    helper("gc")
    assert_tidy(helper)
    assert len(stored(helper)) == 1


def test_several_at_once(helper, tmp, releases):
    keep = releases.add("1.0", name="keep")
    bundles = [releases.pack("1.0", "tiny") for _ in range(4)]
    trust = releases.publisher.trust
    for _ in range(3):
        children = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for argv in [
            helper.argv("gc"), *[helper.argv("import", *trust, bundle) for bundle in bundles], helper.argv("gc"),
            helper.argv("checkout", keep, tmp + "/out"), helper.argv("gc")]]
        for child in children:
            output, _ = child.communicate(timeout=120)
            assert child.returncode == 0, output
        shutil.rmtree(tmp + "/out")
        helper("checkout", "tiny", tmp + "/out")
        shutil.rmtree(tmp + "/out")
    helper("gc")
    assert keep in stored(helper) and len(stored(helper)) == 2
    assert_tidy(helper)


def test_gc_waits_for_an_import(helper, tmp, releases, platform_bundle, publisher):
    releases.add("1.0")
    new = subprocess.Popen(helper.argv("import", *publisher.trust, platform_bundle), stdout=subprocess.DEVNULL)
    support.wait_for(lambda: [name for name in os.listdir(helper.store + "/tmp") if name.startswith("import-")])
    assert "waiting" in helper("gc").stderr
    assert new.wait() == 0
    helper("checkout", "platform", tmp + "/out")


def test_a_damaged_template_that_is_needed_stops_everything(helper, tmp, releases):
    old = releases.add("1.0")
    new = releases.add("1.0")
    support.write(helper.store + "/templates/%s/manifest.json" % new.split(":")[1], "{")
    error = helper.error("gc", code=UNTRUSTED)
    assert new.split(":")[1] in error["message"]
    assert stored(helper) == {old, new}
    helper("import", *releases.publisher.trust, tmp + "/bundle-2")
    helper("gc")
    assert stored(helper) == {new}


def test_a_store_that_is_not_there(helper):
    error = helper.error("gc", code=USAGE)
    assert error["kind"] == "not-found" and not os.path.exists(helper.store)


def test_without_root(helper, tmp, releases, reachable_helper):
    releases.add("1.0")
    result = support.as_nobody(reachable_helper, "--store", helper.store, "gc", tmp=tmp)
    assert result.returncode == PRIVILEGE and "root" in result.stderr
