# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""qa: each planted fault is found, and nothing in packages that have none."""

import os

import pytest

import faulty_packages
import filetrees
import support
from support import DIFFERS, DONE

STEPS = ["install", "reinstall", "upgrade", "remove", "purge", "install-again"]


@pytest.fixture(scope="module")
def corpus(session_dir):
    return faulty_packages.build(os.path.join(session_dir, "faulty-packages"))


def templates_of(helper):
    """All of a store but what packages have needed."""
    return [(name, size) for name, size in filetrees.files_of(helper.store) if not name.startswith(b"results")]


@pytest.fixture(scope="module")
def checked(shared, corpus, session_dir):
    """One run over all of them: reports by name, and the whole."""
    junit = os.path.join(session_dir, "qa.xml")
    before, mounts = templates_of(shared), support.mounts()
    value = shared.json("qa", "--update", "local", "--junit", junit, "platform", *[deb for name, (deb, _) in corpus.items() if name not in faulty_packages.FAULTS_OF_RULES],
                        code=DIFFERS)
    assert templates_of(shared) == before and support.mounts() == mounts
    reports = {report["package"]: report for report in value["qa"]["packages"]}
    assert set(reports) == set(corpus) - set(faulty_packages.FAULTS_OF_RULES)
    return reports, value["qa"], junit


def kinds(report, *severities):
    return {finding["kind"] for finding in report["findings"] if finding["severity"] in (severities or ("error", "warning"))}


def outcomes(report):
    assert [step["step"] for step in report["steps"]] == STEPS
    return {step["step"]: step["outcome"] for step in report["steps"]}


@pytest.mark.parametrize("name", sorted(faulty_packages.FAULTS))
def test_planted_fault_is_found(checked, name):
    report, expected = checked[0][name], faulty_packages.FAULTS[name][0]
    # a user has its group; records are files as well
    allowed = {expected} | {"user-left": {"group-left"}, "package-broken": {"foreign-file-removed"}}.get(expected, set())
    assert expected in kinds(report), report["findings"]
    assert kinds(report) <= allowed, report["findings"]
    assert all(finding["detail"] and finding["package"] == name for finding in report["findings"])


@pytest.mark.parametrize("name", sorted(faulty_packages.CLEAN))
def test_nothing_is_found_in_a_clean_package(checked, name):
    report = checked[0][name]
    assert report["findings"] == []
    assert outcomes(report) == dict.fromkeys(STEPS, "ok") | {"upgrade": "skipped"}


def test_findings_say_where_and_why(checked):
    def only(name):
        findings = checked[0][name]["findings"]
        assert len(findings) == 1, findings
        return findings[0]
    assert "this is why" in only("bad-postinst")["detail"] and only("bad-postinst")["step"] == "install"
    assert only("bad-prerm")["step"] == "remove"
    assert only("bad-postrm")["step"] == "purge"
    assert only("leaves-file")["path"] == "/var/lib/leaves-file"
    assert only("changes-foreign")["path"] == "/etc/nanorc" and "'nano'" in only("changes-foreign")["detail"]
    assert "mode" in only("chmods-foreign")["detail"]
    assert only("leaves-service")["path"].endswith("multi-user.target.wants/leaves-service.service")
    assert "leaver" in only("leaves-alternative")["detail"]
    assert only("leaves-diversion")["path"] == "/etc/nothing"
    assert "'sleep'" in only("leaves-process")["detail"]
    assert only("fails-twice")["step"] == "reinstall"
    assert only("appends-twice")["path"] == "/var/lib/appends-twice/list"
    assert only("leaves-log")["path"] == "/var/log/leaves-log.log"
    assert only("leaves-cache")["path"] == "/var/cache/leaves-cache"
    assert only("changes-own")["path"] == "/usr/share/changes-own/file"
    assert only("changes-conffile")["path"] == "/etc/changes-conffile.conf" and "configuration" in only("changes-conffile")["detail"]
    assert only("removes-own")["path"] == "/usr/share/removes-own/file" and "gone" in only("removes-own")["detail"]
    assert only("through-symlink")["path"] == "/opt/through-symlink/file" and "'elsewhere'" in only("through-symlink")["detail"]
    assert only("cron-fails")["path"] == "/etc/cron.daily/cron-fails" and only("cron-fails")["step"] == "remove"
    assert "all that the package needs was removed" in only("needs-to-purge")["detail"]
    assert only("needs-to-clean")["path"] == "/var/lib/needs-to-clean"
    assert "no-such-package-anywhere" in only("not-there")["detail"]
    assert "/etc/nanorc" in only("file-conflict")["detail"]


def test_steps_after_a_failure_are_told_from_those_that_went_well(checked):
    assert outcomes(checked[0]["bad-postinst"])["install"] == "failed"
    assert outcomes(checked[0]["bad-postinst"])["purge"] == "skipped"
    # one step does not spoil another that is not after it
    fails_twice = outcomes(checked[0]["fails-twice"])
    assert fails_twice["reinstall"] == "failed" and fails_twice["purge"] == fails_twice["install-again"] == "ok"


def test_the_summary_counts(checked):
    reports, document, _ = checked
    findings = [finding for report in reports.values() for finding in report["findings"]]
    assert document["summary"] == {
        "packages": len(reports), "allowed": 0,
        "errors": sum(finding["severity"] == "error" for finding in findings),
        "warnings": sum(finding["severity"] == "warning" for finding in findings)}
    assert document["template"]["name"] == "platform" and document["template"]["version"] == "1.0"


def test_real_packages_of_debian(shared, tmp):
    """An interpreter with dependencies, a program with a service and a user, and one with alternatives."""
    os.chmod(tmp, 0o777)
    shared("exec", "--network", "--bind", tmp + ":/out:rw", "platform", "--", "sh", "-c",
           "apt-get update -qq && cd /out && apt-get download -qq tree cron vim-tiny")
    debs = sorted(os.path.join(tmp, name) for name in os.listdir(tmp) if name.endswith(".deb"))
    assert len(debs) == 3
    value = shared.json("qa", "platform", *debs, code=DONE)["qa"]
    for report in value["packages"]:
        assert set(outcomes(report).values()) <= {"ok", "skipped"}, report
        assert kinds(report, "error") == set(), report["findings"]


def test_rules_of_logrotate_are_tried(shared, corpus):
    """By the logrotate of Debian, which the template does not have."""
    report = shared.json("qa", "platform", corpus["logrotate-fails"][0], code=DIFFERS)["qa"]["packages"][0]
    assert [(finding["kind"], finding["step"], finding["path"]) for finding in report["findings"]] == [
        ("job-fails", "remove", "/etc/logrotate.d/logrotate-fails")]
    assert "logrotate-fails.log" in report["findings"][0]["detail"]
