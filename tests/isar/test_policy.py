# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a product may do to a template, and what it is told when it may not."""

import os
import sys

import pytest

from bitbake_build import Build

# a real archive, as the tests of the command line have it
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))
import support  # noqa: E402
from archive import Archive  # noqa: E402

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
    installed = support.installed(rootfs).keys()
    assert {"hello", "product-app"} <= installed and not installed & {"platform-lib", "platform-tool"}


@pytest.fixture(scope="module")
def vendor(workspace):
    """A vendor's repository: its server, and the files that a product has of it."""
    folder = os.path.join(workspace.path, "vendor")
    archive = Archive(folder)
    archive.publish("vendor", [support.make_deb(folder, "vended")])
    support.write(folder + "/vendor.list", f"deb {archive.url}/vendor stable main\n")
    archive.folder_of_product = folder
    yield archive
    archive.close()


def test_package_sources_of_the_product(build, vendor):
    folder = vendor.folder_of_product
    settings = f"""
TEMPLATE_REMOVE += "platform-tool"
IMAGE_PREINSTALL:append = " vended"
TEMPLATE_APT_SOURCES = "{folder}/vendor.list"
"""
    assert not install(build, settings)
    assert vendor.key_id("archive") in build.errors() and "TEMPLATE_APT_KEYRINGS" in build.errors()
    assert not install(build, settings + f'TEMPLATE_APT_KEYRINGS = "{folder}/nowhere.gpg"')
    assert f"TEMPLATE_APT_KEYRINGS names '{folder}/nowhere.gpg', which is not there" in build.output
    assert install(build, settings + f'TEMPLATE_APT_KEYRINGS = "{vendor.keyring("archive")}"'), build.errors()
    rootfs = build.rootfs(IMAGE)
    assert support.installed(rootfs)["vended"] == "1.0"
    told = support.command("sudo", "grep", "-rlF", "-e", vendor.url, rootfs + "/etc/apt", rootfs + "/var/lib/apt", check=False)
    assert told.stdout == ""
