# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Stage the components of an image's template and have the helper pack them."""

import contextlib
import errno
import json
import os
import shlex
import shutil

from . import anchors, base_apt, helper, initrd, origin, release, repository, settings, sstate, verified

# a log that every package build adds to, and downloads, which Isar's sstate object leaves out as well
CHROOT_NOISE = ("tmp/dpkg_common.log", "tmp/dpkg_common.log.lock", "var/cache/apt/archives")


class ProduceError(Exception):
    """A component cannot be staged."""


def pack(d, lock, unlock, progress=None):
    """Make the bundle in the deploy folder; returns what its publisher should read, and warnings.

    `lock` and `unlock` are those of bb.utils.
    """
    bundle = f"{d.getVar('TEMPLATE_BUNDLE')}.tar"
    deployed = os.path.join(d.getVar("TEMPLATE_DEPLOY_DIR"), bundle)
    release.claim(d, deployed)
    work = d.getVar("TEMPLATE_WORKDIR")
    staged = os.path.join(work, "components")
    os.makedirs(staged, exist_ok=True)
    tasks = d.getVar("BB_TASKDEPDATA", False)
    # others go on adding to it: what is described is what is packed
    apt = os.path.join(staged, "isar-apt")
    with _locked(os.path.join(d.getVar("REPO_ISAR_DIR"), "isar.lock"), lock, unlock):
        _stage_tree(d, os.path.join(d.getVar("REPO_ISAR_DIR"), d.getVar("DISTRO")), apt)

    offered = repository.read_packages(apt)
    collected = anchors.collect(d, origin.read(d), tasks, offered)
    derived = settings.consumes(d)
    if derived:
        anchors.inherit(collected, verified.read(d).get("anchors") or {})
    components, left_out = [], []
    for component in d.getVar("TEMPLATE_COMPONENTS").split():
        path = os.path.join(staged, component)
        if component == "rootfs":
            if derived:
                _stage_tree(d, d.getVar("TEMPLATE_SNAPSHOT"), path)
            else:
                _stage_rootfs(d, tasks, path)
        elif component.startswith("bootstrap"):
            path = os.path.realpath(_bootstrap_path(d, component))
        elif component.startswith("buildchroot"):
            target = component.endswith("-target")
            chroot = d.getVar("SCHROOT_TARGET_DIR" if target else "SCHROOT_HOST_DIR")
            _stage_tree(d, chroot, path, CHROOT_NOISE)
        elif component == initrd.COMPONENT:
            made = os.path.join(d.getVar("DEPLOY_DIR_IMAGE"), d.getVar("INITRD_DEPLOY_FILE"))
            missing = initrd.stage(d, d.getVar("ROOTFSDIR"), made, path)
            if missing:
                print(f"without the component {component}: {missing}", flush=True)
                continue
        elif component == base_apt.COMPONENT:
            missing = base_apt.stage(d, path)
            if missing:
                left_out.append(f"the template is without the component '{component}': {missing}")
                continue
        elif component == sstate.COMPONENT:
            parent = d.getVar("TEMPLATE_SSTATE_DIR") if derived else None
            sstate.stage(collected, d.getVar("SSTATE_DIR"), d.getVar("STAMPS_DIR"), path, parent)
        components += ["--component", f"{component}={path}"]

    anchor_file = os.path.join(work, "anchors.json")
    with open(anchor_file, "w", encoding="utf-8") as file:
        json.dump(collected, file, indent=1)

    packed = os.path.join(work, bundle)
    key, base = d.getVar("TEMPLATE_SIGNING_KEY"), d.getVar("TEMPLATE_BASE")
    result = helper.run(
        d,
        "pack",
        "--name", d.getVar("TEMPLATE_NAME"),
        "--version", d.getVar("TEMPLATE_VERSION"),
        *components,
        "--anchors", anchor_file,
        *(() if key == "none" else ("--sign", key)),
        *(("--parent", d.getVar("TEMPLATE_PIN")) if derived else ()),
        *(("--base", base) if base else ()),
        "--output", packed,
        progress=progress,
    )  # fmt: skip
    helper.as_root(d, "chown", f"{os.getuid()}:{os.getgid()}", packed)
    staying = _left_in(d, os.path.join(staged, "rootfs"))
    helper.as_root(d, "rm", "-rf", "--one-file-system", staged)
    _deploy(packed, deployed)
    unrecorded = anchors.unrecorded(offered, collected["selfBuilt"])
    told = report(d, result, deployed, signed=key != "none")
    return told, warnings(d, unrecorded) + staying + left_out


