# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a product adds to and removes from a template."""

import pytest

from imagetemplate import transaction
from imagetemplate.transaction import Product

LISTED = "init vim hello"
HELLO = {"package": "hello", "version": "1", "architecture": "amd64", "sha256": "aa"}
MANIFEST = {
    "packages": [{"package": "hello", "packageVersion": "1", "architecture": "amd64"}],
    "anchors": {"settings": {"ROOTFS_PACKAGES": LISTED}, "selfBuilt": [HELLO]},
}


def product(packages="init hello", remove="", keep=False, allow_upgrade=""):
    return Product(packages.split(), remove.split(), keep, allow_upgrade.split())


def offered(version="1", sha256="aa"):
    return {
        "Package": "hello", "Version": version, "Architecture": "amd64", "SHA256": sha256,
        "Filename": "pool/hello.deb",
    }  # fmt: skip


def arguments(of, repository=()):
    return " ".join(transaction.plan(of, MANIFEST, repository, "/apt").arguments)


def test_everything_listed_is_asked_for_and_the_rest_may_go():
    assert arguments(product("init hello nano nano")) == (
        "--add init --add hello --add nano --mark-auto vim --auto-remove"
    )


def test_keep_leaves_what_is_not_listed():
    assert arguments(product(keep=True)) == "--add init --add hello"


def test_named_packages_are_removed_and_not_marked_as_well():
    assert arguments(product(remove="vim less")) == (
        "--add init --add hello --remove vim --remove less --auto-remove"
    )


def test_a_rebuilt_package_of_the_same_version_is_installed_again_and_told():
    planned = transaction.plan(product(), MANIFEST, [offered(sha256="bb")], "/apt")
    assert "/apt/pool/hello.deb" in planned.arguments
    assert any("'hello' was built again at version 1" in note for note in planned.notes)


def test_an_equal_package_is_left_alone():
    planned = transaction.plan(product("init vim hello"), MANIFEST, [offered()], "/apt")
    assert planned.arguments == ["--add", "init", "--add", "vim", "--add", "hello", "--auto-remove"]
    assert planned.notes == []


@pytest.mark.parametrize("version", ["0.9", "2"])
def test_another_version_of_a_self_built_package_replaces_the_templates(version):
    assert arguments(product("init vim hello"), [offered(version, "bb")]) == (
        f"--add init --add vim --add hello={version} --auto-remove --allow-upgrade hello"
    )


def test_a_self_built_package_that_is_not_listed_is_replaced_as_well():
    manifest = {**MANIFEST, "anchors": {**MANIFEST["anchors"], "settings": {}}}
    planned = transaction.plan(product("init"), manifest, [offered(sha256="bb")], "/apt")
    assert planned.arguments == ["--add", "init", "--add", "/apt/pool/hello.deb", "--auto-remove"]


def test_a_self_built_package_that_goes_is_not_replaced():
    assert "pool/hello.deb" not in arguments(product("init vim"), [offered(sha256="bb")])
    assert "pool/hello.deb" not in arguments(product(remove="hello"), [offered(sha256="bb")])


def test_allowed_upgrades_are_passed_on():
    assert "--allow-upgrade libc6" in arguments(product(allow_upgrade="libc6"))


def test_a_package_that_the_template_built_but_did_not_install_is_no_upgrade():
    manifest = {**MANIFEST, "packages": []}
    planned = transaction.plan(product(), manifest, [offered("2", "bb")], "/apt")
    assert "--allow-upgrade" not in planned.arguments


def test_a_template_without_anchors_loses_nothing():
    planned = transaction.plan(product(), {}, [], "/apt")
    assert planned.arguments == ["--add", "init", "--add", "hello", "--auto-remove"]
