# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Say why a recipe that the template has is built again."""

import collections
import glob
import os
import re

BUILD = "do_dpkg_build"
# what bitbake's comparison of signature data says about what was changed, as opposed to what follows from it
TELLING = re.compile("Variable|List of dependencies|Dependency on ([Vv]ariable|checksum)|Checksum|Taint")

Cause = collections.namedtuple("Cause", "recipe task hash")


def causes(taskdepdata, tid, recorded):
    """Tasks that have another hash than `recorded` although nothing that they follow has.

    `taskdepdata` is bitbake's BB_TASKDEPDATA, `tid` is a task in it, and `recorded` is 'PN:task' -> hash.
    """
    found, seen, waiting = [], set(), [tid]
    while waiting:
        entry = taskdepdata[waiting.pop()]
        changed = [
            dep for dep in entry[3] if dep in taskdepdata and _is_changed(taskdepdata[dep], recorded)
        ]
        if not changed:
            found.append(Cause(entry[0], entry[1], entry[5]))
        waiting += [dep for dep in changed if dep not in seen]
        seen.update(changed)
    return sorted(set(found))


def _is_changed(entry, recorded):
    return recorded.get(f"{entry[0]}:{entry[1]}") != entry[5]


def explain(recipe, taskdepdata, recorded, compare):
    """Lines for the log; none when the template does not have the recipe.

    `compare` gives details about a Cause and the hash it had, as lines.
    """
    if f"{recipe}:{BUILD}" not in recorded:
        return []
    tid = next(tid for tid, entry in taskdepdata.items() if entry[:2] == [recipe, BUILD])
    if recorded[f"{recipe}:{BUILD}"] == taskdepdata[tid][5]:
        return [f"{recipe} is as in the template, but its package is not there to be used again"]
    lines = []
    for cause in causes(taskdepdata, tid, recorded):
        where = cause.task if cause.recipe == recipe else f"{cause.task} of {cause.recipe}, which it needs,"
        known = recorded.get(f"{cause.recipe}:{cause.task}")
        what = "is not what it was for the template" if known else "was not there for the template"
        lines.append(f"{recipe} is built again: {where} {what}")
        lines += [f"    {line}" for line in (compare(cause, known) if known else ())]
    return lines


def differences(text):
    """The telling ones of the lines that bb.siggen.compare_sigfiles() returns."""
    lines = [line.strip() for entry in text for line in entry.splitlines()]
    return [line for line in lines if TELLING.match(line)]


def find_sigdata(folder, recipe, task, task_hash):
    """A task's signature data below STAMPS_DIR, or below the folder that stage_sigdata() filled; or None."""
    pattern = f"*.{task}.sigdata.{task_hash}"
    found = glob.glob(os.path.join(glob.escape(folder), "*", glob.escape(recipe), pattern))
    return found[0] if found else None
