# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The files in kas/, put together by the real kas, which pip installs for this test alone."""

import json
import os
import re
import shutil
import subprocess

import pytest

import venv_tools

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# what each fragment adds to local.conf
FRAGMENTS = {
    "produce": ['TEMPLATE_MODE = "produce"'],
    "base-apt": ['TEMPLATE_COMPONENTS:append = " base-apt"'],
    "consume-file": ['TEMPLATE_MODE = "consume"'],
    "consume-https": [
        "TEMPLATE_SOURCE[sha256sum] ?= \"${@d.getVar('TEMPLATE_SOURCE_SHA256SUM') or ''}\"",
        'TEMPLATE_MODE = "consume"',
    ],
    "consume-registry": ['TEMPLATE_MODE = "consume"'],
    "offline": ['BB_NO_NETWORK = "1"'],
    "derive": ['TEMPLATE_MODE = "derive"'],
    "off": ['TEMPLATE_MODE = "off"'],
    "forbid": ['TEMPLATE_FORBID = "1"'],
}
MODES = [name for name, lines in FRAGMENTS.items() if lines[-1].startswith("TEMPLATE_MODE")]
# what a local checkout in place of a repository looks like
LOCAL = """\
header:
  version: 14
repos:
  isar:
    url: null
    path: {}
"""


# a product's own repository
FOREIGN = """\
header:
  version: 14
  includes:
    - repo: isar-template
      file: kas/isar.yml
    - repo: isar-template
      file: kas/template/consume-file.yml
repos:
  isar-template:
    path: {0}
  isar:
    url: null
    path: {0}/isar
"""


