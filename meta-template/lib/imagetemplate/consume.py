# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Import a template once per build directory, and give out its components."""

import json
import os
import subprocess

from . import bundle, helper, repository, transaction


class ConsumeError(Exception):
    """The template does not suit this build, or is not there any more."""


def pin(d):
    """The digest of the template to build on: what bitbake hashes instead of a path."""
    return d.getVar("TEMPLATE_DIGEST") or bundle.read_digest(
        bundle.parse_source(d.getVar("TEMPLATE_SOURCE")).location
    )


def import_bundle(d, location, progress=None):
    """Verify and import the bundle, and record what it was for the other tasks."""
    revoked = d.getVar("TEMPLATE_REVOKED_KEYS")
    result = helper.run(
        d,
        "import",
        "--allowed-signers", d.getVar("TEMPLATE_ALLOWED_SIGNERS"),
        "--identity", d.getVar("TEMPLATE_IDENTITY"),
        "--digest", d.getVar("TEMPLATE_PIN"),
        *(("--revocation", revoked) if revoked else ()),
        location,
        progress=progress,
    )  # fmt: skip
    template = f"{result['name']}:{result['templateVersion']}"
    manifest = helper.run(d, "inspect", result["digest"])["manifest"]
    _check_fits(d, template, manifest)
    # by digest, as another release of the same version may get into a shared store
    record = {"digest": result["digest"], "manifest": manifest}
    path = d.getVar("TEMPLATE_IMPORTED")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(f"{path}.new", path)
    return f"building on the template {template}, signed by {d.getVar('TEMPLATE_IDENTITY')}"


def _check_fits(d, template, manifest):
    for variable, key in (("DISTRO", "distro"), ("DISTRO_ARCH", "architecture")):
        ours, theirs = d.getVar(variable), (manifest.get("anchors") or {}).get(key)
        if theirs and ours != theirs:
            raise ConsumeError(
                f"the template {template} was made for {variable} = '{theirs}', this build has '{ours}'"
            )


def read_record(d):
    """What import_bundle() recorded."""
    try:
        with open(d.getVar("TEMPLATE_IMPORTED"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise ConsumeError(
            f"the template was not imported into this build: no '{d.getVar('TEMPLATE_IMPORTED')}'\n"
            f"{import_again(d)}"
        ) from None


def import_again(d):
    """What to do when the store was cleared and bitbake does not know."""
    multiconfig = d.getVar("BB_CURRENT_MC")
    prefix = f"mc:{multiconfig}:" if multiconfig and multiconfig != "default" else ""
    return f"to import it again: bitbake -f -c template_import {prefix}template-import"


def checkout(d, component, directory, progress=None):
    """Put a component, as it was packed, into an empty or missing folder."""
    try:
        helper.run(
            d, "checkout", "--raw", "--component", component, read_record(d)["digest"], directory,
            progress=progress,
        )  # fmt: skip
    except helper.HelperError as error:
        if error.kind == "not-found":
            raise ConsumeError(f"{error}\n{import_again(d)}") from None
        raise


def checkout_file(d, component, directory):
    """The same for a component that is a single file; returns its path."""
    checkout(d, component, directory)
    names = os.listdir(directory)
    if len(names) != 1:
        raise ConsumeError(f"the component '{component}' should be one file, it has {len(names)}")
    return os.path.join(directory, names[0])


def install(d, root, progress=None):
    """Turn the checked out template at `root` into the product: one transaction."""
    record = read_record(d)
    apt = os.path.join(d.getVar("REPO_ISAR_DIR"), d.getVar("DISTRO"))
    product = transaction.Product(
        packages=(d.getVar("ROOTFS_PACKAGES") or "").split(),
        remove=(d.getVar("TEMPLATE_REMOVE") or "").split(),
        keep=d.getVar("TEMPLATE_KEEP") == "1",
        allow_upgrade=(d.getVar("TEMPLATE_ALLOW_UPGRADE") or "").split(),
    )
    planned = transaction.plan(product, record["manifest"], repository.read_packages(apt), apt)
    for note in planned.notes:
        print(note, flush=True)
    binds = ["--bind", f"{apt}:/isar-apt"]
    if (d.getVar("ISAR_USE_CACHED_BASE_REPO") or "0") == "1":
        binds += ["--bind", f"{d.getVar('REPO_BASE_DIR')}:/base-apt"]
    return helper.run(
        d, "install", record["digest"], *planned.arguments, *binds,
        "--die-with", str(os.getpid()), "--root", root,
        progress=progress,
    )  # fmt: skip


def as_root(d, *argv):
    """Run a plain command as root; raises ConsumeError with what it said."""
    process = helper.run_privileged(
        d, argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.communicate()[0].decode(errors="replace").strip()
    if process.returncode:
        raise ConsumeError(f"running {' '.join(argv)}: {output or process.returncode}")
