# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What tasks know of the imported template, and what they say when it is gone."""

import json

import pytest

from imagetemplate import consume, helper

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def imported(store, tmp_path):
    path = tmp_path / "template" / "imported.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"digest": DIGEST, "manifest": {}}))
    return store(
        {"TEMPLATE_IMPORTED": str(path), "BB_CURRENT_MC": "own", "DISTRO": "debian-bookworm", "DISTRO_ARCH": "amd64"}
    )


def test_a_task_before_the_import_says_how_to_import(store):
    with pytest.raises(consume.ConsumeError, match="-c template_import template-import$"):
        consume.read_record(store({"TEMPLATE_IMPORTED": "/no/record"}))


def test_a_component_is_taken_by_digest(imported, monkeypatch):
    calls = []
    monkeypatch.setattr(helper, "run", lambda d, *arguments, **_: calls.append(arguments))
    consume.checkout(imported, "rootfs", "/tree")
    assert calls == [("checkout", "--raw", "--component", "rootfs", DIGEST, "/tree")]


def test_a_cleared_store_says_how_to_import_again(imported, monkeypatch):
    def fail(*_, **__):
        raise helper.HelperError("isar-template checkout: template is not in store", kind="not-found")

    monkeypatch.setattr(helper, "run", fail)
    with pytest.raises(consume.ConsumeError, match="not in store\nto import it again: .* mc:own:template-import$"):
        consume.checkout(imported, "rootfs", "/tree")


def test_a_template_of_another_architecture_is_refused(imported, tmp_path, monkeypatch):
    results = {
        "import": {"name": "platform", "templateVersion": "1.0", "digest": DIGEST},
        "inspect": {"manifest": {"anchors": {"distro": "debian-bookworm", "architecture": "arm64"}}},
    }
    monkeypatch.setattr(helper, "run", lambda d, verb, *_, **__: results[verb])
    with pytest.raises(consume.ConsumeError, match="made for DISTRO_ARCH = 'arm64', this build has 'amd64'"):
        consume.import_bundle(imported, "/bundle")
