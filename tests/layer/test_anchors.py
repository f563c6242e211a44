# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What a template was made from, as it is recorded."""

import hashlib
import io
import subprocess
import tarfile

import pytest

from imagetemplate import anchors, repository

PACKAGES = """\
Package: hello
Version: 1.0
Architecture: amd64
Filename: pool/hello.deb
SHA256: {}
Description: says hello
 Package: not this one

Package: leftover
Version: 2
Architecture: all
Filename: pool/leftover.deb
SHA256: ff
"""


def test_tasks_of_other_multiconfigs_are_left_out():
    data = {
        "mc:one:/a.bb:do_build": ["a", "do_build", "", [], [], "11", "12"],
        "mc:two:/b.bb:do_build": ["b", "do_build", "", [], [], "21", "22"],
        "/c.bb:do_build": ["c", "do_build", "", [], [], "31", "32"],
    }
    assert anchors.collect_tasks(data, "one", anchors.TASK_HASH) == {"a:do_build": "11"}
    assert anchors.collect_tasks(data, "default", anchors.STORED_HASH) == {"c:do_build": "32"}


# what is built for the machine that builds, where the target is another, has a folder of its own
@pytest.mark.parametrize("place", ["", "isarnative"])
def test_self_built_packages_are_found_in_the_sstate_of_their_recipe(tmp_path, place):
    deb = b"a package"
    digest = hashlib.sha256(deb).hexdigest()
    folder = tmp_path / place / "ab" / "cd"
    folder.mkdir(parents=True)
    plain = tmp_path / "plain.tar"
    with tarfile.open(plain, "w") as tar:
        info = tarfile.TarInfo("./hello.deb")
        info.size = len(deb)
        tar.addfile(info, io.BytesIO(deb))
    sstate = folder / "sstate:my-recipe:amd64-isar:1:r0:amd64:10:abcdef_dpkg_build.tar.zst"
    subprocess.run(["zstd", "-q", plain, "-o", sstate], check=True)

    # as bitbake has it of a mirror
    linked = tmp_path / "linked"
    sstate.rename(linked)
    sstate.symlink_to(linked)
    damaged = folder / "sstate:damaged:amd64-isar:1:r0:amd64:10:abcd99_dpkg_build.tar.zst"
    damaged.write_text("no archive")

    packages = repository.parse_packages(PACKAGES.format(digest))
    tasks = {
        "my-recipe:do_dpkg_build": "abcdef", "gone:do_dpkg_build": "123456", "damaged:do_dpkg_build": "abcd99",
    }  # fmt: skip
    assert anchors.collect_self_built(tasks, str(tmp_path), packages) == [
        {
            "package": "hello",
            "version": "1.0",
            "architecture": "amd64",
            "sha256": digest,
            "recipe": "my-recipe",
            "taskHash": "abcdef",
        }
    ]


def test_of_objects_with_two_names_the_one_is_found_whose_name_is_complete(tmp_path):
    folder = tmp_path / "isarnative" / "ab" / "cd"
    folder.mkdir(parents=True)
    for architecture in ("", "amd64"):
        (folder / f"sstate:a-native:amd64-isar:1:r0:{architecture}:10:abcdef_dpkg_build.tar.zst").touch()
    found = anchors.find_sstate(str(tmp_path), "a-native", "dpkg_build", "abcdef")
    assert ":r0:amd64:10:" in found


def test_configuration_names_layers_and_not_their_places(store, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "layer.conf").write_text('BBFILE_COLLECTIONS += "own"\n')
    d = store(
        {
            "BBLAYERS": str(tmp_path),
            "LAYERDIR_template": "/ours",
            "DISTRO_APT_SOURCES": f"  conf/a.list\n {tmp_path}/conf/b.list ",
            "MACHINE": "board",
        }
    )
    found = anchors.collect_configuration(d)
    assert found["DISTRO_APT_SOURCES"] == "conf/a.list ${LAYERDIR_own}/conf/b.list"
    assert found["MACHINE"] == "board"
    assert found["DISTRO_GCC"] is None


def test_settings_of_the_machine_that_builds_count_where_the_target_is_another(store):
    values = {
        "BBLAYERS": "", "LAYERDIR_template": "/ours", "HOST_ARCH": "amd64", "HOST_DISTRO_APT_SOURCES": "conf/host.list",
    }  # fmt: skip
    for architecture, recorded in (("arm64", "conf/host.list"), ("amd64", None)):
        found = anchors.collect_configuration(store({**values, "DISTRO_ARCH": architecture}))
        assert found.get("HOST_DISTRO_APT_SOURCES") == recorded
