# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Fixtures of the tests that attack: those of the command line, whose folder has what both need."""

import importlib.util
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.path.join(TOP, "tests", "cli")
sys.path.insert(0, CLI)

# under a name of its own: this file is called conftest, too
specification = importlib.util.spec_from_file_location("cli_conftest", os.path.join(CLI, "conftest.py"))
cli_conftest = importlib.util.module_from_spec(specification)
specification.loader.exec_module(cli_conftest)

globals().update({name: value for name, value in vars(cli_conftest).items() if not name.startswith("__")})
