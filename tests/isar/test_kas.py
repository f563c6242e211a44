# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The example of a product in kas/, built by the real kas on the platform's template."""

import json
import os
import re
import shutil
import subprocess

import pytest

import venv_tools
from bitbake_build import MULTICONFIG, RUNNING
from workspace import IDENTITY, TOP

IMAGE = "product-image"
# what a team has in a file of its own: its layers, and here a local Isar
PROJECT = """\
header:
  version: 14
  includes:
    - kas/example-product.yml

target: mc:{multiconfig}:{image}

repos:
  isar:
    url: null
    path: {isar}
  products:
    path: {workspace}
    layers:
      platform-layer:
      product-layer:

local_conf_header:
  project: |
    # the packages of the SBOM generator come from a git host
    ROOTFS_FEATURES:remove = "generate-sbom"
"""


@pytest.fixture(scope="module")
def kas(workspace):
    """Run kas as the user of the builds, in a project with the example files; returns what it said."""
    try:
        programs = venv_tools.make("kas")
    except venv_tools.NoVenv as error:
        pytest.skip(str(error))
    project = os.path.join(workspace.path, "kas-project")
    # that user may not read where it is
    shutil.copytree(os.path.dirname(programs), os.path.join(workspace.path, "kas-venv"), symlinks=True)
    shutil.copytree(os.path.join(TOP, "kas"), os.path.join(project, "kas"))
    shutil.copytree(workspace.layer, os.path.join(project, "meta-template"))
    with open(os.path.join(project, "project.yml"), "w", encoding="utf-8") as file:
        file.write(PROJECT.format(
            isar=workspace.isar, workspace=workspace.path, image=IMAGE, multiconfig=MULTICONFIG
        ))  # fmt: skip
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", f"{workspace.user}:", project], check=True)
    workspace.run(f"git init --quiet {project}", check=True)

    def run(arguments, check=True, **environment):
        settings = " ".join(f"{name}={value}" for name, value in environment.items())
        done = workspace.run(
            f"cd {project} && env {settings} {workspace.path}/kas-venv/bin/python3 -m kas {arguments}",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout[-4000:]
        return done.stdout

    yield run
    workspace.clear(project)


def test_a_product_is_built_on_a_template_that_the_environment_names(kas, workspace, bundle):
    inspected = subprocess.run([workspace.helper, "--format", "json", "inspect", bundle], check=True, capture_output=True)
    output = kas(
        "build -c rootfs_install project.yml",
        TEMPLATE_SOURCE=bundle,
        TEMPLATE_DIGEST=json.loads(inspected.stdout)["digest"],
        TEMPLATE_ALLOWED_SIGNERS=workspace.signers,
        TEMPLATE_IDENTITY=IDENTITY,
        TEMPLATE_HELPER=workspace.helper,
    )
    assert f"building on the template platform:1.0, signed by {IDENTITY}" in output
    tasks = [(os.path.basename(file), task) for file, task in RUNNING.findall(output)]
    assert (f"{IMAGE}.bb", "do_rootfs_install") in tasks
    assert {recipe for recipe, task in tasks if task == "do_dpkg_build"} == {"product-app_1.0.bb"}


def test_a_release_is_refused_where_the_mode_was_not_switched_off(kas):
    output = kas("build project.yml:kas/template/forbid.yml", check=False)
    assert re.search(r"ERROR: .*TEMPLATE_FORBID is set, but TEMPLATE_MODE = 'consume'", output)
    off = kas("shell -c 'bitbake -e' project.yml:kas/template/off.yml:kas/template/forbid.yml")
    assert '\nTEMPLATE_MODE="off"' in off and '\nTEMPLATE_FORBID="1"' in off
