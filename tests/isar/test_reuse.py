# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What the platform built is used again; what was changed is built again, and nothing else."""

import os
import re
import subprocess

import pytest

from bitbake_build import Build
from workspace import IDENTITY, USER, Workspace

IMAGE = "product-image"
PLATFORM_RECIPES = {
    "enable-fsck", "hello", "isar-exclude-docs", "platform-lib", "platform-tool", "sshd-regen-keys",
}  # fmt: skip

PATCH = """
do_install:append() {
    echo second > ${D}/usr/share/platform-lib/word
}
"""


def recipes(build, task):
    """Names of recipes for which the run that made it executed a task."""
    return {file.split("_")[0].removesuffix(".bb") for file, done in build.tasks(build.made) if done == task}


def word(build, package):
    with open(os.path.join(build.rootfs(IMAGE), "usr/share", package, "word"), encoding="ascii") as file:
        return file.read().strip()


def store_of(build):
    return os.path.join(build.path, "template-store")


def helper(workspace, *arguments):
    done = subprocess.run(
        [workspace.helper, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def clean_up(workspace, store, newer):
    """Have a newer release in the store, and only that kept but for what is in use."""
    trust = ["--allowed-signers", workspace.signers, "--identity", IDENTITY]
    helper(workspace, "--store", store, "import", *trust, newer)
    helper(workspace, "--store", store, "gc", "--keep", "1")
    return helper(workspace, "--store", store, "list")


def test_unchanged_recipes_are_neither_fetched_nor_built(consumer):
    for task in ("do_fetch", "do_unpack", "do_dpkg_build"):
        assert not PLATFORM_RECIPES & recipes(consumer, task), task
    assert recipes(consumer, "do_dpkg_build") == {"product-app"}
    assert PLATFORM_RECIPES <= recipes(consumer, "do_dpkg_build_setscene")
    assert "is built again" not in consumer.made


@pytest.fixture(scope="module")
def patched(workspace, consumer, bundle, second_bundle, consume_settings):
    """The product with a changed recipe of the platform, over a store that was cleaned up meanwhile."""
    layer = workspace.make_layer("patch", {"recipes-app/platform-lib/platform-lib_%.bbappend": PATCH})
    clean_up(workspace, store_of(consumer), second_bundle)
    settings = f'TEMPLATE_STORE_DIR = "{store_of(consumer)}"\nTEMPLATE_KEEP = "1"\n'
    with Build(workspace, "patched", consume_settings(bundle) + settings, [*workspace.product_layers, layer]) as build:
        build.bitbake(f"-c rootfs_install mc:{build.multiconfig}:{IMAGE}")
        build.made = build.output
        yield build


def test_a_changed_recipe_is_built_again_with_what_is_built_with_it(patched):
    assert recipes(patched, "do_dpkg_build") == {"platform-lib", "platform-tool", "product-app"}
    unchanged = PLATFORM_RECIPES - {"platform-lib", "platform-tool"}
    assert unchanged <= recipes(patched, "do_dpkg_build_setscene")


def test_the_build_says_why(patched):
    assert "platform-lib is built again: do_install is not what it was for the template" in patched.output
    assert "Variable do_install value changed" in patched.output
    assert "platform-tool is built again: do_install of platform-lib, which it needs," in patched.output


def test_the_new_packages_replace_those_of_the_template_at_the_same_version(patched, consumer):
    assert (word(consumer, "platform-lib"), word(consumer, "platform-tool")) == ("first", "first")
    assert (word(patched, "platform-lib"), word(patched, "platform-tool")) == ("second", "second")


def test_what_the_product_does_not_list_stays_when_it_is_to_be_kept(patched):
    assert os.path.exists(os.path.join(patched.rootfs(IMAGE), "usr/local/bin/example-raw"))
    log = patched.task_log("product-image-qemuamd64", "do_rootfs_install")
    assert "not listed by this image, kept as TEMPLATE_KEEP is set: less example-raw" in log


def test_the_store_keeps_what_either_build_directory_uses(consumer, patched, workspace, second_bundle):
    root = os.path.join(consumer.path, "tmp", "template")
    listed = clean_up(workspace, store_of(consumer), second_bundle)
    assert "1.0" in listed and "1.1" in listed
    # the other one still does
    hidden = f"{root}.hidden"
    os.rename(root, hidden)
    try:
        assert "1.0" in clean_up(workspace, store_of(consumer), second_bundle)
    finally:
        os.rename(hidden, root)


def test_another_user_elsewhere_without_network_gets_the_same(isar, workspace, bundle, consume_settings, consumer):
    other = Workspace(os.path.join(workspace.path, "another", "place"), isar, user=f"{USER}-2")
    build = Build(
        other, "elsewhere", f'{consume_settings(bundle)}\nBB_NO_NETWORK = "1"\n', other.product_layers
    )
    build.bitbake(f"-S none mc:{build.multiconfig}:{IMAGE}")
    found = re.search(r"Sstate summary: Wanted \d+ Local 0 Mirrors (\d+)", build.output)
    assert int(found.group(1)) == len(PLATFORM_RECIPES)
    ours, theirs = (
        {line for line in made.signatures(IMAGE).splitlines() if ":do_dpkg_build:" in line}
        for made in (consumer, build)
    )
    assert ours == theirs
