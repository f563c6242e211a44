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


def offered(version="1", sha256="aa", architecture="amd64"):
    return {
        "Package": "hello", "Version": version, "Architecture": architecture, "SHA256": sha256,
        "Filename": "pool/hello.deb",
    }  # fmt: skip


def installed(*architectures, version="1"):
    return [{"package": "hello", "packageVersion": version, "architecture": a} for a in architectures]


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
    assert "--allow-suite sid" in arguments(product()._replace(allow_suite=["sid"]))
    assert "--allow-orphaned-modules linux-x" in arguments(product()._replace(allow_orphaned_modules=["linux-x"]))


def test_a_package_that_the_template_built_but_did_not_install_is_no_upgrade():
    manifest = {**MANIFEST, "packages": []}
    planned = transaction.plan(product(), manifest, [offered("2", "bb")], "/apt")
    assert "--allow-upgrade" not in planned.arguments


@pytest.mark.parametrize("version, how", [("1", "/apt/pool/hello.deb"), ("2", "hello=2"), ("0.9", "hello=0.9")])
def test_a_package_of_debian_that_the_product_builds_itself_is_replaced(version, how):
    manifest = {**MANIFEST, "anchors": {"settings": {"ROOTFS_PACKAGES": LISTED}, "selfBuilt": []}}
    planned = transaction.plan(product("init vim hello"), manifest, [offered(version, "bb")], "/apt")
    allowed = [] if version == "1" else ["--allow-upgrade", "hello"]
    assert planned.arguments == ["--add", "init", "--add", "vim", "--add", how, "--auto-remove", *allowed]
    assert any("'hello'" in note for note in planned.notes)


def test_a_record_of_what_was_built_does_not_hide_that_another_version_is_installed():
    manifest = {**MANIFEST, "packages": installed("amd64", version="0.8")}
    planned = transaction.plan(product(), manifest, [offered()], "/apt")
    assert "hello=1" in planned.arguments
    assert planned.arguments[-2:] == ["--allow-upgrade", "hello"]


def test_a_package_that_is_for_all_architectures_now_replaces_the_templates():
    planned = transaction.plan(product(), MANIFEST, [offered(sha256="bb", architecture="all")], "/apt")
    assert "hello=1" in planned.arguments
    assert planned.arguments[-2:] == ["--allow-upgrade", "hello"]
    assert "'hello' 1 of amd64 becomes that of all, which this build made" in planned.notes


def test_a_package_of_another_architecture_is_no_replacement():
    planned = transaction.plan(product(), MANIFEST, [offered("2", "bb", "i386")], "/apt")
    assert "--allow-upgrade" not in planned.arguments
    assert planned.notes == ["not listed by this image: vim"]


def test_of_a_package_of_two_architectures_the_right_one_is_replaced():
    manifest = {**MANIFEST, "packages": installed("amd64", "i386")}
    planned = transaction.plan(product("init hello hello:i386"), manifest, [offered("2", "bb", "i386")], "/apt")
    assert planned.arguments[:6] == ["--add", "init", "--add", "hello", "--add", "hello:i386=2"]


def test_a_version_in_the_list_of_packages_is_no_part_of_the_name():
    listed = {"settings": {"ROOTFS_PACKAGES": "init vim=2 less/stable hello=1"}, "selfBuilt": [HELLO]}
    manifest = {**MANIFEST, "anchors": listed}
    assert transaction.plan(product("init=3 hello=1.1"), manifest, [], "/apt").arguments == [
        "--add", "init=3", "--add", "hello=1.1", "--mark-auto", "vim", "--mark-auto", "less", "--auto-remove",
    ]  # fmt: skip
    planned = transaction.plan(product("init vim less hello=1"), manifest, [offered("2", "bb")], "/apt")
    assert planned.arguments[6:8] == ["--add", "hello=2"]


def test_a_template_without_anchors_loses_nothing():
    planned = transaction.plan(product(), {}, [], "/apt")
    assert planned.arguments == ["--add", "init", "--add", "hello", "--auto-remove"]
