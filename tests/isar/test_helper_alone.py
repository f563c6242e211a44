# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The template that Isar made, used by an application team without bitbake."""

import json
import os
import subprocess

import pytest

from workspace import IDENTITY


@pytest.fixture(scope="module")
def product(workspace, consumer, bundle):
    """A tree that the helper alone made: a package added from the repository, one of the platform removed."""
    store = os.path.join(workspace.path, "helper-store")
    tree = os.path.join(workspace.path, "helper-product")
    deb = os.path.join(consumer.work("product-app"), "product-app_1.0_all.deb")

    def helper(*arguments):
        done = subprocess.run(
            [workspace.helper, "--store", store, "--format", "json", *arguments],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    helper("import", "--allowed-signers", workspace.signers, "--identity", IDENTITY, bundle)
    helper(
        "install", "platform", "--add", "nano", "--add", deb, "--remove", "example-raw",
        "--output", tree,
    )  # fmt: skip
    yield tree
    workspace.remove(tree)
    workspace.remove(store)


def test_the_result_is_a_finished_system(product):
    assert not os.path.exists(os.path.join(product, "chroot-setup.sh"))
    assert not os.path.lexists(os.path.join(product, "usr/sbin/policy-rc.d"))
    assert not os.path.lexists(os.path.join(product, "etc/apt/sources.list.d/isar-apt.list"))
    assert os.path.getsize(os.path.join(product, "usr/sbin/start-stop-daemon")) > 10000
    with open(os.path.join(product, "etc/machine-id"), encoding="ascii") as file:
        assert file.read().strip() in ("", "uninitialized")


def test_the_packages_are_as_asked_for(product):
    def run(*command):
        return subprocess.run(["chroot", product, *command], capture_output=True, text=True, check=True).stdout

    assert run("dpkg", "--audit") == ""
    installed = run("dpkg-query", "--show", "--showformat", "${Package}\n").split()
    assert {"nano", "product-app"} <= set(installed)
    assert "example-raw" not in installed
