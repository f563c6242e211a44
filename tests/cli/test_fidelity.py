# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What goes into a bundle comes out of a checkout, exactly, as other tools see it."""

import os
import shutil

import pytest

import filetrees
import support


@pytest.fixture(scope="module")
def tortured(session_dir, platform):
    """A real Debian root, with everything in it that a careless tool loses."""
    path = os.path.join(session_dir, "tortured")
    support.command("cp", "-a", "--sparse=auto", platform, path)
    filetrees.make_torture(os.path.join(path, "torture"))
    yield path
    shutil.rmtree(path)


def pack_and_import(helper, publisher, folder, *words):
    bundle = os.path.join(folder, "bundle")
    helper("pack", "--name", "t", "--version", "1", *words, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    return bundle


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_debian_root_and_torture_survive(helper, tmp, tortured, publisher, compression):
    bundle = pack_and_import(helper, publisher, tmp, "--component", "rootfs=" + tortured, "--compression", compression)
    shutil.rmtree(bundle)
    out = os.path.join(tmp, "out")
    helper("checkout", "--raw", "t", out)
    filetrees.assert_same_tree(tortured, out)


def test_packing_leaves_the_input_alone(helper, tmp, publisher):
    root = support.make_tiny_root(os.path.join(tmp, "tree"))
    filetrees.make_torture(os.path.join(root, "torture"))
    before = (filetrees.mtree(root), filetrees.xattrs(root), filetrees.hard_links(root))
    helper("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--output", os.path.join(tmp, "bundle"))
    assert (filetrees.mtree(root), filetrees.xattrs(root), filetrees.hard_links(root)) == before


def test_every_component_survives(helper, tmp, publisher):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    chroot = support.make_tiny_root(os.path.join(tmp, "chroot"))
    filetrees.make_torture(os.path.join(chroot, "torture"))
    single = support.write(os.path.join(tmp, "bootstrap.tar.zst"), filetrees.big_content(100000), 0o640)
    os.utime(single, ns=(1, 1234567890123456789))
    pack_and_import(helper, publisher, tmp, "--component", "rootfs=" + root,
                    "--component", "buildchroot-target=" + chroot, "--component", "bootstrap=" + single)
    out = os.path.join(tmp, "out")
    helper("checkout", "--component", "buildchroot-target", "t:1", out)
    filetrees.assert_same_tree(chroot, out)

    helper("checkout", "--component", "bootstrap", "t:1", out + "2")
    assert os.listdir(out + "2") == ["bootstrap.tar.zst"]
    status = os.stat(out + "2/bootstrap.tar.zst")
    assert (status.st_mode & 0o7777, status.st_mtime_ns, status.st_size) == (0o640, 1234567890123456789, 100000)
    with open(single, "rb") as a, open(out + "2/bootstrap.tar.zst", "rb") as b:
        assert a.read() == b.read()


def test_bundle_as_one_tar(helper, tmp, publisher):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    filetrees.make_torture(os.path.join(root, "torture"))
    tar = os.path.join(tmp, "bundle.tar")
    helper("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", tar)
    names = support.command("tar", "-t", "-f", tar).stdout.split()
    assert "oci-layout" in [name.replace("./", "") for name in names]
    helper("verify", *publisher.trust, tar)
    helper("import", *publisher.trust, tar)
    helper("checkout", "--raw", "t", os.path.join(tmp, "out"))
    filetrees.assert_same_tree(root, os.path.join(tmp, "out"))


def test_tar_of_a_bundle_made_by_another_tool(helper, tmp, tiny_bundle, publisher):
    for index, prefix in enumerate(["./", ""]):
        tar = os.path.join(tmp, "by-tar-%d.tar" % index)
        names = ["."] if prefix else sorted(os.listdir(tiny_bundle))
        support.command("tar", "-c", "-f", tar, "-C", tiny_bundle, *names)
        helper("verify", *publisher.trust, tar)


def refused(helper, publisher, root, tmp):
    """The error of packing a root that no bundle can hold as it is."""
    bundle = os.path.join(tmp, "bundle")
    error = helper.error("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle, code=support.REFUSED)
    assert not os.path.exists(bundle)
    return error


def test_whiteout_like_names_do_not_vanish(helper, tmp, publisher):
    """OCI layers give names that begin with .wh. a meaning."""
    root = support.make_tiny_root(os.path.join(tmp, "root"), extra={"srv/.wh.data": "x", "srv/data": "y"})
    error = refused(helper, publisher, root, tmp)
    assert "srv/.wh.data" in error["message"] and "rename" in error["hint"]


@pytest.mark.parametrize("name", ["user.equals=sign", "user.new\nline"])
def test_odd_attribute_names_are_refused(helper, tmp, publisher, name):
    """PAX records cannot hold every name that the kernel takes: such a one must not make a bundle that nobody can read."""
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    os.setxattr(root + "/etc/hostname", name, b"value")
    error = refused(helper, publisher, root, tmp)
    assert "etc/hostname" in error["message"] and "setfattr" in error["hint"]


def test_finished_checkout_differs_from_raw_only_where_documented(helper, tmp, platform, publisher):
    pack_and_import(helper, publisher, tmp, "--component", "rootfs=" + platform)
    helper("checkout", "t", os.path.join(tmp, "finished"))
    raw, finished = set(filetrees.mtree(platform)), set(filetrees.mtree(os.path.join(tmp, "finished")))
    # paths only: which lines differ
    paths = {line.split(b" ")[0] for line in raw ^ finished}
    files = {path for path in paths if os.path.isfile(os.path.join(os.fsencode(platform), path))}
    assert len(files) < 20, files
    for path in files:
        assert path.startswith((b"./etc/", b"./usr/sbin/", b"./usr/lib/os-release", b"./var/lib/")), path
    assert support.audit(os.path.join(tmp, "finished")) == ""
    # a finished system has an identity of its own at first boot
    machine_id = os.path.join(tmp, "finished", "etc/machine-id")
    assert not os.path.exists(machine_id) or open(machine_id).read().strip() in ("", "uninitialized")


def test_xattrs_in_another_checkout_are_not_shared(helper, tmp, tiny_bundle, publisher):
    """What is written to one checkout reaches neither the store nor another checkout."""
    helper("import", *publisher.trust, tiny_bundle)
    one, two = os.path.join(tmp, "one"), os.path.join(tmp, "two")
    helper("checkout", "--raw", "tiny", one)
    with open(one + "/usr/bin/tool", "r+b") as file:
        file.write(b"overwritten in place")
    os.chmod(one + "/etc/hostname", 0o600)
    os.setxattr(one + "/etc/hostname", "user.x", b"y")
    helper("checkout", "--raw", "tiny", two)
    filetrees.assert_same_tree(os.path.join(tmp, "tiny"), two)