def _deploy(packed, deployed):
    """Give the bundle its name, which has a whole bundle or none."""
    try:
        os.replace(packed, deployed)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # TEMPLATE_DEPLOY_DIR may be on another file system
        shutil.copyfile(packed, f"{deployed}.new")
        os.replace(f"{deployed}.new", deployed)
        os.unlink(packed)


def warnings(d, unrecorded):
    """What consumers of the bundle will not have, for packages without a record of who built them."""
    if not unrecorded:
        return []
    return [
        f"no sstate object of this image's recipes has these packages of isar-apt: {' '.join(unrecorded)}\n"
        "they are packed, but products cannot tell whether their own build of them is the same, and install "
        f"that; keep SSTATE_DIR ('{d.getVar('SSTATE_DIR')}') while the template is produced"
    ]


def _left_in(d, root):
    """A warning for packages that were to be left out and are there nevertheless."""
    excluded = set((d.getVar("TEMPLATE_EXCLUDE") or "").split())
    if not excluded:
        return []
    form = "${Package} ${db:Status-Status}\\n"
    listed = helper.as_root(
        d, "dpkg-query", "--admindir", os.path.join(root, "var/lib/dpkg"), "--show", "--showformat", form
    )
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    staying = sorted(excluded & installed)
    if not staying:
        return []
    return [
        f"TEMPLATE_EXCLUDE names {' '.join(staying)}, which the template has nevertheless: other packages need "
        "what it names; 'apt-get --simulate remove' in a build of the image tells which"
    ]


def report(d, result, deployed, signed):
    """What the publisher of the bundle tells its consumers."""
    name, version = d.getVar("TEMPLATE_NAME"), d.getVar("TEMPLATE_VERSION")
    lines = [
        f"template {name} {version} is at {deployed}",
        "to build on it:",
        '    TEMPLATE_MODE = "consume"',
        f'    TEMPLATE_SOURCE = "{deployed}"',
        f'    TEMPLATE_DIGEST = "{result["digest"]}"',
    ]
    if not signed:
        lines.append("it is not signed: consumers accept it after 'isar-template sign'")
    return "\n".join(lines)


def _bootstrap_path(d, component):
    target = f"{d.getVar('DISTRO')}-{d.getVar('DISTRO_ARCH')}"
    name = target if component == "bootstrap" else f"{d.getVar('HOST_DISTRO')}-host_{target}"
    return os.path.join(d.getVar("DEPLOY_DIR_BOOTSTRAP"), f"{name}.tar.zst")


def _stage_rootfs(d, tasks, path):
    """Unpack what Isar stored of do_rootfs_install: later tasks change the tree in place."""
    stored = anchors.collect_tasks(tasks, d.getVar("BB_CURRENT_MC"), anchors.STORED_HASH)
    wanted = stored[f"{d.getVar('PN')}:do_rootfs_install"]
    sstate = anchors.find_sstate(d.getVar("SSTATE_DIR"), d.getVar("PN"), "rootfs_install", wanted)
    if not sstate:
        raise ProduceError(
            f"the sstate object of {d.getVar('PN')}:do_rootfs_install is not in {d.getVar('SSTATE_DIR')}\n"
            "produce needs it: keep SSTATE_DIR, and build the image again after "
            f"'bitbake -c clean {helper.target(d, d.getVar('PN'))}'"
        )
    flags = d.getVar("SSTATE_TAR_ATTR_FLAGS") or ""
    # the object holds a tar of root's files, itself in a compressed tar
    helper.as_root(
        d, "bash", "-o", "pipefail", "-ec",
        f"zstd -dcq {shlex.quote(os.path.realpath(sstate))} | tar -xOf - --wildcards '*rootfs.tar' "
        f"| tar -C {shlex.quote(os.path.dirname(path))} -xpf - {flags}",
    )  # fmt: skip
    if not os.path.isdir(os.path.join(path, "etc")):
        raise ProduceError(f"the sstate object '{sstate}' has no root filesystem in it")


def _stage_tree(d, source, path, noise=()):
    """A copy of a tree that others may go on writing to: hard links, as nothing in it is changed in place."""
    helper.as_root(d, "cp", "-alx", os.path.realpath(source), path)
    if noise:
        helper.as_root(d, "rm", "-rf", *(os.path.join(path, name) for name in noise))


@contextlib.contextmanager
def _locked(path, lock, unlock):
    held = lock(path, shared=True)
    try:
        yield
    finally:
        unlock(held)
