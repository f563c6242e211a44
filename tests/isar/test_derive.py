# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Templates made on templates."""

import json

import pytest

import schemas
from bitbake_build import Build
from conftest import PRODUCE
from workspace import IDENTITY

IMAGE = "product-image"


def shared_store(build):
    return f'TEMPLATE_STORE_DIR = "{build.path}/template-store"\n'


@pytest.fixture(scope="module")
def middle(workspace, bundle, consume_settings, consumer):
    """The product, published as a template of its own."""
    settings = consume_settings(bundle) + PRODUCE.format(key=workspace.key, helper=workspace.helper)
    settings += 'TEMPLATE_MODE = "derive"\nTEMPLATE_NAME = "middle"\n' + shared_store(consumer)
    with Build(workspace, "derive", settings, workspace.product_layers) as build:
        build.build(IMAGE)
        yield build


def test_a_derived_template_names_its_parent_and_carries_its_signature(middle, workspace, bundle):
    report = workspace.inspect(middle.deployed("template/middle-1.0.tar"))
    (parent,) = report["chain"]
    assert (parent["name"], parent["digest"], parent["signer"]) == ("platform", workspace.inspect(bundle)["digest"], IDENTITY)
    installed = {package["package"] for package in report["manifest"]["packages"]}
    assert {"product-app", "nano", "platform-tool"} <= installed
    assert not {"less", "example-raw"} & installed
    layers = {layer["name"] for layer in report["manifest"]["anchors"]["layers"]}
    assert layers == {"core", "isar", "platform", "product"}


def test_what_is_built_on_a_derived_template_builds_nothing_again(middle, workspace, consume_settings, consumer):
    settings = consume_settings(middle.deployed("template/middle-1.0.tar")) + shared_store(consumer)
    with Build(workspace, "on-derived", settings, workspace.product_layers) as build:
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
