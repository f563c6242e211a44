# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Decide what the helper is to install into and remove from a template for one product."""

import os
from collections import namedtuple

Product = namedtuple("Product", "packages remove keep allow_upgrade")
Transaction = namedtuple("Transaction", "arguments notes")


def plan(product, manifest, offered, repository):
    """Arguments for `isar-template install`, and what the log should say about them.

    `manifest` is the template's, `offered` are the packages the product built itself, as
    repository.read_packages() returns them, from the folder `repository`.
    """
    settings = (manifest.get("anchors") or {}).get("settings") or {}
    listed = (settings.get("ROOTFS_PACKAGES") or "").split()
    arguments, notes = [], []

    for package in _unique(product.packages):
        arguments += ["--add", package]
    for package in _unique(product.remove):
        arguments += ["--remove", package]
    if not product.keep:
        dropped = [p for p in _unique(listed) if p not in set(product.packages + product.remove)]
        for package in dropped:
            arguments += ["--mark-auto", package]
        if dropped:
            notes.append(f"not listed by this image: {' '.join(dropped)}")
        arguments.append("--auto-remove")
    elif product.remove:
        notes.append("TEMPLATE_KEEP is set: packages that only removed ones needed stay")

    upgrades, rebuilt = _compare(manifest, offered)
    for package in _unique(upgrades + product.allow_upgrade):
        arguments += ["--allow-upgrade", package]
    for stanza in rebuilt:
        arguments += ["--add", os.path.join(repository, stanza["Filename"])]
        notes.append(
            f"'{stanza['Package']}' was built again at version {stanza['Version']} and differs "
            "from the template's: it is installed again"
        )
    return Transaction(arguments, notes)


def _compare(manifest, offered):
    """Packages of the template that the product built too: at other versions, or with other content."""
    known = {
        (p.get("package"), p.get("architecture")): p
        for p in (manifest.get("anchors") or {}).get("selfBuilt") or ()
    }
    installed = {
        (p.get("package"), p.get("architecture"))
        for p in manifest.get("packages") or ()
    }
    upgrades, rebuilt = [], []
    for stanza in offered:
        key = (stanza["Package"], stanza["Architecture"])
        if key not in known or key not in installed:
            continue
        if stanza["Version"] != known[key]["version"]:
            upgrades.append(stanza["Package"])
        elif stanza["SHA256"] != known[key]["sha256"]:
            rebuilt.append(stanza)
    return upgrades, rebuilt


def _unique(words):
    return list(dict.fromkeys(words))
