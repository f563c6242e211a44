# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What is nearly the name of a variable, or nearly a value that it may have."""

import difflib

PREFIX = "TEMPLATE_"
# as near as one or two letters; Isar and others have variables of their own that begin like ours
NEAR = 0.9


def unknown_value(name, value, known):
    """The text of an error for a value that is none of those that a variable may have."""
    text = f"{name} has the unknown value '{value}', known are: {', '.join(known)}"
    near = difflib.get_close_matches(value or "", known, 1)
    return f"{text}\ndid you mean '{near[0]}'?" if near else text


def misspelt(d):
    """The variables that nobody reads, each with the one that was probably meant."""
    names = {name.partition(":")[0] for name in d.keys() if name.startswith(PREFIX)}
    known = sorted(name for name in names if d.getVarFlag(name, "doc"))
    out = {}
    for name in sorted(names.difference(known)):
        near = difflib.get_close_matches(name, known, 1, NEAR)
        if near:
            out[name] = near[0]
    return out


def warnings(d):
    """What to tell about them."""
    return [f"{name} is set, which nobody reads: is {near} meant?" for name, near in misspelt(d).items()]
