# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Checkouts straight from a bundle: what comes out, who may, and that only what is good gets a name."""

import os
import shutil
import stat

import pytest

import filetrees
import support
from support import IDENTITY, PRIVILEGE, UNTRUSTED, USAGE


def plain(tmp):
    """A component of plain files, like a cache: modes, hard links, holes, a large file and empty ones."""
    base = os.path.join(tmp, "plain")
    support.write(base + "/universal/aa/one.tar", filetrees.big_content((9 << 20) + 17))
    support.write(base + "/universal/bb/two", "two", 0o600)
    support.write(base + "/empty")
    os.makedirs(base + "/closed/inner")
    os.link(base + "/universal/bb/two", base + "/linked")
    filetrees.write_sparse(base + "/sparse", 6 << 20, [(1 << 20, b"data")])
    for index in range(50):
        support.write(base + "/many/%d" % index, "%d" % index)
    os.chmod(base + "/closed/inner", 0o500)
    os.chmod(base + "/closed", 0o555)
    for path in ("many/3", "closed", "universal"):
        os.utime(os.path.join(base, path), ns=(5, 1234567890123456789))
    return base


def pack(helper, tmp, publisher, name="tiny", output="bundle", **components):
    root = os.path.join(tmp, "root")
    if not os.path.exists(root):
        support.make_tiny_root(root)
    words = [word for key, path in components.items() for word in ("--component", "%s=%s" % (key, path))]
    helper("pack", "--name", name, "--version", "1.0", "--component", "rootfs=" + root, *words, "--sign", publisher.key,
           "--output", os.path.join(tmp, output))
    return os.path.join(tmp, output)


@pytest.fixture
def cache(helper, tmp, publisher):
    return pack(helper, tmp, publisher, sstate=plain(tmp))


def test_as_root_everything_is_as_declared_and_no_store_is_made(helper, tmp, publisher):
    base = os.path.join(tmp, "all")
    os.mkdir(base)
    filetrees.make_torture(base + "/torture")
    bundle = pack(helper, tmp, publisher, all=base)
    value = helper.json("checkout", "--no-store", "--component", "all", *publisher.trust, bundle, tmp + "/out")
    assert (value["name"], value["component"], value["signer"]) == ("tiny", "all", IDENTITY)
    filetrees.assert_same_tree(base, tmp + "/out")
    assert not os.path.exists(helper.store)


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_it_is_what_the_ordinary_checkout_makes(helper, tmp, publisher, platform_bundle, shared, raw):
    shared("checkout", *raw, "platform", tmp + "/ordinary")
    helper("checkout", "--no-store", *raw, *publisher.trust, platform_bundle, tmp + "/direct")
    filetrees.assert_same_tree(tmp + "/ordinary", tmp + "/direct")


def test_a_hard_link_stays_when_the_finish_layer_removes_its_first_name(helper, tmp, publisher):
    root = support.make_tiny_root(tmp + "/root")
    support.write(root + "/etc/apt/sources.list.d/isar-apt.list", "deb file:///isar-apt ./\n")
    for other in ("etc/z-one", "etc/z-two"):
        os.link(root + "/etc/apt/sources.list.d/isar-apt.list", os.path.join(root, other))
    bundle = pack(helper, tmp, publisher)
    helper("checkout", "--no-store", *publisher.trust, bundle, tmp + "/direct")
    helper("import", *publisher.trust, bundle)
    helper("checkout", "tiny", tmp + "/ordinary")
    assert not os.path.exists(tmp + "/direct/etc/apt/sources.list.d/isar-apt.list")
    filetrees.assert_same_tree(tmp + "/ordinary", tmp + "/direct")


def as_nobody(helper, tmp, *words):
    home = os.path.join(tmp, "home")
    os.makedirs(home, exist_ok=True)
    os.chown(home, 65534, 65534)
    result = support.as_nobody(os.path.join(tmp, "isar-template"), "--store", helper.store, "checkout", "--no-store", *words,
                               home + "/out", tmp=home)
    return result, home + "/out"


