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
    result = run(d, "inspect", *options(d), location(d, fetch))
    text = json.dumps({"version": VERSION, "trust": trust, "manifest": result["manifest"]})
    os.makedirs(os.path.dirname(path), exist_ok=True)
    origin.replace(path, text)
    return result["manifest"]


def read(d):
    """What ensure() has kept, for tasks."""
    return _read(d.getVar("TEMPLATE_VERIFIED")).get("manifest") or {}


def location(d, fetch):
    """Where the helper finds the bundle, after it was fetched if it is bitbake's fetcher that does so."""
    source = bundle.source(d)
    return fetch(d) if source.scheme == bundle.HTTPS else source.location


def options(d, offline=False):
    """Whom the helper is to trust, which release it is to accept, and whether and how it asks a registry for it."""
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
        *(["--offline"] if offline or _is_offline(d) else ()),
        *(["--plain-http"] if helper.is_true(d.getVar("TEMPLATE_PLAIN_HTTP")) else ()),
    ]  # fmt: skip


def take_component(d, name, path, place):
    """Unpack a small component of the bundle at `place`, so that its files are those of who builds.

    From a registry it is not fetched when it is in the store, whose files are root's.
    """
    if bundle.source(d).scheme != bundle.REGISTRY or not _in_store(d):
        run(d, "checkout", "--no-store", "--component", name, *options(d), place, path)
        return
    try:
        helper.run(d, "checkout", "--component", name, d.getVar("TEMPLATE_PIN"), path)
        helper.as_root(d, "chown", "--recursive", "--no-dereference", f"{os.getuid()}:{os.getgid()}", path)
    except helper.HelperError as error:
        raise VerifyError(hints.explain(error)) from None


def _in_store(d):
    """Whether the template was imported, and still suits what is trusted."""
    try:
        helper.run(d, "inspect", *options(d, offline=True), bundle.source(d).location, privileged=False)
    except helper.HelperError:
        return False
    return True


def _is_offline(d):
    return bundle.source(d).scheme == bundle.REGISTRY and helper.is_true(d.getVar("BB_NO_NETWORK"))


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
