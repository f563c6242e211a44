# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Check the settings of a configuration before anything is parsed or built."""

import os
import re

from . import anchor_check, bundle, spelling
from .helper import HelperError, find_helper

MODES = ("off", "produce", "consume", "derive")
COMPONENTS = (
    "rootfs",
    "base-apt",
    "buildchroot-target",
    "buildchroot-host",
    "bootstrap",
    "bootstrap-host",
    "initrd",
    "isar-apt",
    "sstate",
)
QA = ("off", "warn", "error")
BOOLEANS = (None, "", "0", "1")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# as the helper has it: both become file names, the version an OCI tag as well
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ROOTFS_TAG_SUFFIX = "-rootfs"
# what all images of a configuration share, by way of its bootstrap and its build chroot
SHARED = ("TEMPLATE_SOURCE", "TEMPLATE_DIGEST")
# what errors tell to add; who reads them has own values for it
EXAMPLES = {
    "TEMPLATE_SOURCE": "/path/to/platform-1.0.tar",
    "TEMPLATE_SOURCE[sha256sum]": "the bundle's sha256sum",
    "TEMPLATE_DIGEST": "sha256:...",
    "TEMPLATE_BASE": "/path/to/platform-0.9.tar",
    "TEMPLATE_ALLOWED_SIGNERS": "/path/to/allowed_signers",
    "TEMPLATE_IDENTITY": "platform-team@example.org",
    "TEMPLATE_REVOKED_KEYS": "/path/to/revoked_keys",
    "TEMPLATE_QA_ALLOW": "/path/to/qa-allow.txt",
    "TEMPLATE_SIGNING_KEY": "/path/to/key",
    "TEMPLATE_STORE_DIR": "${TOPDIR}/template-store",
}


class SettingsError(Exception):
    """A variable has a value that cannot work; the text names both and says what would."""


def check(d):
    """Raise SettingsError for the first setting that is missing or wrong."""
    mode = d.getVar("TEMPLATE_MODE")
    check_allowed(d)
    if mode not in MODES:
        raise SettingsError(spelling.unknown_value("TEMPLATE_MODE", mode, MODES))
    if mode == "off":
        return
    _check_absolute(d, "TEMPLATE_STORE_DIR")
    if produces(d):
        _check_produce(d)
    if consumes(d):
        _check_consume(d)
    try:
        find_helper(d)
    except HelperError as error:
        raise SettingsError(str(error)) from None


def consumes(d):
    """Whether a configuration or an image is built on a template."""
    return d.getVar("TEMPLATE_MODE") in ("consume", "derive")


def produces(d):
    """Whether images become templates."""
    return d.getVar("TEMPLATE_MODE") in ("produce", "derive")


def check_allowed(d):
    """Raise SettingsError for a mode that uses templates where TEMPLATE_FORBID is set."""
    mode, forbid = d.getVar("TEMPLATE_MODE"), d.getVar("TEMPLATE_FORBID")
    if forbid not in BOOLEANS:
        raise SettingsError(
            f"TEMPLATE_FORBID is neither '0' nor '1': '{forbid}'\n{advice('TEMPLATE_FORBID', '1')}"
        )
    if forbid == "1" and mode != "off":
        raise SettingsError(
            f"TEMPLATE_FORBID is set, but TEMPLATE_MODE = '{mode}' would use a template\n"
            'set TEMPLATE_MODE = "off" to build from scratch, or take TEMPLATE_FORBID out of the '
            "configuration to use one"
        )


def check_multiconfigs(configurations):
    """Raise SettingsError when a multiconfig takes back that templates are forbidden.

    `configurations` are the data stores of all by their names, that of local.conf alone by ''.
    """
    for name, d in configurations.items():
        _check_still_forbidden(d, f"multiconfig '{name}'", configurations[""].getVar("TEMPLATE_FORBID"))


def check_recipe(d, configured):
    """The same for a recipe, of any kind; and that it does not use templates where it may not."""
    _check_still_forbidden(d, d.getVar("PN"), configured["TEMPLATE_FORBID"])
    check_allowed(d)


def _check_still_forbidden(d, whose, configured):
    forbid = d.getVar("TEMPLATE_FORBID")
    if configured == "1" and forbid != "1":
        raise SettingsError(
            f"{whose} sets TEMPLATE_FORBID = '{forbid or ''}', but the configuration has '1', which "
            "holds for all of the build\n"
            "remove that setting, or take TEMPLATE_FORBID out of the configuration to use templates"
        )


