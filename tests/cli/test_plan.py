# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a plan tells, and what policy refuses: real packages on a real Debian template."""

import hashlib
import json
import os
import shutil

import pytest

import schemas
import support
from support import REFUSED, USAGE


def plan(helper, *words, code=0):
    """The plan for some words, whether it is refused or not."""
    return helper.json("plan", "server", "--update", "local", *words, code=code)["plan"]


def refusal(helper, *words):
    """What is refused of a plan: the refusal of each package."""
    return {entry["package"]: entry for entry in plan(helper, *words, code=REFUSED)["refusals"]}


def actions(value):
    return {action["package"]: action for action in value["actions"]}


def repack(server, tmp, name, version, change=None):
    """The installed package once more, with another version and another content of some files."""
    tree = os.path.join(tmp, "repack")
    info = os.path.join(server.tree, "var/lib/dpkg/info")
    with open(os.path.join(info, name + ".list")) as file:
        paths = [line.rstrip("\n")[1:] for line in file]
    for path in paths:
        source, target = os.path.join(server.tree, path), os.path.join(tree, path)
        if os.path.isdir(source) and not os.path.islink(source):
            os.makedirs(target, exist_ok=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    for path, content in (change or {}).items():
        support.write(os.path.join(tree, path), content)
    os.makedirs(tree + "/DEBIAN")
    fields = support.command("dpkg-query", "--admindir=%s/var/lib/dpkg" % server.tree, "--status", name).stdout
    control, skip = [], False
    for line in fields.splitlines():
        if not line.startswith(" "):
            skip = line.startswith(("Status:", "Conffiles:"))
            line = "Version: " + version if line.startswith("Version:") else line
        if not skip:
            control.append(line)
    support.write(tree + "/DEBIAN/control", "\n".join(control) + "\n")
    for script in ("postinst", "conffiles"):
        if os.path.exists("%s/%s.%s" % (info, name, script)):
            shutil.copy("%s/%s.%s" % (info, name, script), tree + "/DEBIAN/" + script)
    if change:
        support.write(tree + "/DEBIAN/conffiles", "".join("/%s\n" % path for path in change))
    deb = os.path.join(tmp, "%s_%s.deb" % (name, version))
    support.command("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb)
    shutil.rmtree(tree)
    return deb


@pytest.fixture
def root(server, tmp):
    path = os.path.join(tmp, "root")
    server("checkout", "--raw", "server", path)
    return path


# -- what a plan tells --------------------------------------------------------------------------------------


def test_a_plan_tells_what_happens_to_whom_and_why(server, tmp):
    architecture = support.architecture()
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "app", Depends="app-common (>= 2), plugin", Installed_Size="10"),
        support.make_deb(tmp, "app-common", "2.1"),
        support.make_deb(tmp, "some-plugin", Provides="plugin")])
    deb = support.make_deb(tmp, "local-deb", arch=architecture, Recommends="app-common")
    words = ["--repo", repository, "--add", "app", "--add", deb, "--add", "openssl", "--add", "mail-transport-agent", "--remove", "nano"]
    value = plan(server, *words)
    found = actions(value)
    assert {name: (action["operation"], action["askedBy"]) for name, action in found.items()} == {
        "app": ("install", "request"), "local-deb": ("install", "request"), "nano": ("remove", "request"),
        "app-common": ("install", "dependency"), "some-plugin": ("install", "dependency")}
    assert found["app-common"]["dueTo"] == ["app", "local-deb"] and found["some-plugin"]["dueTo"] == ["app"]
    assert found["app"]["origin"] == {"kind": "folder", "path": repository} and found["app"]["selfBuilt"]
    assert found["app"]["size"] > 0 and found["app"]["installedSize"] == 10240
    assert found["local-deb"]["origin"] == {"kind": "file", "path": deb} and "selfBuilt" not in found["local-deb"]
    # what is there already stays, also under a name that only something else provides
    packages = support.installed(server.tree)
    assert value["keep"] == [
        {"package": "openssl", "version": packages["openssl"]},
        {"package": "mail-transport-agent", "version": packages["exim4-daemon-light"], "providedBy": "exim4-daemon-light"}]
    assert value["kept"] == len(packages) - 1
    # for people, too
    table = server("plan", "server", "--update", "local", *words).stdout
    assert "  keep     openssl" in table and "%d stay as they are" % value["kept"] in table
    assert plan(server, *words)["digest"] == value["digest"]


