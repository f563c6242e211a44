# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Documents of Isar's SBOM generator, with the template in them.

They are made, merged and checked by the real programs, which pip installs for this test alone.
"""

import copy
import json
import subprocess

import pytest

import venv_tools
from imagetemplate import sbom

HEX = "1" * 64
PARENT = {"name": "base", "templateVersion": "0.9", "digest": "sha256:" + "2" * 64}
TEMPLATE = {
    "name": "Platform+x",
    "templateVersion": "1.0",
    "digest": f"sha256:{HEX}",
    "signer": "platform@example.org",
    "fingerprint": "SHA256:abc",
    "parents": [],
}
PURL = f"pkg:oci/platform%2Bx@sha256%3A{HEX}?tag=1.0"
STATUS = """\
Package: isar-template
Status: install ok installed
Priority: optional
Section: utils
Maintainer: The isar-template authors <isar-users@googlegroups.com>
Architecture: amd64
Version: 1.0
Depends: libc6 (>= 2.34)
Description: a package whose name is like what the layer adds

Package: libc6
Status: install ok installed
Priority: optional
Section: libs
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u10
Description: GNU C Library
"""
# as Isar calls it, see generate_sbom and merge_wic_sbom of sbom.bbclass and imagetypes_wic.bbclass
OPTIONS = (
    "--distro-supplier isar-users --distro-version 1 --base-distro-vendor debian "
    "--cdx-serialnumber 4a2ab2c3-4b1c-4f56-9b2c-5a1f2ab2c34b --spdx-namespace https://spdx.org/spdxdocs-4a2ab2c3 "
    "--timestamp 2024-01-01T00:00:00+00:00"
).split()


@pytest.fixture(scope="session")
def tool():
    """Run a program of the venv."""
    try:
        programs = venv_tools.make("sbom")
    except venv_tools.NoVenv as error:
        pytest.skip(str(error))

    def run(name, *arguments, **options):
        done = subprocess.run([f"{programs}/{name}", *arguments], capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def generated(tool, tmp_path_factory):
    """What debsbom writes about a system, by type."""
    root = tmp_path_factory.mktemp("root")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (root / "var/lib/dpkg/arch").write_text("amd64\n")
    (root / "etc/apt").mkdir(parents=True)
    tool("debsbom", "generate", "-t", "spdx", "-t", "cdx", "-r", str(root), "-o", str(root / "image"),
         "--distro-name", "Isar-Debian-GNU-Linux", "--distro-arch", "amd64", *OPTIONS)  # fmt: skip
    return {kind: json.loads((root / f"image.{kind}.json").read_text()) for kind in sbom.ADD}


def add(generated, kind, **changes):
    document = copy.deepcopy(generated[kind])
    return sbom.ADD[kind](document, {"template": {**TEMPLATE, **changes}})


def check_valid(tool, tmp_path, kind, document):
    path = tmp_path / f"checked.{kind}.json"
    path.write_text(json.dumps(document))
    if kind == "spdx":
        tool("pyspdxtools", "-i", str(path))
    else:
        script = (
            "import sys; from cyclonedx.schema import SchemaVersion; "
            "from cyclonedx.validation.json import JsonStrictValidator as V; "
            "sys.exit(str(V(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()) or '') or 0)"
        )
        tool("python3", "-c", script, str(path))


@pytest.mark.parametrize("kind", sbom.ADD)
@pytest.mark.parametrize("parents", [[], [PARENT]])
def test_documents_stay_valid_and_lose_nothing(tool, generated, tmp_path, kind, parents):
    before, after = generated[kind], add(generated, kind, parents=parents)
    check_valid(tool, tmp_path, kind, after)
    for key in ("packages", "relationships") if kind == "spdx" else ("components", "dependencies"):
        assert after[key][: len(before[key])] == before[key]
    assert PURL in json.dumps(after)


@pytest.mark.parametrize("kind", sbom.ADD)
def test_the_merged_document_of_a_disk_image_names_the_template(tool, generated, tmp_path, kind):
    text = json.dumps(generated[kind])
    own = sbom.add(kind, text, {"template": TEMPLATE})
    imager = text.replace("Isar-Debian-GNU-Linux", "Isar-Debian-GNU-Linux-Imager").replace("4a2a", "5b3b")
    merged = json.loads(tool(
        "debsbom", "merge", "-t", kind, "--distro-name", "Isar-Debian-GNU-Linux-Image", *OPTIONS, "-", "-o", "-",
        input=own + imager,
    ))  # fmt: skip
    check_valid(tool, tmp_path, kind, merged)
    if kind == "spdx":
        assert descent(merged) == [("SPDXRef-Isar-Debian-GNU-Linux", "Platform+x", "1.0")]
    else:
        (system,) = [c for c in merged["components"] if c["name"] == "Isar-Debian-GNU-Linux"]
        assert [(a["name"], a["version"]) for a in system["pedigree"]["ancestors"]] == [("Platform+x", "1.0")]


def descent(document):
    packages = {package["SPDXID"]: package for package in document["packages"]}
    return [
        (relation["spdxElementId"],
         *(packages[relation["relatedSpdxElement"]][key] for key in ("name", "versionInfo")))
        for relation in document["relationships"] if relation["relationshipType"] == "DESCENDANT_OF"
    ]  # fmt: skip


def test_spdx_has_the_template_and_what_it_descends_from(generated):
    document = add(generated, "spdx", parents=[PARENT])
    assert descent(document) == [
        ("SPDXRef-Isar-Debian-GNU-Linux", "Platform+x", "1.0"),
        ("SPDXRef-ImageTemplate-0", "base", "0.9"),
    ]
    package = next(p for p in document["packages"] if p["name"] == "Platform+x")
    assert package["checksums"] == [{"algorithm": "SHA256", "checksumValue": HEX}]
    assert package["comment"] == "signed by platform@example.org with SHA256:abc"


def test_cyclonedx_has_the_template_and_who_signed_it(generated):
    document = add(generated, "cdx", parents=[PARENT])
    template, parent = document["metadata"]["component"]["pedigree"]["ancestors"]
    assert {p["name"]: p["value"] for p in template["properties"]} == {
        "isar-template:digest": TEMPLATE["digest"],
        "isar-template:signer": TEMPLATE["signer"],
        "isar-template:fingerprint": TEMPLATE["fingerprint"],
    }
    assert (template["version"], parent["name"]) == ("1.0", "base")


@pytest.mark.parametrize("kind", sbom.ADD)
def test_a_second_time_replaces_the_first(generated, kind):
    once = add(generated, kind, parents=[PARENT])
    again = sbom.ADD[kind](copy.deepcopy(once), {"template": {**TEMPLATE, "parents": [PARENT]}})
    assert again == once
    later = sbom.ADD[kind](once, {"template": {**TEMPLATE, "digest": "sha256:" + "3" * 64}})
    assert HEX not in json.dumps(later) and "base" not in json.dumps(later).replace("base-distro", "")


def test_another_ancestor_is_left_alone(generated):
    document = copy.deepcopy(generated["cdx"])
    document["metadata"]["component"]["pedigree"] = {"ancestors": [{"type": "operating-system", "name": "other"}]}
    ancestors = sbom.add_to_cyclonedx(document, {"template": TEMPLATE})["metadata"]["component"]["pedigree"]["ancestors"]
    assert [ancestor["name"] for ancestor in ancestors] == ["other", "Platform+x"]


def test_a_document_that_describes_nothing_is_an_error():
    with pytest.raises(ValueError, match="does not say what it describes"):
        sbom.add_to_spdx({"packages": [], "relationships": []}, {"template": TEMPLATE})
