# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Many processes on one store for $ISAR_TEMPLATE_TEST_SECONDS [default: 15]: each succeeds, none waits for ever, and the store is good."""

import os
import random
import shutil
import subprocess
import threading
import time

import pytest

import filetrees
import support

SECONDS = float(os.environ.get("ISAR_TEMPLATE_TEST_SECONDS", "15"))
# far more than anything takes
PATIENCE = 120
WORKERS = 8


@pytest.fixture
def releases(tmp, helper, publisher):
    """Releases of a small template, which share most of their files."""
    found = []
    for number in range(1, 5):
        root = support.make_tiny_root("%s/root%d" % (tmp, number), extra={
            "usr/lib/big": filetrees.big_content(1 << 20), "etc/version": "%d\n" % number, **{"usr/share/%d" % n: "%d" % n for n in range(50)}})
        bundle = "%s/bundle%d" % (tmp, number)
        helper("pack", "--name", "tiny", "--version", str(number), "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
        found.append((str(number), root, bundle))
    return found


def test_all_verbs_at_once(tmp, shared, releases, publisher):
    helper = support.Helper(tmp + "/store")
    support.command("cp", "-a", shared.store, helper.store)
    # the first stays: gc keeps two versions and what a root keeps
    helper("import", *publisher.trust, "--gc-root", releases[0][2], releases[0][2])
    helper("import", *publisher.trust, releases[3][2])
    debs = [support.make_deb(tmp, "added%d" % number) for number in range(3)]
    end = time.monotonic() + SECONDS
    failures, done = [], {}

    def work(worker):
        chance = random.Random(worker)
        count = 0
        while time.monotonic() < end and not failures:
            count += 1
            out = "%s/out-%d-%d" % (tmp, worker, count)
            version, root, bundle = chance.choice(releases)
            verbs = {
                "import": ["import", *publisher.trust, bundle],
                "install": ["install", "--update", "local", "platform", "--add", chance.choice(debs), "--output", out],
                "checkout": ["checkout", "--raw", *(["--share"] if count % 2 else []), "tiny:1", out],
                "newest": ["checkout", "--raw", "tiny", out],
                "list": ["list"],
                "gc": ["gc", "--keep", "2"],
                "fsck": ["fsck"],
                "exec": ["exec", "platform", "--", "true"],
            }
            # gc takes something away all the time, fsck reads all of it
            verb = ["gc", "fsck", "install", "import"][worker] if worker < 4 and count % 2 else chance.choice(sorted(verbs))
            try:
                result = subprocess.run(helper.argv(*verbs[verb]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        timeout=PATIENCE, text=True, check=False)
            except subprocess.TimeoutExpired as expired:
                failures.append((verbs[verb], "waits for ever", expired.stdout))
                return
            done[verb] = done.get(verb, 0) + 1
            if result.returncode != 0:
                failures.append((verbs[verb], result.returncode, result.stdout))
            if verb == "checkout":
                with open(out + "/etc/version") as file:
                    if file.read() != "1\n":
                        failures.append((verbs[verb], "has something else"))
            if os.path.isdir(out):
                shutil.rmtree(out)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    print("done at once:", done)
    assert helper.json("fsck")["findings"] == []
    listed = [(row["name"], row["templateVersion"]) for row in helper.json("list")["templates"]]
    assert ("platform", "1.0") in listed and ("tiny", "1") in listed
    for version, root, bundle in releases:
        helper("import", *publisher.trust, bundle)
        helper("checkout", "--raw", "tiny:" + version, tmp + "/last" + version)
        filetrees.assert_same_tree(root, tmp + "/last" + version)
    helper("gc")
    assert os.listdir(helper.store + "/tmp") == []


def import_at_once(helper, publisher, bundle):
    """The reports of many imports of one bundle."""
    words = ["--format", "json", "import", *publisher.trust, bundle]
    running = [subprocess.Popen(helper.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) for _ in range(WORKERS)]
    return [support.json.loads(process.communicate(timeout=PATIENCE)[0]) for process in running]


def test_a_store_is_made_by_many_at_once(tmp, releases, publisher):
    """Each tries whether it can be there, and no one is in another's way."""
    for number in range(5):
        helper = support.Helper("%s/store%d" % (tmp, number))
        values = import_at_once(helper, publisher, releases[0][2])
        assert [value for value in values if not value["ok"]] == []
        assert not [name for name in os.listdir(helper.store + "/tmp") if name.startswith("scratch")]


def test_one_bundle_imported_by_many_is_written_once(helper, releases, publisher):
    values = import_at_once(helper, publisher, releases[0][2])
    assert all(value["ok"] for value in values)
    assert len([value for value in values if value["bytesWritten"]]) == 1
    assert len([value for value in values if value["nothingToDo"]]) == WORKERS - 1


def test_one_product_installed_by_many(tmp, shared):
    """Each gets it, and the store keeps it and its plan once."""
    helper = support.Helper(tmp + "/store")
    support.command("cp", "-a", shared.store, helper.store)
    # those of other tests
    support.command("find", helper.store + "/results", "-mindepth", "1", "-delete")
    deb = support.make_deb(tmp, "added")
    running = [subprocess.Popen(helper.argv("install", "--update", "local", "platform", "--add", deb, "--output", "%s/out%d" % (tmp, number)), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for number in range(3)]
    for number, process in enumerate(running):
        said = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 0, said
        support.command("test", "-e", "%s/out%d/usr/share/added/file" % (tmp, number))
    assert len(os.listdir(helper.store + "/results")) == 2
    assert helper.json("fsck")["findings"] == []
