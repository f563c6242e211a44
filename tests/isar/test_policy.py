# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a product may do to a template, and what it is told when it may not."""

import glob
import json
import os
import re
import subprocess
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


@pytest.fixture(scope="module")
def newer_libc(producer, vendor):
    """The C library of the platform, in a version that a vendor made of it."""
    (deb,) = glob.glob(os.path.join(producer.path, "downloads/deb/debian-bookworm/libc6_*.deb"))
    tree = os.path.join(vendor.folder_of_product, "libc6")
    support.command("dpkg-deb", "--raw-extract", deb, tree)
    with open(tree + "/DEBIAN/control", "r+", encoding="utf-8") as file:
        text = re.sub(r"(?m)^(Version: .*)$", r"\1+vendor1", file.read())
        file.seek(0)
        file.write(text)
    support.command("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, vendor.folder_of_product)
    (newer,) = glob.glob(vendor.folder_of_product + "/libc6_*+vendor1_*.deb")
    return newer


def test_a_library_of_the_distribution_builds_nothing_again(build, consumer, vendor, newer_libc, workspace):
    """The plan says of what the platform built that a newer library is no reason for bitbake to build it again, and it is none."""
    asked = subprocess.run(
        [workspace.helper, "--store", f"{consumer.path}/template-store", "--format", "json", "plan", "platform", "--update", "none",
         "--add", newer_libc, "--allow-upgrade", "libc6"], capture_output=True, text=True, check=True)  # fmt: skip
    affected = json.loads(asked.stdout)["plan"]["affected"]
    built = {entry["package"]: entry for entry in affected}
    assert built["hello"]["library"] == "libc6" and built["hello"]["compatible"] == "yes"
    assert {entry["rebuild"] for entry in affected} == {"not-by-itself"}
    vendor.publish("vendor", [newer_libc])
    settings = f"""
TEMPLATE_REMOVE += "platform-tool"
IMAGE_PREINSTALL:append = " libc6"
TEMPLATE_ALLOW_UPGRADE = "libc6"
TEMPLATE_APT_SOURCES = "{vendor.folder_of_product}/vendor.list"
TEMPLATE_APT_KEYRINGS = "{vendor.keyring("archive")}"
"""
    assert install(build, settings), build.errors()
    assert support.installed(build.rootfs(IMAGE))["libc6"].endswith("+vendor1")
    recipes = {entry["recipe"] for entry in affected}
    again = [(file, task) for file, task in build.tasks() if file.removesuffix(".bb").split("_")[0] in recipes]
    assert "do_dpkg_build" not in {task for _, task in again}, again
