# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What decides, beside the image itself, what is published: bitbake hashes it, so that a change packs again."""

import hashlib
import json
import os
import subprocess

from . import anchors, settings


def describe_settings(d):
    """A digest of the settings that go into the bundle."""
    text = json.dumps(anchors.collect_settings(d), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def key_files(key):
    """The files that decide which key signs, for a value of TEMPLATE_SIGNING_KEY."""
    return [] if key == "none" else [key, f"{key}.pub"]


def describe_key(key):
    """Which key signs, whatever its path: its public half, or 'none'."""
    if key == "none":
        return key
    for path in (key, f"{key}.pub"):
        public = _read_public(path)
        if public:
            return public
    # without the passphrase of a key that has one, as nobody can be asked here
    done = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", key],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if done.returncode == 0:
        return " ".join(done.stdout.split()[:2])
    try:
        with open(key, "rb") as file:
            return f"sha256:{hashlib.sha256(file.read()).hexdigest()}"
    except OSError as error:
        raise settings.SettingsError(
            f"TEMPLATE_SIGNING_KEY: '{key}': {error.strerror or error}"
        ) from None


def _read_public(path):
    """Kind and key of a public key file, without its comment; None when it is none."""
    try:
        with open(path, "rb") as file:
            words = file.read(1 << 16).decode(errors="replace").split()
    except OSError:
        return None
    is_public = len(words) >= 2 and words[0].startswith(("ssh-", "ecdsa-", "sk-"))
    return f"{words[0]} {words[1]}" if is_public else None


def claim(d, bundle):
    """Note who publishes the file at `bundle`; raises ClaimError when that is another image.

    Images and multiconfigs deploy to one folder, and one would silently replace the other's.
    """
    owner = {
        "multiconfig": d.getVar("BB_CURRENT_MC") or "default",
        "image": d.getVar("PN"),
        "machine": d.getVar("MACHINE"),
    }
    path = f"{bundle}.owner"
    ours = f"{path}.{os.getpid()}"
    with open(ours, "w", encoding="utf-8") as file:
        json.dump(owner, file)
    try:
        # whole, or not at all: two images may get here at the same time
        os.link(ours, path)
        return
    except FileExistsError:
        pass
    finally:
        os.unlink(ours)
    try:
        with open(path, encoding="utf-8") as file:
            other = json.load(file)
    except ValueError:
        other = {}
    if other == owner:
        return
    told = " ".join(f"{what} '{value}'" for what, value in sorted(other.items())) or "somebody else"
    raise ClaimError(
        f"'{bundle}' is already the template of {told}\n"
        "give each image a TEMPLATE_NAME of its own, for example by "
        'TEMPLATE_NAME = "platform-${PN}-${MACHINE}"; '
        f"if that image is not built any more, remove '{os.path.basename(path)}'"
    )


class ClaimError(Exception):
    """Another image is published under the same name and version."""
