# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Package sources, preferences and keys that a product has besides those of its template."""

import os

OPTIONS = {
    "TEMPLATE_APT_SOURCES": "--sources",
    "TEMPLATE_APT_PREFERENCES": "--preferences",
    "TEMPLATE_APT_KEYRINGS": "--keyring",
}


class AptFilesError(Exception):
    """A file is not there, or cannot be used in this build."""


def arguments(d):
    """Options of the helper."""
    found = []
    for variable, option in OPTIONS.items():
        for path in files(d, variable):
            found += [option, path]
    return found


def watch(d, task):
    """Have a task run again when something about them changes."""
    named = [path for variable in OPTIONS for path in files(d, variable)]
    d.appendVarFlag(task, "vardeps", f" {' '.join(OPTIONS)}")
    d.appendVarFlag(task, "file-checksums", "".join(f" {path}:True" for path in named))


def files(d, variable):
    """The files that a variable names."""
    found = []
    for name in (d.getVar(variable) or "").split():
        places = [name] if os.path.isabs(name) else [
            os.path.join(folder, name) for folder in (d.getVar("BBPATH") or "").split(":") if folder
        ]  # fmt: skip
        path = next((place for place in places if os.path.isfile(place)), None)
        if path is None:
            raise AptFilesError(
                f"{variable} names '{name}', which is not there\n"
                f"looked for: {' '.join(places)}\npaths are relative to a layer, as in: conf/distro/vendor.list"
            )
        found.append(path)
    return found
