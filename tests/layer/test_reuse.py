# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Why a recipe is built again."""

import pytest

from imagetemplate import reuse

TASKS = {
    "lib:do_unpack": "1", "lib:do_dpkg_build": "2", "lib:do_deploy_deb": "3",
    "tool:do_unpack": "4", "tool:do_dpkg_build": "5",
}  # fmt: skip
FOLLOWS = {
    "lib:do_unpack": [], "lib:do_dpkg_build": ["lib:do_unpack"], "lib:do_deploy_deb": ["lib:do_dpkg_build"],
    "tool:do_unpack": [], "tool:do_dpkg_build": ["tool:do_unpack", "lib:do_deploy_deb", "elsewhere:do_build"],
}  # fmt: skip


def data(**changed):
    """BB_TASKDEPDATA of TASKS, some with other hashes."""
    hashes = {**TASKS, **{name.replace("__", ":"): value for name, value in changed.items()}}
    return {
        name: [*name.split(":"), "file", FOLLOWS[name], [], task_hash, task_hash] for name, task_hash in hashes.items()
    }


def explain(recipe, found, recorded=None):
    return reuse.explain(recipe, found, recorded or TASKS, lambda cause, known: [f"{known} became {cause.hash}"])


def test_a_recipe_of_its_own_needs_no_explanation():
    assert not explain("tool", data(), {"other:do_dpkg_build": "1"})


def test_the_first_task_that_differs_is_the_reason():
    found = data(tool__do_unpack="x", tool__do_dpkg_build="y")
    assert explain("tool", found) == [
        "tool is built again: do_unpack is not what it was for the template",
        "    4 became x",
    ]


def test_what_a_recipe_needs_is_followed():
    found = data(lib__do_unpack="x", lib__do_dpkg_build="y", lib__do_deploy_deb="z", tool__do_dpkg_build="w")
    assert explain("tool", found)[0] == (
        "tool is built again: do_unpack of lib, which it needs, is not what it was for the template"
    )


def test_a_task_that_the_template_has_not_is_named_as_such():
    recorded = {name: task_hash for name, task_hash in TASKS.items() if name != "tool:do_unpack"}
    assert explain("tool", data(tool__do_dpkg_build="y"), recorded) == [
        "tool is built again: do_unpack was not there for the template"
    ]


def test_an_equal_recipe_whose_package_is_gone_is_told_apart():
    assert "not there to be used again" in explain("tool", data())[0]


def test_only_what_was_changed_is_shown_of_bitbakes_comparison():
    text = [
        "basehash changed from 1 to 2",
        "Variable SRC_URI value changed from 'a' to 'b'",
        "Dependency on checksum of file fix.patch was added",
        "Hash for task dependency x changed from 1 to 2",
    ]
    assert reuse.differences(text) == text[1:3]


@pytest.mark.parametrize("task, found", [("do_unpack", True), ("do_patch", False)])
def test_signature_data_is_found_as_bitbake_names_it(tmp_path, task, found):
    path = tmp_path / "debian-amd64" / "tool" / "1.0-r0.do_unpack.sigdata.4"
    path.parent.mkdir(parents=True)
    path.touch()
    assert reuse.find_sigdata(str(tmp_path), "tool", task, "4") == (str(path) if found else None)
