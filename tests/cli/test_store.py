# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Import, list, inspect, checkout and diff: what the store holds and how it is named."""

import os
import re
import signal
import struct
import subprocess
import time

import pytest

import filetrees
import support
from support import REFUSED, UNTRUSTED, USAGE


def pack(helper, tmp, publisher, version, name="tiny", **extra):
    root = support.make_tiny_root(os.path.join(tmp, "root-" + name + version), extra=extra)
    bundle = os.path.join(tmp, "bundle-%s-%s" % (name, version))
    helper("pack", "--name", name, "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key,
           "--output", bundle)
    return bundle


def test_import_list_inspect(helper, tiny_bundle, publisher):
    value = helper.json("import", *publisher.trust, tiny_bundle)
    digest = support.Layout(tiny_bundle).tagged("1.0")["digest"]
    assert (value["command"], value["name"], value["templateVersion"], value["digest"]) == ("import", "tiny", "1.0", digest)
    assert support.IDENTITY in str(value["signer"])

    templates = helper.json("list")["templates"]
    assert [(row["name"], row["templateVersion"], row["digest"]) for row in templates] == [("tiny", "1.0", digest)]
    assert re.search(r"^tiny:1\.0\s", helper("list").stdout, re.MULTILINE)

    for what in ("tiny", "tiny:1.0", tiny_bundle):
        value = helper.json("inspect", what)
        manifest = value["manifest"]
        assert (value["name"], value["templateVersion"], value["digest"]) == ("tiny", "1.0", digest)
        assert [component["name"] for component in manifest["components"]] == ["rootfs", "buildchroot-target"]
        assert manifest["codename"] == "bookworm"
        assert manifest["architecture"] == support.architecture()
        packages = {row["package"]: row["packageVersion"] for row in manifest["packages"]}
        assert packages == support.TINY_PACKAGES
    text = helper("inspect", "tiny").stdout
    for word in ("tiny", "1.0", digest, "rootfs"):
        assert word in text


