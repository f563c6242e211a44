# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a platform's build publishes."""

import glob
import json
import os
import subprocess

import pytest

import schemas
from conftest import STALE
from workspace import IDENTITY

IMAGE = "isar-image-base"


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
    assert f'TEMPLATE_SOURCE = "{bundle}"' in producer.made
    assert f'TEMPLATE_DIGEST = "{digest}"' in producer.made


def test_all_components_are_there(manifest):
    names = {component["name"] for component in manifest["components"]}
    assert names == {"rootfs", "buildchroot-target", "bootstrap", "isar-apt", "sstate", "initrd"}
    for component in manifest["components"]:
        print(component)


def test_anchors_name_the_layers_but_not_ours(manifest, workspace):
    layers = {layer["name"]: layer for layer in manifest["anchors"]["layers"]}
    assert sorted(layers) == ["core", "isar", "platform"]
    tree = workspace.run(
        "git -C isar rev-parse HEAD:meta", check=True, stdout=subprocess.PIPE
    ).stdout.strip()
    assert layers["core"]["tree"] == tree
    assert not layers["core"]["dirty"]


def test_a_new_release_is_packed_again_and_nothing_else(producer):
    def differing(settings):
        return [line.split(":")[1] for line in producer.signatures_with(settings, IMAGE) - before]

    before = producer.signatures_with("", IMAGE)
    for settings in ('TEMPLATE_VERSION = "1.1"', 'TEMPLATE_SIGNING_KEY = "none"', 'TEMPLATE_COMPONENTS = "rootfs"'):
        assert sorted(differing(settings)) == ["do_build", "do_template_pack"], settings
    for settings in ('TEMPLATE_DEPLOY_DIR = "/elsewhere"', 'TEMPLATE_STORE_DIR = "/elsewhere"'):
        assert not differing(settings), settings


def test_a_commit_of_a_layer_is_packed_again(producer, workspace):
    before = producer.signatures_with("", IMAGE)
    changed = os.path.join(workspace.isar, "meta", "changed")
    workspace.run(f"touch {changed}", check=True)
    try:
        after = producer.signatures_with("", IMAGE)
    finally:
        os.unlink(changed)
    assert sorted(line.split(":")[1] for line in after - before) == ["do_build", "do_template_pack"]


def test_signatures_ask_for_a_rebuild_for_self_built_libraries_alone(producer, workspace, manifest):
    """As plans say of programs under which a library changes."""
    before = producer.signatures_with("", "platform-tool")
    word = os.path.join(workspace.platform_layer, "recipes-app/platform-lib/files/word")
    workspace.run(f"cp -p {word} {word}.kept && echo another >> {word}", check=True)
    try:
        after = producer.signatures_with("", "platform-tool")
    finally:
        workspace.run(f"mv {word}.kept {word}", check=True)
    changed = {line.rsplit(":", 1)[0] for line in after - before}
    assert {"platform-lib:do_dpkg_build", "platform-tool:do_dpkg_build"} <= changed

    # which version of a package of the distribution is installed where something is built is in no signature
    (version,) = {package["packageVersion"] for package in manifest["packages"] if package["package"] == "libc6"}
    files = glob.glob(os.path.join(producer.path, "tmp", "stamps", "**", "*.do_dpkg_build.sigdata.*"), recursive=True)
    texts = [subprocess.run(["zstd", "-dcq", file], capture_output=True, check=True).stdout.decode() for file in files]
    assert any("platform-lib" in text for text in texts)
    assert not any(version in text for text in texts)


def test_the_bundle_names_the_image_that_it_is_of(producer):
    with open(producer.deployed("template/platform-1.0.tar.owner"), encoding="utf-8") as file:
        assert json.load(file)["image"] == IMAGE


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


def test_an_image_from_scratch_does_not_keep_what_an_earlier_one_said_of_a_template(producer):
    assert os.path.exists(producer.image(IMAGE, "wic"))
    assert not os.path.exists(os.path.join(producer.path, STALE))
