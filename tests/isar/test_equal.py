# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The same product from scratch and from the template, compared file by file: what differs is known, with its reason.

It is the recipe of docs/layer.md: isar-template diff --all FULL TEMPLATE.
"""

import fnmatch
import json
import os
import subprocess

import pytest

IMAGE = "product-image"

# paths that may differ, and why; times are those of the build in both
KNOWN = {
    # the mark
    "etc/os-release": "the template is named in it",
    # what removing example-raw does not undo, on a device as little as here
    "etc/hostname": "written by a script of example-raw",
    "usr/local/bin": "was example-raw's too, and became empty",
    "var/lib/isar*": "home of a user that a script of example-raw made, filled by it",
    "etc/group*": "the group of that user, and the number that the next group got after it",
    "etc/gshadow*": "the same",
    "etc/passwd*": "the same",
    "etc/shadow*": "in the order in which they were made",
    "usr/bin/ssh-agent": "belongs to the group that got the next number",
    # isar-exclude-docs clears documentation once, when it is installed
    "usr/share/doc/*": "documentation of packages that were added",
    "usr/share/man/*": "the same",
    "etc/alternatives/*": "links to manual pages",
    # what programs write of their own work
    "var/lib/ucf/*": "how often files were registered",
    # made for this test
    "var/lib/product-app/*": "what the package script of the product saw",
}


@pytest.fixture(scope="module")
def compared(workspace, consumer, stock):
    done = subprocess.run(
        [workspace.helper, "--format", "json", "diff", "--all", stock.rootfs(IMAGE), consumer.rootfs(IMAGE)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    return json.loads(done.stdout)


def test_packages_and_versions_are_the_same(compared):
    assert compared["packages"] == []


def test_files_differ_where_it_is_known_and_nowhere_else(compared):
    unknown = [
        f"{change['path']}: {', '.join(change['what'])}"
        for change in compared["files"]
        if not any(fnmatch.fnmatch(change["path"], pattern) for pattern in KNOWN)
    ]
    assert unknown == []


def test_the_list_of_what_differs_has_nothing_that_does_not(compared):
    paths = [change["path"] for change in compared["files"]]
    idle = [pattern for pattern in KNOWN if not fnmatch.filter(paths, pattern)]
    assert idle == []


def test_accounts_are_the_same_but_for_their_numbers(consumer, stock):
    def accounts(build, path, *fields):
        with open(os.path.join(build.rootfs(IMAGE), path), encoding="utf-8") as file:
            return sorted([line.split(":")[field] for field in fields] for line in file.read().splitlines())

    for path, fields in (("etc/passwd", (0, 1, 4, 5, 6)), ("etc/shadow", (0, 1)), ("etc/group", (0, 3))):
        assert accounts(consumer, path, *fields) == accounts(stock, path, *fields), path


def test_units_and_alternatives_are_the_same(consumer, stock):
    def links(build, folder):
        root = build.rootfs(IMAGE)
        return {
            os.path.relpath(os.path.join(top, name), root): os.readlink(os.path.join(top, name))
            for top, folders, files in os.walk(os.path.join(root, folder))
            for name in folders + files
            if os.path.islink(os.path.join(top, name)) and not name.endswith((".gz", ".1", ".7"))
        }

    for folder in ("etc/systemd", "etc/alternatives", "etc/rc3.d"):
        assert links(consumer, folder) == links(stock, folder), folder


def test_all_kinds_of_images_are_made_from_a_template(consumer):
    kinds = {"ext4": "ext4", "tar.gz": "tar.gz", "oci-archive": "oci-archive.tar"}
    with consumer.configured('IMAGE_FSTYPES = "wic %s"' % " ".join(kinds)):
        consumer.build(IMAGE)
        assert not [recipe for recipe, task in consumer.tasks() if task == "do_rootfs_install"]
        for kind in kinds:
            found = [
                name
                for name in os.listdir(os.path.dirname(consumer.image(IMAGE, "wic")))
                if name.startswith(IMAGE) and kind in name
            ]
            assert found, kind
    listed = subprocess.run(
        ["tar", "-tzf", consumer.image(IMAGE, "tar.gz")], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {"./usr/bin/nano", "./etc/os-release"} <= set(listed)
