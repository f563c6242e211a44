# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What diff tells of two real Debian systems, whatever the form in which it gets them."""

import os
import re
import shutil
import tarfile

import pytest

import filetrees
import support
from support import DIFFERS, UNTRUSTED, USAGE

HOSTILE = [*filetrees.STRANGE_NAMES, b"<script>alert(1)<", b"\"><img src=x onerror=alert(1)>", "right\u202eleft".encode(), b"&lt;b&gt;"]


def install(tree, folder, *debs):
    paths = [support.make_deb(folder, *words, **more) for words, more in debs]
    support.command("dpkg", "--root=" + tree, "--force-unsafe-io", "--force-downgrade", "--install", *paths)


def inside(tree, *words):
    support.command("chroot", tree, *words, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})


@pytest.fixture(scope="module")
def trees(session_dir, platform):
    """A release, and the next one: with something of each kind that can change."""
    folder = os.path.join(session_dir, "diff")
    os.mkdir(folder)
    old, new = folder + "/old", folder + "/new"
    support.command("cp", "-a", platform, old)
    install(old, folder, (("lib", "1.0+b1-1"), {"Installed_Size": "10"}), (("tool", "1:1"), {}), (("own", "1"), {}))
    support.write(old + "/srv/data", "1")
    os.symlink("old", old + "/srv/link")
    os.mkfifo(old + "/srv/kind")
    support.command("mknod", old + "/dev/special", "c", "1", "7")
    support.command("cp", "-a", old, new)

    app = {"etc/app.conf": "default\n", "lib/systemd/system/app.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}
    install(new, folder, (("lib", "1.0.1-1"), {"Installed_Size": "12"}), (("tool", "9"), {}), (("app", "1.0"), {"files": app}),
            (("own", "1"), {"files": {"usr/share/own/file": "built again\n"}}))
    support.command("dpkg", "--root=" + new, "--force-unsafe-io", "--purge", "nano")
    inside(new, "systemctl", "enable", "app.service")
    inside(new, "systemctl", "mask", "cron.service")
    inside(new, "useradd", "--system", "--no-create-home", "--groups", "video", "app")
    with open(new + "/etc/bash.bashrc", "a") as file:
        file.write("# ours\n")
    support.command("setcap", "cap_net_raw+ep", new + "/usr/bin/less")
    os.chmod(new + "/usr/bin/tail", 0o4755)
    os.chown(new + "/usr/bin/tee", 7, 8)
    os.setxattr(new + "/usr/bin/tac", "user.note", b"x")
    support.write(new + "/srv/data", "2")
    for name in HOSTILE:
        support.write(os.path.join(os.fsencode(new), b"srv", name), b"x")
    os.unlink(new + "/srv/link")
    os.symlink("new", new + "/srv/link")
    os.unlink(new + "/srv/kind")
    support.write(new + "/srv/kind", "x")
    os.unlink(new + "/dev/special")
    support.command("mknod", new + "/dev/special", "c", "1", "8")
    os.utime(new + "/srv", (1, 1))
    for path in ("var/log/some.log", "var/cache/some/thing", "tmp/x", "usr/lib/python3/__pycache__/x.pyc"):
        support.write(new + "/" + path, "x")
    support.write(new + "/etc/machine-id", "f" * 32 + "\n")
    yield old, new
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def releases(session_dir, trees, publisher):
    """The same as bundles, and in a store."""
    helper = support.Helper(os.path.join(session_dir, "diff-store"))
    bundles = []
    for version, tree in zip(("1.0", "1.1"), trees):
        bundles.append(os.path.join(session_dir, "diff", "bundle-" + version))
        helper("pack", "--name", "platform", "--version", version, "--component", "rootfs=" + tree, "--sign", publisher.key,
               "--output", bundles[-1])
        helper("import", *publisher.trust, bundles[-1])
    return helper, bundles


@pytest.fixture(scope="module")
def found(session_dir, trees):
    helper = support.Helper(os.path.join(session_dir, "no-store"))
    return helper.json("diff", *trees, code=DIFFERS)


def by(key, rows):
    names = [row[key] if isinstance(row[key], str) else str(row[key]) for row in rows]
    assert len(set(names)) == len(names)
    return dict(zip(names, rows))


def test_every_form_of_the_systems_tells_the_same(trees, releases, found):
    helper, bundles = releases
    sections = [key for key in found if key not in ("left", "right")]
    for left, right, kind in (("platform:1.0", "platform:1.1", "template"), (*bundles, "bundle"), (trees[0], bundles[1], "directory")):
        value = helper.json("diff", "--raw", left, right, code=DIFFERS)
        for key in sections:
            assert value[key] == found[key], (key, left)
        assert (value["left"]["kind"], value["left"]["verified"]) == (kind, kind == "template")
    assert value["right"]["templateVersion"] == "1.1"
    assert value["right"]["digest"] == support.Layout(bundles[1]).tagged("1.1")["digest"]


def test_tars(trees, found, helper, tmp):
    tar = os.path.join(tmp, "new.tar")
    support.command("tar", "-c", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", tar, "-C", trees[1], ".")
    support.command("zstd", "-q", "-1", tar)
    for path in (tar, tar + ".zst"):
        assert helper.json("diff", "--all", trees[1], path)["differs"] is False
    value = helper.json("diff", trees[0], tar + ".zst", code=DIFFERS)
    assert value["right"] == {"what": tar + ".zst", "kind": "tar", "verified": False}
    for key in found:
        assert key in ("left", "right") or value[key] == found[key], key


def test_tars_of_all_formats(helper, tmp):
    """Long names, holes and times of GNU tar and bsdtar, and an attribute that looks like records of pax."""
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    os.link(root + "/etc/hostname", root + "/etc/passwd")
    long = "/srv/" + "/".join(["n" * 200] * 3)
    support.write(root + long, "long")
    os.link(root + long, root + long + "-link")
    os.symlink("t" * 300, root + long + "-symlink")
    filetrees.write_sparse(root + "/var/log/lastlog", 3 << 20, [(1 << 20, b"a" * 5000), (2 << 20, b"b")])
    os.utime(root + "/etc/os-release", ns=(0, -2000000000))
    tar = os.path.join(tmp, "system.tar.gz")
    gnu = ("--numeric-owner", "--sparse")
    # the GNU format has neither fractions of seconds nor attributes
    for argv, times in (
        (("tar", *gnu, "--format=gnu"), ()),
        (("tar", *gnu, "--format=posix", "--xattrs"), ("--times",)),
        (("bsdtar", "--format=pax"), ("--times",)),
    ):
        if times:
            os.setxattr(root + "/usr/bin/tool", "user.lines", b"\n\n12 path=a/b\n\0")
        support.command(*argv, "-c", "-z", "-f", tar, "-C", root, ".")
        assert helper.json("diff", "--all", *times, root, tar)["differs"] is False, argv


def test_hostile_tars(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    tar = os.path.join(tmp, "system.tar.gz")
    support.command("tar", "-c", "-z", "-f", tar, "-C", root, ".")
    # what a name leads out of is refused, and so are what ends early and records without end
    with tarfile.open(tmp + "/out.tar", "w") as file:
        file.addfile(tarfile.TarInfo("etc/../../out"))
    huge = tarfile.TarInfo("huge")
    huge.type, huge.size = tarfile.XHDTYPE, 10 << 30
    support.write(tmp + "/huge.tar", huge.tobuf(tarfile.GNU_FORMAT))
    shutil.copy(tar, tmp + "/short.tar.gz")
    os.truncate(tmp + "/short.tar.gz", os.path.getsize(tar) // 2)
    for name in ("out.tar", "huge.tar", "short.tar.gz"):
        assert helper.error("diff", root, os.path.join(tmp, name), code=UNTRUSTED)["kind"] == "damaged"


def test_packages(found, trees):
    packages = by("package", found["packages"])
    assert {name: row["change"] for name, row in packages.items()} == {
        "app": "added", "nano": "removed", "lib": "upgraded", "tool": "downgraded", "own": "rebuilt"}
    assert (packages["lib"]["old"]["version"], packages["lib"]["new"]["version"]) == ("1.0+b1-1", "1.0.1-1")
    assert (packages["lib"]["old"]["size"], packages["lib"]["new"]["size"]) == (10240, 12288)
    assert packages["nano"]["old"]["version"] == support.installed(trees[0])["nano"]
    assert found["summary"]["packages"] == {"added": 1, "removed": 1, "upgraded": 1, "downgraded": 1, "rebuilt": 1, "state": 0}
    # packages made here declare no size
    assert found["summary"]["installedSizeChange"] is None


def test_accounts(found, trees):
    users, groups = by("name", found["users"]), by("name", found["groups"])
    assert set(users) == {"app"} and users["app"]["change"] == "added"
    fields = by("field", users["app"]["fields"])
    line = next(line for line in open(trees[1] + "/etc/passwd") if line.startswith("app:")).rstrip("\n").split(":")
    assert (fields["uid"]["new"], fields["gid"]["new"], fields["shell"]["new"]) == (line[2], line[3], line[6])
    assert fields["password"]["new"] == "locked"
    assert set(groups) == {"app", "video"}
    assert groups["video"]["fields"] == [{"field": "members", "old": "", "new": "app"}]


def test_units_and_alternatives(found):
    units = by("path", found["units"])
    enabled = units["etc/systemd/system/multi-user.target.wants/app.service"]
    assert (enabled["change"], enabled["kind"], enabled["by"], enabled["vendor"]) == ("added", "enabled", "multi-user.target", False)
    assert units["etc/systemd/system/cron.service"]["kind"] == "masked"
    assert len(units) == 2
    editor = by("name", found["alternatives"])["editor"]
    assert editor["change"] == "removed"
    assert editor["old"] == {"target": "/bin/nano", "mode": "auto"}


def test_configuration_files_are_compared_with_what_packages_brought(found, trees):
    rows = by("path", found["conffiles"])
    assert rows == {"etc/bash.bashrc": {
        "path": "etc/bash.bashrc", "package": "bash", "old": "as-shipped", "new": "changed", "shippedDiffers": False}}
    told = support.command("dpkg", "--root=" + trees[1], "--verify", "bash", check=False).stdout
    assert "/etc/bash.bashrc" in told


def test_files(found):
    files = {row["path"]: row for row in found["files"] if isinstance(row["path"], str)}
    what = {path: files[path]["what"] for path in (
        "usr/bin/less", "usr/bin/tail", "usr/bin/tee", "usr/bin/tac", "srv/data", "srv/link", "srv/kind", "dev/special", "srv/star*?[x]")}
    assert what == {
        "usr/bin/less": ["capabilities"], "usr/bin/tail": ["mode"], "usr/bin/tee": ["owner"], "usr/bin/tac": ["attributes"],
        "srv/data": ["content"], "srv/link": ["target"], "srv/kind": ["type"], "dev/special": ["device"], "srv/star*?[x]": ["added"]}
    assert files["usr/bin/less"]["new"]["capabilities"] == "cap_net_raw=ep"
    assert (files["usr/bin/tail"]["old"]["mode"], files["usr/bin/tail"]["new"]["mode"]) == ("0755", "4755")
    assert (files["dev/special"]["old"]["device"], files["dev/special"]["new"]["device"]) == ("1:7", "1:8")
    assert files["srv/link"]["new"]["target"] == "new"
    # by dpkg's lists, also where a directory is a link to another one
    assert files["usr/bin/tail"]["package"] == "coreutils"
    assert files["usr/lib/systemd/system/app.service"]["package"] == "app"
    assert [path for path in files if path.endswith("bin/nano")] and all(
        row["package"] == "nano" for path, row in files.items() if path.endswith("bin/nano"))
    assert "package" not in files["srv/data"]
    encoded = [row["path"] for row in found["files"] if not isinstance(row["path"], str)]
    assert len(encoded) == 2 and all(set(path) == {"base64"} for path in encoded)
    # a directory has a time, and times are not compared
    assert "srv" not in files


def test_rules_keep_out_what_every_build_writes(releases, trees, found):
    helper, _ = releases
    noise = {"var/log/some.log": "logs", "var/cache/some/thing": "caches", "tmp/x": "temporary",
             "usr/lib/python3/__pycache__/x.pyc": "bytecode", "etc/machine-id": "identity", "var/lib/dpkg/status": "package-database"}

    def paths(*words):
        value = helper.json("diff", "--only", "files", *words, *trees, code=DIFFERS)
        return {str(row["path"]) for row in value["files"]}, {row["rule"]: row["files"] for row in value["ignored"]}

    reported, ignored = paths()
    assert not reported & set(noise) and set(noise.values()) <= set(ignored)
    assert ignored == {row["rule"]: row["files"] for row in found["ignored"]}
    everything, none = paths("--all")
    assert set(noise) <= everything and none == {} and len(everything) == len(reported) + sum(ignored.values())
    some, rest = paths("--no-ignore", "logs,caches")
    assert {"var/log/some.log", "var/cache/some/thing"} <= some and not {"logs", "caches"} & set(rest) and "identity" in rest
    few, own = paths("--ignore", "/srv/**", "--ignore", "usr/**")
    assert not [path for path in few if path.startswith(("srv/", "usr/"))] and own["ignore"] > 10
    assert "srv" in paths("--times")[0]


def test_only_what_is_asked_for(releases):
    helper, bundles = releases
    for only, expected in (("packages", {"packages"}), ("users,units", {"users", "groups", "units"}), ("alternatives", {"alternatives"}),
                           ("conffiles", {"conffiles"}), ("files", {"files"})):
        for sides in (bundles, ("platform:1.0", "platform:1.1")):
            value = helper.json("diff", "--only", only, *sides, code=DIFFERS)
            assert {"packages", "users", "groups", "units", "alternatives", "conffiles", "files"} & set(value) == expected
            assert value["compared"] == only.split(",")
    # what is not compared cannot differ
    assert helper.json("diff", "--only", "packages", "--only", "units", bundles[0], bundles[0])["differs"] is False


def test_the_text_is_for_people(releases, trees):
    helper, bundles = releases
    text = helper("diff", "platform:1.0", "platform:1.1", code=DIFFERS).stdout
    for words in ("packages: 1 added, 1 removed, 1 upgraded, 1 downgraded, 1 rebuilt", "1.0+b1-1 -> 1.0.1-1", "+2.0 kB", "added user",
                  "enabled", "app.service", "by multi-user.target", "masked", "cron.service", "/etc/bash.bashrc", "as shipped -> changed",
                  "/usr/bin/tail", "mode 0755 -> 4755", "capabilities none -> cap_net_raw=ep", "target old -> new", "not reported by rule"):
        assert words in text, words
    # each name stays on its line, and moves nothing
    assert "/srv/new\\nline" in text and "/srv/control-\\u{1}\\u{1b}" in text and "/srv/bytes-\\xff\\xfe\\x80" in text
    assert not set(text) - {"\n"} & {chr(code) for code in [*range(32), 0x202E]}
    # files of packages that came or went are counted unless they are asked for
    assert "/usr/lib/systemd/system/app.service" not in text and "--long" in text
    long = helper("diff", "--long", "platform:1.0", "platform:1.1", code=DIFFERS).stdout
    assert "/usr/lib/systemd/system/app.service" in long
    result = helper("diff", *bundles, code=DIFFERS)
    assert result.stderr.count("without verifying") == 2 and "NOT VERIFIED" in result.stdout


def test_packages_of_stored_templates_need_no_root(releases, trees, reachable_helper, tmp):
    helper, _ = releases
    argv = [reachable_helper, "--store", helper.store, "diff"]
    result = support.as_nobody(*argv, "--only", "packages", "platform:1.0", "platform:1.1", tmp=tmp)
    assert result.returncode == DIFFERS and "1.0+b1-1 -> 1.0.1-1" in result.stdout, result.stderr
    result = support.as_nobody(*argv, "platform:1.0", "platform:1.1", tmp=tmp)
    assert result.returncode == support.PRIVILEGE and "sudo" in result.stderr
    result = support.as_nobody(*argv, *trees, tmp=tmp)
    assert result.returncode == support.PRIVILEGE and "sudo" in result.stderr


def test_equal_systems(releases, trees):
    helper, bundles = releases
    for left, right in ((trees[0], bundles[0]), ("platform:1.0", bundles[0]), (bundles[1], bundles[1])):
        words = ["diff", "--all", "--times", *(["--raw"] if left == trees[0] else []), left, right]
        assert helper.json(*words)["differs"] is False
        assert "no differences" in helper(*words).stdout
    # what makes a finished system out of a template differs from the tree, too
    assert helper.json("diff", "--all", trees[1], "platform:1.1", code=DIFFERS)["files"]


def test_self_built_packages_differ_by_their_digest(helper, tmp, publisher):
    tree = support.make_tiny_root(os.path.join(tmp, "root"))
    for version, digest in (("1", "d"), ("2", "e")):
        anchors = support.write(os.path.join(tmp, "anchors.json"), """{
            "version": 0, "distro": "debian", "codename": "bookworm", "architecture": "%s", "machine": "qemuamd64", "layers": [],
            "settings": {}, "tasks": {}, "selfBuilt": [{"package": "base-files", "version": "12.4", "architecture": "%s",
            "sha256": "%s", "recipe": "base", "taskHash": "%s"}]}""" % (
            support.architecture(), support.architecture(), digest * 64, "c" * 64))
        helper("pack", "--name", "t", "--version", version, "--component", "rootfs=" + tree, "--anchors", anchors, "--output", tmp + "/" + version)
    value = helper.json("diff", tmp + "/1", tmp + "/2", code=DIFFERS)
    assert [(row["package"], row["change"], row["new"]["recipe"]) for row in value["packages"]] == [("base-files", "rebuilt", "base")]
    assert not value["files"]


def test_wrong_inputs(releases, trees, tmp):
    helper, bundles = releases
    for words, told in (
            (["no-such", "platform:1.0"], "no-such"), (["platform:1.0", "/no/such/place"], "/no/such/place"),
            (["--component", "sbom", *bundles], "sbom"), (["--no-ignore", "log", *trees], "'log'"),
            (["--html", tmp + "/no/such/page.html", *trees], "no/such"), (["--html", tmp, *trees], tmp)):
        assert told in helper.error("diff", *words, code=USAGE)["message"], words
    for words in (["--only", "everything", *trees], ["--all", "--no-ignore", "logs", *trees], ["--all", "--ignore", "x", *trees], [trees[0]]):
        helper("diff", *words, code=USAGE)
    assert os.listdir(tmp) == []
    # a name means the template, and a path what is there
    os.mkdir(tmp + "/platform:1.0")
    result = helper("diff", "platform:1.0", "platform:1.0", cwd=tmp)
    assert "./platform:1.0" in result.stderr
    os.rmdir(tmp + "/platform:1.0")
    no_bundle = support.write(tmp + "/file", "x" * 2000)
    assert helper.error("diff", no_bundle, bundles[0], code=UNTRUSTED)["kind"] == "damaged"


def test_the_manual_has_all_rules(helper, trees):
    hint = helper.error("diff", "--no-ignore", "x", *trees, code=USAGE)["hint"]
    with open(os.path.join(support.TOP, "docs/manual.md"), encoding="utf-8") as file:
        section = file.read().split("### What is not reported")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == hint.split("the rules are ")[1].split(", ")


def test_a_damaged_bundle_is_found_where_it_is_read(releases, tmp):
    helper, bundles = releases
    copy = tmp + "/copy"
    shutil.copytree(bundles[1], copy)
    layout = support.Layout(copy)
    blob = layout.blob_path(layout.document(layout.tagged("1.1-rootfs")["digest"])["layers"][0]["digest"])
    with open(blob, "r+b") as file:
        size = os.path.getsize(blob)
        file.write(b"\0" * size)
    assert helper.error("diff", bundles[0], copy, code=UNTRUSTED)["kind"] == "damaged"
    # what is not read is not looked at
    helper("diff", "--only", "units", bundles[0], copy, code=DIFFERS)
