# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Import a template once per build directory, and give out its components."""

import glob
import json
import os

from . import (
    apt_files, base_apt, bundle, helper, hints, initrd, leftovers, locales, repository, transaction, verified,
)  # fmt: skip

# where packages are downloaded from; in a product it is the template's, whatever the configuration says
APT_SETTINGS = ("DISTRO_APT_PREMIRRORS",)
# Isar's commands that install packages, in their order, and what becomes of them here; without the
# empty ones the product is complete
INSTALL_COMMANDS = {
    # the lists of isar-apt in the tree are then the product's
    "rootfs_install_pkgs_update": "rootfs_install_pkgs_update",
    "rootfs_install_pkgs_download": "template_install_packages",
    "rootfs_install_pkgs_isar_download": "",
    "rootfs_install_pkgs_install": "",
}
# the helper brings its own resolv.conf; and in a new root filesystem the files to be cleaned are the
# build host's and make way for those of packages, in the template they are what packages have put there
SUPERFLUOUS_COMMANDS = ("rootfs_install_resolvconf", "rootfs_install_clean_files")


class ConsumeError(Exception):
    """The template does not suit this build, or is not there any more."""


def pin(d):
    """The digest of the template to build on: what bitbake hashes instead of a path."""
    return bundle.named_digest(d) or bundle.read_digest(bundle.source(d).location)


def install_commands(d, commands):
    """ROOTFS_INSTALL_COMMAND, as a list, for an image that is built on a template."""
    installing = [command for command in commands if command.startswith("rootfs_install_pkgs_")]
    if installing != list(INSTALL_COMMANDS):
        raise ConsumeError(
            "meta-template does not fit this Isar: ROOTFS_INSTALL_COMMAND installs packages by "
            f"'{' '.join(installing)}', known is '{' '.join(INSTALL_COMMANDS)}'"
        )
    replaced = {**INSTALL_COMMANDS, **dict.fromkeys(SUPERFLUOUS_COMMANDS, "")}
    if locales.are_kept(d, commands):
        replaced.update(locales.COMMANDS)
    return [name for name in (replaced.get(command, command) for command in commands) if name]


def import_bundle(d, location, progress=None):
    """Verify and import the bundle, and record what it was for the other tasks.

    Returns what to tell about it, and warnings.
    """
    path = d.getVar("TEMPLATE_IMPORTED")
    result = _run(
        d, "import", *verified.options(d), "--gc-root", _make_root(path), location,
        progress=progress,
    )  # fmt: skip
    template = f"{result['name']}:{result['templateVersion']}"
    manifest = _run(d, "inspect", result["digest"])["manifest"]
    _check_fits(d, template, manifest)
    try:
        added = base_apt.take(d, manifest, location)
    except (base_apt.BaseAptError, verified.VerifyError) as error:
        raise ConsumeError(str(error)) from None
    if added:
        print(f"{added} downloaded packages are from the template", flush=True)
    # by digest, as another release of the same version may get into a shared store
    record = {key: result[key] for key in ("digest", "signer", "fingerprint", "chain")}
    record["manifest"] = manifest
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(f"{path}.new", path)
    told = f"building on the template {template}, signed by {d.getVar('TEMPLATE_IDENTITY')}"
    return told, _differing_settings(d, template, manifest)


def _make_root(path):
    """A file that keeps what was imported from being removed from the store, as long as it is there itself."""
    root = f"{path}.root"
    os.makedirs(os.path.dirname(root), exist_ok=True)
    with open(root, "w", encoding="utf-8") as file:
        file.write("This build directory uses a template: 'isar-template gc' keeps it while this file exists.\n")
    return root


def _check_fits(d, template, manifest):
    anchors = manifest.get("anchors") or {}
    facts = [
        ("DISTRO", anchors.get("distro")),
        # found in the tree, also when nobody recorded anchors
        ("BASE_DISTRO_CODENAME", anchors.get("codename") or manifest.get("codename")),
        ("DISTRO_ARCH", anchors.get("architecture") or manifest.get("architecture")),
    ]
    for variable, theirs in facts:
        ours = d.getVar(variable)
        if theirs and ours != theirs:
            raise ConsumeError(
                f"the template {template} was made for {variable} = '{theirs}', this build has '{ours}'"
            )


def _differing_settings(d, template, manifest):
    settings = (manifest.get("anchors") or {}).get("settings")
    if settings is None:
        return []
    differing = [
        name
        for name in APT_SETTINGS
        if (d.getVar(name) or "").split() != (settings.get(name) or "").split()
    ]
    return [
        f"{name} has no effect here: package sources are those of the template {template}, "
        f"which was made with '{' '.join((settings.get(name) or '').split())}'"
        for name in differing
    ]


def read_record(d):
    """What import_bundle() recorded."""
    path = d.getVar("TEMPLATE_IMPORTED")
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        raise ConsumeError(
            f"the template was not imported into this build: no '{path}'\n"
            f"{import_again(d)}"
        ) from None
    if record.get("digest") != d.getVar("TEMPLATE_PIN"):
        raise ConsumeError(
            f"another template than {d.getVar('TEMPLATE_PIN')} was imported into this build: "
            f"'{path}' has {record.get('digest')}\n{import_again(d)}"
        )
    return record


def import_again(d):
    """What to do when the store was cleared and bitbake does not know.

    Not 'bitbake -f', which changes the signature of the import for good.
    """
    target = helper.target(d, "template-import")
    return f"to import it again: bitbake -c clean {target}, then build as before"


def checkout_chroot(d, component, directory, progress=None):
    """The same as checkout() for what is only read: schroot has overlays above it."""
    shared = ["--share"] if helper.is_true(d.getVar("TEMPLATE_SHARE_BUILDCHROOT")) else []
    checkout(d, component, directory, progress, shared)


