# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Several templates in one build, and several images on one."""

import json
import os

import pytest

from bitbake_build import Build
from conftest import PLATFORM

IMAGE = "product-image"
CONF = 'MACHINE = "qemuamd64"\nDISTRO = "debian-bookworm"\n'


@pytest.fixture(scope="module")
def two(workspace, bundle, second_bundle, consume_settings, consumer):
    """A build directory with a multiconfig for each of two releases."""
    store = os.path.join(consumer.path, "template-store")
    settings = f'{PLATFORM}TEMPLATE_STORE_DIR = "{store}"\n'
    with Build(workspace, "two", settings, workspace.product_layers) as build:
        for name, path in (("one", bundle), ("two", second_bundle)):
            conf = f'{CONF}{consume_settings(path)}TMPDIR = "${{TOPDIR}}/tmp-{name}"\n'
            workspace.run(f"mkdir -p {build.path}/conf/multiconfig", check=True)
            with open(os.path.join(build.path, "conf", "multiconfig", f"{name}.conf"), "w", encoding="utf-8") as file:
                file.write(conf)
        build.configure('BBMULTICONFIG = "one two"\n')
        yield build


def test_two_releases_are_built_on_in_one_run(two, workspace, bundle, second_bundle):
    two.bitbake(f"-c rootfs_install mc:one:{IMAGE} mc:one:isar-image-base mc:two:{IMAGE}")
    imported = {}
    for name in ("one", "two"):
        folder = os.path.join(two.path, f"tmp-{name}", "template")
        (record,) = [entry.path for entry in os.scandir(folder) if entry.name.startswith("debian") and entry.name.endswith(".json")]
        with open(record, encoding="utf-8") as file:
            imported[name] = json.load(file)["digest"]
    assert imported == {
        "one": workspace.inspect(bundle)["digest"], "two": workspace.inspect(second_bundle)["digest"],
    }  # fmt: skip
    assert imported["one"] != imported["two"]
    # one template for two images, and the platform's packages from both
    installed = [recipe for recipe, task in two.tasks() if task == "do_rootfs_install"]
    assert sorted(installed) == ["isar-image-base.bb", f"{IMAGE}.bb", f"{IMAGE}.bb"]
    assert {recipe for recipe, task in two.tasks() if task == "do_dpkg_build"} == {"product-app_1.0.bb"}


def test_two_releases_in_one_tmpdir_are_refused(two):
    with two.configured('TMPDIR:forcevariable = "${TOPDIR}/tmp"\n'):
        assert not two.bitbake(f"-S none mc:one:{IMAGE} mc:two:{IMAGE}", check=False)
    assert "multiconfigs one and two are built from different templates in one TMPDIR" in two.errors()
