# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Layers and packages are identified by what they contain."""

import hashlib
import io
import os
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


def git(path, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "-C", str(path), *arguments], check=True, capture_output=True)


def make_layer(path):
    (path / "conf").mkdir(parents=True)
    (path / "conf" / "layer.conf").write_text('BBFILE_COLLECTIONS += "own"\n')
    return path


@pytest.fixture
def layer(tmp_path):
    """A layer in a folder of a git repository."""
    path = make_layer(tmp_path / "repository" / "meta-own")
    git(tmp_path, "init", "--quiet", "repository")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "--message", "first")
    return path


def test_a_clean_layer_has_its_tree(layer):
    described = anchors.describe_layer(str(layer))
    tree = subprocess.check_output(["git", "-C", layer, "rev-parse", "HEAD:meta-own"], text=True)
    assert described["name"] == "own"
    assert described["tree"] == tree.strip()
    assert not described["dirty"]


def test_a_change_elsewhere_in_the_repository_does_not_matter(layer):
    before = anchors.describe_layer(str(layer))
    (layer.parent / "README").write_text("more")
    assert anchors.describe_layer(str(layer)) == before


def test_a_dirty_layer_has_the_tree_it_would_get_and_stays_dirty(layer):
    (layer / "new.bb").write_text("new")
    dirty = anchors.describe_layer(str(layer))
    assert dirty["dirty"]
    status = subprocess.check_output(["git", "-C", layer, "status", "--porcelain"], text=True)
    assert status.startswith("??")
    git(layer, "add", ".")
    git(layer, "commit", "--quiet", "--message", "second")
    clean = anchors.describe_layer(str(layer))
    assert (clean["tree"], clean["dirty"]) == (dirty["tree"], False)


def test_a_layer_without_git_is_identified_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    layer = make_layer(tmp_path / "meta-own")
    first = anchors.describe_layer(str(layer))
    assert first["commit"] is None
    assert first["tree"].startswith("content:")
    os.utime(layer / "conf" / "layer.conf", (0, 0))
    assert anchors.describe_layer(str(layer)) == first
    (layer / "new.bb").write_text("new")
    assert anchors.describe_layer(str(layer))["tree"] != first["tree"]


def test_tasks_of_other_multiconfigs_are_left_out():
    data = {
        "mc:one:/a.bb:do_build": ["a", "do_build", "", [], [], "11", "12"],
        "mc:two:/b.bb:do_build": ["b", "do_build", "", [], [], "21", "22"],
        "/c.bb:do_build": ["c", "do_build", "", [], [], "31", "32"],
    }
    assert anchors.collect_tasks(data, "one", anchors.TASK_HASH) == {"a:do_build": "11"}
    assert anchors.collect_tasks(data, "default", anchors.STORED_HASH) == {"c:do_build": "32"}


def test_self_built_packages_are_found_in_the_sstate_of_their_recipe(tmp_path):
    deb = b"a package"
    digest = hashlib.sha256(deb).hexdigest()
    folder = tmp_path / "ab" / "cd"
    folder.mkdir(parents=True)
    plain = tmp_path / "plain.tar"
    with tarfile.open(plain, "w") as tar:
        info = tarfile.TarInfo("./hello.deb")
        info.size = len(deb)
        tar.addfile(info, io.BytesIO(deb))
    sstate = folder / "sstate:my-recipe:amd64-isar:1:r0:amd64:10:abcdef_dpkg_build.tar.zst"
    subprocess.run(["zstd", "-q", plain, "-o", sstate], check=True)

    packages = repository.parse_packages(PACKAGES.format(digest))
    tasks = {"my-recipe:do_dpkg_build": "abcdef", "gone:do_dpkg_build": "123456"}
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


def test_what_bitbake_leaves_behind_is_no_change(layer, tmp_path, monkeypatch):
    before = anchors.describe_layer(str(layer))
    (layer / "lib" / "__pycache__").mkdir(parents=True)
    (layer / "lib" / "__pycache__" / "module.pyc").write_text("")
    assert anchors.describe_layer(str(layer)) == before
    (layer / "lib" / "module.py").write_text("")
    assert anchors.describe_layer(str(layer))["dirty"]
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    plain = make_layer(tmp_path / "meta-plain")
    before = anchors.describe_layer(str(plain))
    (plain / "__pycache__").mkdir()
    (plain / "__pycache__" / "module.pyc").write_text("")
    assert anchors.describe_layer(str(plain)) == before


def test_layers_are_found_however_they_are_written(store, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    d = store({"BBLAYERS": "/a/ ~/b /home/me//meta-template/ /c", "LAYERDIR_template": "/home/me/meta-template"})
    assert anchors.base_layers(d) == ["/a", "/home/me/b", "/c"]


def test_the_state_of_layers_is_written_when_it_changes(store, layer, tmp_path):
    path = tmp_path / "tmp" / "layers.json"
    d = store({"BBLAYERS": str(layer), "LAYERDIR_template": "/ours", "TEMPLATE_LAYERS": str(path)})
    anchors.write_layers(d)
    assert anchors.read_layers(d) == [anchors.describe_layer(str(layer))]
    os.utime(path, (0, 0))
    anchors.write_layers(d)
    assert path.stat().st_mtime == 0, "bitbake would hash it again"
    (layer / "new.bb").write_text("new")
    anchors.write_layers(d)
    assert anchors.read_layers(d)[0]["dirty"]
