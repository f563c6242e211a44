# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a plan says of kernel modules and self-built packages that stay behind."""

import json
import os
import shutil
import subprocess

import pytest

import support
from support import REFUSED

SYMBOLS = "libgreet.so.1 libgreet1 #MINVER#\n greet@Base %s\n greet_twice@Base %s\n"


def compile_c(folder, name, source, *options):
    path = os.path.join(folder, name)
    support.write(path + ".c", source)
    support.command("gcc", "-O1", "-o", path, path + ".c", *options)
    with open(path, "rb") as file:
        return file.read()


def library(folder, version, functions, symbols=None):
    """A package with libgreet.so.1, and where it is."""
    os.makedirs(folder)
    source = "".join("int %s(void) { return 1; }\n" % name for name in functions)
    content = compile_c(folder, "libgreet.so.1", source, "-shared", "-fPIC", "-Wl,-soname,libgreet.so.1")
    files = {"usr/lib/libgreet.so.1": content}
    if symbols is not None:
        files["DEBIAN/symbols"] = symbols
    return support.make_deb(folder, "libgreet1", version, files=files, arch=support.architecture())


@pytest.fixture(scope="module")
def packages(session_dir):
    """A kernel, modules for it, a library, and a program that links it: what a platform builds itself."""
    folder = os.path.join(session_dir, "self-built")
    os.makedirs(folder)
    lib = library(folder + "/lib1", "1.0", ["greet", "greet_twice"], SYMBOLS % ("0.9", "1.0"))
    program = compile_c(folder, "greeter", "int greet(void), greet_twice(void); int main(void) { return greet() + greet_twice(); }",
                        folder + "/lib1/libgreet.so.1")
    return [
        lib,
        support.make_deb(folder, "greeter", files={"usr/bin/greeter": program}, arch=support.architecture(), Depends="libgreet1"),
        support.make_deb(folder, "linux-image-6.1.0-own", files={
            "boot/vmlinuz-6.1.0-own": "kernel", "lib/modules/6.1.0-own/kernel/net/own.ko": "own",
            "lib/modules/6.1.0-own/modules.order": ""}),
        support.make_deb(folder, "foo-module", files={"lib/modules/6.1.0-own/extra/foo.ko": "foo"}),
    ]


