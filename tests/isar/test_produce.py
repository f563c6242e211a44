# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a platform's build publishes."""

import json
import subprocess

import pytest

import schemas
from workspace import IDENTITY


def helper(workspace, *arguments):
    done = subprocess.run(
        [workspace.helper, "--format", "json", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = json.loads(done.stdout)
    schemas.check("report-v1", report)
    return report


@pytest.fixture(scope="module")
def manifest(workspace, bundle):
    return helper(workspace, "inspect", bundle)["manifest"]


def test_the_bundle_is_signed_and_verifies(workspace, bundle):
    result = helper(
        workspace, "verify", "--allowed-signers", workspace.signers, "--identity", IDENTITY, bundle
    )
    assert (result["name"], result["templateVersion"]) == ("platform", "1.0")


def test_the_log_tells_what_consumers_have_to_set(producer, workspace, bundle):
    digest = helper(workspace, "inspect", bundle)["digest"]
    assert f'TEMPLATE_SOURCE = "{bundle}"' in producer.output
    assert f'TEMPLATE_DIGEST = "{digest}"' in producer.output


def test_all_components_are_there(manifest):
    names = {component["name"] for component in manifest["components"]}
    assert names == {"rootfs", "buildchroot-target", "bootstrap", "isar-apt"}
    for component in manifest["components"]:
        print(component)


def test_anchors_name_the_layers_but_not_ours(manifest, workspace):
    layers = {layer["name"]: layer for layer in manifest["anchors"]["layers"]}
    assert sorted(layers) == ["core", "isar"]
    tree = workspace.run(
        "git -C isar rev-parse HEAD:meta", check=True, stdout=subprocess.PIPE
    ).stdout.strip()
    assert layers["core"]["tree"] == tree
    assert not layers["core"]["dirty"]


def test_anchors_have_task_signatures_and_self_built_packages(manifest, producer):
    anchors = manifest["anchors"]
    signatures = producer.signatures("isar-image-base")
    for task in ("isar-image-base:do_rootfs_install", "example-raw:do_dpkg_build"):
        assert f"{task}:{anchors['tasks'][task]}" in signatures
    built = {package["package"]: package for package in anchors["selfBuilt"]}
    assert built["example-raw"]["recipe"] == "example-raw"
    assert built["example-raw"]["taskHash"] == anchors["tasks"]["example-raw:do_dpkg_build"]
    assert "hello" in built and "hello-dbgsym" in built
    assert {package["package"] for package in manifest["packages"]} >= {"example-raw", "systemd", "less"}
