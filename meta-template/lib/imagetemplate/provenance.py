# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Say of an image which template it was built on: in its os-release, in a file beside it, in the log."""

import json
import os

from . import consume, helper, sbom

VERSION = 1
TRANSACTION = "transaction.json"
# what becomes of packages, by the helper's operations
CHANGES = {
    "install": "added",
    "remove": "removed",
    "upgrade": "changed",
    "downgrade": "changed",
    # another build of the same version
    "reinstall": "changed",
}
PACKAGE_KEYS = ("package", "architecture", "oldVersion", "newVersion", "sha256")
TEMPLATE_KEYS = ("name", "templateVersion", "digest")


def remember(d, result):
    """Keep what do_rootfs_install did, the helper's `result`, for the tasks that follow it."""
    transaction = {"helper": helper.version(d), "actions": result["report"]["actions"]}
    _write(os.path.join(d.getVar("TEMPLATE_TRANSACTION_DIR"), TRANSACTION), transaction)


def write(d):
    """Write the file beside the image, and what is to be appended to the os-release in it."""
    path = os.path.join(d.getVar("TEMPLATE_TRANSACTION_DIR"), TRANSACTION)
    try:
        with open(path, encoding="utf-8") as file:
            transaction = json.load(file)
    except FileNotFoundError:
        raise consume.ConsumeError(
            f"what was installed on the template is not known any more: no '{path}'\n"
            f"to install it again: bitbake -c clean {helper.target(d, d.getVar('PN'))}, then build as before"
        ) from None
    document = describe(d, consume.read_record(d), transaction)
    with open(d.getVar("TEMPLATE_MARK"), "w", encoding="utf-8") as file:
        file.write(os_release(document))
    _write(d.getVar("TEMPLATE_PROVENANCE"), document)


def describe(d, record, transaction):
    """What docs/schemas/provenance-v1.schema.json says."""
    manifest = record["manifest"]
    packages = {"added": [], "removed": [], "changed": []}
    for action in transaction["actions"]:
        known = {key: action[key] for key in PACKAGE_KEYS if key in action}
        packages[CHANGES[action["operation"]]].append(known)
    return {
        "version": VERSION,
        "template": {
            "name": manifest["name"],
            "templateVersion": manifest["templateVersion"],
            "digest": record["digest"],
            "signer": record["signer"],
            "fingerprint": record["fingerprint"],
            "parents": record["chain"],
        },
        "image": {
            "name": d.getVar("IMAGE_FULLNAME"),
            "recipe": d.getVar("PN"),
            "recipeVersion": d.getVar("PV"),
            "machine": d.getVar("MACHINE"),
            "distro": d.getVar("DISTRO"),
            "architecture": d.getVar("DISTRO_ARCH"),
            "multiconfig": d.getVar("BB_CURRENT_MC") or "default",
        },
        "packages": packages,
        "madeBy": {
            "layer": f"meta-template {d.getVar('LAYERVERSION_template')}",
            "helper": transaction["helper"],
        },
    }


def os_release(document):
    """The fields that the helper gives products it makes by itself."""
    template = document["template"]
    fields = zip(("NAME", "VERSION", "DIGEST"), TEMPLATE_KEYS)
    return "".join(f'ISAR_TEMPLATE_{field}="{template[key]}"\n' for field, key in fields)


def read(d):
    """The file beside the image."""
    with open(d.getVar("TEMPLATE_PROVENANCE"), encoding="utf-8") as file:
        return json.load(file)


def tell(d):
    """The line for the log of the build."""
    document = read(d)
    template = document["template"]
    return (
        f"{document['image']['name']} is built on the template {template['name']} {template['templateVersion']} "
        f"({template['digest']}), signed by {template['signer']}: {d.getVar('TEMPLATE_PROVENANCE')}"
    )


def forget(d):
    """Remove the file beside an image that is now built from scratch."""
    try:
        os.unlink(d.getVar("TEMPLATE_PROVENANCE"))
    except FileNotFoundError:
        pass


def name_in_sboms(d):
    """Add the template to the SBOMs of the image; returns warnings."""
    document, warnings = read(d), []
    for kind in (d.getVar("SBOM_TYPES") or "").split():
        name = f"{d.getVar('ROOTFS_PACKAGE_SUFFIX')}.{kind}.json"
        path = os.path.join(d.getVar("DEPLOY_DIR_SBOM"), name)
        try:
            with open(path, encoding="utf-8") as file:
                text = sbom.add(kind, file.read(), document)
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            warnings.append(f"the SBOM '{path}' does not name the template: {error!r}")
            continue
        _replace(path, text)
    return warnings


def _write(path, document):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _replace(path, json.dumps(document, indent=1) + "\n")


def _replace(path, text):
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
