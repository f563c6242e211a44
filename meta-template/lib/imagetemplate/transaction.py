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
    listed = _unique((settings.get("ROOTFS_PACKAGES") or "").split())
    wanted = set(product.packages) | set(product.remove)
    dropped = [] if product.keep else [package for package in listed if package not in wanted]
    arguments, notes = [], []

    rebuilt, told = _replace_self_built(manifest, offered, repository, {*dropped, *product.remove})
    notes += told
    for package in _unique(product.packages):
        arguments += ["--add", rebuilt.pop(package, package)]
    # the others were installed because something needs them
    for replacement in rebuilt.values():
        arguments += ["--add", replacement]
    for package in _unique(product.remove):
        arguments += ["--remove", package]
    if not product.keep:
        for package in dropped:
            arguments += ["--mark-auto", package]
        if dropped:
            notes.append(f"not listed by this image: {' '.join(dropped)}")
        arguments.append("--auto-remove")
    elif product.remove:
        notes.append("TEMPLATE_KEEP is set: packages that only removed ones needed stay")
    for package in _unique([*product.allow_upgrade, *_other_versions(manifest, offered)]):
        arguments += ["--allow-upgrade", package]
    return Transaction(arguments, notes)


def _replace_self_built(manifest, offered, repository, going):
    """Package -> how to ask for the product's own build of what the template built and installed too.

    apt takes a package of the same version for the installed one, so that is named by its file.
    """
    replacements, notes = {}, []
    for stanza, built in _built_by_both(manifest, offered):
        name = stanza["Package"]
        if name in going or stanza["SHA256"] == built["sha256"]:
            continue
        if stanza["Version"] != built["version"]:
            replacements[name] = f"{name}={stanza['Version']}"
            notes.append(f"'{name}' {built['version']} becomes {stanza['Version']}, which this build made")
        else:
            replacements[name] = os.path.join(repository, stanza["Filename"])
            notes.append(
                f"'{name}' was built again at version {stanza['Version']} and differs from the "
                "template's: it is installed again"
            )
    return replacements, notes


def _other_versions(manifest, offered):
    return [
        stanza["Package"]
        for stanza, built in _built_by_both(manifest, offered)
        if stanza["Version"] != built["version"]
    ]


def _built_by_both(manifest, offered):
    """Pairs of a package of the product and its record in the template, where that installed it."""
    known = {
        (package.get("package"), package.get("architecture")): package
        for package in (manifest.get("anchors") or {}).get("selfBuilt") or ()
    }
    installed = {
        (package.get("package"), package.get("architecture"))
        for package in manifest.get("packages") or ()
    }
    for stanza in offered:
        key = (stanza["Package"], stanza["Architecture"])
        if key in known and key in installed:
            yield stanza, known[key]


def _unique(words):
    return list(dict.fromkeys(words))
