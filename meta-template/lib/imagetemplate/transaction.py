# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Decide what the helper is to install into and remove from a template for one product."""

import os
import re
from collections import namedtuple

Product = namedtuple("Product", "packages remove keep allow_upgrade allow_suite allow_orphaned_modules", defaults=[(), ()])
Transaction = namedtuple("Transaction", "arguments notes")
Replacement = namedtuple("Replacement", "name package request is_other_version note")


def plan(product, manifest, offered, repository):
    """Arguments for `isar-template install`, and what the log should say about them.

    `manifest` is the template's, `offered` are the packages the product built itself, as
    repository.read_packages() returns them, from the folder `repository`.
    """
    settings = (manifest.get("anchors") or {}).get("settings") or {}
    listed = _unique((settings.get("ROOTFS_PACKAGES") or "").split())
    wanted = {bare_name(package) for package in (*product.packages, *product.remove)}
    unlisted = _unique(name for name in map(bare_name, listed) if name not in wanted)
    dropped = [] if product.keep else unlisted
    arguments, notes = [], []

    going = {*dropped, *map(bare_name, product.remove)}
    replacements = [r for r in _replace(manifest, offered, repository) if r.name not in going]
    notes += [replacement.note for replacement in replacements]
    requests = {replacement.name: replacement.request for replacement in replacements}
    for package in _unique(product.packages):
        arguments += ["--add", requests.pop(bare_name(package), package)]
    # the others were installed because something needs them
    for request in requests.values():
        arguments += ["--add", request]
    for package in _unique(product.remove):
        arguments += ["--remove", package]
    if not product.keep:
        for package in dropped:
            arguments += ["--mark-auto", package]
        if dropped:
            notes.append(f"not listed by this image: {' '.join(dropped)}")
        arguments.append("--auto-remove")
    elif unlisted:
        notes.append(f"not listed by this image, kept as TEMPLATE_KEEP is set: {' '.join(unlisted)}")
    if product.keep and product.remove:
        notes.append("TEMPLATE_KEEP is set: packages that only removed ones needed stay")
    other_versions = [r.package for r in replacements if r.is_other_version]
    for package in _unique([*product.allow_upgrade, *other_versions]):
        arguments += ["--allow-upgrade", package]
    for suite in _unique(product.allow_suite):
        arguments += ["--allow-suite", suite]
    for kernel in _unique(product.allow_orphaned_modules):
        arguments += ["--allow-orphaned-modules", kernel]
    return Transaction(arguments, notes)


def bare_name(package):
    """The name in an entry of ROOTFS_PACKAGES, which may be NAME=VERSION or NAME/SUITE for apt."""
    return re.split("[=/]", package, maxsplit=1)[0]


def _replace(manifest, offered, repository):
    """How to ask for the product's own build of each package that the template has installed.

    What the product builds wins over what the template has, as it does in a full build, where
    Isar gives its own repository the highest priority.
    """
    built = {
        (record.get("package"), record.get("sha256")): record
        for record in (manifest.get("anchors") or {}).get("selfBuilt") or ()
    }
    installed = {}
    for package in manifest.get("packages") or ():
        installed.setdefault(package.get("package"), []).append(package)
    for stanza in offered:
        package, version = stanza["Package"], stanza["Version"]
        there = [p for p in installed.get(package, ()) if _same_place(p, stanza)]
        if not there:
            continue
        name = package if len(installed[package]) == 1 else f"{package}:{stanza['Architecture']}"
        has, arch = there[0].get("packageVersion"), there[0].get("architecture")
        if has == version and arch == stanza["Architecture"]:
            if (package, stanza["SHA256"]) in built:
                continue
            # apt takes a package of the same version for the installed one, so that is named by its file
            yield Replacement(
                name, package, os.path.join(repository, stanza["Filename"]), False,
                f"'{name}' was built again at version {version} and differs from the template's: "
                "it is installed again",
            )  # fmt: skip
        else:
            was = has if has != version else f"{has} of {arch}"
            now = version if has != version else f"that of {stanza['Architecture']}"
            yield Replacement(
                name, package, f"{name}={version}", True,
                f"'{name}' {was} becomes {now}, which this build made",
            )  # fmt: skip


def _same_place(package, stanza):
    """Whether one takes the place of the other: packages of two architectures may be there side by side."""
    architectures = {package.get("architecture"), stanza["Architecture"]}
    return len(architectures) == 1 or "all" in architectures


def _unique(words):
    return list(dict.fromkeys(words))
