# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Which packages are tried on the template, and what is said of them."""

import hashlib
import json

import pytest

from imagetemplate import helper, qa, settings

PIN = f"sha256:{'1' * 64}"
LEFT = {
    "package": "app", "kind": "file-left", "severity": "error", "path": "/etc/app", "detail": "was made by a script",
    "step": "purge",
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path, store):
    """A recipe that built two packages, one as the template has it."""
    (tmp_path / "app_1_amd64.deb").write_bytes(b"new")
    (tmp_path / "lib_1_amd64.deb").write_bytes(b"known")
    index = tmp_path / "repo" / "own" / "dists" / "own" / "main" / "binary-amd64" / "Packages"
    index.parent.mkdir(parents=True)
    index.write_text("Package: lib\nVersion: 1\nFilename: pool/lib_1_amd64.deb\n")
    known = {"package": "lib", "sha256": hashlib.sha256(b"known").hexdigest()}
    imported = tmp_path / "imported.json"
    imported.write_text(json.dumps({"digest": PIN, "manifest": {"anchors": {"selfBuilt": [known]}}}))
    return store(
        {
            "PN": "app",
            "BPN": "app",
            "PACKAGE_ARCH": "amd64",
            "DISTRO_ARCH": "amd64",
            "DISTRO": "own",
            "WORKDIR": str(tmp_path),
            "REPO_ISAR_DIR": str(tmp_path / "repo"),
            "REPO_BASE_DIR": "/base",
            "TEMPLATE_IMPORTED": str(imported),
            "TEMPLATE_PIN": PIN,
            "TEMPLATE_QA": "warn",
            "TEMPLATE_QA_APT": str(tmp_path / "template-qa-apt"),
            "TEMPLATE_QA_REPORT": str(tmp_path / "template-qa.xml"),
        }
    )


@pytest.fixture
def calls(monkeypatch):
    """How the helper was called, and what it finds."""
    made = {"findings": [LEFT]}

    def run(d, *arguments, progress=None, found=0):
        made["arguments"] = arguments
        assert found == 7
        return {"qa": {"packages": [{"findings": made["findings"]}]}}

    monkeypatch.setattr(helper, "run", run)
    return made


def test_what_the_template_has_is_not_tried_again(recipe, calls, tmp_path):
    assert qa.check(recipe) == ["app: file-left /etc/app: was made by a script (purge)"]
    assert calls["arguments"][-2:] == (PIN, str(tmp_path / "app_1_amd64.deb"))
    (tmp_path / "app_1_amd64.deb").unlink()
    del calls["arguments"]
    assert qa.check(recipe) == [] and "arguments" not in calls


def test_dependencies_come_from_what_was_built(recipe, calls, tmp_path):
    qa.copy_repository(recipe)
    # what is deployed later is not seen
    (tmp_path / "repo" / "own" / "dists" / "own" / "main" / "binary-amd64" / "Packages").unlink()
    qa.check(recipe)
    arguments = calls["arguments"]
    assert arguments[arguments.index("--bind") + 1] == f"{tmp_path}/template-qa-apt:/isar-apt"
    assert arguments[arguments.index("--allow-upgrade") + 1] == "lib"
    assert "--update" not in arguments and "--allow" not in arguments and "--allow-suite" not in arguments
    recipe.values.update(BB_NO_NETWORK="1", ISAR_USE_CACHED_BASE_REPO="1", TEMPLATE_QA_ALLOW="/allow")
    recipe.values.update(TEMPLATE_ALLOW_UPGRADE="openssl", TEMPLATE_ALLOW_SUITE="trixie")
    qa.check(recipe)
    arguments = " ".join(calls["arguments"])
    for part in (
        "--bind /base:/base-apt", "--update local", "--allow /allow", "--allow-upgrade lib", "--allow-upgrade openssl",
        "--allow-suite trixie",
    ):  # fmt: skip
        assert part in arguments


def test_a_report_of_another_time_is_not_left(recipe, calls, tmp_path):
    report = tmp_path / "template-qa.xml"
    report.write_text("<testsuites/>")
    (tmp_path / "app_1_amd64.deb").unlink()
    assert qa.check(recipe) == [] and not report.exists()


def test_what_scripts_say_is_shown_as_text(recipe, calls):
    calls["findings"] = [{**LEFT, "path": "/etc/a\nb", "detail": "\x1b[31mred"}]
    assert qa.check(recipe) == ["app: file-left /etc/a b: ?[31mred (purge)"]


@pytest.mark.parametrize("change", [{"severity": "info"}, {"allowed": "known upstream"}])
def test_what_does_not_count_is_not_told(recipe, calls, change):
    calls["findings"] = [{**LEFT, **change}]
    assert qa.check(recipe) == []


@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, True),
        ({"TEMPLATE_QA": "error"}, True),
        ({"TEMPLATE_QA": "off"}, False),
        ({"BPN": "app-native"}, False),
        ({"PACKAGE_ARCH": "arm64"}, False),
        ({"PACKAGE_ARCH": "arm64", "DPKG_ARCH": "all"}, True),
    ],
)
def test_packages_for_another_machine_are_not_tried(recipe, values, expected):
    recipe.values.update(values)
    assert qa.is_on(recipe) is expected


def test_wrong_settings_are_told(recipe):
    recipe.values["TEMPLATE_QA"] = "yes"
    with pytest.raises(settings.SettingsError, match="unknown value 'yes', known are: off, warn, error"):
        settings.check_qa(recipe)
    recipe.values.update(TEMPLATE_QA="warn", TEMPLATE_QA_ALLOW="/nonexistent/allow")
    with pytest.raises(settings.SettingsError, match="TEMPLATE_QA_ALLOW"):
        settings.check_qa(recipe)
    recipe.values["TEMPLATE_QA"] = "off"
    settings.check_qa(recipe)
