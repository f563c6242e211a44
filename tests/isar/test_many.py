# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Several templates in one build, several images on one, templates made on templates, and such without a kernel."""

import json
import os
import re
import subprocess

import pytest

import schemas
from bitbake_build import MACHINE, Build
from conftest import PLATFORM, PRODUCE
from workspace import IDENTITY

IMAGE = "product-image"
CONF = 'MACHINE = "qemuamd64"\nDISTRO = "debian-bookworm"\n'


def digest(workspace, bundle):
    return inspect(workspace, bundle)["digest"]


def inspect(workspace, bundle):
    trust = ["--allowed-signers", workspace.signers, "--identity", IDENTITY]
    done = subprocess.run(
        [workspace.helper, "--format", "json", "inspect", *trust, bundle], check=True, capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    schemas.check("report-v1", report)
    return report


@pytest.fixture(scope="module")
def two(workspace, bundle, second_bundle, consume_settings, consumer):
    """A build directory with a multiconfig for each of two releases."""
    store = os.path.join(consumer.path, "template-store")
    settings = f'{PLATFORM}TEMPLATE_STORE_DIR = "{store}"\n'
    build = Build(workspace, "two", settings, workspace.product_layers)
    for name, path in (("one", bundle), ("two", second_bundle)):
        conf = f'{CONF}{consume_settings(path)}TMPDIR = "${{TOPDIR}}/tmp-{name}"\n'
        workspace.run(f"mkdir -p {build.path}/conf/multiconfig", check=True)
        with open(os.path.join(build.path, "conf", "multiconfig", f"{name}.conf"), "w", encoding="utf-8") as file:
            file.write(conf)
    build.configure('BBMULTICONFIG = "one two"\n')
    return build


def test_two_releases_are_built_on_in_one_run(two, workspace, bundle, second_bundle):
    two.bitbake(f"-c rootfs_install mc:one:{IMAGE} mc:one:isar-image-base mc:two:{IMAGE}")
    imported = {}
    for name in ("one", "two"):
        folder = os.path.join(two.path, f"tmp-{name}", "template")
        (record,) = [entry.path for entry in os.scandir(folder) if entry.name.startswith("debian") and entry.name.endswith(".json")]
        with open(record, encoding="utf-8") as file:
            imported[name] = json.load(file)["digest"]
    assert imported == {"one": digest(workspace, bundle), "two": digest(workspace, second_bundle)}
    assert imported["one"] != imported["two"]
    # one template for two images, and the platform's packages from both
    installed = [recipe for recipe, task in two.tasks() if task == "do_rootfs_install"]
    assert sorted(installed) == ["isar-image-base.bb", f"{IMAGE}.bb", f"{IMAGE}.bb"]
    assert {recipe for recipe, task in two.tasks() if task == "do_dpkg_build"} == {"product-app_1.0.bb"}


def test_two_releases_in_one_tmpdir_are_refused(two):
    with two.configured('TMPDIR:forcevariable = "${TOPDIR}/tmp"\n'):
        assert not two.bitbake(f"-S none mc:one:{IMAGE} mc:two:{IMAGE}", check=False)
    assert "multiconfigs one and two are built from different templates in one TMPDIR" in two.errors()


@pytest.fixture(scope="module")
def middle(workspace, bundle, consume_settings):
    """The product, published as a template of its own."""
    settings = consume_settings(bundle) + PRODUCE.format(key=workspace.key, helper=workspace.helper)
    settings += 'TEMPLATE_MODE = "derive"\nTEMPLATE_NAME = "middle"\n'
    build = Build(workspace, "derive", settings, workspace.product_layers)
    build.build(IMAGE)
    return build


def test_a_derived_template_names_its_parent_and_carries_its_signature(middle, workspace, bundle):
    report = inspect(workspace, middle.deployed("template/middle-1.0.tar"))
    (parent,) = report["chain"]
    assert (parent["name"], parent["digest"], parent["signer"]) == ("platform", digest(workspace, bundle), IDENTITY)
    installed = {package["package"] for package in report["manifest"]["packages"]}
    assert {"product-app", "nano", "platform-tool"} <= installed
    assert not {"less", "example-raw"} & installed
    layers = {layer["name"] for layer in report["manifest"]["anchors"]["layers"]}
    assert layers == {"core", "isar", "platform", "product"}


def test_what_is_built_on_a_derived_template_builds_nothing_again(middle, workspace, consume_settings):
    settings = consume_settings(middle.deployed("template/middle-1.0.tar"))
    settings += f'TEMPLATE_STORE_DIR = "{middle.path}/template-store"\n'
    build = Build(workspace, "on-derived", settings, workspace.product_layers)
    build.bitbake(f"-c template_provenance mc:{build.multiconfig}:{IMAGE}")
    assert not [recipe for recipe, task in build.tasks() if task == "do_dpkg_build"]
    with open(build.image(IMAGE, "template.json"), encoding="utf-8") as file:
        provenance = json.load(file)
    schemas.check("provenance-v1", provenance)
    assert [parent["name"] for parent in provenance["template"]["parents"]] == ["platform"]
    assert provenance["packages"] == {"added": [], "removed": [], "changed": []}
    # nobody outside may have signed what it derives from
    with build.configured('TEMPLATE_PARENT_IDENTITIES = "somebody@example.org"'):
        assert not build.bitbake(f"-S none mc:{build.multiconfig}:{IMAGE}", check=False)
        assert "platform:1.0" in build.errors()


def test_a_kernel_that_was_left_out_comes_in_the_second_step(workspace, producer, consume_settings):
    settings = PLATFORM + PRODUCE.format(key=workspace.key, helper=workspace.helper)
    settings += f"""
TEMPLATE_EXCLUDE = "linux-image-amd64 platform-tool"
TEMPLATE_NAME = "kernelless"
DL_DIR = "{producer.path}/downloads"
SSTATE_DIR = "{producer.path}/sstate-cache"
"""
    build = Build(workspace, "kernelless", settings, [workspace.platform_layer, workspace.layer])
    build.build("isar-image-base")
    assert not [task for _, task in build.tasks() if task.startswith("do_image_")]
    assert not [recipe for recipe, _ in build.tasks() if recipe.startswith("platform-tool")]
    bundle = build.deployed("template/kernelless-1.0.tar")
    installed = {package["package"] for package in inspect(workspace, bundle)["manifest"]["packages"]}
    assert not [name for name in installed if re.match("linux-image|platform-", name)]

    settings = consume_settings(bundle) + f'DL_DIR = "{producer.path}/downloads"\n'
    product = Build(workspace, "with-kernel", settings, workspace.product_layers)
    product.build(IMAGE)
    assert os.listdir(os.path.join(product.rootfs(IMAGE), "usr/lib/modules"))
    assert os.path.getsize(product.image(IMAGE, "wic")) > 0
    assert os.path.exists(product.deployed(f"images/{MACHINE}/{IMAGE}-debian-bookworm-{MACHINE}-initrd.img"))
    assert {recipe.split("_")[0] for recipe, task in product.tasks() if task == "do_dpkg_build"} == {
        "product-app", "platform-lib", "platform-tool",
    }  # fmt: skip
