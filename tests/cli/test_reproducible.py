# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The same input gives the same bundle, to the bit."""

import datetime
import os

import filetrees
import support


def pack(helper, root, bundle, *words, **options):
    value = helper.json("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, *words, "--output", bundle, **options)
    return value["digest"]


def test_packing_twice_gives_the_same_digest(helper, tmp, platform):
    one, two = os.path.join(tmp, "one"), os.path.join(tmp, "two")
    assert pack(helper, platform, one) == pack(helper, platform, two)
    assert support.command("diff", "-r", one, two).stdout == ""


def test_a_copy_gives_the_same_digest(helper, tmp):
    """Inode numbers, their order and atimes are no part of it."""
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    filetrees.make_torture(os.path.join(root, "torture"))
    copy = os.path.join(tmp, "copy")
    os.mkdir(copy)
    for name in sorted(os.listdir(root), reverse=True):
        support.command("cp", "-a", os.path.join(root, name), copy)
    support.command("touch", "-r", root, copy)
    filetrees.assert_same_tree(root, copy)
    assert pack(helper, root, os.path.join(tmp, "a")) == pack(helper, copy, os.path.join(tmp, "b"))


def test_number_of_threads_and_place_do_not_matter(helper, tmp, platform):
    one = pack(helper, platform, os.path.join(tmp, "one"))
    environment = dict(os.environ, RAYON_NUM_THREADS="1")
    other = os.path.join(tmp, "another place", "two")
    os.mkdir(os.path.dirname(other))
    two = pack(helper, platform, other, env=environment, cwd=tmp)
    assert one == two


def created(bundle):
    layout = support.Layout(bundle)
    index = layout.document(layout.tagged("1")["digest"])
    found = {text for text in _strings(index, "org.opencontainers.image.created", "created")}
    for descriptor in index["manifests"]:
        manifest = layout.document(descriptor["digest"])
        found |= _strings(manifest, "org.opencontainers.image.created", "created")
        found |= _strings(layout.document(manifest["config"]["digest"]), "created")
    assert len(found) == 1, found
    return datetime.datetime.fromisoformat(found.pop().replace("Z", "+00:00")).timestamp()


def _strings(value, *keys):
    found = set()
    for key, inner in value.items():
        if key in keys and isinstance(inner, str):
            found.add(inner)
        elif key == "annotations":
            found |= _strings(inner, *keys)
    return found


def test_created_is_source_date_epoch(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    pack(helper, root, bundle, env=dict(os.environ, SOURCE_DATE_EPOCH="1500000000"))
    assert created(bundle) == 1500000000


def test_created_is_else_the_newest_time_of_the_input(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files + folders:
            os.utime(os.path.join(folder, name), (1400000000, 1400000000))
    os.utime(root, (1400000000, 1400000000))
    os.utime(root + "/etc/hostname", (1400000123, 1400000123))
    bundle = os.path.join(tmp, "bundle")
    pack(helper, root, bundle)
    assert created(bundle) == 1400000123


def test_a_touched_file_changes_the_digest(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    one = pack(helper, root, os.path.join(tmp, "one"), env=dict(os.environ, SOURCE_DATE_EPOCH="1"))
    os.utime(root + "/etc/hostname", (1, 1))
    two = pack(helper, root, os.path.join(tmp, "two"), env=dict(os.environ, SOURCE_DATE_EPOCH="1"))
    assert one != two


def test_pack_refuses_to_overwrite(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    support.write(bundle + "/precious", "x")
    helper("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--output", bundle, code=support.USAGE)
    assert os.listdir(bundle) == ["precious"]


def test_failed_pack_leaves_nothing(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    error = helper.error("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root,
                         "--sign", os.path.join(tmp, "no-key"), "--output", bundle, code=support.USAGE)
    assert "no-key" in error["message"]
    assert sorted(os.listdir(tmp)) == ["root"]