def where(d):
    """What an error in a multiconfig begins with; what is set for all is found in the default one."""
    multiconfig = d.getVar("BB_CURRENT_MC")
    return f"multiconfig '{multiconfig}': " if multiconfig not in (None, "", "default") else ""


def advice(name, value=None):
    """The line with what to do about a variable, for the end of an error."""
    return f'add to local.conf: {name} = "{value or EXAMPLES[name]}"'


def check_image(d, configured):
    """Raise SettingsError when an image recipe has settings that its configuration cannot give it.

    `configured` are the values of the configuration: of TEMPLATE_MODE and of what is SHARED.
    """
    mode, wanted = d.getVar("TEMPLATE_MODE"), configured["TEMPLATE_MODE"]
    if mode == "off":
        return
    if mode != wanted:
        raise SettingsError(
            f"{d.getVar('PN')} sets TEMPLATE_MODE = '{mode}', but the configuration has '{wanted}': "
            "a recipe can only switch itself 'off'\n"
            "set it in local.conf or in a multiconfig"
        )
    for name in SHARED if consumes(d) else ():
        if (d.getVar(name) or "") != (configured[name] or ""):
            raise SettingsError(
                f"{d.getVar('PN')} sets {name} = '{d.getVar(name)}', but the configuration has "
                f"'{configured[name]}': all images of a configuration are built on one template\n"
                "give each template a multiconfig of its own"
            )
    check(d)


def check_qa(d):
    """Raise SettingsError for a configuration or a recipe whose packages are to be tried in an unknown way."""
    if d.getVar("TEMPLATE_QA") not in QA:
        raise SettingsError(spelling.unknown_value("TEMPLATE_QA", d.getVar("TEMPLATE_QA"), QA))
    if d.getVar("TEMPLATE_QA") != "off" and d.getVar("TEMPLATE_QA_ALLOW"):
        _check_file(d, "TEMPLATE_QA_ALLOW")


def check_release(d):
    """Raise SettingsError when what an image is to be published as is no name, or no version."""
    name, version = d.getVar("TEMPLATE_NAME") or "", d.getVar("TEMPLATE_VERSION") or ""
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"TEMPLATE_NAME is not a template name: '{name}'\n"
            "it has letters, digits, '.', '_', '-' and '+', and begins with a letter or digit; "
            'set for example: TEMPLATE_NAME = "platform"'
        )
    if not VERSION.fullmatch(version):
        raise SettingsError(
            f"TEMPLATE_VERSION is not a template version: '{version}'\n"
            "it has letters, digits, '.', '_' and '-', and begins with a letter or digit; "
            'set for example: TEMPLATE_VERSION = "1.0"'
        )
    if version.endswith(ROOTFS_TAG_SUFFIX):
        raise SettingsError(
            f"TEMPLATE_VERSION ends in '{ROOTFS_TAG_SUFFIX}', which names the runnable image of a "
            f"version: '{version}'\n"
            f'set for example: TEMPLATE_VERSION = "{version[: -len(ROOTFS_TAG_SUFFIX)] or "1.0"}"'
        )


def _check_produce(d):
    key = d.getVar("TEMPLATE_SIGNING_KEY")
    if not key:
        raise SettingsError(
            f"TEMPLATE_MODE = '{d.getVar('TEMPLATE_MODE')}' needs TEMPLATE_SIGNING_KEY, an ssh key, or 'none' for a bundle "
            f"that is signed elsewhere\n{advice('TEMPLATE_SIGNING_KEY')}"
        )
    if key != "none":
        _check_file(d, "TEMPLATE_SIGNING_KEY")
    if d.getVar("TEMPLATE_BASE"):
        _check_base(d)
    components = (d.getVar("TEMPLATE_COMPONENTS") or "").split()
    unknown = sorted(set(components) - set(COMPONENTS))
    if unknown:
        raise SettingsError(spelling.unknown_value("TEMPLATE_COMPONENTS", unknown[0], COMPONENTS))
    if "rootfs" not in components:
        raise SettingsError("TEMPLATE_COMPONENTS lacks 'rootfs', without which nothing can be built")


