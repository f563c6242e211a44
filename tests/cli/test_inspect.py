# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What inspect verifies of a bundle when it is told whom to trust."""

import os
import re

import pytest

import support
from support import IDENTITY, UNTRUSTED, USAGE


@pytest.fixture
def tar(tmp, helper, publisher, tiny_bundle):
    """The same bundle as tiny_bundle in one tar."""
    path = os.path.join(tmp, "tiny.tar")
    support.command("tar", "-C", tiny_bundle, "-c", "-f", path, "oci-layout", "index.json", "blobs")
    return path


@pytest.mark.parametrize("form", ["directory", "tar"])
def test_the_report_says_who_signed(helper, tiny_bundle, tar, publisher, form):
    bundle = {"directory": tiny_bundle, "tar": tar}[form]
    fingerprint = support.command("ssh-keygen", "-l", "-f", publisher.key + ".pub").stdout.split()[1]
    value = helper.json("inspect", *publisher.trust, bundle)
    assert (value["verified"], value["signer"], value["fingerprint"]) == (True, IDENTITY, fingerprint)
    plain = helper.json("inspect", bundle)
    assert (plain["verified"], plain["signer"]) == (False, None)
    assert value["manifest"] == plain["manifest"]
    text = helper("inspect", *publisher.trust, bundle).stdout
    assert IDENTITY in text and fingerprint in text and "NOT VERIFIED" not in text
    assert not os.path.exists(helper.store)


def test_what_verify_refuses_is_refused(helper, tmp, tiny_bundle, publisher):
    other = support.make_key(tmp, "other")
    listed = support.write(tmp + "/revoked", support.public_key(publisher.key) + "\n")
    digest = helper.json("inspect", tiny_bundle)["digest"]
    wrong = "sha256:" + "0" * 64
    for words, kind in (
            (["--allowed-signers", support.allow(tmp, other), "--identity", IDENTITY], "key-unknown"),
            (["--allowed-signers", publisher.allowed_signers, "--identity", "other@example.org"], "identity-wrong"),
            ([*publisher.trust, "--revocation", listed], "key-revoked"),
            ([*publisher.trust, "--digest", wrong], "digest-differs"),
            (["--allowed-signers", support.allow(tmp, publisher.key, options='valid-before="20200101"', name="old"),
              "--identity", IDENTITY], "key-expired")):
        assert helper.error("inspect", *words, tiny_bundle, code=UNTRUSTED)["kind"] == kind
    helper("inspect", *publisher.trust, "--digest", digest, tiny_bundle)
    old = support.allow(tmp, publisher.key, options='valid-before="20200101"')
    helper("inspect", "--allowed-signers", old, "--identity", IDENTITY, "--verify-time", "20190101", tiny_bundle)


@pytest.mark.parametrize("which", ["artifact", "config"])
def test_a_changed_document_is_refused(helper, tiny_bundle, publisher, which):
    layout = support.Layout(tiny_bundle)
    index = layout.document(layout.tagged("1.0")["digest"])
    digest = next(entry["digest"] for entry in index["manifests"] if entry.get("artifactType"))
    if which == "config":
        digest = layout.document(digest)["config"]["digest"]
    content = layout.read(digest)
    support.write(layout.blob_path(digest), content.replace(b"tiny", b"tidy").replace(b"sha256:0", b"sha256:1", 1)[:-1] + b" ")
    helper("inspect", *publisher.trust, tiny_bundle, code=UNTRUSTED)


def test_contents_are_not_read(helper, tiny_bundle, publisher):
    layout = support.Layout(tiny_bundle)
    layer = layout.document(layout.tagged("1.0-rootfs")["digest"])["layers"][0]
    support.write(layout.blob_path(layer["digest"]), bytes(layer["size"]))
    helper("inspect", *publisher.trust, tiny_bundle)
    helper("verify", *publisher.trust, tiny_bundle, code=UNTRUSTED)


@pytest.mark.parametrize("words,missing", [
    (["--identity", IDENTITY], "--allowed-signers"),
    (["--allowed-signers", "{signers}"], "--identity"),
    (["--digest", "sha256:" + "0" * 64], "--allowed-signers"),
    (["--revocation", "/dev/null"], "--allowed-signers"),
])
def test_half_of_what_is_needed_is_wrong_usage(helper, tiny_bundle, publisher, words, missing):
    words = [word.format(signers=publisher.allowed_signers) for word in words]
    assert missing in helper.error("inspect", *words, tiny_bundle, code=USAGE)["message"]
    assert helper.error("verify", *words, tiny_bundle, code=USAGE)["kind"] == "usage"


def test_trust_options_are_not_ignored_for_a_stored_template(helper, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    helper("inspect", "--identity", IDENTITY, "tiny")
    assert helper.error("inspect", "--identity", "x@example.org", "tiny", code=UNTRUSTED)["kind"] == "identity-wrong"
    assert helper.error("inspect", "--digest", "sha256:" + "0" * 64, "tiny", code=UNTRUSTED)["kind"] == "digest-differs"
    assert re.search("--allowed-signers", helper.error("inspect", *publisher.trust, "tiny", code=USAGE)["message"])
