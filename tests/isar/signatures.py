# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""All task signatures of a build, and what two builds differ in.

bitbake writes what each signature is made of into the folder of stamps, whose paths tell multiconfigs
with different machines or distributions apart.
"""

import glob
import json
import os
import re
import subprocess

WRITTEN = re.compile(r"(.+)\.sigdata\.([0-9a-f]{64})")
VARIABLE = re.compile(r"[Vv]ariable (\S+)")


def write(build, name, targets):
    """Compute the signatures of everything `targets` need; returns task -> file."""
    stamps = os.path.join(build.path, "tmp", "stamps")
    build.workspace.remove(stamps)
    build.bitbake(f"-S none {' '.join(targets)}")
    kept = os.path.join(build.path, f"signatures-{name}")
    os.rename(stamps, kept)
    found = {}
    for path in glob.glob(os.path.join(kept, "**", "*.sigdata.*"), recursive=True):
        task, _ = WRITTEN.fullmatch(os.path.relpath(path, kept)).groups()
        assert task not in found, f"two signatures of {task}"
        found[task] = path
    return found


def difference(build, before, after):
    """What differs, beginning with the task and the variable that everything else follows from; or None."""
    for which, ours, theirs in (("without", before, after), ("with", after, before)):
        alone = sorted(set(ours) - set(theirs))
        if alone:
            return f"only {which} it there are: {' '.join(alone)}"
    differing = [task for task in sorted(before) if _hash(before[task]) != _hash(after[task])]
    if not differing:
        return None
    # the others differ because these do, or as well
    first = [task for task in differing if _depends_on(before[task]) == _depends_on(after[task])]
    told = build.run(f"bitbake-diffsigs {before[first[0]]} {after[first[0]]}")
    variable = VARIABLE.search(told)
    return f"{len(differing)} tasks differ, first {first[0]}, by {variable.group(1) if variable else '?'}:\n{told}"


def _hash(path):
    return WRITTEN.fullmatch(path).group(2)


def _depends_on(path):
    """Tasks and their signatures."""
    text = subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    return json.loads(text)["runtaskhashes"]
