# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Say what the helper advises in words of the layer: its users set variables, not options."""

import re

VARIABLES = {
    "--allow-orphaned-modules": "TEMPLATE_ALLOW_ORPHANED_MODULES",
    "--allow-suite": "TEMPLATE_ALLOW_SUITE",
    "--allow-upgrade": "TEMPLATE_ALLOW_UPGRADE",
    "--allowed-signers": "TEMPLATE_ALLOWED_SIGNERS",
    "--digest": "TEMPLATE_DIGEST",
    "--identity": "TEMPLATE_IDENTITY",
    "--keyring": "TEMPLATE_APT_KEYRINGS",
    "--offline": "BB_NO_NETWORK",
    "--plain-http": "TEMPLATE_PLAIN_HTTP",
    "--preferences": "TEMPLATE_APT_PREFERENCES",
    "--remove": "TEMPLATE_REMOVE",
    "--revocation": "TEMPLATE_REVOKED_KEYS",
    "--sources": "TEMPLATE_APT_SOURCES",
    "--store": "TEMPLATE_STORE_DIR",
}
# options that name packages or suites, and the lists that hold these
LISTS = ("--allow-orphaned-modules", "--allow-suite", "--allow-upgrade", "--remove")
# verbs that get packages; what others get is the bundle
OF_PACKAGES = ("plan", "install", "qa")
OPTION = re.compile(r"--[a-z][a-z-]+")

NOT_SOLVABLE = (
    "check the names in IMAGE_INSTALL, IMAGE_PREINSTALL and TEMPLATE_REMOVE; the package lists are the "
    "template's, a newer release of it knows newer packages"
)
NETWORK = (
    "try again; the package lists are the template's, when the repository does not have these "
    "versions any more, build on a newer release of it"
)
UNSIGNED = "package sources have to be signed, by a key that the template has"
OFFLINE = (
    "BB_NO_NETWORK is set, and this is neither in DL_DIR nor in the template: build once with a network, or on a "
    "release of the template whose producer has built this product with the same DL_DIR, and has added: "
    'TEMPLATE_COMPONENTS:append = " base-apt"'
)


def explain(error, offline=False):
    """The text of a HelperError for users of the layer; `offline` when BB_NO_NETWORK is set."""
    kind = error.kind if error.verb in OF_PACKAGES or error.kind != "network" else None
    return "\n".join([error.message, *translate(kind, error.hint, offline)])


def translate(kind, hint, offline=False):
    """Lines with what to do, for the helper's `hint` to an error of this `kind`."""
    if offline and kind in ("network", "lists-outdated"):
        return [OFFLINE]
    if not hint:
        return []
    if kind == "policy-refused":
        return _translate_ways_out(hint.split("; "))
    if kind == "not-solvable":
        return [NOT_SOLVABLE]
    if kind in ("network", "lists-outdated"):
        return [NETWORK]
    if kind == "repository-unsigned":
        return [UNSIGNED]
    # some name the variable as well
    hint = re.sub("(--[a-z-]+), TEMPLATE_", "TEMPLATE_", hint)
    return [OPTION.sub(lambda option: VARIABLES.get(option.group(), option.group()), hint)]


def _translate_ways_out(ways):
    packages, others = {option: [] for option in LISTS}, []
    for way in ways:
        named = re.findall(f"({'|'.join(LISTS)}) ([^\\s,;]+)", way)
        for option, name in named:
            packages[option].append(name)
        if not named and not OPTION.search(way):
            others.append(way)
    lines = [
        f'if that is wanted, add: {VARIABLES[option]} += "{" ".join(dict.fromkeys(names))}"'
        for option, names in packages.items()
        if names
    ]
    return lines + list(dict.fromkeys(others))
