# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Bundles that must not be built on: the build stops and says why in the helper's words."""

import json
import os
import shutil
import subprocess

import pytest

from bitbake_build import Build
from conftest import PLATFORM


@pytest.fixture(scope="module")
def unpacked(workspace, bundle):
    """The bundle as a folder, to be damaged."""
    path = os.path.join(workspace.path, "unpacked")
    os.mkdir(path)
    subprocess.run(["tar", "-C", path, "-xf", bundle], check=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def build(workspace, consume_settings):
    made = []

    def build(*arguments, **options):
        settings = PLATFORM + consume_settings(*arguments, **options)
        made.append(Build(workspace, "untrusted", settings, [workspace.platform_layer, workspace.layer]))
        return made[0]

    yield build
    workspace.clear(made[0].path)


def helpers_message(workspace, build, bundle, signers):
    """What the helper says when it is run by hand on the same bundle."""
    done = subprocess.run(
        [workspace.helper, "--format", "json", "verify", "--allowed-signers", signers,
         "--identity", "platform@example.org", bundle],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout
    return json.loads(done.stdout)["error"]["message"]


def refused_before_parsing(build, message):
    assert not build.build("isar-image-base", check=False)
    assert f"isar-template inspect: {message}" in build.errors()
    assert "Parsing recipes" not in build.output


def test_a_tampered_bundle_stops_the_build(workspace, build, unpacked):
    blobs = os.path.join(unpacked, "blobs", "sha256")
    largest = max((entry.path for entry in os.scandir(blobs)), key=os.path.getsize)
    with open(largest, "r+b") as file:
        file.seek(os.path.getsize(largest) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    message = helpers_message(workspace, build, unpacked, workspace.signers)
    build = build(unpacked)
    # what was verified so far is the signature and what it is of
    assert not build.build("isar-image-base", check=False)
    assert f"isar-template import: {message}" in build.errors()
    assert "do_template_import" in build.errors()
    tasks = build.tasks()
    assert not [task for _, task in tasks if task in ("do_template_bootstrap", "do_rootfs_install")]


def test_an_unknown_key_stops_the_build(workspace, build, bundle):
    signers = workspace.write_signers("other-signers", workspace.make_key("other"))
    message = helpers_message(workspace, build, bundle, signers)
    refused_before_parsing(build(bundle, signers=signers), message)


def test_another_identity_stops_the_build(build, bundle):
    refused_before_parsing(build(bundle, identity="somebody@example.org"), "")
