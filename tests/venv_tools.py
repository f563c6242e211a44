# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Programs from PyPI that tests run, each at a pinned version in a venv of its own."""

import os
import re
import shutil
import subprocess

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts")
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


class NoVenv(Exception):
    """pip cannot install it here."""


def make(name):
    """Where the programs of scripts/requirements-NAME.txt are: in the cache, made there at first."""
    requirements = os.path.join(SCRIPTS, f"requirements-{name}.txt")
    with open(requirements, encoding="ascii") as file:
        program, version = re.search(r"^([\w-]+)\S*==(\S+)$", file.read(), re.MULTILINE).groups()
    path = os.path.join(CACHE, "isar-template", "tools", f"{program}-{version}")
    programs, done = os.path.join(path, "bin"), os.path.join(path, "installed")
    if os.path.exists(done):
        return programs
    shutil.rmtree(path, ignore_errors=True)
    subprocess.run(["/usr/bin/python3", "-m", "venv", path], check=True)
    installed = subprocess.run(
        [os.path.join(programs, "pip"), "install", "--quiet", "--requirement", requirements],
        capture_output=True, text=True,
    )  # fmt: skip
    if installed.returncode:
        raise NoVenv(f"{program} cannot be installed by pip: {installed.stderr.strip().splitlines()[-1]}")
    with open(done, "w", encoding="ascii"):
        pass
    return programs