def checkout(d, component, directory, progress=None, options=()):
    """Put a component, as it was packed, into an empty or missing folder."""
    record = read_record(d)
    names = [known.get("name") for known in record["manifest"].get("components") or ()]
    if names and component not in names:
        raise ConsumeError(
            f"the template has no component '{component}', it has: {' '.join(names)}\n"
            f"its producer has to add: TEMPLATE_COMPONENTS:append = \" {component}\""
        )
    # a checkout that was killed leaves what it had, under a name that no other run would find
    parent, name = os.path.split(directory)
    left = glob.glob(os.path.join(glob.escape(parent), f".{glob.escape(name)}.*"))
    if left:
        as_root(d, "rm", "-rf", "--one-file-system", *left)
    _run(
        d, "checkout", "--raw", *options, "--component", component, record["digest"], directory,
        progress=progress,
    )  # fmt: skip


def unmount_leftovers(d, root):
    """Unmount what a build that was killed has left in a tree which is about to be removed; returns where that was."""
    points = leftovers.below(root)
    for point in points:
        as_root(d, "umount", point)
    return points


def take_rootfs(d, prepared, root, progress=None):
    """Put the root filesystem at `root`: the prepared one, or, when that was taken before, another."""
    if os.path.isdir(os.path.join(prepared, "etc")):
        as_root(d, "rmdir", root)
        as_root(d, "mv", "-T", prepared, root)
    else:
        checkout(d, "rootfs", root, progress)


def checkout_file(d, component, directory):
    """The same for a component that is a single file; returns its path."""
    checkout(d, component, directory)
    names = os.listdir(directory)
    if len(names) != 1:
        raise ConsumeError(f"the component '{component}' should be one file, it has {len(names)}")
    return os.path.join(directory, names[0])


def reuse_initrd(d, root, deployed):
    """Use the template's initrd for the tree at `root`; returns whether that is right, and tells why not."""
    if d.getVar("TEMPLATE_REUSE_INITRD") != "1":
        return False
    record = read_record(d)
    if not any(known["name"] == initrd.COMPONENT for known in record["manifest"].get("components") or ()):
        return False
    folder = os.path.join(d.getVar("WORKDIR"), "template-initrd")
    as_root(d, "rm", "-rf", "--one-file-system", folder)
    checkout(d, initrd.COMPONENT, folder)
    with open(os.path.join(folder, initrd.RECORD), encoding="utf-8") as file:
        made = json.load(file)
    try:
        found = initrd.differences(d, root, made)
        if not found:
            initrd.use(d, root, made, os.path.join(folder, initrd.IMAGE), deployed)
    except helper.HelperError as error:
        raise ConsumeError(str(error)) from None
    if found:
        print(f"the initrd is made again: the template's was made from other {', '.join(found)}", flush=True)
        return False
    print("the initrd is that of the template: all it is made of is the same", flush=True)
    return True


def install(d, root, progress=None):
    """Turn the checked out template at `root` into the product: one transaction."""
    record = read_record(d)
    apt = os.path.join(d.getVar("REPO_ISAR_DIR"), d.getVar("DISTRO"))
    product = transaction.Product(
        packages=(d.getVar("ROOTFS_PACKAGES") or "").split(),
        remove=(d.getVar("TEMPLATE_REMOVE") or "").split(),
        keep=d.getVar("TEMPLATE_KEEP") == "1",
        allow_upgrade=(d.getVar("TEMPLATE_ALLOW_UPGRADE") or "").split(),
        allow_suite=(d.getVar("TEMPLATE_ALLOW_SUITE") or "").split(),
        allow_orphaned_modules=(d.getVar("TEMPLATE_ALLOW_ORPHANED_MODULES") or "").split(),
    )
    purging = locales.PURGE in (d.getVar("ROOTFS_INSTALL_COMMAND") or "").split()
    if purging:
        product.packages.append(locales.PACKAGE)
    planned = transaction.plan(product, record["manifest"], repository.read_packages(apt), apt)
    for note in planned.notes:
        print(note, flush=True)
    binds = ["--bind", f"{apt}:/isar-apt"]
    if helper.is_true(d.getVar("ISAR_USE_CACHED_BASE_REPO")):
        binds += ["--bind", f"{d.getVar('REPO_BASE_DIR')}:/base-apt"]
    lists = ["--update", "local"] if helper.is_true(d.getVar("BB_NO_NETWORK")) else []
    result = _run(
        d, "install", record["digest"], *planned.arguments, *binds, *lists, *apt_options(d),
        "--die-with", str(os.getpid()), "--root", root,
        progress=progress,
    )  # fmt: skip
    if purging:
        locales.take_out(d, result["report"]["actions"])
    return result


def apt_options(d):
    """Options of the helper for the package sources of the product."""
    try:
        return apt_files.arguments(d)
    except apt_files.AptFilesError as error:
        raise ConsumeError(str(error)) from None


def _run(d, verb, *arguments, progress=None):
    """Run the helper; its errors become what users of the layer can act on."""
    try:
        return helper.run(d, verb, *arguments, progress=progress)
    except helper.HelperError as error:
        if error.kind == "not-found" and verb != "import":
            raise ConsumeError(f"{error.message}\n{import_again(d)}") from None
        offline = helper.is_true(d.getVar("BB_NO_NETWORK"))
        raise ConsumeError(hints.explain(error, offline)) from None


def as_root(d, *argv):
    """Run a plain command as root."""
    try:
        helper.as_root(d, *argv)
    except helper.HelperError as error:
        raise ConsumeError(str(error)) from None
