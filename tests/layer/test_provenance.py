# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What an image says of the template that it was built on."""

import json
import os

import pytest

import schemas
from imagetemplate import consume, helper, provenance

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
RECORD = {
    "digest": DIGEST,
    "signer": "platform@example.org",
    "fingerprint": "SHA256:abc",
    "chain": [],
    "manifest": {"name": "platform", "templateVersion": "1.0"},
}
ACTIONS = [
    {"operation": "remove", "package": "less", "architecture": "amd64", "askedBy": "request", "oldVersion": "590"},
    {"operation": "install", "package": "nano", "architecture": "amd64", "askedBy": "request", "newVersion": "7.2",
     "origin": {"kind": "repository", "label": "Debian"}, "size": 1, "sha256": "ab"},
    {"operation": "upgrade", "package": "hello", "architecture": "amd64", "askedBy": "dependency",
     "oldVersion": "1", "newVersion": "2"},
    {"operation": "reinstall", "package": "app", "architecture": "all", "askedBy": "request",
     "oldVersion": "1", "newVersion": "1", "origin": {"kind": "file", "path": "/somewhere/app.deb"}, "sha256": "cd"},
]  # fmt: skip


@pytest.fixture
def image(store, program, tmp_path):
    with open(program, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho isar-template 1.2.3\n")
    imported = tmp_path / "imported.json"
    imported.write_text(json.dumps(RECORD))
    return store(
        {
            "TEMPLATE_HELPER": program,
            "TEMPLATE_IMPORTED": str(imported),
            "TEMPLATE_PIN": DIGEST,
            "TEMPLATE_TRANSACTION_DIR": str(tmp_path / "work" / "template-transaction"),
            "TEMPLATE_MARK": str(tmp_path / "mark"),
            "TEMPLATE_PROVENANCE": str(tmp_path / "deploy" / "product.template.json"),
            "LAYERVERSION_template": "1",
            "IMAGE_FULLNAME": "product-debian-bookworm-qemuamd64",
            "PN": "product",
            "PV": "1.0",
            "MACHINE": "qemuamd64",
            "DISTRO": "debian-bookworm",
            "DISTRO_ARCH": "amd64",
            "DEPLOY_DIR_SBOM": str(tmp_path / "deploy"),
            "ROOTFS_PACKAGE_SUFFIX": "product",
            "SBOM_TYPES": "spdx cdx",
        }
    )


@pytest.fixture
def written(image):
    provenance.remember(image, {"report": {"actions": ACTIONS}})
    provenance.write(image)
    document = provenance.read(image)
    schemas.check("provenance-v1", document)
    return document


def test_template_image_and_makers_are_named(written):
    assert written["template"] == {
        "name": "platform",
        "templateVersion": "1.0",
        "digest": DIGEST,
        "signer": "platform@example.org",
        "fingerprint": "SHA256:abc",
        "parents": [],
    }
    assert written["image"]["name"] == "product-debian-bookworm-qemuamd64"
    assert written["image"]["multiconfig"] == "default"
    assert written["madeBy"] == {"layer": "meta-template 1", "helper": "isar-template 1.2.3"}


def test_packages_that_differ_are_listed_without_where_they_came_from(written):
    packages = written["packages"]
    assert packages["removed"] == [{"package": "less", "architecture": "amd64", "oldVersion": "590"}]
    assert packages["added"] == [
        {"package": "nano", "architecture": "amd64", "newVersion": "7.2", "sha256": "ab"}
    ]
    # another build of the same version is a change as well
    assert [(p["package"], p["oldVersion"], p["newVersion"]) for p in packages["changed"]] == [
        ("hello", "1", "2"),
        ("app", "1", "1"),
    ]
    assert "/somewhere" not in json.dumps(written)


def test_an_image_that_changes_nothing_says_so_too(image):
    provenance.remember(image, {"report": {"actions": []}})
    provenance.write(image)
    document = provenance.read(image)
    schemas.check("provenance-v1", document)
    assert document["packages"] == {"added": [], "removed": [], "changed": []}


def test_a_derived_template_has_parents(image):
    parent = {"name": "base", "templateVersion": "0.9", "digest": OTHER, "signer": "base", "fingerprint": "SHA256:x"}
    record = {**RECORD, "chain": [{**parent, "name": "middle"}, parent]}
    document = provenance.describe(image, record, {"helper": "h", "actions": []})
    schemas.check("provenance-v1", document)
    assert [parent["name"] for parent in document["template"]["parents"]] == ["middle", "base"]


def test_os_release_has_the_fields_of_the_helper(written, image):
    with open(image.getVar("TEMPLATE_MARK"), encoding="utf-8") as file:
        assert file.read() == (
            'ISAR_TEMPLATE_NAME="platform"\n'
            'ISAR_TEMPLATE_VERSION="1.0"\n'
            f'ISAR_TEMPLATE_DIGEST="{DIGEST}"\n'
        )


def test_the_log_has_one_line(written, image):
    line = provenance.tell(image)
    assert "\n" not in line
    for word in ("product-debian-bookworm-qemuamd64", "platform 1.0", DIGEST, "platform@example.org", "template.json"):
        assert word in line


def test_an_image_from_scratch_takes_the_file_away(written, image):
    provenance.forget(image)
    assert not os.path.exists(image.getVar("TEMPLATE_PROVENANCE"))
    provenance.forget(image)


def test_a_lost_transaction_says_how_to_get_it_again(image):
    with pytest.raises(consume.ConsumeError, match="bitbake -c clean product, then build as before$"):
        provenance.write(image)


def test_a_helper_that_does_not_run_is_an_error(image, program):
    with open(program, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nexit 1\n")
    with pytest.raises(helper.HelperError, match="--version"):
        provenance.remember(image, {"report": {"actions": []}})


def test_sboms_name_the_template_or_a_warning_does(written, image, tmp_path):
    cdx = tmp_path / "deploy" / "product.cdx.json"
    cdx.write_text(json.dumps({"metadata": {"component": {"name": "x"}}}))
    (warning,) = provenance.name_in_sboms(image)
    assert "product.spdx.json' does not name the template" in warning
    assert "platform" in cdx.read_text()
