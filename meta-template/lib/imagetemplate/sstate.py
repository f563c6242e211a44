# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Hand on what recipes built: the objects of bitbake's shared state, as the component 'sstate'."""

import os
import shutil

from . import anchors, reuse, verified

COMPONENT = "sstate"
# how each task came to its signature: beside the objects, laid out as in STAMPS_DIR
SIGDATA = "sigdata"
SUFFIXES = ("", ".siginfo")


def stage(collected, sstate_dir, stamps_dir, path, parent=None):
    """Copy the objects of all recipes that made packages, laid out as in SSTATE_DIR.

    `collected` are the anchors, `parent` is such a folder of the template that this one was derived from.
    """
    os.makedirs(path, exist_ok=True)
    built = sorted({(made["recipe"], made["taskHash"]) for made in collected["selfBuilt"]})
    for recipe, task_hash in built:
        for place in (sstate_dir, parent):
            found = place and anchors.find_sstate(place, recipe, "dpkg_build", task_hash)
            if found:
                for suffix in SUFFIXES:
                    _copy(f"{found}{suffix}", place, path)
                break
    recipes = {recipe for recipe, _ in built}
    for name, task_hash in collected["tasks"].items():
        recipe, task = name.split(":", 1)
        for place in (stamps_dir, parent and os.path.join(parent, SIGDATA)) if recipe in recipes else ():
            found = place and reuse.find_sigdata(place, recipe, task, task_hash)
            if found:
                _copy(found, place, os.path.join(path, SIGDATA))
                break


def _copy(source, place, path):
    target = os.path.join(path, os.path.relpath(source, place))
    if not os.path.exists(source):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # an object that came from a mirror is a link to it
    shutil.copyfile(os.path.realpath(source), target)


def take(d, manifest, fetch):
    """Put the template's objects where SSTATE_MIRRORS looks; returns whether there are any.

    bitbake asks for them before it runs a task, so this cannot be one.
    """
    if not any(component["name"] == COMPONENT for component in manifest.get("components") or ()):
        return False
    path = d.getVar("TEMPLATE_SSTATE_DIR")
    if os.path.isdir(path):
        return True
    os.makedirs(os.path.dirname(path), exist_ok=True)
    verified.take_component(d, COMPONENT, path, verified.location(d, fetch))
    return True


def mirror(d):
    """The entry of SSTATE_MIRRORS for them."""
    return d.getVar("TEMPLATE_SSTATE_MIRROR")
