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


def test_templates_have_the_parts_of_the_host_where_the_target_is_another(store):
    text = read(DEFAULTS)
    (expression,) = re.findall(r'^TEMPLATE_HOST_COMPONENTS = "\$\{@(.*)\}"$', text, re.MULTILINE)
    for architecture, components in (("amd64", []), ("arm64", ["buildchroot-host", "bootstrap-host"])):
        d = store({"HOST_ARCH": "amd64", "DISTRO_ARCH": architecture})
        assert eval(expression, {"d": d}).split() == components
    assert re.search(r'^TEMPLATE_COMPONENTS \?\?= ".* \$\{TEMPLATE_HOST_COMPONENTS\}"$', text, re.MULTILINE)
