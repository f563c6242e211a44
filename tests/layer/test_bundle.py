# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Reading which release a bundle claims to be."""

import io
import json
import tarfile

import pytest

from imagetemplate import bundle

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def index(*entries):
    return json.dumps({"manifests": [{"mediaType": kind, "digest": d} for kind, d in entries]})


def write_tar(path, name, text):
    with tarfile.open(path, "w") as tar:
        for member, content in (("blobs/sha256/0", "x" * 5000), (name, text)):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))


@pytest.mark.parametrize("name", ["index.json", "./index.json"])
def test_a_tar_is_read_without_unpacking(tmp_path, name):
    path = tmp_path / "b.tar"
    write_tar(path, name, index((MANIFEST, "sha256:a"), (INDEX, "sha256:b")))
    assert bundle.read_digest(str(path)) == "sha256:b"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"manifests": 1}', '{"manifests": [1]}', '{"manifests": [{"mediaType": "%s"}]}' % INDEX])
def test_what_is_no_index_is_no_bundle(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(bundle.BundleError, match="is not a bundle"):
        bundle.read_digest(str(tmp_path))


@pytest.mark.parametrize("entries", [[], [(INDEX, "sha256:a"), (INDEX, "sha256:b")]])
def test_several_templates_need_a_digest(tmp_path, entries):
    (tmp_path / "index.json").write_text(index(*entries))
    with pytest.raises(bundle.BundleError, match="set TEMPLATE_DIGEST"):
        bundle.read_digest(str(tmp_path))


@pytest.mark.parametrize("configured, digest", [("sha256:1", "sha256:1"), ("", f"sha256:{'ab' * 32}")])
def test_a_reference_may_name_the_release(store, configured, digest):
    d = store({"TEMPLATE_SOURCE": f"oci://host:5000/team/platform:1.0@sha256:{'ab' * 32}", "TEMPLATE_DIGEST": configured})
    assert bundle.source(d).scheme == bundle.REGISTRY
    assert bundle.named_digest(d) == digest


def test_what_is_no_tar_is_no_bundle(tmp_path):
    path = tmp_path / "b.tar"
    path.write_text("no tar")
    with pytest.raises(bundle.BundleError, match="is not a bundle"):
        bundle.read_digest(str(path))
