# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The layer in a build that does not use it, and settings that cannot work."""

import pytest

from bitbake_build import Build
from conftest import PLATFORM


@pytest.fixture(scope="module")
def plain(workspace):
    return Build(workspace, "plain", PLATFORM, [])


@pytest.fixture(scope="module")
def switched_off(workspace):
    return Build(workspace, "off", PLATFORM, [workspace.layer])


def test_mode_off_changes_no_task_signature(plain, switched_off):
    without = plain.signatures("isar-image-base")
    assert "isar-image-base:do_rootfs_install:" in without
    assert switched_off.signatures("isar-image-base") == without


@pytest.mark.parametrize(
    "settings, message",
    [
        ('TEMPLATE_MODE = "on"', "unknown value 'on', known are: off, produce, consume"),
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
    build = Build(workspace, "unusable", f"{PLATFORM}\n{settings}\n", [workspace.layer])
    try:
        assert not build.build("isar-image-base", check=False)
        assert message in build.errors()
        assert "Parsing recipes" not in build.output
    finally:
        workspace.remove(build.path)
