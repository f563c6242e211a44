# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The layer in a build that does not use it."""

import os
import re

import pytest

import signatures
from bitbake_build import Build
from conftest import PLATFORM
from workspace import TOP

# a native and a foreign architecture
MULTICONFIGS = ("qemuamd64-bookworm", "qemuarm64-bookworm")
RECIPES = ("isar-image-base", "isar-image-debug", "hello", "example-raw")
TARGETS = [f"mc:{multiconfig}:{recipe}" for multiconfig in MULTICONFIGS for recipe in RECIPES]


@pytest.fixture(scope="module")
def off(workspace):
    """The build directory; there is one, since Isar hashes its path in recipes with an apt:// source."""
    with Build(workspace, "off", PLATFORM, [workspace.platform_layer]) as build:
        build.configure(f'BBMULTICONFIG = "{" ".join(MULTICONFIGS)}"\n')
        yield build


@pytest.fixture(scope="module")
def without(off):
    found = signatures.write(off, "without", TARGETS)
    for task in ("debian-bookworm-amd64/isar-image-base-qemuamd64/1.0-r0.do_rootfs_install",
                 "debian-bookworm-arm64/isar-image-debug-qemuarm64/1.0-r0.do_rootfs_install"):  # fmt: skip
        assert task in found
    return found


@pytest.fixture(scope="module")
def layered(off, without, workspace):
    off.add_layers([workspace.layer])
    assert "meta-template" in off.run("bitbake-layers show-layers")
    return off


def settings_of_every_variable():
    """A configuration that sets all that the layer knows, but for the mode, which is off."""
    with open(os.path.join(TOP, "meta-template", "conf", "image-template-defaults.conf"), encoding="utf-8") as file:
        names = re.findall(r"^(\w+) \?\?=", file.read(), re.MULTILINE)
    assert {"TEMPLATE_SOURCE", "TEMPLATE_FORBID", "TEMPLATE_NAME"} <= set(names)
    lines = [f'{name} = "/set/{name.lower()}"' for name in names if name not in ("TEMPLATE_MODE", "TEMPLATE_FORBID")]
    lines += ['TEMPLATE_SOURCE[sha256sum] = "set"', 'TEMPLATE_FORBID = "1"', 'TEMPLATE_MODE = "off"']
    return "\n".join(lines) + "\n"


def test_the_layer_alone_changes_no_task_signature(layered, without):
    assert signatures.difference(layered, without, signatures.write(layered, "unset", TARGETS)) is None


def test_variables_change_no_task_signature_while_the_mode_is_off(layered, without):
    with layered.configured(settings_of_every_variable()):
        after = signatures.write(layered, "set", TARGETS)
    assert signatures.difference(layered, without, after) is None


def test_a_difference_would_be_named(layered, without):
    with layered.configured('LOCALE_DEFAULT = "de_DE"'):
        after = signatures.write(layered, "differing", TARGETS)
    told = signatures.difference(layered, without, after)
    print(told)
    assert re.search(r"tasks differ, first \S+\.do_\w+, by LOCALE_DEFAULT:\n", told)
    some = dict(list(without.items())[1:])
    assert f"only without it there are: {next(iter(without))}" == signatures.difference(layered, without, some)