def test_packages_of_debian_tell_their_repository(server):
    """Among them one that replaces files of an essential package, in a version that has long been gone."""
    value = plan(server, "--add", "cron")
    found = actions(value)
    assert found["cron"]["origin"]["kind"] == "repository" and found["cron"]["origin"]["label"].startswith("Debian")
    assert found["cron"]["sha256"] and value["downloadSize"] >= found["cron"]["size"]
    assert found["cron-daemon-common"]["dueTo"] == ["cron"]
    if "sensible-utils" not in support.installed(server.tree):
        assert "cron" in found["sensible-utils"]["dueTo"]
    assert value["refusals"] == []


def test_a_virtual_package(server, tmp):
    error = server.json("plan", "server", "--update", "local", "--add", "httpd", code=REFUSED)["error"]
    assert error["kind"] == "not-solvable" and "nginx" in error["hint"] and "apache2" in error["hint"]
    # where there is one that provides it there is nothing to choose
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "the-one", Provides="one-of-a-kind")])
    found = actions(plan(server, "--repo", repository, "--add", "one-of-a-kind"))
    assert found["the-one"]["askedBy"] == "request"


# -- policy -------------------------------------------------------------------------------------------------


def test_what_every_template_is_made_of_stays(server, tmp):
    refused = refusal(server, "--remove", "base-files")
    assert "essential" in refused["base-files"]["reason"] and "template" in refused["base-files"]["wayOut"]
    # no more by way of the files, in the version that is installed
    packages = support.installed(server.tree)
    takes = support.make_deb(tmp, "takes-over", Replaces="coreutils (<= %s)" % packages["coreutils"])
    assert "'coreutils'" in refusal(server, "--add", takes)["takes-over"]["reason"]
    once = support.make_deb(tmp, "once-part-of-it", Replaces="coreutils (<< 8)", Breaks="coreutils (<< 8)")
    assert plan(server, "--add", once)["refusals"] == []


def test_removing_what_others_need(server):
    error = server.json("plan", "server", "--update", "local", "--remove", "libc6", code=REFUSED)["error"]
    assert error["kind"] == "policy-refused" and "'libc6': cannot be removed: " in error["message"]
    assert error["hint"] == "make a new version of the template" and len(error["message"]) < 300
    # nothing that cannot go needs this one, but others do
    error = server.json("plan", "server", "--update", "local", "--remove", "exim4-config", code=REFUSED)["error"]
    assert "--remove exim4-base" in error["hint"] and "--remove exim4-daemon-light" in error["hint"]


def test_upgrade_of_openssl_keeps_what_the_platform_has_configured(server, tmp):
    newer = repack(server, tmp, "openssl", "99.0", {"etc/ssl/openssl.cnf": "from the newer package\n"})
    refused = refusal(server, "--add", newer)["openssl"]
    assert "upgraded" in refused["reason"] and "--allow-upgrade openssl" in refused["wayOut"]
    value = plan(server, "--add", newer, "--allow-upgrade", "openssl")
    assert actions(value)["openssl"]["operation"] == "upgrade"
    assert any("/etc/ssl/openssl.cnf" in note and "kept" in note for note in value["notes"])
    out = os.path.join(tmp, "out")
    server("install", "server", "--update", "local", "--add", newer, "--allow-upgrade", "openssl", "--output", out)
    assert support.installed(out)["openssl"] == "99.0"
    assert open(out + "/etc/ssl/openssl.cnf").read().endswith("# the platform's own\n")
    older = repack(server, tmp, "openssl", "3.0.0")
    assert "downgraded" in refusal(server, "--add", older)["openssl"]["reason"]
    assert actions(plan(server, "--add", older, "--allow-upgrade", "openssl"))["openssl"]["operation"] == "downgrade"


