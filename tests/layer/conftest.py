# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The python of the layer, without bitbake."""

import os
import sys

import pytest

LAYER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "meta-template")
sys.path[:0] = [os.path.join(LAYER, "lib"), os.path.join(LAYER, "..", "tests")]


class Store:
    """As much of bitbake's data store as the layer uses."""

    def __init__(self, values=None, flags=None):
        self.values = dict(values or {})
        self.flags = dict(flags or {})

    def getVar(self, name, expand=True):
        return self.values.get(name)

    def keys(self):
        return list(self.values)

    def setVar(self, name, value):
        self.values[name] = value

    def getVarFlag(self, name, flag, expand=True):
        return self.flags.get((name, flag))

    def appendVarFlag(self, name, flag, value):
        self.flags[name, flag] = self.flags.get((name, flag), "") + value


@pytest.fixture
def store():
    return Store


@pytest.fixture
def program(tmp_path):
    """An executable that stands for the helper where it is only looked for."""
    path = tmp_path / "bin" / "isar-template"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)
