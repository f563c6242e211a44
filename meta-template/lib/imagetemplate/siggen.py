# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Give the template's build chroots the signatures that they had where they were built.

What recipes built in them then has the signatures it had there as well, and bitbake finds it in the
template's shared state, unless something of the recipe's own is different here.
"""

import json

# pinned: that is where build tasks depend on the chroot, and nothing else of the chroot has an effect
TASKS = ("sbuild-chroot-target:do_build", "sbuild-chroot-host:do_build")
VARIABLE = "TEMPLATE_PINNED_TASKS"


def pins(manifest):
    """'PN:task' -> hash of what a template pins."""
    tasks = (manifest.get("anchors") or {}).get("tasks") or {}
    return {name: tasks[name] for name in TASKS if name in tasks}


def encode(pinned):
    """The value of VARIABLE for pins by multiconfig ('' is the default one)."""
    return json.dumps(pinned, sort_keys=True)


def make_class(base):
    """A signature generator like `base`, which knows pins."""

    class Pinned(base):
        name = f"{base.name}Template"

        def __init__(self, data):
            # of all multiconfigs, in the default one: bitbake has one generator for all
            self.pinned = json.loads(data.getVar(VARIABLE) or "{}")
            super().__init__(data)

        def get_taskhash(self, tid, deps, dataCaches):
            computed = super().get_taskhash(tid, deps, dataCaches)
            multiconfig, filename, task = _split(tid)
            recipe = dataCaches[multiconfig].pkg_fn[_recipe_file(multiconfig, filename)]
            wanted = self.pinned.get(multiconfig, {}).get(f"{recipe}:{task}")
            if not wanted:
                return computed
            # as for a locked signature, which Isar's class and its workers know how to treat
            self.lockedhashes[tid] = wanted
            return wanted

    return Pinned


def _split(tid):
    """Multiconfig, file and task of a task id: '[mc:NAME:]FILE:TASK'."""
    filename, task = tid.rsplit(":", 1)
    if filename.startswith("mc:"):
        _, multiconfig, filename = filename.split(":", 2)
        return multiconfig, filename, task
    return "", filename, task


def _recipe_file(multiconfig, filename):
    return f"mc:{multiconfig}:{filename}" if multiconfig else filename


def install(handler):
    """Make the generator that knows pins known to bitbake, in place of `handler`; returns its name."""
    import bb.siggen

    known = {
        found.name: found
        for found in vars(bb.siggen).values()
        if isinstance(found, type) and issubclass(found, bb.siggen.SignatureGenerator)
    }
    if handler.endswith("Template"):
        return handler
    pinned = make_class(known[handler])
    setattr(bb.siggen, f"SignatureGenerator{pinned.name}", pinned)
    return pinned.name
