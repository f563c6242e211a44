# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Every variable for users has its default and its documentation in one place."""

import glob
import os
import re

from conftest import LAYER

DEFAULTS = os.path.join(LAYER, "conf", "image-template-defaults.conf")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def test_every_default_is_documented_and_every_documented_variable_has_a_default():
    text = read(DEFAULTS)
    defaults = re.findall(r"^(\w+) \?\?=", text, re.MULTILINE)
    documented = re.findall(r"^(\w+)\[doc\] =", text, re.MULTILINE)
    assert defaults == documented
    assert all(name.startswith("TEMPLATE_") for name in defaults)
    # Isar's own, for templates of files
    assert not {"TEMPLATE_FILES", "TEMPLATE_VARS"} & set(defaults)


def test_weak_defaults_are_nowhere_else():
    for pattern in ("conf/*.conf", "classes/*.bbclass", "recipes-*/*/*"):
        for path in glob.glob(os.path.join(LAYER, pattern)):
            if path != DEFAULTS:
                assert "??=" not in read(path), path