def test_importing_again_changes_nothing(helper, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    before = filetrees.files_of(helper.store)
    helper("import", *publisher.trust, tiny_bundle)
    assert filetrees.files_of(helper.store) == before


def test_versions_live_side_by_side_and_the_newest_is_the_default(helper, tmp, publisher):
    for version in ("1.9", "1.10", "1.2"):
        helper("import", *publisher.trust, pack(helper, tmp, publisher, version, **{"etc/which": version}))
    helper("checkout", "--raw", "tiny", os.path.join(tmp, "newest"))
    assert open(os.path.join(tmp, "newest", "etc/which")).read() == "1.10"
    helper("checkout", "--raw", "tiny:1.2", os.path.join(tmp, "named"))
    assert open(os.path.join(tmp, "named", "etc/which")).read() == "1.2"
    assert [row["templateVersion"] for row in helper.json("list")["templates"]] == ["1.2", "1.9", "1.10"]


def test_same_files_are_kept_once(helper, tmp, publisher):
    content = filetrees.big_content(8 << 20)
    one = pack(helper, tmp, publisher, "1", **{"usr/lib/big": content})
    helper("import", *publisher.trust, one)
    one = int(support.command("du", "-sk", helper.store).stdout.split()[0])
    # the next release: the old tree, and a little that is new
    support.command("cp", "-a", tmp + "/root-tiny1", tmp + "/next")
    support.write(tmp + "/next/etc/new", "x")
    helper("pack", "--name", "tiny", "--version", "2", "--component", "rootfs=" + tmp + "/next", "--sign", publisher.key,
           "--output", tmp + "/next-bundle")
    helper("import", *publisher.trust, tmp + "/next-bundle")
    two = int(support.command("du", "-sk", helper.store).stdout.split()[0])
    assert two - one < 1024, (one, two)


def test_another_template_of_the_same_version_replaces_it_loudly(helper, tmp, publisher):
    """A version should be released once; who must be sure of it pins the digest."""
    helper("import", *publisher.trust, pack(helper, tmp, publisher, "1.0", **{"etc/which": "first"}))
    os.rename(os.path.join(tmp, "root-tiny1.0"), os.path.join(tmp, "away"))
    os.rename(os.path.join(tmp, "bundle-tiny-1.0"), os.path.join(tmp, "bundle-first"))
    other = pack(helper, tmp, publisher, "1.0", **{"etc/which": "second"})
    warning = helper("import", *publisher.trust, other).stderr
    for bundle in ("bundle-first", "bundle-tiny-1.0"):
        assert support.Layout(os.path.join(tmp, bundle)).tagged("1.0")["digest"] in warning
    helper("checkout", "--raw", "tiny", os.path.join(tmp, "out"))
    assert open(os.path.join(tmp, "out", "etc/which")).read() == "second"


@pytest.mark.parametrize("what", ["nothing", "tiny:2.0"])
def test_unknown_names(helper, tmp, tiny_bundle, publisher, what):
    helper("import", *publisher.trust, tiny_bundle)
    for words in (["checkout", what, os.path.join(tmp, "out")], ["inspect", what]):
        error = helper.error(*words, code=support.USAGE)
        assert what.split(":")[0] in error["message"]
    assert not os.path.exists(os.path.join(tmp, "out"))


def test_unknown_component(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    error = helper.error("checkout", "--component", "sbom", "tiny", os.path.join(tmp, "out"), code=support.USAGE)
    assert "sbom" in error["message"]
    assert "rootfs" in support.said(error)


def test_checkout_fills_an_empty_folder_and_no_other(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    empty = os.path.join(tmp, "empty")
    os.mkdir(empty)
    helper("checkout", "--raw", "tiny", empty)
    filetrees.assert_same_tree(os.path.join(tmp, "tiny"), empty)

    full = os.path.join(tmp, "full")
    support.write(full + "/precious", "x")
    helper.error("checkout", "tiny", full, code=support.USAGE)
    assert os.listdir(full) == ["precious"]
    error = helper.error("checkout", "tiny", os.path.join(tmp, "no/such/parent"), code=support.USAGE)
    assert "no/such" in error["message"]


def test_import_killed_midway_leaves_a_store_that_works(helper, tmp, platform_bundle, publisher):
    # at several moments of the run
    for delay in (0.05, 0.3, 0.8):
        process = subprocess.Popen(helper.argv("import", *publisher.trust, platform_bundle),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        helper("list")
    helper("import", *publisher.trust, platform_bundle)
    helper("checkout", "--raw", "platform", os.path.join(tmp, "out"))
    assert support.audit(os.path.join(tmp, "out")) == ""
    assert os.listdir(helper.store + "/tmp") == []


def test_two_imports_at_once(helper, tmp, platform_bundle, tiny_bundle, publisher):
    children = [
        subprocess.Popen(helper.argv("import", *publisher.trust, bundle), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for bundle in (platform_bundle, platform_bundle, tiny_bundle)]
    for child in children:
        output, _ = child.communicate(timeout=300)
        assert child.returncode == 0, output
    assert {row["name"] for row in helper.json("list")["templates"]} == {"platform", "tiny"}
    helper("checkout", "--raw", "platform", os.path.join(tmp, "out"))


def test_diff_of_equal_things_is_empty(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    for left, right in (("tiny", "tiny:1.0"), (tiny_bundle, "tiny"), (os.path.join(tmp, "tiny"), os.path.join(tmp, "tiny"))):
        value = helper.json("diff", left, right)
        assert value["ok"] is True


def test_diff_tells_packages_and_files(helper, tmp, publisher):
    one = pack(helper, tmp, publisher, "1", **{"etc/same": "x", "etc/changed": "a", "etc/gone": "g"})
    root = support.make_tiny_root(os.path.join(tmp, "root-2"), extra={"etc/same": "x", "etc/changed": "b", "etc/new": "n"})
    with open(root + "/var/lib/dpkg/status", "a") as file:
        file.write("Package: added\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: all\n"
                   "Version: 3\nDescription: x\n\n")
    os.chmod(root + "/usr/bin/tool", 0o700)
    two = os.path.join(tmp, "bundle-2")
    helper("pack", "--name", "tiny", "--version", "2", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", two)
    for bundle in (one, two):
        helper("import", *publisher.trust, bundle)
    for left, right in (("tiny:1", "tiny:2"), (one, two), (os.path.join(tmp, "root-tiny1"), root)):
        result = helper("diff", left, right, code=support.DIFFERS)
        for word in ("added", "etc/changed", "etc/gone", "etc/new", "usr/bin/tool"):
            assert word in result.stdout, (left, word)
        assert "etc/same" not in result.stdout
        value = helper.json("diff", left, right, code=support.DIFFERS)
        text = str(value)
        for word in ("added", "etc/changed", "etc/gone", "etc/new", "usr/bin/tool"):
            assert word in text


def test_anchors_and_self_built_packages_reach_the_manifest(helper, tmp, publisher):
    anchors = support.write(os.path.join(tmp, "anchors.json"), """{
        "version": 0, "distro": "debian-custom", "codename": "bookworm", "architecture": "%s", "machine": "qemuamd64",
        "layers": [{"name": "core", "commit": "%s", "tree": "%s", "dirty": false}],
        "settings": {"DISTRO": "debian-custom"}, "tasks": {"hello:do_dpkg_build": "%s"},
        "selfBuilt": [{"package": "base-files", "version": "12.4", "architecture": "%s", "sha256": "%s",
                       "recipe": "base-files", "taskHash": "%s"}]}""" % (
        support.architecture(), "a" * 40, "b" * 40, "c" * 64, support.architecture(), "d" * 64, "c" * 64))
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "t", "--version", "1", "--component", "rootfs=" + root, "--anchors", anchors,
           "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    manifest = helper.json("inspect", "t")["manifest"]
    assert manifest["machine"] == "qemuamd64"
    assert manifest["anchors"]["layers"][0]["name"] == "core"
    assert manifest["anchors"]["settings"] == {"DISTRO": "debian-custom"}
    assert manifest["anchors"]["tasks"] == {"hello:do_dpkg_build": "c" * 64}
    assert [row for row in manifest["packages"] if row.get("sha256") == "d" * 64]


# a newer one would be what the name alone means
@pytest.mark.parametrize("version", ["1", "2"])
def test_a_name_belongs_to_who_signed_it_first(helper, tmp, publisher, version):
    helper("import", *publisher.trust, pack(helper, tmp, publisher, "1"))
    mine = helper.json("inspect", "tiny")["digest"]
    other = support.make_key(tmp, "other")
    bundle = tmp + "/taken-over"
    helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + support.make_tiny_root(tmp + "/evil"), "--output", bundle)
    helper("sign", "--key", other, bundle)
    identity = "other@example.org"
    trust = ["--allowed-signers", support.allow(tmp, other, identity=identity), "--identity", identity]
    error = helper.error("import", *trust, bundle, code=REFUSED)
    assert support.IDENTITY in error["message"] and identity in error["message"]
    assert helper.json("inspect", "tiny")["digest"] == mine


def test_trust_options_are_not_ignored_for_a_stored_template(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    helper("checkout", "--identity", support.IDENTITY, "tiny", tmp + "/out")
    error = helper.error("checkout", "--identity", "nobody@example.org", "tiny", tmp + "/other", code=UNTRUSTED)
    assert error["kind"] == "identity-wrong"
    for words in (["--revocation", "/nonexistent"], ["--allowed-signers", "/nonexistent"], ["--verify-time", "20200101"]):
        assert words[0] in helper.error("checkout", *words, "tiny", tmp + "/other", code=USAGE)["message"]
    assert not os.path.exists(tmp + "/other")


def test_sizes(helper, tmp, publisher):
    """What two versions have in common counts once on disk."""
    def add(name, version, **extra):
        root = support.make_tiny_root(os.path.join(tmp, name + version), extra=extra)
        for folder, _, names in os.walk(root):
            for path in names:
                os.utime(os.path.join(folder, path), (1, 1))
        helper("pack", "--name", name, "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", root + ".tar")
        helper("import", *publisher.trust, root + ".tar")

    common = {"usr/lib/common": "c" * 300000}
    add("tiny", "1", **common, **{"usr/lib/own": "x" * 10000})
    add("tiny", "2", **common, **{"usr/lib/own": "x" * 20000})
    add("other", "1", **{"usr/lib/twice": "t" * 5000, "usr/lib/two": "t" * 5000})
    for row in helper.json("list")["templates"]:
        assert "sizes" not in row
    sizes = {(row["name"], row["templateVersion"]): row["sizes"] for row in helper.json("list", "--sizes")["templates"]}
    first, second, other = sizes["tiny", "1"], sizes["tiny", "2"], sizes["other", "1"]
    assert second["apparent"] - first["apparent"] == 10000
    assert first["shared"] == second["shared"] >= 300000 and first["unique"] < 20000 <= second["unique"] < 30000
    # two files of the same content are two files of a checkout
    assert other["apparent"] >= other["unique"] >= 10000
    for of in sizes.values():
        assert of["unique"] + of["shared"] <= of["apparent"]
    assert re.search(r"^template .*size +unique +shared$", helper("list", "--sizes").stdout, re.MULTILINE)


def test_import_tells_of_the_signature_it_accepted(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    second = support.make_key(tmp, "second")
    helper("sign", "--key", second, tiny_bundle)
    identity = "second@example.org"
    signers = support.allow(tmp, second, identity=identity, name="second-signers")
    value = helper.json("import", "--allowed-signers", signers, "--identity", identity, tiny_bundle)
    assert value["nothingToDo"] and value["signer"] == identity
    assert value["fingerprint"] == support.command("ssh-keygen", "-l", "-f", second + ".pub").stdout.split()[1]


def test_importing_again_repairs(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    trees = os.path.join(helper.store, "trees")
    for name in os.listdir(trees):
        os.unlink(os.path.join(trees, name, "toc"))
    assert "import the bundle again" in support.said(helper.error("checkout", "tiny", tmp + "/out", code=UNTRUSTED))
    assert helper.json("import", *publisher.trust, tiny_bundle)["nothingToDo"] is False
    helper("checkout", "tiny", tmp + "/out")
    ref = os.path.join(helper.store, "refs/tiny/1.0")
    support.write(ref, "")
    helper.error("checkout", "tiny", tmp + "/next", code=UNTRUSTED)
    helper("import", *publisher.trust, tiny_bundle)
    helper("checkout", "tiny", tmp + "/next")


def test_a_missing_blob_is_noticed_also_when_the_store_has_its_tree(helper, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    layout = support.Layout(tiny_bundle)
    os.unlink(layout.blob_path(layout.document(layout.tagged("1.0-rootfs")["digest"])["layers"][0]["digest"]))
    assert helper.error("import", *publisher.trust, tiny_bundle, code=UNTRUSTED)["kind"] == "blob-missing"


def default_acl(*, user):
    """For setxattr: rwx for another user, as setfacl -d would write it."""
    entries = [(1, 7, 0xFFFFFFFF), (2, 7, user), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 5, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_access_control_lists_of_the_place_are_not_those_of_the_tree(helper, tmp, tiny_bundle, publisher):
    place = os.path.join(tmp, "shared")
    os.mkdir(place)
    os.setxattr(place, "system.posix_acl_default", default_acl(user=1234))
    helper.store = os.path.join(place, "store")
    helper("import", *publisher.trust, tiny_bundle)
    helper("checkout", "--raw", "tiny", place + "/out")
    filetrees.assert_same_tree(tmp + "/tiny", place + "/out")
    # nor of what another checkout from this store will be
    helper("checkout", "--raw", "tiny", tmp + "/elsewhere")
    filetrees.assert_same_tree(tmp + "/tiny", tmp + "/elsewhere")


def test_a_store_is_closed_whatever_the_umask(helper, tmp, tiny_bundle, publisher):
    support.command("sh", "-c", 'umask 0; exec "$@"', "sh", *helper.argv("import", *publisher.trust, tiny_bundle))
    for folder, folders, _ in os.walk(helper.store):
        if os.path.relpath(folder, helper.store).startswith("trees/"):
            continue
        assert os.stat(folder).st_mode & 0o022 == 0, folder
    os.chmod(helper.store + "/trees", 0o755)
    assert "trees" in helper.error("import", *publisher.trust, tiny_bundle, code=REFUSED)["message"]


def test_a_folder_with_something_else_in_it_does_not_become_a_store(helper, tmp, tiny_bundle, publisher):
    support.write(helper.store + "/thesis.txt", "do not touch")
    helper.error("import", *publisher.trust, tiny_bundle, code=USAGE)
    assert os.listdir(helper.store) == ["thesis.txt"]


@pytest.mark.parametrize("words,code", [(["list"], 0), (["inspect", "nothing"], USAGE), (["checkout", "tiny", "out"], USAGE)])
def test_nobody_reading_standard_error_changes_no_exit_code(helper, tmp, tiny_bundle, publisher, words, code):
    helper("import", *publisher.trust, tiny_bundle)
    os.mkdir(tmp + "/out")
    support.write(tmp + "/out/full", "")
    with open("/dev/full", "w") as full:
        helper(*words, code=code, stderr=full, cwd=tmp)


def test_an_empty_variable_names_no_store(helper, tmp, tiny_bundle, publisher):
    environment = dict(os.environ, ISAR_TEMPLATE_STORE="")
    support.command(support.HELPER, "verify", *publisher.trust, tiny_bundle, env=environment)


def test_checkout_into_the_current_folder(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    os.mkdir(tmp + "/here")
    os.symlink("here", tmp + "/link")
    helper("checkout", "--raw", "tiny", tmp + "/link")
    filetrees.assert_same_tree(tmp + "/tiny", tmp + "/here")
    os.mkdir(tmp + "/there")
    helper("checkout", "--raw", "tiny", ".", cwd=tmp + "/there")
    filetrees.assert_same_tree(tmp + "/tiny", tmp + "/there")
