# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Record what ties a template to the layers and the configuration it was made from."""

import glob
import os
import subprocess
import tarfile

from . import layers

VERSION = 0

# where bitbake's BB_TASKDEPDATA has a task's hash, and the hash its sstate object is stored by;
# they differ under hash equivalence
TASK_HASH, STORED_HASH = 5, 6

# recorded, so that a product can tell what it lists no more, and what else is different
SETTINGS = (
    "DISTRO_APT_PREMIRRORS",
    "IMAGE_INSTALL",
    "IMAGE_PREINSTALL",
    "KERNEL_NAME",
    "LOCALE_DEFAULT",
    "LOCALE_GEN",
    "ROOTFS_FEATURES",
    "ROOTFS_PACKAGES",
)

# what the configuration decides, beside the layers, about the root filesystem and the build chroots:
# compared, since what builds on a template builds on these
CONFIGURATION = (
    "BASE_DISTRO",
    "BASE_DISTRO_CODENAME",
    "COMPAT_DISTRO_ARCH",
    "DISTRO",
    "DISTRO_APT_PREFERENCES",
    "DISTRO_APT_SOURCES",
    "DISTRO_ARCH",
    "DISTRO_BOOTSTRAP_KEYS",
    "DISTRO_GCC",
    "HOST_ARCH",
    "HOST_DISTRO",
    "ISAR_CROSS_COMPILE",
    "ISAR_ENABLE_COMPAT_ARCH",
    "MACHINE",
    "SBUILD_CHROOT_PREINSTALL",
    "SBUILD_CHROOT_PREINSTALL_EXTRA",
    "THIRD_PARTY_APT_KEYS",
)
# the same about the build chroot and the bootstrap of the machine that builds, where it is another than the target
HOST_CONFIGURATION = ("HOST_BASE_DISTRO", "HOST_DISTRO_APT_SOURCES", "HOST_DISTRO_BOOTSTRAP_KEYS")


def collect(d, origin, taskdepdata, repository):
    """The anchors of the image that `d` describes, ready to be written as JSON.

    `origin` is what describe_origin() says, `repository` the packages that the build made.
    """
    multiconfig = d.getVar("BB_CURRENT_MC")
    stored = collect_tasks(taskdepdata, multiconfig, STORED_HASH)
    return {
        "version": VERSION,
        "distro": d.getVar("DISTRO"),
        "codename": d.getVar("BASE_DISTRO_CODENAME"),
        "architecture": d.getVar("DISTRO_ARCH"),
        "machine": d.getVar("MACHINE"),
        **origin,
        "settings": collect_settings(d),
        "tasks": collect_tasks(taskdepdata, multiconfig, TASK_HASH),
        "selfBuilt": collect_self_built(stored, d.getVar("SSTATE_DIR"), repository),
    }


def collect_settings(d):
    """Those of SETTINGS that are set, with their values."""
    settings = {name: d.getVar(name) for name in SETTINGS}
    return {name: value for name, value in settings.items() if value is not None}


def describe_origin(d, described=None):
    """The layers of a configuration, as layers.describe_layers() has them, and its values of CONFIGURATION."""
    return {"layers": described or layers.describe_layers(d), "configuration": collect_configuration(d)}


def collect_configuration(d):
    """CONFIGURATION with values, None for what is not set; paths in layers as LAYERDIR_<collection>."""
    directories = layers.directories(d)
    found = {}
    is_cross = d.getVar("HOST_ARCH") != d.getVar("DISTRO_ARCH")
    for name in CONFIGURATION + (HOST_CONFIGURATION if is_cross else ()):
        value = d.getVar(name)
        for path, collection in directories if value else ():
            value = value.replace(f"{path}/", f"${{LAYERDIR_{collection}}}/")
        found[name] = " ".join(value.split()) if value is not None else None
    return found


def collect_tasks(taskdepdata, multiconfig, which):
    """'PN:do_task' -> hash of all tasks of one multiconfig that the current one follows.

    `taskdepdata` is bitbake's BB_TASKDEPDATA: task id -> [PN, task, file, deps, provides, hash, …].
    """
    tasks = {}
    for tid, entry in taskdepdata.items():
        of = tid.split(":", 2)[1] if tid.startswith("mc:") else "default"
        if of == (multiconfig or "default"):
            tasks[f"{entry[0]}:{entry[1]}"] = entry[which]
    return dict(sorted(tasks.items()))


def find_sstate(sstate_dir, recipe, task, task_hash):
    """The path of a task's sstate object, or None."""
    folder = os.path.join(task_hash[:2], task_hash[2:4])
    pattern = f"sstate:{glob.escape(recipe)}:*:{task_hash}_{task}.tar.zst"
    # what is built for the machine that builds, where the target is another, is in a folder of its own
    for place in ("", "*"):
        found = glob.glob(os.path.join(glob.escape(sstate_dir), place, folder, pattern))
        if found:
            # Isar without this layer leaves a part of some names empty, by which nothing finds them
            return max(found)
    return None


def collect_self_built(tasks, sstate_dir, repository):
    """Which recipe and task made each package of the repository, by the sstate object that has it.

    A package that no recipe of this image built (a leftover of another image) is left out.
    """
    made = {}
    for name, task_hash in tasks.items():
        recipe, task = name.split(":", 1)
        if task != "do_dpkg_build":
            continue
        sstate = find_sstate(sstate_dir, recipe, "dpkg_build", task_hash)
        for digest in _deb_digests(sstate) if sstate else ():
            made[digest] = (recipe, task_hash)
    result = []
    for package in repository:
        if package["SHA256"] in made:
            recipe, task_hash = made[package["SHA256"]]
            result.append(
                {
                    "package": package["Package"],
                    "version": package["Version"],
                    "architecture": package["Architecture"],
                    "sha256": package["SHA256"],
                    "recipe": recipe,
                    "taskHash": task_hash,
                }
            )
    return result


def _deb_digests(sstate):
    """Digests of the packages in an object; none when it cannot be read, as if it were not there."""
    # what came from a mirror is a link, which zstd would not follow
    command = ["zstd", "-dcq", os.path.realpath(sstate)]
    zstd = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        with zstd, tarfile.open(fileobj=zstd.stdout, mode="r|") as tar:
            return [
                layers.hash_file(tar.extractfile(member)).hexdigest()
                for member in tar
                if member.isreg() and member.name.endswith(".deb")
            ]
    except tarfile.TarError:
        return []


def inherit(collected, parent):
    """Add what the template that this one is derived from knows of packages that were not built again."""
    built = {made["package"] for made in collected["selfBuilt"]}
    collected["selfBuilt"] += [made for made in parent.get("selfBuilt") or () if made["package"] not in built]


def unrecorded(repository, self_built):
    """Names of packages of the repository that collect_self_built() found no recipe for."""
    known = {record["sha256"] for record in self_built}
    return sorted({package["Package"] for package in repository if package["SHA256"] not in known})
