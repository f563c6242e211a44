# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Name the template in SBOMs as Isar's generator, debsbom, writes them.

The template is what the image descends from. In that form it also survives debsbom's merging of the
documents of image, initrd and imager into one; annotations and notes do not.
"""

import json
import urllib.parse

# no package of Debian has an upper case letter in its name
SPDX_ID = "SPDXRef-ImageTemplate"
PROPERTY = "isar-template"
UNKNOWN = "NOASSERTION"


def add(kind, text, provenance):
    """The text of an SBOM of Isar's type `kind`, with the template in it."""
    # as debsbom writes it: Isar concatenates these files, and a line break at the end is one too many
    return json.dumps(ADD[kind](json.loads(text), provenance), indent=4)


def add_to_spdx(document, provenance):
    """`document`, an SPDX 2.3 one, with the template; once, however often it is called."""
    described = [
        relation["relatedSpdxElement"]
        for relation in document["relationships"]
        if (relation["spdxElementId"], relation["relationshipType"]) == ("SPDXRef-DOCUMENT", "DESCRIBES")
    ]
    if not described:
        raise ValueError("it does not say what it describes")
    ids = [f"{SPDX_ID}-{number}" for number, _ in enumerate(_lineage(provenance))]
    document["packages"] = [
        package for package in document["packages"] if not package["SPDXID"].startswith(SPDX_ID)
    ]
    document["relationships"] = [
        relation
        for relation in document["relationships"]
        if not relation["relatedSpdxElement"].startswith(SPDX_ID)
    ]
    for own, descendant, template in zip(ids, [described[0], *ids], _lineage(provenance)):
        document["packages"].append(_spdx_package(own, template))
        document["relationships"].append({
            "spdxElementId": descendant,
            "relatedSpdxElement": own,
            "relationshipType": "DESCENDANT_OF",
        })  # fmt: skip
    return document


def _spdx_package(own, template):
    package = {
        "SPDXID": own,
        "checksums": [{"algorithm": "SHA256", "checksumValue": _hex(template)}],
        "copyrightText": UNKNOWN,
        "downloadLocation": UNKNOWN,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE_MANAGER",
                "referenceLocator": _purl(template),
                "referenceType": "purl",
            }
        ],
        "filesAnalyzed": False,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "name": template["name"],
        "primaryPackagePurpose": "OPERATING_SYSTEM",
        "summary": "image template",
        "supplier": UNKNOWN,
        "versionInfo": template["templateVersion"],
    }
    if "signer" in template:
        package["comment"] = f"signed by {template['signer']} with {template['fingerprint']}"
    return package


def add_to_cyclonedx(document, provenance):
    """The same for a CycloneDX one: the template is an ancestor of what it describes."""
    pedigree = document["metadata"]["component"].setdefault("pedigree", {})
    others = [
        ancestor
        for ancestor in pedigree.get("ancestors", ())
        if not any(p["name"].startswith(f"{PROPERTY}:") for p in ancestor.get("properties", ()))
    ]
    pedigree["ancestors"] = [*others, *map(_cyclonedx_component, _lineage(provenance))]
    return document


def _cyclonedx_component(template):
    properties = ("digest", "signer", "fingerprint")
    return {
        "type": "operating-system",
        "name": template["name"],
        "version": template["templateVersion"],
        "description": "image template",
        "hashes": [{"alg": "SHA-256", "content": _hex(template)}],
        "purl": _purl(template),
        "properties": [
            {"name": f"{PROPERTY}:{name}", "value": template[name]} for name in properties if name in template
        ],
    }


def _lineage(provenance):
    """The template, and those below it."""
    return [provenance["template"], *provenance["template"]["parents"]]


def _hex(template):
    return template["digest"].removeprefix("sha256:")


def _purl(template):
    """A template is an OCI index, whose purl has its digest for a version."""
    quoted = urllib.parse.quote(template["name"].lower(), safe="")
    digest = urllib.parse.quote(template["digest"], safe="")
    return f"pkg:oci/{quoted}@{digest}?tag={template['templateVersion']}"


ADD = {"spdx": add_to_spdx, "cdx": add_to_cyclonedx}
