# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What need not be asked of a registry is not: releases that the store has, and components that nobody wants."""

import json
import os

import pytest

import registry
import support
from support import UNTRUSTED, USAGE

PLAIN = "--plain-http"


@pytest.fixture
def bundle(tmp, publisher):
    """One with two components, of which the second holds files of who packs."""
    folder = os.path.join(tmp, "packages")
    os.mkdir(folder)
    support.write(folder + "/list", "of packages")
    return registry.pack(tmp, publisher, extra=["--component", "base-apt=" + folder])


@pytest.fixture
def place(small, helper, bundle):
    place = "oci://%s/a" % small.host
    place_digest = helper.json("push", PLAIN, bundle, place)["digest"]
    small.requests.clear()
    return place + ":1.0", place_digest


def test_inspect_fetches_documents_alone(small, helper, publisher, place):
    reference, digest = place
    report = helper.json("inspect", PLAIN, reference)
    assert report["digest"] == digest and report["verified"] is False and report["signatures"] == 1
    report = helper.json("inspect", PLAIN, *publisher.trust, reference)
    assert report["verified"] is True and report["signer"] == support.IDENTITY
    layers = {layer["digest"] for manifest in small.manifests.values() for layer in json.loads(manifest).get("layers", [])
              if "tar" in layer["mediaType"]}
    # the root filesystem, what finishes it, and packages
    assert len(layers) == 3
    assert not [path for _, path, *_ in small.requests if path.rsplit("/", 1)[1] in layers]


def test_what_nobody_trusted_has_signed_is_not_shown_as_verified(small, helper, tmp, place):
    key = support.make_key(tmp)
    trust = ["--allowed-signers", support.allow(tmp, key), "--identity", support.IDENTITY]
    assert helper.error("inspect", PLAIN, *trust, place[0], code=UNTRUSTED)["kind"] == "key-unknown"


@pytest.mark.parametrize("form", ["--digest", "@"])
def test_a_release_that_the_store_has_is_not_asked_for(small, helper, tmp, publisher, place, form):
    reference, digest = place
    helper("import", PLAIN, *publisher.trust, reference)
    small.requests.clear()
    words = [reference, "--digest", digest] if form == "--digest" else [reference + "@" + digest]
    root = support.write(tmp + "/gc-root", "")
    for offline in ([], ["--offline"]):
        report = helper.json("import", *publisher.trust, "--gc-root", root, *offline, *words)
        assert report["nothingToDo"] is True and report["digest"] == digest and report["signer"] == support.IDENTITY
        assert report["bytesFetched"] == 0
        assert helper.json("inspect", *publisher.trust, *offline, *words)["verified"] is True
    helper("checkout", *publisher.trust, "--offline", *words, tmp + "/out")
    assert small.requests == []
    # and what keeps it was noted
    assert os.listdir(helper.store + "/roots")


def test_what_the_store_has_is_verified_again(small, helper, tmp, publisher, place):
    reference, digest = place
    helper("import", PLAIN, *publisher.trust, reference)
    revoked = ["--revocation", support.command("cp", publisher.key + ".pub", tmp + "/revoked") and tmp + "/revoked"]
    named = reference + "@" + digest
    assert helper.error("import", "--offline", *publisher.trust, *revoked, named, code=UNTRUSTED)["kind"] == "key-revoked"
    assert helper.error("inspect", "--offline", *publisher.trust, *revoked, named, code=UNTRUSTED)["kind"] == "key-revoked"
    # the registry may have another signature by now
    assert helper.error("import", PLAIN, *publisher.trust, *revoked, named, code=UNTRUSTED)["kind"] == "key-revoked"
    assert small.requests


def test_a_signature_that_came_to_the_registry_later(small, helper, tmp, publisher, bundle, place):
    reference, digest = place
    helper("import", PLAIN, *publisher.trust, reference)
    other = support.make_key(tmp)
    trust = ["--allowed-signers", support.allow(tmp, other), "--identity", support.IDENTITY]
    helper("sign", "--key", other, bundle)
    helper("push", PLAIN, bundle, reference)
    report = helper.json("import", PLAIN, *trust, reference + "@" + digest)
    assert report["nothingToDo"] is True and report["fingerprint"]


def test_without_a_network(small, helper, publisher, place):
    reference, digest = place
    error = helper.error("import", PLAIN, "--offline", *publisher.trust, reference, code=USAGE)
    assert "names no digest" in error["message"] and "@sha256:" in error["hint"]
    for verb in ("import", "inspect"):
        error = helper.error(verb, PLAIN, "--offline", *publisher.trust, reference + "@" + digest, code=USAGE)
        assert error["kind"] == "not-found" and "is not in the store" in error["message"]
    error = helper.error("pull", PLAIN, "--offline", reference, code=USAGE)
    assert "--offline" in error["message"]
    assert small.requests == []


def test_a_store_that_lacks_a_tree_fetches_it(small, helper, publisher, place):
    reference, digest = place
    report = helper.json("import", PLAIN, *publisher.trust, reference)
    first = report["bytesFetched"]
    trees = os.listdir(helper.store + "/trees")
    support.command("rm", "-rf", "--one-file-system", os.path.join(helper.store, "trees", sorted(trees)[0]))
    report = helper.json("import", PLAIN, *publisher.trust, reference + "@" + digest)
    assert 0 < report["bytesFetched"] < first and len(os.listdir(helper.store + "/trees")) == len(trees)
    assert helper.json("fsck")["findings"] == []


def test_a_pin_finds_its_release_when_the_tag_has_moved(small, helper, tmp, publisher, place):
    reference, digest = place
    os.mkdir(tmp + "/again")
    helper("push", PLAIN, "--force", registry.pack(tmp + "/again", publisher), reference)
    report = helper.json("import", PLAIN, *publisher.trust, "--digest", digest, reference)
    assert report["digest"] == digest


def test_one_component_is_fetched(small, helper, tmp, publisher, place):
    reference, digest = place
    target = tmp + "/component"
    helper("checkout", PLAIN, "--no-store", "--component", "base-apt", *publisher.trust, reference, target)
    with open(target + "/list") as file:
        assert file.read() == "of packages"
    largest = max(small.blobs.values(), key=len)
    fetched = [path.rsplit("/", 1)[1] for method, path, *_ in small.requests if method == "GET"]
    assert not [name for name in fetched if small.blobs.get(("a", name)) is largest]
    assert sorted(name for name in os.listdir(tmp) if name.startswith(".component")) == []
    error = helper.error("checkout", PLAIN, "--no-store", "--component", "sdk", *publisher.trust, reference, tmp + "/x", code=USAGE)
    assert "sdk" in error["message"]
    assert not os.path.exists(tmp + "/x") and not [name for name in os.listdir(tmp) if name.startswith(".x")]


def test_a_parent_in_a_registry(small, helper, tmp, publisher, place):
    """A derived template carries what proves its parent, of which nothing but documents is fetched."""
    reference, digest = place
    root = support.make_tiny_root(tmp + "/derived")
    helper("pack", PLAIN, "--name", "product", "--version", "1", "--component", "rootfs=" + root, "--parent", reference,
           *publisher.trust, "--sign", publisher.key, "--output", tmp + "/product")
    report = helper.json("verify", *publisher.trust, tmp + "/product")
    assert [link["digest"] for link in report["chain"]] == [digest]
