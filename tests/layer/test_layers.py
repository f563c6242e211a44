# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Layers are identified by what they contain."""

import os
import subprocess

import pytest

from imagetemplate import layers


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
    described = layers.describe_layer(str(layer))
    tree = subprocess.check_output(["git", "-C", layer, "rev-parse", "HEAD:meta-own"], text=True)
    assert described["name"] == "own"
    assert described["tree"] == tree.strip()
    assert not described["dirty"]


def test_a_change_elsewhere_in_the_repository_does_not_matter(layer):
    before = layers.describe_layer(str(layer))
    (layer.parent / "README").write_text("more")
    assert layers.describe_layer(str(layer)) == before


def test_a_dirty_layer_has_the_tree_it_would_get_and_stays_dirty(layer):
    (layer / "new.bb").write_text("new")
    dirty = layers.describe_layer(str(layer))
    assert dirty["dirty"]
    status = subprocess.check_output(["git", "-C", layer, "status", "--porcelain"], text=True)
    assert status.startswith("??")
    git(layer, "add", ".")
    git(layer, "commit", "--quiet", "--message", "second")
    clean = layers.describe_layer(str(layer))
    assert (clean["tree"], clean["dirty"]) == (dirty["tree"], False)


def test_a_layer_without_git_is_identified_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    layer = make_layer(tmp_path / "meta-own")
    first = layers.describe_layer(str(layer))
    assert first["commit"] is None
    assert first["tree"].startswith("content:")
    os.utime(layer / "conf" / "layer.conf", (0, 0))
    assert layers.describe_layer(str(layer)) == first
    (layer / "new.bb").write_text("new")
    assert layers.describe_layer(str(layer))["tree"] != first["tree"]


def test_what_bitbake_leaves_behind_is_no_change(layer, tmp_path, monkeypatch):
    before = layers.describe_layer(str(layer))
    (layer / "lib" / "__pycache__").mkdir(parents=True)
    (layer / "lib" / "__pycache__" / "module.pyc").write_text("")
    assert layers.describe_layer(str(layer)) == before
    (layer / "lib" / "module.py").write_text("")
    assert layers.describe_layer(str(layer))["dirty"]
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    plain = make_layer(tmp_path / "meta-plain")
    before = layers.describe_layer(str(plain))
    (plain / "__pycache__").mkdir()
    (plain / "__pycache__" / "module.pyc").write_text("")
    assert layers.describe_layer(str(plain)) == before


def test_layers_are_found_however_they_are_written(store, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    d = store({"BBLAYERS": "/a/ ~/b /home/me//meta-template/ /c", "LAYERDIR_template": "/home/me/meta-template"})
    assert layers.base_layers(d) == ["/a", "/home/me/b", "/c"]


def test_layers_have_the_names_of_their_collections(store, layer, tmp_path):
    inner = make_layer(layer / "inner")
    d = store({"BBLAYERS": f"{layer} {inner}", "LAYERDIR_template": "/ours"})
    assert layers.directories(d) == [(str(inner), "own"), (str(layer), "own")]
