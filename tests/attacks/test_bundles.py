# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Bundles that somebody made to do harm."""

import os

import support
from support import UNTRUSTED


def test_a_signature_is_no_good_for_another_bundle(helper, tmp, publisher, tiny_bundle):
    """Nor when everything around it that is not signed is made to fit."""
    root = support.make_tiny_root(os.path.join(tmp, "evil"), extra={"etc/evil": "yes"})
    evil = os.path.join(tmp, "evil-bundle")
    helper("pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root,
           "--sign", support.make_key(tmp, "stranger"), "--output", evil)
    support.Layout(evil).replace_signature(support.Layout(tiny_bundle).signature_texts()[0])
    error = helper.error("import", *publisher.trust, evil, code=UNTRUSTED)
    assert error["kind"] == "signature-wrong" and "does not match the image index" in error["message"]
    assert helper.json("list")["templates"] == []
