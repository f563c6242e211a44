# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What pack takes, and what it refuses so that no bundle is made that nobody can read."""

import os
import stat

import filetrees
import support
from support import REFUSED, USAGE


def pack_and_read(helper, tmp, publisher, *components):
    """Pack, import, and check out all components but the root filesystem; the folder they are in."""
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    words = [word for name, path in components for word in ("--component", "%s=%s" % (name, path))]
    helper("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, *words, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    for name, _ in components:
        helper("checkout", "--component", name, "t", os.path.join(tmp, "out", name))
    return os.path.join(tmp, "out")


def refused(helper, tmp, root, code=REFUSED, output=None):
    error = helper.error("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root,
                         "--output", output or os.path.join(tmp, "bundle"), code=code)
    assert not [name for name in os.listdir(tmp) if name.startswith((".isar", "bundle"))]
    return error


def test_single_files_whatever_leads_to_them(helper, tmp, publisher):
    """In a deploy folder files are hard linked, and links point to them."""
    os.mkdir(tmp + "/out")
    support.write(tmp + "/file", "content", 0o640)
    os.link(tmp + "/file", tmp + "/linked")
    os.symlink("file", tmp + "/symlink")
    os.mkdir(tmp + "/tree")
    support.write(tmp + "/tree/x", "x")
    os.symlink("tree", tmp + "/tree-link")
    out = pack_and_read(helper, tmp, publisher, ("linked", tmp + "/linked"), ("symlink", tmp + "/symlink"), ("tree", tmp + "/tree-link"))
    for path in ("linked/linked", "symlink/symlink"):
        assert open(os.path.join(out, path)).read() == "content"
        assert stat.S_IMODE(os.lstat(os.path.join(out, path)).st_mode) == 0o640
    assert open(out + "/tree/x").read() == "x"


def test_very_many_holes_are_packed(helper, tmp, publisher):
    os.mkdir(tmp + "/out")
    filetrees.write_sparse(tmp + "/tree/holes", 20000 * 8192, [(index * 8192, b"x") for index in range(20000)])
    out = pack_and_read(helper, tmp, publisher, ("tree", tmp + "/tree"))
    support.command("cmp", tmp + "/tree/holes", out + "/tree/holes")


def test_a_whiteout_of_overlayfs_is_refused(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    os.mknod(root + "/etc/deleted", stat.S_IFCHR, os.makedev(0, 0))
    assert "etc/deleted" in refused(helper, tmp, root)["message"]


def test_anchors_that_no_reader_would_take(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    words = ["pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--output", tmp + "/bundle", "--anchors"]
    cases = [('{"version": 0, "x": %s}' % ("[" * depth + "]" * depth), code, "nested") for depth, code in ((63, REFUSED), (64, USAGE))]
    for text, code, word in [*cases, ('{"version": 0, "x": 1, "x": 2}', USAGE, "duplicate key 'x'")]:
        error = helper.error(*words, support.write(tmp + "/anchors", text), code=code)
        assert word in error["message"] and not os.path.exists(tmp + "/bundle")
    helper(*words, support.write(tmp + "/anchors", '{"version": 0, "x": %s}' % ("[" * 62 + "]" * 62)))


def test_an_output_inside_of_a_component_is_refused(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    before = filetrees.files_of(root)
    refused(helper, tmp, root, code=USAGE, output=root + "/srv-bundle")
    assert filetrees.files_of(root) == before


def test_links_of_a_tree_do_not_lead_to_the_host(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    os.rename(root + "/var/lib/dpkg/status", root + "/var/lib/dpkg/hidden")
    os.symlink("/var/lib/dpkg/status", root + "/var/lib/dpkg/status")
    assert "var/lib/dpkg/status" in refused(helper, tmp, root, code=USAGE)["message"]


def test_who_may_read_a_bundle_is_up_to_the_umask(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    for umask, bundle in ((0o077, tmp + "/closed"), (0o022, tmp + "/open")):
        words = helper.argv("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--output", bundle)
        support.command("sh", "-c", 'umask %03o; exec "$@"' % umask, "sh", *words)
        for folder, _, files in os.walk(bundle):
            for path in [folder] + [os.path.join(folder, name) for name in files]:
                assert os.stat(path).st_mode & 0o077 & umask == 0, path
    assert os.stat(tmp + "/open/index.json").st_mode & 0o777 == 0o644
