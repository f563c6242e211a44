# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Where a bundle is, and which release it claims to be.

Nothing here is trusted: a digest read from a bundle only tells bitbake what to hash. The helper is
told to accept that digest alone, and verifies it.
"""

import collections
import json
import os
import re
import tarfile

# index.json names a handful of manifests, more is not one of ours
MAX_INDEX_BYTES = 1 << 20
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"

FILE, HTTPS, REGISTRY = "file", "https", "oci"
# the digest is the one that the location itself names
Source = collections.namedtuple("Source", "location scheme digest", defaults=(None,))
NAMED_DIGEST = re.compile(r"oci://[^@]+@(sha256:[0-9a-f]{64})")


class BundleError(Exception):
    """A bundle is not where it should be, or is not one."""


def parse_source(text):
    """Take apart the value of TEMPLATE_SOURCE."""
    if text.startswith("https://"):
        return Source(text, HTTPS)
    if text.startswith("oci://"):
        named = NAMED_DIGEST.fullmatch(text)
        if "@" in text and not named:
            raise BundleError(f"'{text}' has an '@' that no sha256 digest follows")
        return Source(text, REGISTRY, named.group(1) if named else None)
    if text.startswith("file://"):
        text = text[len("file://"):]
    elif re.match(r"[a-z+]+:", text):
        raise BundleError(f"'{text}' is neither a path nor a file://, https:// or oci:// URL")
    if not os.path.isabs(text):
        raise BundleError(f"'{text}' is not an absolute path")
    return Source(text, FILE)


def source(d):
    """The Source of a configuration."""
    return parse_source(d.getVar("TEMPLATE_SOURCE"))


def named_digest(d):
    """The release that a configuration names; without one it is what the bundle has."""
    return d.getVar("TEMPLATE_DIGEST") or source(d).digest


def fetch_url(d):
    """An https TEMPLATE_SOURCE as bitbake's fetcher takes it."""
    checksum = d.getVarFlag("TEMPLATE_SOURCE", "sha256sum")
    return f"{source(d).location};sha256sum={checksum}"


def read_digest(path):
    """The digest of the one template that the bundle at `path` contains."""
    try:
        index = json.loads(_read_index(path))
        found = {
            entry["digest"] for entry in index["manifests"] if entry.get("mediaType") == INDEX_TYPE
        }
    except OSError as error:
        raise BundleError(f"'{path}': {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, tarfile.TarError):
        raise BundleError(f"'{path}' is not a bundle: its index.json cannot be read") from None
    if len(found) != 1:
        raise BundleError(
            f"'{path}' contains {len(found)} templates\nset TEMPLATE_DIGEST to the wanted one"
        )
    return found.pop()


def index_path(path):
    """The file that changes when the bundle at `path` becomes another one."""
    return os.path.join(path, "index.json") if os.path.isdir(path) else path


def _read_index(path):
    if os.path.isdir(path):
        with open(index_path(path), "rb") as file:
            return file.read(MAX_INDEX_BYTES)
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.isreg() and member.name in ("index.json", "./index.json"):
                return tar.extractfile(member).read(MAX_INDEX_BYTES)
    raise KeyError("index.json")
