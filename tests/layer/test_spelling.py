# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Words that are nearly right."""

import re

import pytest

from conftest import LAYER
from imagetemplate import settings, spelling


@pytest.fixture
def documented():
    """The variables of the layer, as the data store has them with what is set beside them."""
    with open(LAYER + "/conf/image-template-defaults.conf", encoding="utf-8") as file:
        names = re.findall(r"^(TEMPLATE_\w+)\[doc\]", file.read(), re.MULTILINE)
    assert "TEMPLATE_MODE" in names
    return names


def data(store, documented, *others):
    values = dict.fromkeys([*documented, *others], "x")
    return store(values, {(name, "doc"): "what it is for" for name in documented})


@pytest.mark.parametrize("wrong, right", [
    ("TEMPLATE_MOD", "TEMPLATE_MODE"),
    ("TEMPLATE_IDENTIY", "TEMPLATE_IDENTITY"),
    ("TEMPLATE_SIGNING_KEYS", "TEMPLATE_SIGNING_KEY"),
    ("TEMPLATE_ALLOWED_SIGNER", "TEMPLATE_ALLOWED_SIGNERS"),
    ("TEMPLATE_REMOVES:append", "TEMPLATE_REMOVE"),
])
def test_a_variable_that_nobody_reads(store, documented, wrong, right):
    said = spelling.warnings(data(store, documented, wrong))
    assert said == [f"{wrong.partition(':')[0]} is set, which nobody reads: is {right} meant?"]


def test_variables_of_isar_and_of_others_are_left_alone(store, documented):
    others = ("TEMPLATE_FILES", "TEMPLATE_VARS", "TEMPLATE_COLOUR", "TEMPLATE_MODE:qemuamd64", "TEMPLATEDIR", "OTHER_MODE")
    assert spelling.warnings(data(store, documented, *others)) == []


def test_no_variable_of_the_layer_is_taken_for_another(store, documented):
    internal = set()
    with open(LAYER + "/conf/image-template-defaults.conf", encoding="utf-8") as file:
        internal.update(re.findall(r"TEMPLATE_\w+", file.read()))
    for name in ("", "-consume", "-produce", "-imager", "-imported", "-pinned", "-portable", "-qa", "-standin"):
        with open(f"{LAYER}/classes/image-template{name}.bbclass", encoding="utf-8") as file:
            internal.update(re.findall(r"^(TEMPLATE_\w+)", file.read(), re.MULTILINE))
    assert spelling.misspelt(data(store, documented, *internal)) == {}


def test_a_value_that_is_nearly_one(store):
    with pytest.raises(settings.SettingsError, match="did you mean 'consume'\\?"):
        settings.check(store({"TEMPLATE_MODE": "consumer"}))
