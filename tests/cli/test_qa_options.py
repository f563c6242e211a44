# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""qa: upgrades, dependencies, templates that have the package already, allow-lists, JUnit XML, wrong input."""

import hashlib
import json
import os
import shutil
import xml.etree.ElementTree

import pytest

import faulty_packages
import support
from support import DIFFERS, DONE, REFUSED, USAGE


def check(helper, *words, code=DONE):
    value = helper.json("qa", *words, code=code)["qa"]
    return {report["package"]: report for report in value["packages"]}, value


def found(report):
    return {(finding["step"], finding["kind"], finding.get("path")) for finding in report["findings"]}


def step(report, name):
    return next(step for step in report["steps"] if step["step"] == name)


# -- upgrades and dependencies --------------------------------------------------------------------------------


def test_upgrade_between_two_files(shared, tmp):
    old = faulty_packages.build_one(tmp, "app", {"postinst": "echo x > /etc/app.state\n"}, {}, "1.9")
    new = faulty_packages.build_one(tmp, "app", {"preinst": 'if [ "$1" = upgrade ]; then echo "from $2"; exit 1; fi\n'}, {}, "1.10")
    reports, _ = check(shared, "platform", new, old, code=DIFFERS)
    assert reports["app"]["version"] == "1.10"
    assert step(reports["app"], "upgrade")["outcome"] == "failed"
    assert ("upgrade", "script-failed", None) in found(reports["app"])
    # what the older version has left is this one's to take away
    new = faulty_packages.build_one(tmp, "app", {}, {}, "1.11")
    reports, _ = check(shared, "platform", new, old, code=DIFFERS)
    assert found(reports["app"]) == {("upgrade", "file-left", "/etc/app.state")}


def test_dependencies_come_from_folders_and_from_packages_beside(shared, tmp):
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "library", "2.0")])
    beside = support.make_deb(tmp, "beside", Depends="library (>= 2)")
    app = support.make_deb(tmp, "app", Depends="beside, library", Recommends="no-such-package")
    reports, _ = check(shared, "--repo", repository, "platform", app, beside)
    assert [report["findings"] for report in reports.values()] == [[], []]
    reports, _ = check(shared, "--update", "local", "platform", app, beside, code=DIFFERS)
    assert found(reports["app"]) == {("install", "not-installable", None)}


def test_what_a_dependency_does_is_not_the_packages_fault(shared, tmp):
    library = support.make_deb(tmp, "library", scripts={"postinst": "echo x > /etc/library.state\nuseradd --system lib-user\n"})
    repository = support.make_repository(tmp + "/repo", [library])
    reports, _ = check(shared, "--repo", repository, "platform", support.make_deb(tmp, "app", Depends="library"))
    assert reports["app"]["findings"] == []
    broken = support.make_repository(tmp + "/broken", [support.make_deb(tmp, "library", "3.0", scripts={"postinst": "exit 1\n"})])
    reports, _ = check(shared, "--repo", broken, "platform", support.make_deb(tmp, "app", Depends="library"), code=DIFFERS)
    assert found(reports["app"]) == {("install", "not-installable", None)}
    assert "library" in reports["app"]["findings"][0]["detail"]


def results(helper):
    folder = helper.store + "/results"
    return {os.path.join(folder, name) for name in (os.listdir(folder) if os.path.isdir(folder) else [])}


@pytest.fixture
def needy(shared, tmp):
    """What checks a package that looks for a mark in what it needs, which is in the store already; and where."""
    library = support.make_deb(tmp, "library", files={"usr/lib/library": "x"}, scripts={"postinst": "useradd --system lib-user\n"})
    app = support.make_deb(tmp, "app", Depends="library", scripts={"preinst": "if [ -e /mark ]; then echo marked; exit 1; fi\n"})
    words = ["--repo", support.make_repository(tmp + "/repo", [library]), "platform", app]
    before = results(shared)
    reports, _ = check(shared, *words)
    assert reports["app"]["findings"] == []
    (kept,) = results(shared) - before
    yield words, kept
    if os.path.isdir(kept):
        shutil.rmtree(kept)


def test_what_is_needed_is_kept_for_the_next_run(shared, needy):
    words, kept = needy
    # neither said nor seen by a user, but for the time that it takes
    support.write(kept + "/upper/mark", "")
    reports, _ = check(shared, *words, code=DIFFERS)
    assert ("install", "script-failed", None) in found(reports["app"])
    # fsck finds that it was changed
    assert [finding["path"] for finding in shared.json("fsck", code=support.UNTRUSTED)["findings"]] == [kept]
    reports, _ = check(shared, "--no-reuse", *words)
    assert reports["app"]["findings"] == []
    shared("fsck", "--repair")
    assert not os.path.exists(kept)
    reports, _ = check(shared, *words)
    assert reports["app"]["findings"] == [] and os.path.isdir(kept)