def _check_base(d):
    try:
        bundle.read_digest(_check_absolute(d, "TEMPLATE_BASE"))
    except bundle.BundleError as error:
        raise SettingsError(f"TEMPLATE_BASE: {error}\n{advice('TEMPLATE_BASE')}") from None


def _check_consume(d):
    for name, meaning in (
        ("TEMPLATE_SOURCE", "the bundle to build on"),
        ("TEMPLATE_ALLOWED_SIGNERS", "the file of trusted keys, see ssh-keygen(1), ALLOWED SIGNERS"),
        ("TEMPLATE_IDENTITY", "who has to have signed it, as in TEMPLATE_ALLOWED_SIGNERS"),
    ):
        if not d.getVar(name):
            known = _identity(d) if name == "TEMPLATE_IDENTITY" else None
            raise SettingsError(
                f"TEMPLATE_MODE = '{d.getVar('TEMPLATE_MODE')}' needs {name}, {meaning}\n{advice(name, known)}"
            )
    _check_file(d, "TEMPLATE_ALLOWED_SIGNERS")
    if d.getVar("TEMPLATE_REVOKED_KEYS"):
        _check_file(d, "TEMPLATE_REVOKED_KEYS")
    for name in ("TEMPLATE_KEEP", "TEMPLATE_PLAIN_HTTP"):
        if d.getVar(name) not in BOOLEANS:
            raise SettingsError(f"{name} is neither '0' nor '1': '{d.getVar(name)}'")
    if d.getVar("TEMPLATE_ANCHOR") not in anchor_check.MODES:
        anchor = d.getVar("TEMPLATE_ANCHOR")
        raise SettingsError(spelling.unknown_value("TEMPLATE_ANCHOR", anchor, anchor_check.MODES))
    check_qa(d)
    digest = d.getVar("TEMPLATE_DIGEST")
    if digest and not DIGEST.fullmatch(digest):
        raise SettingsError(f"TEMPLATE_DIGEST is not 'sha256:' and 64 hex digits: '{digest}'")
    try:
        source = bundle.source(d)
        if source.scheme == bundle.HTTPS:
            _check_https(d, digest)
        elif source.scheme == bundle.REGISTRY:
            _check_registry(source, digest)
        elif not digest:
            bundle.read_digest(source.location)
    except bundle.BundleError as error:
        raise SettingsError(f"TEMPLATE_SOURCE: {error}\n{advice('TEMPLATE_SOURCE')}") from None


def _identity(d):
    """The first identity that TEMPLATE_ALLOWED_SIGNERS trusts, to be suggested."""
    try:
        with open(d.getVar("TEMPLATE_ALLOWED_SIGNERS"), encoding="utf-8", errors="replace") as file:
            found = re.search(r"^\s*([^#\s,*?!\"]+)[,\s]", file.read(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1) if found else None


def _check_registry(source, digest):
    if not (digest or source.digest):
        raise SettingsError(
            "a TEMPLATE_SOURCE in a registry needs TEMPLATE_DIGEST, which was printed when the template was "
            f"produced and pushed\n{advice('TEMPLATE_DIGEST')}"
        )
    if source.digest and digest and source.digest != digest:
        raise SettingsError(
            f"TEMPLATE_SOURCE names {source.digest}, and TEMPLATE_DIGEST {digest}\nset one of both, or the same in both"
        )


def _check_https(d, digest):
    if not digest:
        raise SettingsError(
            "an https TEMPLATE_SOURCE needs TEMPLATE_DIGEST, which was printed when the template was "
            f"produced\n{advice('TEMPLATE_DIGEST')}"
        )
    if not d.getVarFlag("TEMPLATE_SOURCE", "sha256sum"):
        raise SettingsError(
            "an https TEMPLATE_SOURCE needs TEMPLATE_SOURCE[sha256sum]\n"
            f"{advice('TEMPLATE_SOURCE[sha256sum]')}"
        )


def _check_absolute(d, name):
    path = d.getVar(name) or ""
    if not os.path.isabs(path):
        raise SettingsError(f"{name} is not an absolute path: '{path}'\n{advice(name)}")
    return path


def _check_file(d, name):
    path = _check_absolute(d, name)
    if not os.path.isfile(path):
        raise SettingsError(f"{name} is not a file: '{path}'\n{advice(name)}")
