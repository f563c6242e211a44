# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Read what an apt repository folder offers."""

import glob
import os


def parse_packages(text):
    """The stanzas of a Packages file as dictionaries, without continuation lines."""
    stanzas = []
    for block in text.split("\n\n"):
        fields = {}
        for line in block.splitlines():
            if line[:1].isspace() or ":" not in line:
                continue
            name, value = line.split(":", 1)
            fields[name] = value.strip()
        if "Package" in fields:
            stanzas.append(fields)
    return stanzas


def read_packages(directory):
    """All binary packages of the repository at `directory`, each file once."""
    packages = {}
    pattern = os.path.join(directory, "dists", "*", "*", "binary-*", "Packages")
    for path in sorted(glob.glob(pattern)):
        with open(path, encoding="utf-8", errors="replace") as file:
            for stanza in parse_packages(file.read()):
                packages[stanza["Filename"]] = stanza
    return [packages[name] for name in sorted(packages)]
