# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Compare what a template was made from with what a build on it has."""

import collections

from . import anchors

STRICT, WARN = MODES = ("strict", "warn")

# Where these differ it is another system: the import refuses the template, whatever TEMPLATE_ANCHOR says.
KINDS = ("DISTRO", "BASE_DISTRO_CODENAME", "DISTRO_ARCH")

Difference = collections.namedtuple("Difference", "what theirs ours advice")


class AnchorsDiffer(Exception):
    """The base of the product is not that of the template; the text is a table of what differs."""


def describe(manifest, differences):
    """What to tell about differences that compare() found."""
    template = f"{manifest.get('name')}:{manifest.get('templateVersion')}"
    return f"this build is not what the template {template} was made from:\n{table(differences)}"


def refusal(manifest, differences):
    """The AnchorsDiffer for them."""
    others = [f"{entry.what} = {entry.ours}" for entry in differences if entry.what in KINDS]
    if others:
        advice = f"or build on a template that was made for {', '.join(others)}"
    else:
        advice = f'to build on the template nevertheless: TEMPLATE_ANCHOR = "{WARN}"'
    return AnchorsDiffer(f"{describe(manifest, differences)}\n{advice}")


def compare(recorded, here):
    """The Differences between two origins, as anchors.describe_origin() has them.

    What a product adds, layers among it, is none.
    """
    found = []
    ours = {layer["name"]: layer for layer in here["layers"]}
    for theirs in recorded.get("layers") or ():
        found += _compare_layer(theirs, ours.get(theirs["name"]))
    configuration = recorded.get("configuration") or {}
    for name in sorted(configuration):
        value, own = configuration[name], here["configuration"].get(name)
        if (value or "") != (own or ""):
            advice = f'set {name} = "{value}"' if value else f"do not set {name}"
            found.append(Difference(name, value or "not set", own or "not set", advice))
    return found


def _compare_layer(theirs, ours):
    name = f"layer {theirs['name']}"
    if ours is None:
        return [Difference(name, _state(theirs), "missing", f"add the layer to BBLAYERS{_at(theirs)}")]
    if ours["tree"] == theirs["tree"]:
        return []
    if ours["dirty"] and ours["commit"] == theirs["commit"]:
        advice = "undo the local changes"
    elif theirs["dirty"]:
        advice = "the template was made from uncommitted changes: ask who made it for a new one"
    else:
        advice = f"check out {theirs['commit']}" if theirs["commit"] else "use the layer's files of then"
    return [Difference(name, _state(theirs), _state(ours), advice)]


def _at(layer):
    return f", at {layer['commit'][:12]}" if layer["commit"] else ""


def _state(layer):
    known = layer["commit"] or layer["tree"]
    return known.removeprefix("content:")[:12] + (" with changes" if layer["dirty"] else "")


def table(differences):
    """Differences as lines of text, for people."""
    rows = [("", "template", "this build", "to do")]
    rows += [(entry.what, entry.theirs, entry.ours, entry.advice) for entry in differences]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append("  ".join(["  ", *cells, row[3]]).rstrip())
    return "\n".join(lines)
