# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Builds with the real Isar, each made once and looked at by many tests.

$ISAR_DIR names the checkout of Isar, else a cached or fresh clone is used. Where there is none, all tests
are skipped, or fail with ISAR_TESTS_REQUIRED=1. $ISAR_TEMPLATE is another helper than target/release's.
$ISAR_TEMPLATE_TEST_SCRATCH is the folder for it all (some 20 GB: builds that one module uses are removed after it);
everything stays (some 50 GB) with ISAR_TESTS_KEEP=1.
"""

import os
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from bitbake_build import Build  # noqa: E402
from emulator import Emulator  # noqa: E402
from workspace import IDENTITY, NoIsar, Workspace, find_isar  # noqa: E402

# builds for another architecture take long, and have a suite of their own
collect_ignore = ["arm64"]

SCRATCH = os.environ.get("ISAR_TEMPLATE_TEST_SCRATCH", "/var/tmp/isar-template-tests")

STALE = "tmp/deploy/images/qemuamd64/isar-image-base-debian-bookworm-qemuamd64.template.json"
PLATFORM = """
IMAGE_INSTALL = "example-raw enable-fsck isar-exclude-docs sshd-regen-keys hello platform-tool"
IMAGE_PREINSTALL:append = " less"
"""

PRODUCE = """
TEMPLATE_MODE = "produce"
TEMPLATE_NAME = "platform"
TEMPLATE_VERSION = "1.0"
TEMPLATE_SIGNING_KEY = "{key}"
TEMPLATE_HELPER = "{helper}"
"""

CONSUME = """
TEMPLATE_MODE = "consume"
TEMPLATE_SOURCE = "{bundle}"
TEMPLATE_ALLOWED_SIGNERS = "{signers}"
TEMPLATE_IDENTITY = "{identity}"
TEMPLATE_HELPER = "{helper}"
"""


@pytest.fixture(scope="session")
def isar():
    try:
        return find_isar()
    except NoIsar as error:
        if os.environ.get("ISAR_TESTS_REQUIRED") == "1":
            pytest.fail(f"no Isar: {error}")
        pytest.skip(f"no Isar: {error}")


@pytest.fixture(scope="session")
def workspace(isar):
    os.makedirs(SCRATCH, exist_ok=True)
    path = tempfile.mkdtemp(prefix="session-", dir=SCRATCH)
    os.chmod(path, 0o755)
    workspace = Workspace(path, isar)
    yield workspace
    workspace.clear()


@pytest.fixture(scope="session")
def produce_settings(workspace):
    """Settings for the build that makes the bundle."""
    return PRODUCE.format(key=workspace.key, helper=workspace.helper)


@pytest.fixture(scope="session")
def producer(workspace, produce_settings):
    """The platform, built and deployed as a template."""
    build = Build(workspace, "produce", PLATFORM + produce_settings, [workspace.platform_layer, workspace.layer])
    # as if an image that was built on a template were there already
    path = os.path.join(build.path, STALE)
    workspace.run(f"mkdir -p {os.path.dirname(path)} && touch {path}", check=True)
    build.build("isar-image-base")
    build.made = build.output
    return build


@pytest.fixture(scope="session")
def bundle(producer):
    return producer.deployed("template/platform-1.0.tar")


@pytest.fixture(scope="session")
def second_bundle(producer, bundle):
    """The next release of the platform, with the same in it."""
    with producer.configured(f'TEMPLATE_VERSION = "1.1"\nTEMPLATE_BASE = "{bundle}"'):
        producer.build("isar-image-base")
    return producer.deployed("template/platform-1.1.tar")


@pytest.fixture(scope="session")
def consume_settings(workspace):
    """Settings for a build on a bundle; by default what the platform's team would publish."""

    def settings(bundle, signers=workspace.signers, identity=IDENTITY):
        return CONSUME.format(bundle=bundle, signers=signers, identity=identity, helper=workspace.helper)

    return settings


@pytest.fixture(scope="session")
def consumer(workspace, bundle, consume_settings):
    """The product, built on the template, in a build directory that shares nothing with the producer's."""
    build = Build(workspace, "consume", consume_settings(bundle), workspace.product_layers)
    build.build("product-image")
    build.made = build.output
    return build


@pytest.fixture(scope="session")
def stock(workspace, producer):
    """The same product by Isar alone, with the producer's downloads and shared state."""
    settings = f"""
DL_DIR = "{producer.path}/downloads"
SSTATE_DIR = "{producer.path}/sstate-cache"
"""
    build = Build(workspace, "stock", settings, [workspace.platform_layer, workspace.product_layer])
    build.build("product-image")
    return build


@pytest.fixture(scope="session")
def emulator(workspace):
    return Emulator(SCRATCH)
