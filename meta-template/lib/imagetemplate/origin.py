# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Keep what a build comes from where tasks hash it and read it.

It changes while bitbake keeps what it parsed, and may not change under a running build; so it is a
file, written when a build begins, and not a variable.
"""

import json
import os

from . import anchors


def write(d):
    """Note the origin of the build that begins; an unchanged note is left alone."""
    path = d.getVar("TEMPLATE_ORIGIN")
    text = json.dumps(anchors.describe_origin(d), indent=1)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    replace(path, text)


def read(d):
    """What write() noted."""
    with open(d.getVar("TEMPLATE_ORIGIN"), encoding="utf-8") as file:
        return json.load(file)


def replace(path, text):
    """Write a text file, whole or not at all."""
    new = f"{path}.{os.getpid()}.new"
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)