@pytest.fixture(scope="session")
def dump(tmp_path_factory):
    """What kas makes of some files: a function of their paths below kas/."""
    try:
        programs = venv_tools.make("kas")
    except venv_tools.NoVenv as error:
        pytest.skip(str(error))
    # kas takes paths in a file to be below the git repository that has the file
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(os.path.join(TOP, "kas"), project / "kas")
    subprocess.run(["git", "init", "--quiet", project], check=True)
    (project / "isar").mkdir()
    (project / "kas" / "local.yml").write_text(LOCAL.format(project / "isar"))

    def run(*files, where=project):
        paths = [os.path.join("kas", file) for file in (*files, "local.yml")] if where == project else files
        done = subprocess.run(
            [f"{programs}/kas", "dump", "--format", "json", ":".join(paths)],
            cwd=where, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        config = json.loads(done.stdout)
        config["project"] = str(project)
        return config

    return run


def local_conf(config):
    """The lines of ours in the local.conf that kas would write, in its order."""
    headers = config.get("local_conf_header", {})
    lines = "".join(headers[key] for key in sorted(headers)).splitlines()
    return [line for line in lines if line.startswith(("TEMPLATE_", "BB_NO_NETWORK"))]


def documented():
    """The names of all variables of the layer."""
    with open(os.path.join(TOP, "meta-template", "conf", "image-template-defaults.conf"), encoding="utf-8") as file:
        return set(re.findall(r"^(\w+) \?\?=", file.read(), re.MULTILINE))


def test_all_fragments_are_here():
    assert sorted(os.listdir(os.path.join(TOP, "kas", "template"))) == sorted(f"{name}.yml" for name in FRAGMENTS)


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_each_fragment_sets_what_it_says_and_passes_variables_of_the_layer(dump, fragment):
    config = dump("isar.yml", f"template/{fragment}.yml")
    assert local_conf(config) == FRAGMENTS[fragment]
    assert set(config.get("env", {})) - {"TEMPLATE_SOURCE_SHA256SUM"} <= documented()


def test_a_later_mode_replaces_an_earlier_one(dump):
    for last in MODES:
        others = [name for name in MODES if name != last]
        lines = local_conf(dump("isar.yml", *(f"template/{name}.yml" for name in (*others, last))))
        assert [line for line in lines if line.startswith("TEMPLATE_MODE")] == FRAGMENTS[last][-1:]


def test_the_platform_is_a_build_of_isar_that_publishes_itself(dump):
    config = dump("example-platform.yml")
    assert config["build_system"] == "isar"
    assert config["target"] == "mc:qemuamd64-bookworm:isar-image-base"
    assert config["repos"]["isar-template"]["layers"] == {"meta-template": None}
    assert set(config["repos"]["isar"]["layers"]) == {"meta", "meta-isar"}
    assert local_conf(config) == [
        'TEMPLATE_NAME ?= "platform"',
        'TEMPLATE_VERSION ?= "1.0"',
        'TEMPLATE_SIGNING_KEY ?= "none"',
        'TEMPLATE_MODE = "produce"',
    ]


def test_the_product_says_all_that_consuming_needs(dump):
    lines = local_conf(dump("example-product.yml"))
    assert 'TEMPLATE_MODE = "consume"' in lines
    for name in ("SOURCE", "DIGEST", "ALLOWED_SIGNERS", "IDENTITY"):
        assert [line for line in lines if line.startswith(f"TEMPLATE_{name} ?= ")], name


def test_the_product_is_built_from_scratch_for_a_release(dump):
    lines = local_conf(dump("example-product.yml", "template/off.yml", "template/forbid.yml"))
    assert 'TEMPLATE_MODE = "off"' in lines
    assert 'TEMPLATE_FORBID = "1"' in lines
    assert not [line for line in lines if line.startswith("TEMPLATE_MODE") and "off" not in line]


def test_isar_is_the_tested_commit_and_can_be_a_local_checkout(dump):
    with open(os.path.join(TOP, "kas", "isar.yml"), encoding="utf-8") as file:
        named = re.search(r"url: (\S+)\n +commit: (\S+)\n", file.read()).groups()
    with open(os.path.join(TOP, "tests", "isar", "workspace.py"), encoding="utf-8") as file:
        tested = re.search(r'ISAR_COMMIT = "(.*)"\nISAR_URL = "(.*)"', file.read()).groups()
    assert named == tested[::-1]
    config = dump("isar.yml")
    assert config["repos"]["isar"]["url"] is None
    assert config["repos"]["isar"]["path"] == f"{config['project']}/isar"


def test_a_repository_of_its_own_includes_the_same_files(dump, tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "product.yml").write_text(FOREIGN.format(dump("isar.yml")["project"]))
    config = dump("product.yml", where=tmp_path)
    assert local_conf(config) == FRAGMENTS["consume-file"]
    assert config["repos"]["isar-template"]["layers"] == {"meta-template": None}


def test_the_lines_of_the_documentation_name_files_that_there_are():
    named = set()
    for page in ("README.md", "docs/layer.md", *(f"kas/{name}" for name in os.listdir(os.path.join(TOP, "kas")))):
        path = os.path.join(TOP, page)
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                named |= set(re.findall(r"kas/[\w/-]+\.yml", file.read()))
    named -= {"kas/local.yml"}
    assert named
    assert not [name for name in sorted(named) if not os.path.exists(os.path.join(TOP, name))]


def test_the_project_of_the_documentation(dump, tmp_path):
    """Both files of docs/getting-started-product.md, with what stands for addresses replaced by folders."""
    config = dump("isar.yml")
    with open(os.path.join(TOP, "docs", "getting-started-product.md"), encoding="utf-8") as file:
        product, release = re.findall(r"^```yaml\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
    there = {"platform": tmp_path / "platform", "isar-template": config["project"]}
    for name, path in there.items():
        product, found = re.subn(rf"(?<=  {name}:\n)    url: …\n    commit: …\n", f"    path: {path}\n", product)
        assert found == 1, name
    product = product.replace("repos:\n", f"repos:\n  isar:\n    url: null\n    path: {config['project']}/isar\n")
    (tmp_path / "product.yml").write_text(product)
    (tmp_path / "release.yml").write_text(release)
    for folder in (tmp_path, there["platform"]):
        subprocess.run(["git", "init", "--quiet", folder], check=True)
    made = dump("product.yml", where=tmp_path)
    lines = local_conf(made)
    assert {line.split()[0] for line in lines} == {
        "TEMPLATE_MODE", "TEMPLATE_SOURCE", "TEMPLATE_DIGEST", "TEMPLATE_ALLOWED_SIGNERS", "TEMPLATE_IDENTITY"
    }  # fmt: skip
    assert 'TEMPLATE_MODE = "consume"' in lines and set(made["repos"]) == {"product", "platform", "isar", "isar-template"}
    lines = local_conf(dump("release.yml", where=tmp_path))
    assert {'TEMPLATE_MODE = "off"', 'TEMPLATE_FORBID = "1"'} <= set(lines)
