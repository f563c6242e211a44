# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A product is built over the very layers that its template was made from, or not at all."""

import contextlib
import os
import subprocess

import pytest

from bitbake_build import Build

IMAGE = "product-image"


@pytest.fixture(scope="module")
def build(workspace, bundle, consume_settings):
    with Build(workspace, "anchors", consume_settings(bundle), workspace.product_layers) as build:
        build.signatures(IMAGE)
        yield build


@contextlib.contextmanager
def changed(workspace, path, text):
    """A file of the workspace with more in it."""
    with open(path, encoding="utf-8") as file:
        before = file.read()
    workspace.run(f"printf '{text}' >> {path}", check=True)
    try:
        yield
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(before)


def parse(build, settings=""):
    """Read the configuration and compute signatures; returns whether that went well, and how long it took."""
    with build.configured(settings):
        return build.bitbake(f"-S none mc:{build.multiconfig}:{IMAGE}", check=False)


def test_a_product_layer_may_change(build, workspace):
    with changed(workspace, os.path.join(workspace.product_layer, "conf", "layer.conf"), "# a comment\\n"):
        assert parse(build), build.errors()
    assert "WARNING" not in build.output


def test_changes_in_isar_stop_the_build_before_parsing(build, workspace):
    with changed(workspace, os.path.join(workspace.isar, "meta", "conf", "bitbake.conf"), "# a comment\\n"):
        assert not parse(build)
        assert "Parsing recipes" not in build.output
        errors = build.errors()
        assert "the template platform:1.0" in errors
        assert "layer core" in errors and "undo the local changes" in errors
        assert "layer isar" not in errors
        assert parse(build, 'TEMPLATE_ANCHOR = "warn"'), build.errors()
        assert "layer core" in build.output
    print(f"\nrefused after {build.seconds:.1f} s")


def test_another_revision_of_isar_is_named_with_the_one_to_check_out(build, workspace):
    head = workspace.run("git -C isar rev-parse HEAD", check=True, stdout=subprocess.PIPE).stdout.strip()
    workspace.run("echo '# changed' >> isar/meta/conf/bitbake.conf", check=True)
    workspace.run("git -C isar -c user.name=t -c user.email=t@example.org commit --quiet -am changed", check=True)
    try:
        assert not parse(build)
        assert f"check out {head}" in build.errors()
    finally:
        workspace.run(f"git -C isar reset --quiet --hard {head}", check=True)
    # the same files again, at another commit
    workspace.run("git -C isar -c user.name=t -c user.email=t@example.org commit --quiet --allow-empty -m same", check=True)
    try:
        assert parse(build), build.errors()
    finally:
        workspace.run(f"git -C isar reset --quiet --hard {head}", check=True)


@pytest.mark.parametrize(
    "settings, name",
    [
        ('DISTRO_APT_SOURCES:append = " conf/distro/debian-trixie.list"', "DISTRO_APT_SOURCES"),
        ('SBUILD_CHROOT_PREINSTALL_EXTRA = "cmake"', "SBUILD_CHROOT_PREINSTALL_EXTRA"),
        ('ISAR_CROSS_COMPILE = "0"', "ISAR_CROSS_COMPILE"),
    ],
)
def test_what_makes_chroots_and_package_lists_is_an_anchor(build, settings, name):
    assert not parse(build, settings)
    assert "Parsing recipes" not in build.output
    assert f"do not set {name}" in build.errors() or f'set {name} = "' in build.errors()


def test_a_layer_of_the_template_that_is_missing_is_named(workspace, bundle, consume_settings):
    layers = [workspace.product_layer, workspace.layer]
    with Build(workspace, "anchors-missing", consume_settings(bundle), layers) as build:
        assert not parse(build)
        assert "layer platform" in build.errors() and "add the layer to BBLAYERS" in build.errors()