def test_a_package_of_another_suite(server, tmp):
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "from-elsewhere")])
    content = open(repository + "/Packages", "rb").read()
    os.unlink(repository + "/Packages")
    index = "main/binary-%s/Packages" % support.architecture()

    def release(origin, codename):
        support.write("%s/dists/%s/%s" % (repository, codename, index), content)
        support.write("%s/dists/%s/Release" % (repository, codename), (
            "Origin: %s\nLabel: %s\nSuite: %s\nCodename: %s\nComponents: main\nArchitectures: %s\nSHA256:\n %s %d %s\n" % (
                origin, origin, codename, codename, support.architecture(), hashlib.sha256(content).hexdigest(), len(content), index)))

    release("Debian", "hamm")
    words = ["--repo", repository, "--add", "from-elsewhere"]
    refused = refusal(server, *words)["from-elsewhere"]
    assert "'hamm'" in refused["reason"] and "--allow-suite hamm" in refused["wayOut"]
    assert plan(server, *words, "--allow-suite", "hamm")["refusals"] == []
    # what is not Debian's has suites of its own
    shutil.rmtree(repository + "/dists")
    release("Somebody", "hamm")
    assert plan(server, *words)["refusals"] == []


def test_a_package_of_another_architecture(server, tmp):
    foreign = "armhf" if support.architecture() != "armhf" else "arm64"
    error = server.json("plan", "server", "--update", "none", "--add", support.make_deb(tmp, "foreign", arch=foreign), code=REFUSED)["error"]
    assert foreign in error["message"]


def test_conflicts_and_replacements(server, tmp):
    """Another mail server and another time service: refused as long as nobody says that the old ones may go."""
    error = server.json("plan", "server", "--update", "local", "--add", "nullmailer", "--add", "msmtp-mta", code=REFUSED)["error"]
    assert error["kind"] == "not-solvable" and "nullmailer" in error["message"]
    value = plan(server, "--add", "nullmailer", code=REFUSED)
    assert actions(value)["exim4-daemon-light"]["replacedBy"] == ["nullmailer"]
    refused = {entry["package"]: entry for entry in value["refusals"]}["exim4-daemon-light"]
    assert "'nullmailer' would replace it" in refused["reason"] and "--remove exim4-daemon-light" in refused["wayOut"]
    words = ["--add", "nullmailer", "--add", "chrony", "--remove", "systemd-timesyncd"]
    for package in ("exim4-daemon-light", "exim4-base", "exim4-config"):
        words += ["--remove", package]
    assert "replace  systemd-timesyncd" in server("plan", "server", "--update", "local", *words).stdout
    out = os.path.join(tmp, "out")
    value = server.json("install", "server", *words, "--output", out)
    assert actions(value["plan"])["systemd-timesyncd"]["replacedBy"] == ["chrony"]
    packages = support.installed(out)
    assert {"nullmailer", "chrony"} <= set(packages) and not {"exim4-daemon-light", "systemd-timesyncd"} & set(packages)
    assert os.path.exists(out + "/usr/sbin/sendmail") and support.audit(out) == ""


