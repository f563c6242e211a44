# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Keep the build directory out of task signatures, so that one build can use what another one made."""

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