def test_what_is_needed_is_made_again_when_its_packages_are_others(shared, needy):
    words, kept = needy
    status = kept + "/upper/var/lib/dpkg/status"
    with open(status) as file:
        text = file.read()
    support.write(status, text.replace("Package: library\n", "Package: other\n"))
    result = shared("qa", *words)
    assert "is not what its record says" in result.stderr
    assert shared.json("fsck")["findings"] == []


def test_what_scripts_can_see_is_not_kept(shared, tmp):
    app = support.make_deb(tmp, "app", Depends="library")
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "library")])
    before = results(shared)
    check(shared, "--repo", repository, "--bind", tmp + ":/seen:ro", "platform", app)
    assert results(shared) == before


def test_what_a_package_may_change_of_the_template(shared, tmp):
    newer = support.make_deb(tmp, "nano", "99", arch=support.architecture())
    repository = support.make_repository(tmp + "/repo", [newer])
    words = ["--repo", repository, "--update", "local", "platform", support.make_deb(tmp, "app", Depends="nano (>= 99)")]
    reports, _ = check(shared, *words, code=DIFFERS)
    assert found(reports["app"]) == {("install", "not-installable", None)}
    assert "nano" in reports["app"]["findings"][0]["detail"]
    reports, _ = check(shared, "--allow-upgrade", "nano", "--allow-suite", "hamm", *words)
    assert reports["app"]["findings"] == []
    assert "'-x'" in shared.error("qa", "--allow-upgrade=-x", *words, code=USAGE)["message"]


# -- templates that have the package --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_app(shared, session_dir, publisher):
    """A template that 'app' 1.0 belongs to, as built by its build, with its isar-apt."""
    folder = os.path.join(session_dir, "with-app")
    # names that are somebody else's, or nobody's, are not what it has left
    postinst = ("id app-user > /dev/null 2>&1 || useradd --system app-user\nmkdir -p /var/lib/app\n"
                "if [ -e /etc/fstab ] && getent group systemd-journal; then true; fi\n")
    app = faulty_packages.build_one(folder, "app", {"postinst": "if [ -z \"$2\" ]; then\n%sfi\n" % postinst}, {})
    user = support.make_deb(folder, "app-user-tool", Depends="app")
    other = "arm64" if support.architecture() == "amd64" else "amd64"
    foreign = support.make_deb(folder, "foreign-tool", arch=other)
    root, apt = folder + "/root", folder + "/isar-apt"
    shared("install", "platform", "--add", app, "--add", user, "--output", root)
    support.command("dpkg", "--root=" + root, "--add-architecture", other)
    support.command("dpkg", "--root=" + root, "--install", foreign)
    for deb in (app, user, foreign):
        os.makedirs(apt + "/pool/main", exist_ok=True)
        shutil.copy(deb, apt + "/pool/main")
    built = [{"package": name, "version": "1.0", "architecture": architecture, "recipe": name + "_1.0.bb", "taskHash": "0" * 64,
              "sha256": hashlib.sha256(open(deb, "rb").read()).hexdigest()} for name, architecture, deb in (
                  ("app", "all", app), ("app-user-tool", "all", user), ("foreign-tool", other, foreign))]
    anchors = support.write(folder + "/anchors.json", json.dumps({"version": 0, "selfBuilt": built}))
    helper = support.Helper(folder + "/store")
    helper("pack", "--name", "product", "--version", "1", "--component", "rootfs=" + root, "--component", "isar-apt=" + apt,
           "--anchors", anchors, "--sign", publisher.key, "--output", folder + "/bundle")
    helper("import", *publisher.trust, folder + "/bundle")
    shutil.rmtree(root)
    return helper, folder


def test_no_files_means_what_the_build_made(with_app):
    helper, _ = with_app
    # those for another architecture are left out
    reports, document = check(helper, "product", code=DIFFERS)
    assert sorted(reports) == ["app", "app-user-tool"]
    # it was there before, and what it has left then was there as well
    findings = [finding for finding in reports["app"]["findings"] if finding["severity"] != "info"]
    assert found({"findings": findings}) == {
        ("purge", "user-left", None), ("purge", "group-left", None), ("purge", "file-left", "/var/lib/app")}
    assert reports["app-user-tool"]["findings"] == []
    assert document["template"]["name"] == "product"


