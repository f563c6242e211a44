# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Have one build use what another one made: what is in task signatures, and what shared objects are called."""

# flags that bitbake hashes as they are, and that Isar fills with expanded paths
FLAGS = ("cleandirs", "dirs", "root_cleandirs")


def portable(value, directory, name):
    """A flag's value with a directory by its name; it expands to the same."""
    return value.replace(f"{directory}/", f"${{{name}}}/")


def normalise(d, tasks):
    """Write TMPDIR by its name in the flags of `tasks`; hashes hold the name, and not what it means."""
    directory = d.getVar("TMPDIR")
    for task in tasks:
        for flag in FLAGS:
            value = d.getVarFlag(task, flag, False)
            if value and f"{directory}/" in value:
                d.setVarFlag(task, flag, portable(value, directory, "TMPDIR"))


def complete_name(d):
    """Complete the name under which what a -native recipe made is shared.

    Isar asks for BUILD_ARCH before it sets it, so a part of the name is left open: what is stored under one
    name is looked for under another, and built again.
    """
    if d.getVar("SSTATE_PKGARCH") is None:
        d.setVar("SSTATE_PKGARCH", d.getVar("BUILD_ARCH"))
