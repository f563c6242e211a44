# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What is staged for the helper, and what its publisher gets."""

import errno
import json
import os

import pytest

from imagetemplate import anchors, helper, produce

ORIGIN = {
    "layers": [{"name": "core", "commit": "c", "tree": "t", "dirty": False}],
    "configuration": {"DISTRO": "debian"},
}


@pytest.fixture
def image(store, tmp_path, monkeypatch):
    """An image that is built, with a program that packs nothing."""
    (tmp_path / "apt" / "debian").mkdir(parents=True)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "origin.json").write_text(json.dumps(ORIGIN))
    d = store(
        {
            "BB_CURRENT_MC": "own", "PN": "image", "MACHINE": "qemuamd64", "DISTRO": "debian",
            "BB_TASKDEPDATA": {}, "SSTATE_DIR": str(tmp_path / "sstate"),
            "REPO_ISAR_DIR": str(tmp_path / "apt"), "TEMPLATE_WORKDIR": str(tmp_path / "work"),
            "TEMPLATE_DEPLOY_DIR": str(tmp_path / "deploy"), "TEMPLATE_ORIGIN": str(tmp_path / "origin.json"),
            "TEMPLATE_NAME": "platform", "TEMPLATE_VERSION": "1.0", "TEMPLATE_BUNDLE": "platform-1.0",
            "TEMPLATE_COMPONENTS": "rootfs", "TEMPLATE_SIGNING_KEY": "none",
        }
    )  # fmt: skip
    d.calls, d.roots = [], []

    def run(d, *arguments, progress=None):
        d.calls.append(arguments)
        with open(arguments[arguments.index("--output") + 1], "w", encoding="ascii") as file:
            file.write("bundle")
        return {"digest": "sha256:1"}

    monkeypatch.setattr(helper, "run", run)
    monkeypatch.setattr(helper, "as_root", lambda d, *argv: d.roots.append(argv))
    monkeypatch.setattr(produce, "_stage_rootfs", lambda *_: None)
    return d


def pack(d):
    return produce.pack(d, lambda path, shared: path, lambda held: None)


def test_the_bundle_gets_its_name_when_it_is_whole(image, tmp_path):
    report, warnings = pack(image)
    assert (tmp_path / "deploy" / "platform-1.0.tar").read_text() == "bundle"
    assert 'TEMPLATE_DIGEST = "sha256:1"' in report
    assert warnings == []


def test_the_release_before_is_what_updates_come_from(image):
    pack(image)
    assert "--base" not in image.calls[0]
    image.setVar("TEMPLATE_BASE", "/platform-0.9.tar")
    pack(image)
    assert image.calls[1][image.calls[1].index("--base") + 1] == "/platform-0.9.tar"


def test_it_may_go_to_another_file_system(image, tmp_path, monkeypatch):
    replace = os.replace

    def other_file_system(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", other_file_system)
    pack(image)
    assert sorted(path.name for path in (tmp_path / "deploy").iterdir()) == [
        "platform-1.0.tar", "platform-1.0.tar.owner",
    ]  # fmt: skip
    assert not (tmp_path / "work" / "platform-1.0.tar").exists()


def test_what_is_described_is_the_copy_that_is_packed(image, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(produce.repository, "read_packages", lambda path: read.append(path) or [])
    for components in ("rootfs", "rootfs isar-apt"):
        image.values["TEMPLATE_COMPONENTS"] = components
        pack(image)
    copy = str(tmp_path / "work" / "components" / "isar-apt")
    assert read == [copy, copy]
    assert [argv for argv in image.roots if argv[0] == "cp"] == [("cp", "-alx", str(tmp_path / "apt" / "debian"), copy)] * 2
    assert not [a for a in image.calls[0] if a.startswith("isar-apt=")]
    assert f"isar-apt={copy}" in image.calls[1]


def test_the_origin_is_what_was_hashed(image, tmp_path):
    pack(image)
    written = json.loads((tmp_path / "work" / "anchors.json").read_text())
    assert {name: written[name] for name in ORIGIN} == ORIGIN


def test_packages_without_a_record_are_told(image, monkeypatch):
    stanza = {"Package": "hello", "SHA256": "aa", "Version": "1", "Architecture": "amd64"}
    monkeypatch.setattr(produce.repository, "read_packages", lambda path: [stanza])
    _, (warning,) = pack(image)
    assert "isar-apt: hello\n" in warning


def test_another_images_bundle_is_left_alone(image, tmp_path):
    pack(image)
    image.values["PN"] = "other"
    with pytest.raises(produce.release.ClaimError):
        pack(image)
    assert len(image.calls) == 1


def test_a_pruned_sstate_names_a_command_for_this_image(store, tmp_path):
    d = store({"BB_CURRENT_MC": "own", "PN": "image", "SSTATE_DIR": str(tmp_path)})
    tasks = {"mc:own:/i.bb:do_rootfs_install": ["image", "do_rootfs_install", "", [], [], "11", "1122"]}
    with pytest.raises(produce.ProduceError, match="'bitbake -c clean mc:own:image'$"):
        produce._stage_rootfs(d, tasks, str(tmp_path))


def test_records_and_packages_are_compared_by_content():
    packages = [{"Package": "a", "SHA256": "1"}, {"Package": "b", "SHA256": "2"}, {"Package": "b", "SHA256": "3"}]
    assert anchors.unrecorded(packages, [{"package": "a", "sha256": "1"}]) == ["b"]


STATUS = "linux-image-amd64 installed\nnano installed\ngrub-common config-files\n"


@pytest.mark.parametrize(
    "excluded, warned", [("", None), ("less grub-common", None), ("linux-image-amd64 less", "linux-image-amd64, which")]
)
def test_what_could_not_be_left_out_is_told(image, monkeypatch, excluded, warned):
    monkeypatch.setattr(helper, "as_root", lambda d, *argv: STATUS)
    image.values["TEMPLATE_EXCLUDE"] = excluded
    _, warnings = pack(image)
    assert [warned in warning for warning in warnings] == ([True] if warned else [])


def test_a_derived_template_has_its_parents_packages_too(image, monkeypatch, tmp_path):
    theirs = [{"package": "hello", "sha256": "1", "recipe": "hello", "taskHash": "11"}]
    monkeypatch.setattr(produce.verified, "read", lambda d: {"anchors": {"selfBuilt": theirs}})
    image.values.update(
        TEMPLATE_MODE="derive", TEMPLATE_PIN="sha256:2", TEMPLATE_SNAPSHOT="/snapshot", STAMPS_DIR="/stamps",
        TEMPLATE_SSTATE_DIR="/parents", TEMPLATE_COMPONENTS="rootfs",
    )  # fmt: skip
    pack(image)
    assert image.calls[0][image.calls[0].index("--parent") + 1] == "sha256:2"
    assert json.loads((tmp_path / "work" / "anchors.json").read_text())["selfBuilt"] == theirs
    assert ("cp", "-alx", "/snapshot", str(tmp_path / "work" / "components" / "rootfs")) in image.roots
