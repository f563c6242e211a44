# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Know the template before anything is parsed: its manifest, verified, and kept for the next time."""

import hashlib
import json
import os

from . import bundle, helper, hints, origin

# raised when what is kept gets another form
VERSION = 1


class VerifyError(Exception):
    """The bundle is not there or not trusted."""


def ensure(d, fetch):
    """The verified manifest of the template of the configuration `d`.

    It comes from the bundle once for each digest and each state of what is trusted, and then from a
    file below TMPDIR. `fetch` gets an https bundle into DL_DIR and returns its path.
    """
    path = d.getVar("TEMPLATE_VERIFIED")
    trust = describe_trust(d)
    kept = _read(path)
    if kept.get("version") == VERSION and kept.get("trust") == trust:
        return kept["manifest"]
    result = run(d, "inspect", *trust_options(d), local_path(d, fetch))
    text = json.dumps({"version": VERSION, "trust": trust, "manifest": result["manifest"]})
    os.makedirs(os.path.dirname(path), exist_ok=True)
    origin.replace(path, text)
    return result["manifest"]


def read(d):
    """What ensure() has kept, for tasks."""
    return _read(d.getVar("TEMPLATE_VERIFIED")).get("manifest") or {}


def local_path(d, fetch):
    """Where the bundle is, or is after it was fetched."""
    source = bundle.parse_source(d.getVar("TEMPLATE_SOURCE"))
    return fetch(d) if source.is_remote else source.location


def trust_options(d):
    """Whom the helper is to trust, and which release it is to accept."""
    revoked = d.getVar("TEMPLATE_REVOKED_KEYS")
    return [
        "--allowed-signers", d.getVar("TEMPLATE_ALLOWED_SIGNERS"),
        "--identity", d.getVar("TEMPLATE_IDENTITY"),
        "--digest", d.getVar("TEMPLATE_PIN"),
        *(("--revocation", revoked) if revoked else ()),
        *(
            word
            for identity in (d.getVar("TEMPLATE_PARENT_IDENTITIES") or "").split()
            for word in ("--parent-identity", identity)
        ),
    ]  # fmt: skip


def describe_trust(d):
    """A digest of all that decides whether the template is trusted: what was found holds as long as that."""
    digest = hashlib.sha256()
    for name in ("TEMPLATE_PIN", "TEMPLATE_IDENTITY", "TEMPLATE_PARENT_IDENTITIES"):
        digest.update(f"{d.getVar(name)}\0".encode())
    for name in ("TEMPLATE_ALLOWED_SIGNERS", "TEMPLATE_REVOKED_KEYS"):
        path = d.getVar(name)
        if path:
            with open(path, "rb") as file:
                digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()


def run(d, verb, *arguments):
    """Run the helper without privilege; errors become what users of the layer can act on."""
    try:
        return helper.run(d, verb, *arguments, privileged=False)
    except helper.HelperError as error:
        raise VerifyError(hints.explain(error)) from None


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