@pytest.fixture(scope="module")
def platform_with(session_dir, platform, publisher, packages):
    """A template with those packages, whose anchors name the recipes. Not to be changed."""
    tree = os.path.join(session_dir, "impact-platform")
    support.command("cp", "-a", platform, tree)
    for deb in packages:
        shutil.copy(deb, tree + "/")
    names = ["/" + os.path.basename(deb) for deb in packages]
    support.command("chroot", tree, "dpkg", "--install", *names, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    for name in names:
        os.unlink(tree + name)
    # built on the machine, as DKMS leaves it
    support.write(tree + "/var/lib/dkms/bar/1.0/6.1.0-own/x86_64/module/bar.ko", "bar")
    support.write(tree + "/lib/modules/6.1.0-own/updates/dkms/bar.ko", "bar")
    versions = support.installed(tree)
    built = [{"package": name, "version": versions[name], "architecture": arch, "sha256": "0" * 64, "recipe": recipe, "taskHash": "1" * 64}
             for name, arch, recipe in [("libgreet1", support.architecture(), "libgreet"), ("greeter", support.architecture(), "greeter-recipe"),
                                        ("foo-module", "all", "foo-module-recipe")]]
    anchors = os.path.join(session_dir, "impact-anchors.json")
    support.write(anchors, json.dumps({"version": 0, "selfBuilt": built}))
    bundle = os.path.join(session_dir, "impact-bundle")
    helper = support.Helper(os.path.join(session_dir, "impact-store"))
    helper("pack", "--name", "with", "--version", "1", "--component", "rootfs=" + tree, "--anchors", anchors,
           "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    shutil.rmtree(tree)
    return helper


def plan(helper, *words, code=0):
    return helper.json("plan", "with", "--update", "none", *words, code=code)


MODULES = "/usr/lib/modules/6.1.0-own"


def test_a_kernel_does_not_leave_its_modules(platform_with):
    value = plan(platform_with, "--remove", "linux-image-6.1.0-own", code=REFUSED)
    assert value["plan"]["orphanedModules"] == [
        {"kernelPackage": "linux-image-6.1.0-own", "kernel": "6.1.0-own", "module": MODULES + "/extra/foo.ko",
         "package": "foo-module", "recipe": "foo-module-recipe"},
        {"kernelPackage": "linux-image-6.1.0-own", "kernel": "6.1.0-own", "module": MODULES + "/updates/dkms/bar.ko",
         "dkms": "bar-1.0"}]
    text = support.said(value["error"])
    for word in ("extra/foo.ko", "'foo-module'", "'foo-module-recipe'", "--remove foo-module", "--allow-orphaned-modules linux-image-6.1.0-own"):
        assert word in text
    # with the module's package only the one that DKMS has built is left
    words = ["--remove", "linux-image-6.1.0-own", "--remove", "foo-module"]
    value = plan(platform_with, *words, code=REFUSED)
    assert [module["module"] for module in value["plan"]["orphanedModules"]] == [MODULES + "/updates/dkms/bar.ko"]
    value = plan(platform_with, *words, "--allow-orphaned-modules", "linux-image-6.1.0-own")
    assert len(value["plan"]["orphanedModules"]) == 1 and value["plan"]["refusals"] == []
    # an install refuses before anything happens
    error = platform_with.error("install", "with", "--update", "none", "--remove", "linux-image-6.1.0-own",
                                "--output", os.path.join(platform_with.store, "never"), code=REFUSED)
    assert "foo-module" in error["message"]


def test_a_kernel_update_is_looked_into(platform_with, tmp):
    """The package keeps its name; only its files tell which kernel it brings."""
    other = support.make_deb(tmp, "linux-image-6.1.0-own", "2.0", files={"boot/vmlinuz-6.1.1-own": "new"})
    words = ["--allow-upgrade", "linux-image-6.1.0-own", "--add"]
    value = plan(platform_with, *words, other, code=REFUSED)
    assert {module["kernel"] for module in value["plan"]["orphanedModules"]} == {"6.1.0-own"}
    same = support.make_deb(tmp, "linux-image-6.1.0-own", "2.1", files={"boot/vmlinuz-6.1.0-own": "new"})
    value = plan(platform_with, *words, same)
    assert value["plan"]["orphanedModules"] == []
    assert any("may have to be built again" in note and "foo.ko" in note for note in value["plan"]["notes"])
    # new modules come along, from a repository
    module = support.make_deb(tmp, "foo-module", "2.0", files={"lib/modules/6.1.1-own/extra/foo.ko": "foo"})
    repository = support.make_repository(tmp + "/repo", [other, module])
    value = plan(platform_with, "--repo", repository, *words, "linux-image-6.1.0-own", "--allow-upgrade", "foo-module", "--add", "foo-module", code=REFUSED)
    assert [module["module"] for module in value["plan"]["orphanedModules"]] == [MODULES + "/updates/dkms/bar.ko"]


def affected(value):
    [entry] = value["plan"]["affected"]
    assert (entry["package"], entry["recipe"], entry["library"], entry["soname"]) == (
        "greeter", "greeter-recipe", "libgreet1", "libgreet.so.1")
    assert entry["rebuild"] == "unknown-outside-bitbake"
    return entry


def test_who_links_a_library_that_changes(platform_with, tmp):
    words = ["--allow-upgrade", "libgreet1", "--add"]
    good = library(tmp + "/good", "1.1", ["greet", "greet_twice"], SYMBOLS % ("0.9", "1.0"))
    entry = affected(plan(platform_with, *words, good))
    assert entry["compatible"] == "yes" and "from 1.0 to 1.1" in entry["reason"]
    bad = library(tmp + "/bad", "1.2", ["greet"], SYMBOLS.replace(" greet_twice@Base %s\n", "") % "0.9")
    entry = affected(plan(platform_with, *words, bad))
    assert entry["compatible"] == "no" and "'greet_twice'" in entry["reason"]
    silent = library(tmp + "/silent", "1.3", ["greet"])
    assert affected(plan(platform_with, *words, silent))["compatible"] == "unknown"
    other = support.make_deb(tmp, "libgreet1", "1.4", files={"usr/lib/libgreet.so.2": "x"}, arch=support.architecture())
    assert affected(plan(platform_with, *words, other))["compatible"] == "no"
    old = library(tmp + "/old", "0.9", ["greet"], SYMBOLS.replace(" greet_twice@Base %s\n", "") % "0.9")
    entry = affected(plan(platform_with, *words, old))
    assert entry["compatible"] == "no" and "downgraded" in entry["reason"]
    text = platform_with("plan", "with", "--update", "none", *words, good).stdout
    assert "affected: 'greeter' (recipe 'greeter-recipe') links libgreet.so.1" in text


def test_nothing_is_said_where_nothing_changes(platform_with, tmp):
    value = plan(platform_with, "--add", support.make_deb(tmp, "harmless"), "--remove", "nano")
    assert value["plan"]["affected"] == [] and value["plan"]["orphanedModules"] == []
    # who goes or changes as well needs no warning
    value = plan(platform_with, "--remove", "libgreet1", "--remove", "greeter")
    assert value["plan"]["affected"] == []


def test_a_program_may_be_large(platform_with, tmp):
    """As those with everything linked in or with debugging symbols are: only the tables that matter are read."""
    root = os.path.join(tmp, "root")
    platform_with("checkout", "--raw", "with", root)
    os.truncate(root + "/usr/bin/greeter", 100 << 20)
    good = library(tmp + "/good", "1.1", ["greet", "greet_twice"], SYMBOLS % ("0.9", "1.0"))
    value = plan(platform_with, "--root", root, "--allow-upgrade", "libgreet1", "--add", good)
    assert affected(value)["compatible"] == "yes" and not any("/usr/bin/greeter" in note for note in value["plan"]["notes"])


def test_a_damaged_program_is_no_obstacle(platform_with, tmp, packages):
    """Files of packages are anybody's: what cannot be read is left out."""
    root = os.path.join(tmp, "root")
    platform_with("checkout", "--raw", "with", root)
    path = root + "/usr/bin/greeter"
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    support.write(path, content[:64] + bytes(len(content) - 64))
    good = library(tmp + "/good", "1.1", ["greet"])
    value = plan(platform_with, "--root", root, "--allow-upgrade", "libgreet1", "--add", good)
    assert value["plan"]["affected"] == []
    before = subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout
    platform_with("install", "with", "--root", root, "--update", "none", "--allow-upgrade", "libgreet1", "--add", good)
    assert subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout == before