def test_held_diverted_and_unauthenticated(server, tmp, root):
    """What the tree says of packages, files and repositories."""
    support.command("chroot", root, "apt-mark", "hold", "openssl")
    newer = repack(server, tmp, "openssl", "99.0")
    refused = refusal(server, "--root", root, "--add", newer)["openssl"]
    assert "held" in refused["reason"] and "--allow-upgrade openssl" in refused["wayOut"]
    support.command("chroot", root, "apt-mark", "auto", "openssl")
    packages = support.installed(root)
    assert "openssl" not in actions(plan(server, "--root", root, "--remove", "nano", "--auto-remove"))

    # one file is diverted by the template, another by the package
    support.command("chroot", root, "dpkg-divert", "--local", "--rename", "--divert", "/usr/bin/own-tool.orig", "--add", "/usr/bin/own-tool")
    support.write(root + "/usr/bin/own-tool", "the platform's\n")
    deb = support.make_deb(tmp, "diverter", files={"usr/bin/own-tool": "the package's\n", "etc/nanorc": "the package's\n"}, scripts={
        "preinst": "dpkg-divert --package diverter --rename --divert /etc/nanorc.orig --add /etc/nanorc\n",
        "postrm": 'if [ "$1" = remove ]; then dpkg-divert --package diverter --rename --remove /etc/nanorc; fi\n'})
    nanorc = open(root + "/etc/nanorc").read()
    users = [support.make_deb(tmp, "user-%d" % number, Depends="used") for number in range(20)]
    words = [word for path in [deb, support.make_deb(tmp, "used"), *users] for word in ("--add", path)]
    noted = [note for note in plan(server, "--root", root, *words)["notes"] if "diver" in note]
    assert noted == ["files of 'diverter' are diverted in the template: '/usr/bin/own-tool' to '/usr/bin/own-tool.orig'"]
    server("install", "server", "--update", "none", "--root", root, *words)
    assert open(root + "/usr/bin/own-tool").read() == "the platform's\n"
    assert open(root + "/usr/bin/own-tool.orig").read() == "the package's\n"
    assert open(root + "/etc/nanorc").read() == "the package's\n" and open(root + "/etc/nanorc.orig").read() == nanorc
    # who brings a file that another package diverts, or diverts it and goes, is told that
    other = support.make_deb(tmp, "other-config", files={"etc/nanorc": "another\n"})
    noted = plan(server, "--root", root, "--remove", "nano", "--add", other)["notes"]
    assert "files of 'other-config' are diverted by 'diverter': '/etc/nanorc' to '/etc/nanorc.orig'" in noted
    noted = [note for note in plan(server, "--root", root, "--remove", "diverter", "--remove", "nano", "--add", other)["notes"] if "divert" in note]
    assert len(noted) == 1 and noted[0].startswith("'diverter' goes and diverts '/etc/nanorc' to '/etc/nanorc.orig': ")
    # each is named, and the way out is said once
    refused = refusal(server, "--root", root, "--remove", "used")
    assert len(refused) == 20 and len({entry["wayOut"] for entry in refused.values()}) == 1
    words = [word for package in ["diverter", "used", *refused] for word in ("--remove", package)]
    server("install", "server", "--update", "none", "--root", root, *words)
    assert open(root + "/etc/nanorc").read() == nanorc and not os.path.exists(root + "/usr/bin/own-tool.orig")
    assert support.installed(root) == packages

    support.make_repository(root + "/srv/repo", [support.make_deb(tmp, "unsigned-package")])
    support.write(root + "/etc/apt/sources.list.d/x.list", "deb file:///srv/repo ./\n")
    error = server.json("plan", "server", "--update", "local", "--root", root, "--add", "unsigned-package", code=REFUSED)["error"]
    assert error["kind"] == "repository-unsigned" and "/srv/repo" in error["message"] and "key" in error["hint"]


# -- plans in files -----------------------------------------------------------------------------------------


@pytest.fixture
def saved(server, tmp):
    """A saved plan, and what it was made of."""
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "app", Depends="app-common"), support.make_deb(tmp, "app-common")])
    deb = support.make_deb(tmp, "local-deb")
    path = os.path.join(tmp, "plan.json")
    value = server.json("plan", "server", "--update", "none", "--repo", repository, "--add", "app", "--add", deb,
                        "--remove", "nano", "--save", path)["plan"]
    with open(path) as file:
        plan = json.load(file)
    schemas.check("plan-v1", plan)
    assert plan == value and plan["template"]["name"] == "server" and deb in plan["request"]["add"]
    return path