def test_without_root_plain_files_belong_to_the_caller(helper, tmp, publisher, cache, reachable_helper):
    result, out = as_nobody(helper, tmp, "--component", "sstate", *publisher.trust, cache)
    assert result.returncode == 0, result.stderr
    expected = os.path.join(tmp, "plain")
    support.command("chown", "-R", "65534:65534", expected)
    filetrees.assert_same_tree(expected, out)
    assert not os.path.exists(helper.store)


def special(kind, path):
    if kind == "symlink":
        os.symlink("nowhere", path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    elif kind == "setgid directory":
        os.mkdir(path)
        os.chmod(path, 0o2755)
    else:
        support.write(path, "x", {"setuid": 0o4755, "setgid": 0o2755}.get(kind, 0o755))
    if kind == "attribute":
        os.setxattr(path, "user.x", b"x")
    if kind == "capability":
        support.command("setcap", "cap_net_raw+ep", path)


@pytest.mark.parametrize("kind", [
    "symlink", "pipe", "device", "setuid", "setgid", "setgid directory", "attribute", "capability"])
def test_without_root_whatever_is_not_plain_is_refused(helper, tmp, publisher, reachable_helper, kind):
    base = os.path.join(tmp, "special")
    support.write(base + "/plain", "x")
    special(kind, base + "/the-one")
    bundle = pack(helper, tmp, publisher, extra=base)
    result, out = as_nobody(helper, tmp, "--component", "extra", *publisher.trust, bundle)
    assert result.returncode == PRIVILEGE
    assert "the-one" in result.stderr and "root" in result.stderr and "hint: " in result.stderr
    assert os.listdir(os.path.dirname(out)) == []
    helper("checkout", "--no-store", "--component", "extra", *publisher.trust, bundle, tmp + "/as-root")
    filetrees.assert_same_tree(base, tmp + "/as-root")


@pytest.fixture
def layer(cache):
    """The file of the component's OCI layer."""
    layout = support.Layout(cache)
    index = layout.document(layout.tagged("1.0")["digest"])
    artifact = next(layout.document(entry["digest"]) for entry in index["manifests"] if entry.get("artifactType"))
    return next(layout.blob_path(entry["digest"]) for entry in artifact["layers"]
                if entry["annotations"]["org.isar.template.component"] == "sstate" and "layer" in entry["mediaType"])


@pytest.mark.parametrize("damage", ["bit", "short", "missing"])
def test_damage_leaves_nothing(helper, tmp, publisher, cache, layer, damage):
    size = os.path.getsize(layer)
    if damage == "missing":
        os.unlink(layer)
    else:
        with open(layer, "r+b") as file:
            if damage == "short":
                file.truncate(size - 1)
            else:
                file.seek(size - 100)
                byte = file.read(1)
                file.seek(size - 100)
                file.write(bytes([byte[0] ^ 1]))
    before = sorted(os.listdir(tmp))
    helper("checkout", "--no-store", "--component", "sstate", *publisher.trust, cache, tmp + "/out", code=UNTRUSTED)
    assert sorted(os.listdir(tmp)) == before
    # the others are not looked at
    helper("checkout", "--no-store", *publisher.trust, cache, tmp + "/out")


def test_the_usual_errors(helper, tmp, publisher, cache):
    out = tmp + "/out"
    direct = ["checkout", "--no-store", *publisher.trust]
    error = helper.error(*direct, "--component", "sbom", cache, out, code=USAGE)
    assert "sbom" in error["message"] and "sstate" in error["hint"]
    assert helper.error(*direct, "--digest", "sha256:" + "0" * 64, cache, out, code=UNTRUSTED)["kind"] == "digest-differs"
    assert "--identity" in helper.error("checkout", "--no-store", "--allowed-signers", "x", cache, out, code=USAGE)["message"]
    assert "--no-store" in helper.error(*direct, "tiny:1.0", out, code=USAGE)["message"]
    assert not os.path.exists(out)
    support.write(out + "/precious", "x")
    helper.error(*direct, cache, out, code=USAGE)
    assert os.listdir(out) == ["precious"]
    shutil.rmtree(out)
    os.mkdir(out)
    helper(*direct, "--component", "sstate", cache, out)
    filetrees.assert_same_tree(tmp + "/plain", out)
