# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a product may do to a template, and what it is told when it may not."""

import os

import pytest

from bitbake_build import Build

IMAGE = "product-image"
REMOVE_LIB = """
IMAGE_INSTALL:remove = "platform-tool"
TEMPLATE_KEEP = "1"
TEMPLATE_REMOVE = "platform-lib"
"""


@pytest.fixture(scope="module")
def build(workspace, consumer, bundle, consume_settings):
    """One that gets as far as the package transaction, with the store and the downloads of the product."""
    settings = f"""
DL_DIR = "{consumer.path}/downloads"
TEMPLATE_STORE_DIR = "{consumer.path}/template-store"
"""
    with Build(workspace, "policy", consume_settings(bundle) + settings + REMOVE_LIB, workspace.product_layers) as build:
        yield build


def install(build, settings=""):
    with build.configured(settings):
        return build.bitbake(f"-c rootfs_install mc:{build.multiconfig}:{IMAGE}", check=False)


def test_what_would_take_others_along_is_refused_with_the_way_out(build):
    assert not install(build)
    errors = build.errors()
    assert "platform-tool" in errors and "depends on 'platform-lib'" in errors
    assert 'if that is wanted, add: TEMPLATE_REMOVE += "platform-tool"' in errors


def test_what_is_essential_stays(build):
    assert not install(build, 'TEMPLATE_REMOVE = "bash"')
    assert "'bash': cannot be removed: it is essential" in build.errors()


def test_what_is_named_goes_with_its_files(build):
    assert install(build, 'TEMPLATE_REMOVE += "platform-tool"'), build.errors()
    rootfs = build.rootfs(IMAGE)
    for package in ("platform-lib", "platform-tool"):
        assert not os.path.exists(os.path.join(rootfs, "usr/share", package))
    with open(os.path.join(rootfs, "var/lib/dpkg/status"), encoding="utf-8") as file:
        installed = {line.split()[1] for line in file if line.startswith("Package: ")}
    assert {"hello", "product-app"} <= installed and not installed & {"platform-lib", "platform-tool"}
