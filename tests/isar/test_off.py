# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The layer in a build that does not use it, and settings that cannot work."""

import zlib

import pytest

from bitbake_build import Build
from conftest import PLATFORM


def test_mode_off_changes_no_task_signature(workspace):
    # one build directory: Isar hashes its path in recipes with an apt:// source
    build = Build(workspace, "off", PLATFORM, [])
    without = build.signatures("isar-image-base")
    assert "isar-image-base:do_rootfs_install:" in without
    build.add_layers([workspace.layer])
    assert build.signatures("isar-image-base") == without
    assert "meta-template" in build.run("bitbake-layers show-layers")


@pytest.mark.parametrize(
    "settings, message",
    [
        ('TEMPLATE_MODE = "on"', "unknown value 'on', known are: off, produce, consume"),
        (
            'TEMPLATE_MODE = "produce"\nTEMPLATE_SIGNING_KEY = "none"\nTEMPLATE_STORE_DIR = "store"',
            "TEMPLATE_STORE_DIR is not an absolute path: 'store'",
        ),
        ('TEMPLATE_MODE = "derive"', "'derive' is not supported yet"),
        ('TEMPLATE_MODE = "produce"', "needs TEMPLATE_SIGNING_KEY"),
        ('TEMPLATE_MODE = "consume"', "needs TEMPLATE_SOURCE"),
        (
            'TEMPLATE_MODE = "produce"\nTEMPLATE_SIGNING_KEY = "none"\nTEMPLATE_HELPER = "/nowhere"',
            "TEMPLATE_HELPER is not a program's absolute path: '/nowhere'",
        ),
        (
            'TEMPLATE_MODE = "produce"\nTEMPLATE_SIGNING_KEY = "none"',
            'add to local.conf: TEMPLATE_HELPER = "/path/to/isar-template"',
        ),
    ],
)
def test_unusable_settings_stop_the_build_before_parsing(workspace, settings, message):
    # a folder for each: the server of the one before may still be shutting down
    name = f"unusable-{zlib.crc32(settings.encode())}"
    build = Build(workspace, name, f"{PLATFORM}\n{settings}\n", [workspace.layer])
    assert not build.build("isar-image-base", check=False)
    assert message in build.errors()
    assert "Parsing recipes" not in build.output
