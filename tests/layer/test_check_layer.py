# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What yocto-check-layer asks of a layer, as far as Isar has it; that signatures stay is in tests/isar/test_off.py."""

import glob
import os
import re

import pytest

from conftest import LAYER


def read(*path):
    with open(os.path.join(LAYER, *path), encoding="utf-8") as file:
        return file.read()


def recipes():
    return glob.glob(os.path.join(LAYER, "recipes-*", "*", "*.bb"))


def test_the_readme_tells_maintainers_and_where_patches_go():
    text = read("README.md")
    assert re.search("maintainer", text, re.IGNORECASE)
    assert re.search("patch", text, re.IGNORECASE)
    assert re.search(r"[a-z-]+@[a-z.]+", text)


@pytest.mark.parametrize(
    "name", ["BBFILE_COLLECTIONS", "LAYERSERIES_COMPAT_template", "LAYERVERSION_template", "LAYERDEPENDS_template"]
)
def test_the_layer_says_what_it_is_and_needs(name):
    assert re.search(rf'^{name} \+?= "[^"]+"$', read("conf", "layer.conf"), re.MULTILINE)


def test_the_layer_appends_to_nobodys_recipes():
    assert not glob.glob(os.path.join(LAYER, "**", "*.bbappend"), recursive=True)


def test_recipes_only_exist_where_they_are_wanted():
    """Each inherits the class that skips it while the mode is off."""
    assert recipes()
    for path in recipes():
        with open(path, encoding="utf-8") as file:
            text = file.read()
        required = re.findall(r"^require (\S+\.inc)$", text, re.MULTILINE)
        for name in required:
            with open(os.path.join(os.path.dirname(path), name), encoding="utf-8") as file:
                text += file.read()
        assert "inherit image-template-standin" in text, path
        assert re.search('^LICENSE = "MIT"$', text, re.MULTILINE), path
        assert re.search('^DESCRIPTION = "', text, re.MULTILINE), path


def test_nothing_is_set_for_others_by_the_layer_alone():
    """layer.conf and the defaults set variables of ours, and of bitbake those that the mode 'off' accounts for."""
    allowed = re.compile(r"TEMPLATE_|LAYER|BBFILE|BBPATH|BBLAYERS\[vardepvalue\]|SIGGEN_EXCLUDE_SAFE_RECIPE_DEPS|INHERIT")
    for name in ("layer.conf", "image-template-defaults.conf"):
        for line in read("conf", name).splitlines():
            assigned = re.match(r"([\w\[\]:-]+)\s*(?:\?\?|[?.+:])?=", line)
            assert not assigned or allowed.match(assigned.group(1)), line
