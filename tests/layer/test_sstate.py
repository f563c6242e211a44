# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Shared state of a template: what goes in, and how it is taken out."""

import os

import pytest

from imagetemplate import helper, portable, siggen, sstate

OBJECT = "ab/cd/sstate:tool:amd64-isar:1:r0:amd64:10:abcdef_dpkg_build.tar.zst"
COLLECTED = {
    "selfBuilt": [{"recipe": "tool", "taskHash": "abcdef"}, {"recipe": "tool", "taskHash": "abcdef"}],
    "tasks": {"tool:do_unpack": "12", "other:do_unpack": "34"},
}


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def content(path):
    return {
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path)
        for name in names
    }


# what is built for the machine that builds, where the target is another, has a folder of its own
@pytest.mark.parametrize("place", ["", "isarnative/"])
def test_objects_and_signature_data_of_what_made_packages_are_staged(tmp_path, place):
    made = f"{place}{OBJECT}"
    for name in (made, f"{made}.siginfo", made.replace("abcdef", "abcd00")):
        put(tmp_path / "sstate" / name, "object")
    for recipe, number in (("tool", 12), ("other", 34)):
        put(tmp_path / "stamps" / "debian-amd64" / recipe / f"1-r0.do_unpack.sigdata.{number}", "data")
    sstate.stage(COLLECTED, str(tmp_path / "sstate"), str(tmp_path / "stamps"), str(tmp_path / "out"))
    assert content(tmp_path / "out") == {
        made, f"{made}.siginfo", "sigdata/debian-amd64/tool/1-r0.do_unpack.sigdata.12",
    }  # fmt: skip


def test_a_derived_template_hands_on_what_its_parent_had(tmp_path):
    put(tmp_path / "parent" / OBJECT, "object")
    sstate.stage(
        COLLECTED, str(tmp_path / "none"), str(tmp_path / "none"), str(tmp_path / "out"), str(tmp_path / "parent")
    )
    assert content(tmp_path / "out") == {OBJECT}


def test_an_object_that_is_a_link_to_a_mirror_is_copied(tmp_path):
    put(tmp_path / "mirror" / "object", "object")
    link = tmp_path / "sstate" / OBJECT
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "mirror" / "object")
    sstate.stage(COLLECTED, str(tmp_path / "sstate"), str(tmp_path / "none"), str(tmp_path / "out"))
    assert not (tmp_path / "out" / OBJECT).is_symlink()


def test_taking_them_runs_the_helper_once(store, tmp_path, monkeypatch):
    made = []

    def run(d, *arguments, **options):
        made.append((arguments[0], options))
        os.makedirs(arguments[-1])

    monkeypatch.setattr(helper, "run", run)
    d = store(
        {
            "TEMPLATE_SSTATE_DIR": str(tmp_path / "template" / "sstate"),
            "TEMPLATE_SOURCE": "/bundle.tar",
            "TEMPLATE_ALLOWED_SIGNERS": "/signers",
            "TEMPLATE_IDENTITY": "me",
            "TEMPLATE_PIN": "sha256:1",
        }
    )
    assert not sstate.take(d, {"components": [{"name": "rootfs"}]}, None)
    manifest = {"components": [{"name": "sstate"}]}
    assert sstate.take(d, manifest, None) and sstate.take(d, manifest, None)
    assert made == [("checkout", {"privileged": False})]


class Basic:
    name = "Basic"

    def __init__(self, data):
        self.lockedhashes = {}

    def get_taskhash(self, tid, deps, dataCaches):
        return "computed"


class Cache:
    pkg_fn = {"/a.bb": "sbuild-chroot-target", "mc:one:/a.bb": "sbuild-chroot-target"}


def test_pins_hold_for_the_task_of_their_multiconfig(store):
    manifest = {"anchors": {"tasks": {"sbuild-chroot-target:do_build": "theirs", "x:do_build": "1"}}}
    d = store({siggen.VARIABLE: siggen.encode({"one": siggen.pins(manifest)})})
    generator = siggen.make_class(Basic)(d)
    caches = {"": Cache, "one": Cache}
    assert generator.get_taskhash("mc:one:/a.bb:do_build", [], caches) == "theirs"
    assert generator.get_taskhash("mc:one:/a.bb:do_fetch", [], caches) == "computed"
    assert generator.get_taskhash("/a.bb:do_build", [], caches) == "computed"
    assert generator.lockedhashes == {"mc:one:/a.bb:do_build": "theirs"}


def test_the_build_directory_gets_its_name():
    assert portable.portable("/b/tmp/work/a /b/tmp/x /b/tmpfs", "/b/tmp", "TMPDIR") == (
        "${TMPDIR}/work/a ${TMPDIR}/x /b/tmpfs"
    )


@pytest.mark.parametrize("isars, expected", [(None, "amd64"), ("arm64", "arm64")])
def test_the_name_of_an_object_is_complete(store, isars, expected):
    d = store({"SSTATE_PKGARCH": isars, "BUILD_ARCH": "amd64"})
    portable.complete_name(d)
    assert d.getVar("SSTATE_PKGARCH") == expected
