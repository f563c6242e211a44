# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A product for arm64 on a template, with packages that are cross built, compared with the same by Isar alone."""

import json
import os
import subprocess

import schemas

IMAGE = "cross-image"
CHROOTS = {
    "host": "schroot-host/debian-bookworm-amd64_debian-bookworm-arm64",
    "target": "schroot-target/debian-bookworm-arm64",
}
PLATFORM_RECIPES = {
    "cross-tool", "cross-words", "enable-fsck", "hello", "isar-exclude-docs", "platform-lib", "platform-tool",
    "sshd-regen-keys",
}  # fmt: skip
# where ELF has the processor, and its number for arm64
MACHINE, AARCH64 = slice(18, 20), b"\xb7\x00"


def recipes(build, task):
    """Names of recipes for which the last run executed a task."""
    return {file.split("_")[0].removesuffix(".bb") for file, done in build.tasks() if done == task}


def manifest(build):
    with open(build.image(IMAGE, "manifest"), encoding="utf-8") as file:
        return sorted(file.read().splitlines())


def commands_of(build, recipe):
    return build.variables(recipe, "ROOTFS_INSTALL_COMMAND", "ROOTFS_ARCH", "BOOTSTRAP_SRC")


def dry_run(build, recipe):
    """What would be run for a recipe, from nothing."""
    build.bitbake(f"-n mc:{build.multiconfig}:{recipe}")
    return set(build.tasks())


def test_the_template_has_what_cross_builds_need(workspace, bundle):
    names = {component["name"] for component in workspace.inspect(bundle)["manifest"]["components"]}
    assert {"bootstrap", "bootstrap-host", "buildchroot-host", "buildchroot-target", "initrd", "sstate"} <= names


def test_it_is_known_which_recipe_made_a_package_of_any_architecture(workspace, bundle):
    made = {
        (package["package"], package["architecture"]): package["recipe"]
        for package in workspace.inspect(bundle)["manifest"]["anchors"]["selfBuilt"]
    }
    assert made["hello", "arm64"] == "hello"
    assert made["cross-words", "amd64"] == "cross-words-native"
    assert made["platform-tool", "all"] == "platform-tool"


def test_nothing_of_the_platform_is_made_again(consumer):
    tasks = consumer.tasks()
    print(f"\nconsume {consumer.seconds:.0f} s")
    print("\n".join(f"{recipe}:{task}" for recipe, task in tasks))
    assert ("template-bootstrap-target.bb", "do_template_bootstrap") in tasks
    for variant in CHROOTS:
        assert (f"template-buildchroot-{variant}.bb", "do_template_buildchroot") in tasks
    assert not [task for task in tasks if task[1] == "do_bootstrap"]
    assert not [task for task in tasks if task[0].startswith(("isar-mmdebstrap", "sbuild-chroot"))]
    assert [recipe for recipe, task in tasks if task == "do_rootfs_install"] == [f"{IMAGE}.bb"]


def test_unchanged_recipes_are_not_built_whatever_they_are_built_for(consumer):
    assert recipes(consumer, "do_dpkg_build") == {"cross-app", "emulated-app"}
    assert PLATFORM_RECIPES <= recipes(consumer, "do_dpkg_build_setscene")
    assert "is built again" not in consumer.output


def test_own_packages_are_built_in_the_imported_chroots(consumer):
    for recipe, variant, build in (("cross-app", "host", "amd64"), ("emulated-app", "target", "arm64")):
        imported = consumer.deployed(f"{CHROOTS[variant]}-template-*")
        log = consumer.task_log(recipe, "do_dpkg_build").splitlines()
        (line,) = {line for line in log if line.startswith("Build Architecture:")}
        assert line.split()[-1] == build
        assert consumer.variables(recipe, "SCHROOT_DIR")["SCHROOT_DIR"] == imported
        with open(os.path.join(consumer.rootfs(IMAGE), "usr", "bin", recipe), "rb") as file:
            assert file.read(64)[MACHINE] == AARCH64, recipe


def test_the_manifest_equals_that_of_a_full_build(consumer, stock):
    assert manifest(consumer) == manifest(stock)
    assert any("|cross-app:arm64|" in line for line in manifest(consumer))
    print(f"\nconsume {consumer.seconds:.0f} s, stock with warm sstate {stock.seconds:.0f} s, "
          f"ratio {consumer.seconds / stock.seconds:.2f}")  # fmt: skip


def test_no_package_is_left_half_installed_by_the_emulator(consumer):
    root = consumer.rootfs(IMAGE)
    audit = subprocess.run(["dpkg", "--root", root, "--audit"], capture_output=True, text=True)
    assert (audit.returncode, audit.stdout) == (0, "")
    assert not os.path.exists(os.path.join(root, "usr/bin/qemu-aarch64-static"))


def test_the_initrd_is_that_of_the_template(consumer):
    log = consumer.task_log(f"{IMAGE}-{consumer.machine}", "do_generate_initramfs")
    assert "the initrd is that of the template" in log


def test_the_image_says_which_template_it_was_built_on(consumer):
    with open(consumer.image(IMAGE, "template.json"), encoding="utf-8") as file:
        document = json.load(file)
    schemas.check("provenance-v1", document)
    assert {"cross-app", "emulated-app", "nano"} <= {package["package"] for package in document["packages"]["added"]}


def test_the_image_boots_with_the_products_program(consumer, emulator):
    emulator.boot(consumer.image(IMAGE, "wic"), ["cross-app is running", "login:"], patience=1200)


def test_the_sdk_of_a_product_is_isars_on_the_imported_bootstrap_of_the_host(consumer, stock):
    ours, theirs = (commands_of(build, f"{IMAGE}-sdk") for build in (consumer, stock))
    place = os.path.basename(os.path.dirname(ours.pop("BOOTSTRAP_SRC")))
    assert place.startswith("bootstrap-template-")
    del theirs["BOOTSTRAP_SRC"]
    assert ours == theirs
    assert ours["ROOTFS_ARCH"] == "amd64"
    tasks = dry_run(consumer, f"{IMAGE}-sdk")
    assert ("template-bootstrap-host.bb", "do_template_bootstrap") in tasks
    assert not [task for task in tasks if task[1] == "do_bootstrap"]


def test_build_chroots_with_a_flavour_are_isars_on_the_imported_bootstrap(consumer):
    for variant in CHROOTS:
        recipe = f"sbuild-chroot-{variant}-db2m"
        deployed = consumer.variables(recipe, "DEPLOY_SCHROOT")["DEPLOY_SCHROOT"]
        assert deployed.endswith("-db2m") and f"{CHROOTS[variant]}-template-" in deployed
        tasks = dry_run(consumer, recipe)
        assert (f"{recipe}.bb", "do_rootfs_install") in tasks
        assert not [task for task in tasks if task[1] == "do_bootstrap"]