def test_upgrade_from_the_version_of_the_template(with_app, tmp):
    helper, _ = with_app
    new = faulty_packages.build_one(tmp, "app", {"postinst": 'if [ "$2" = 1.0 ]; then echo x > /etc/app.migrated; fi\n'}, {}, "2.0")
    reports, _ = check(helper, "product", new, code=DIFFERS)
    assert step(reports["app"], "upgrade")["outcome"] == "ok"
    assert ("upgrade", "file-left", "/etc/app.migrated") in found(reports["app"])


def test_essential_packages_are_told_and_left_alone(shared, tmp):
    deb = support.make_deb(tmp, "bash", "99", arch=support.architecture())
    reports, _ = check(shared, "platform", deb)
    assert [finding["severity"] for finding in reports["bash"]["findings"]] == ["info"]
    assert {step["outcome"] for step in reports["bash"]["steps"]} == {"skipped"}


# -- what is allowed, and what fails --------------------------------------------------------------------------


def test_allow_list(shared, tmp):
    corpus = faulty_packages.build(tmp + "/corpus")
    debs = [corpus[name][0] for name in ("leaves-file", "leaves-user", "clean-plain")]
    allow = support.write(tmp + "/allow", "# of a test\n*-file file-left /var/lib/*/** # not this one\n"
                          "leaves-file file-left /var/lib/leaves-file # state of the customer\n"
                          "leaves-user user-left # files may remain\nleaves-user group-left # files may remain\n"
                          "other-package user-left # not checked here\n")
    reports, document = check(shared, "--allow", allow, "--fail-on", "warning", "platform", *debs)
    assert document["summary"]["errors"] == document["summary"]["warnings"] == 0
    assert document["summary"]["allowed"] == 3
    assert reports["leaves-file"]["findings"][0]["allowed"] == "state of the customer"
    assert document["unusedAllowances"] == ["line 2: *-file file-left /var/lib/*/**"]
    assert "line 2" in shared("qa", "--allow", allow, "platform", *debs).stderr


def test_fail_on(shared, tmp):
    deb = faulty_packages.build(tmp + "/corpus")["leaves-user"][0]
    assert check(shared, "platform", deb)[1]["summary"]["warnings"] == 2
    check(shared, "--fail-on", "warning", "platform", deb, code=DIFFERS)


@pytest.mark.parametrize("text,said", [
    ("app user-left\n", "no reason"), ("app\n", "not an entry"), ("app user-lost # x\n", "user-lost"),
    ("\n\napp file-left relative # x\n", "line 3")])
def test_wrong_allow_lists(shared, tmp, text, said):
    error = shared.error("qa", "--allow", support.write(tmp + "/allow", text), "platform", support.make_deb(tmp, "app"), code=USAGE)
    assert said in error["message"]


# -- forms of the result --------------------------------------------------------------------------------------


def test_table_for_people(shared, tmp):
    deb = faulty_packages.build(tmp + "/corpus")["leaves-file"][0]
    text = shared("qa", "platform", deb, code=DIFFERS).stdout
    assert "error: purge: file-left /var/lib/leaves-file" in text
    assert "1 package: 1 error, 0 warnings, 0 allowed" in text


def test_names_forge_no_lines(shared, tmp):
    line = "x\\n  error: purge: file-left passwd: \\342\\200\\256 \\033[2J"
    deb = faulty_packages.build_one(tmp, "forger", {"postinst": "touch \"/opt/$(printf '%s')\"\n" % line}, {})
    text = shared("qa", "platform", deb, code=DIFFERS).stdout
    assert sum("error: purge" in row for row in text.splitlines()) == 1
    assert "\x1b" not in text and "\u202e" not in text and "\\u{202e}" in text