def test_a_saved_plan_is_done_as_it_is(server, tmp, saved):
    out = os.path.join(tmp, "out")
    value = server.json("install", "server", "--plan", saved, "--output", out)
    packages = support.installed(out)
    assert {"app", "app-common", "local-deb"} <= set(packages) and "nano" not in packages
    with open(saved) as file:
        assert value["plan"]["digest"] == value["report"]["planDigest"] == json.load(file)["digest"]
    # it is the request
    for words in (["--add", "less"], ["--remove", "nano"], ["--auto-remove"], ["--update", "all"]):
        assert "--plan" in server.error("install", "server", "--plan", saved, *words, "--output", out + "2", code=USAGE)["message"]


def test_a_saved_plan_that_does_not_fit_any_more(server, tmp, saved):
    def refused(kind="plan-changed", code=REFUSED):
        out = os.path.join(tmp, "out")
        error = server.json("install", "server", "--plan", saved, "--output", out, code=code)["error"]
        assert error["kind"] == kind and not os.path.exists(out)
        return error["message"]

    support.make_deb(tmp, "local-deb", files={"usr/share/local-deb/file": "another content"})
    assert "'install local-deb 1.0' has another content now" in refused()
    # not even a package any more
    deb = support.make_deb(tmp, "local-deb")
    with open(deb, "ab") as file:
        file.write(b"more")
    assert "'install local-deb 1.0' has another content now" in refused()
    support.make_deb(tmp, "local-deb")
    support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "app", "1.1", Depends="needs-this-now"), support.make_deb(tmp, "needs-this-now")])
    message = refused()
    for text in ("'install app 1.0' was planned, now it would be 'install app 1.1'", "'install app-common 1.0' is not what would happen now",
                 "'install needs-this-now 1.0' would happen now, too"):
        assert text in message
    with open(saved) as file:
        plan = json.load(file)
    plan["actions"].pop()
    support.write(saved, json.dumps(plan))
    assert "another digest" in refused()
    plan["template"]["digest"] = "sha256:" + "0" * 64
    support.write(saved, json.dumps({**plan, "digest": "sha256:" + "0" * 64}))
    assert "another digest" in refused()
    support.write(saved, "no plan")
    assert "reading plan" in refused("usage", USAGE)


def test_a_saved_plan_whose_files_are_gone(server, tmp, saved):
    def refused(what):
        out = os.path.join(tmp, "out")
        error = server.json("install", "server", "--plan", saved, "--output", out, code=REFUSED)["error"]
        assert error["kind"] == "plan-changed" and error["hint"] == "make a new plan" and not os.path.exists(out)
        for text in (saved, what):
            assert text in error["message"]

    with open(saved) as file:
        deb, = (add for add in json.load(file)["request"]["add"] if add.endswith(".deb"))
    os.rename(deb, deb + ".away")
    refused("package file '%s' is gone" % deb)
    support.write(deb, "no package")
    refused(deb)
    os.rename(deb + ".away", deb)
    os.rename(tmp + "/repo", tmp + "/elsewhere")
    refused("repository folder '%s/repo' is gone" % tmp)
    os.mkdir(tmp + "/repo")
    refused(tmp + "/repo")
    os.rmdir(tmp + "/repo")
    os.rename(tmp + "/elsewhere", tmp + "/repo")
    server("install", "server", "--plan", saved, "--output", os.path.join(tmp, "out"))


def test_a_saved_plan_for_another_template(server, tmp, saved):
    with open(saved) as file:
        plan = json.load(file)
    plan["template"]["digest"] = "sha256:" + "0" * 64
    support.write(saved, json.dumps(plan))
    error = server.json("install", "server", "--plan", saved, "--output", os.path.join(tmp, "out"), code=REFUSED)["error"]
    assert error["kind"] == "plan-changed" and "0" * 64 in error["message"] and plan["template"]["name"] in error["message"]
