# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Have the helper try what a recipe built, on the template."""

import contextlib
import glob
import hashlib
import os
import shutil

from . import consume, helper, repository

# the helper's exit code when it found something, which is no failure of its own
FOUND = 7


def is_on(d):
    """Whether the packages of this recipe are tried: those for other machines than the target cannot be."""
    return (
        d.getVar("TEMPLATE_QA") != "off"
        and d.getVar("PN") == d.getVar("BPN")
        # in cross builds those for all have the architecture of the host here
        and (d.getVar("PACKAGE_ARCH") == d.getVar("DISTRO_ARCH") or d.getVar("DPKG_ARCH") == "all")
    )


def copy_repository(d):
    """Take what was deployed so far, without its content: files there are replaced, and never written to."""
    apt = d.getVar("TEMPLATE_QA_APT")
    shutil.rmtree(apt, ignore_errors=True)
    built = os.path.join(d.getVar("REPO_ISAR_DIR"), d.getVar("DISTRO"))
    shutil.copytree(built, apt, copy_function=_link)


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check(d, progress=None):
    """Lines that tell what is wrong with the packages of a recipe; those that the template has are not tried again."""
    # that of another time tells nothing
    with contextlib.suppress(FileNotFoundError):
        os.unlink(d.getVar("TEMPLATE_QA_REPORT"))
    record = consume.read_record(d)
    anchors = record["manifest"].get("anchors") or {}
    known = {package.get("sha256") for package in anchors.get("selfBuilt") or ()}
    packages = sorted(glob.glob(os.path.join(glob.escape(d.getVar("WORKDIR")), "*.deb")))
    new = [path for path in packages if digest(path) not in known]
    for path in sorted(set(packages) - set(new)):
        print(f"{os.path.basename(path)} is the template's", flush=True)
    if not new:
        return []
    apt = d.getVar("TEMPLATE_QA_APT")
    arguments = ["--bind", f"{apt}:/isar-apt"]
    # as for an image, what is built here wins over what the template has
    built = [stanza["Package"] for stanza in repository.read_packages(apt)]
    for package in dict.fromkeys([*built, *(d.getVar("TEMPLATE_ALLOW_UPGRADE") or "").split()]):
        arguments += ["--allow-upgrade", package]
    for suite in (d.getVar("TEMPLATE_ALLOW_SUITE") or "").split():
        arguments += ["--allow-suite", suite]
    if helper.is_true(d.getVar("ISAR_USE_CACHED_BASE_REPO")):
        arguments += ["--bind", f"{d.getVar('REPO_BASE_DIR')}:/base-apt"]
    if helper.is_true(d.getVar("BB_NO_NETWORK")):
        arguments += ["--update", "local"]
    arguments += consume.apt_options(d)
    if d.getVar("TEMPLATE_QA_ALLOW"):
        arguments += ["--allow", d.getVar("TEMPLATE_QA_ALLOW")]
    result = helper.run(
        d, "qa", *arguments, "--fail-on", "warning", "--junit", d.getVar("TEMPLATE_QA_REPORT"),
        "--die-with", str(os.getpid()), record["digest"], *new,
        progress=progress, found=FOUND,
    )  # fmt: skip
    return [
        describe(finding)
        for package in result["qa"]["packages"]
        for finding in package["findings"]
        if finding["severity"] != "info" and not finding.get("allowed")
    ]


def describe(finding):
    """One finding, as a line."""
    path = f" {finding['path']}" if finding.get("path") else ""
    text = f"{finding['package']}: {finding['kind']}{path}: {finding['detail']} ({finding['step']})"
    # names and what scripts say are anybody's
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in text)


def digest(path):
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