def test_junit_xml(shared, tmp):
    hostile = faulty_packages.build_one(
        tmp, "hostile", {"postinst": "printf '</failure>]]><x a=\"&\\033[2J\\001\\377'; exit 1\n"}, {})
    clean = support.make_deb(tmp, "clean")
    path = tmp + "/qa.xml"
    check(shared, "--junit", path, "platform", hostile, clean, code=DIFFERS)
    root = xml.etree.ElementTree.parse(path).getroot()
    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert root.tag == "testsuites" and list(suites) == ["hostile 1.0", "clean 1.0"]
    failed = [case.get("name") for case in suites["hostile 1.0"].iter("testcase") if case.find("failure") is not None]
    assert failed == ["step install", "check script-failed"]
    text = next(failure.text for failure in suites["hostile 1.0"].iter("failure") if failure.get("type") == "script-failed")
    assert "</failure>]]><x a=\"&" in text and "\x1b" not in text
    assert suites["hostile 1.0"].get("failures") == "2"
    allow = support.write(tmp + "/allow", "hostile script-failed # known\n")
    check(shared, "--allow", allow, "--junit", path, "platform", hostile)
    assert xml.etree.ElementTree.parse(path).getroot().get("failures") == "0"
    assert suites["clean 1.0"].get("failures") == "0" and suites["clean 1.0"].find(".//failure") is None
    skipped = [case.get("name") for case in suites["clean 1.0"].iter("testcase") if case.find("skipped") is not None]
    assert skipped == ["step upgrade"]


# -- wrong input ----------------------------------------------------------------------------------------------


def test_what_is_no_package(shared, tmp):
    for path in (support.write(tmp + "/x.deb", "not a package"), tmp + "/absent.deb", support.write(tmp + "/empty.deb")):
        assert os.path.basename(path) in shared.error("qa", "platform", path, code=USAGE)["message"]
    os.mkdir(tmp + "/folder")
    assert "folder" in shared.error("qa", "platform", tmp + "/folder", code=USAGE)["message"]


def test_another_architecture(shared, tmp):
    other = "arm64" if support.architecture() == "amd64" else "amd64"
    os.mkdir(tmp + "/folder")
    foreign = support.make_deb(tmp + "/folder", "foreign", arch=other)
    assert other in shared.error("qa", "platform", foreign, code=REFUSED)["message"]
    # a folder of a build may have some for the machine that builds
    support.make_deb(tmp + "/folder", "native")
    reports, _ = check(shared, "platform", tmp + "/folder")
    assert list(reports) == ["native"]


def test_two_files_of_one_version(shared, tmp):
    one = support.make_deb(tmp, "app")
    os.mkdir(tmp + "/other")
    other = support.make_deb(tmp + "/other", "app", files={"usr/share/app/other": "x"})
    assert "app" in shared.error("qa", "platform", one, other, code=USAGE)["message"]
    assert list(check(shared, "platform", one, one)[0]) == ["app"]


def test_unknown_template_and_nothing_to_check(shared, tmp):
    assert "no-such" in shared.error("qa", "no-such", support.make_deb(tmp, "app"), code=USAGE)["message"]
    error = shared.error("qa", "platform", code=USAGE)
    assert "names no packages" in error["message"] and error["hint"]


def test_a_script_that_hangs(shared, tmp):
    deb = faulty_packages.build_one(tmp, "hangs", {"postinst": "sleep 1000\n"}, {})
    reports, _ = check(shared, "--timeout", "2", "platform", deb, code=DIFFERS)
    assert ("install", "script-failed", None) in found(reports["hangs"])
    assert "longer than 2 s" in reports["hangs"]["findings"][0]["detail"]


def test_dpkg_killed_is_not_a_timeout(shared, tmp):
    """timeout ends with 137 in both cases."""
    killer = faulty_packages.build_one(tmp, "killer", {"postinst": "kill -9 $PPID\n"}, {})
    reports, _ = check(shared, "platform", killer, code=DIFFERS)
    assert found(reports["killer"]) == {("install", "script-failed", None)}
    assert "signal 9" in reports["killer"]["findings"][0]["detail"]


def test_odd_packages_do_not_end_the_run(shared, tmp):
    full = faulty_packages.build_one(tmp, "full", {"postinst": "if echo x > /dev/full; then exit 1; fi\n"}, {})
    deep = faulty_packages.build_one(
        tmp, "deep", {"postinst": "perl -e 'chdir \"/opt\"; for (1 .. 30) { mkdir \"d\" x 200; chdir \"d\" x 200 }'\n"}, {})
    # of a namespace of its own; not in the collection of faulty packages, which other tools are run on as well
    ends = faulty_packages.build_one(tmp, "ends", {"postinst": "kill -9 -1\n"}, {})
    reports, _ = check(shared, "platform", full, deep, ends, code=DIFFERS)
    assert reports["full"]["findings"] == []
    assert ("install", "script-failed", None) in found(reports["ends"])
    assert found(reports["deep"]) == {("purge", "file-left", "/opt/" + "d" * 200)}
