# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Record what ties a template to the layers and the configuration it was made from."""

import glob
import hashlib
import json
import os
import re
import subprocess
import tarfile
import tempfile

VERSION = 0
COLLECTION = re.compile(r'^\s*BBFILE_COLLECTIONS\s*\+?=\s*"\s*([^\s"]+)', re.MULTILINE)

# where bitbake's BB_TASKDEPDATA has a task's hash, and the hash its sstate object is stored by;
# they differ under hash equivalence
TASK_HASH, STORED_HASH = 5, 6

# what decides how packages are built and which are installed, beside the layers
SETTINGS = (
    "BASE_DISTRO",
    "BASE_DISTRO_CODENAME",
    "DISTRO",
    "DISTRO_ARCH",
    "DISTRO_APT_PREFERENCES",
    "DISTRO_APT_PREMIRRORS",
    "DISTRO_APT_SOURCES",
    "DISTRO_BOOTSTRAP_KEYS",
    "HOST_ARCH",
    "HOST_DISTRO",
    "IMAGE_INSTALL",
    "IMAGE_PREINSTALL",
    "ISAR_CROSS_COMPILE",
    "ISAR_ENABLE_COMPAT_ARCH",
    "ISAR_USE_APT_SNAPSHOT",
    "ISAR_USE_CACHED_BASE_REPO",
    "KERNEL_NAME",
    "LOCALE_DEFAULT",
    "LOCALE_GEN",
    "MACHINE",
    "ROOTFS_FEATURES",
    "ROOTFS_PACKAGES",
    "THIRD_PARTY_APT_KEYS",
)

# bitbake leaves these behind in layers that have python modules
NOISE = "__pycache__"


def collect(d, layers, taskdepdata, repository):
    """The anchors of the image that `d` describes, ready to be written as JSON.

    `layers` is what describe_layers() says, `repository` the packages that the build made.
    """
    multiconfig = d.getVar("BB_CURRENT_MC")
    stored = collect_tasks(taskdepdata, multiconfig, STORED_HASH)
    return {
        "version": VERSION,
        "distro": d.getVar("DISTRO"),
        "codename": d.getVar("BASE_DISTRO_CODENAME"),
        "architecture": d.getVar("DISTRO_ARCH"),
        "machine": d.getVar("MACHINE"),
        "layers": layers,
        "settings": collect_settings(d),
        "tasks": collect_tasks(taskdepdata, multiconfig, TASK_HASH),
        "selfBuilt": collect_self_built(stored, d.getVar("SSTATE_DIR"), repository),
    }


def collect_settings(d):
    """Those of SETTINGS that are set, with their values."""
    settings = {name: d.getVar(name) for name in SETTINGS}
    return {name: value for name, value in settings.items() if value is not None}


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
    folder = os.path.join(sstate_dir, task_hash[:2], task_hash[2:4])
    pattern = f"sstate:{glob.escape(recipe)}:*:{task_hash}_{task}.tar.zst"
    found = glob.glob(os.path.join(glob.escape(folder), pattern))
    return found[0] if found else None


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
    zstd = subprocess.Popen(["zstd", "-dcq", sstate], stdout=subprocess.PIPE)
    with zstd, tarfile.open(fileobj=zstd.stdout, mode="r|") as tar:
        for member in tar:
            if member.isreg() and member.name.endswith(".deb"):
                yield _sha256(tar.extractfile(member)).hexdigest()


def unrecorded(repository, self_built):
    """Names of packages of the repository that collect_self_built() found no recipe for."""
    known = {record["sha256"] for record in self_built}
    return sorted({package["Package"] for package in repository if package["SHA256"] not in known})


def base_layers(d):
    """Paths of all layers but this one, which is no anchor: its version is checked instead."""
    ours = normalise_layer(d.getVar("LAYERDIR_template"))
    layers = map(normalise_layer, d.getVar("BBLAYERS").split())
    return [path for path in layers if path != ours]


def normalise_layer(path):
    """A path of BBLAYERS as bitbake uses it."""
    return os.path.normpath(os.path.expanduser(path))


def describe_layers(d):
    """What describe_layer() says of each layer that a template is anchored to."""
    return [describe_layer(path) for path in base_layers(d)]


def write_layers(d):
    """Put the state of the layers where tasks hash it and read it.

    It changes while bitbake keeps what it parsed, and may not change under a running build; so it is
    a file, written when a build begins, and not a variable. An unchanged one is left alone.
    """
    path = d.getVar("TEMPLATE_LAYERS")
    text = json.dumps(describe_layers(d), indent=1)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def read_layers(d):
    """What write_layers() wrote."""
    with open(d.getVar("TEMPLATE_LAYERS"), encoding="utf-8") as file:
        return json.load(file)


def describe_layer(path):
    """Name, commit, tree and dirtiness of the layer at `path`."""
    with open(os.path.join(path, "conf", "layer.conf"), encoding="utf-8") as file:
        collection = COLLECTION.search(file.read())
    name = collection.group(1) if collection else os.path.basename(path)
    try:
        commit, tree, dirty = _describe_git(path)
    except (OSError, subprocess.CalledProcessError):
        commit, tree, dirty = None, _hash_content(path), False
    return {"name": name, "commit": commit, "tree": tree, "dirty": dirty}


# with untracked files, but without noise that is not ignored
_PATHS = (".", f":(exclude,glob)**/{NOISE}/**")


def _describe_git(path):
    prefix = _git(path, "rev-parse", "--show-prefix")
    commit = _git(path, "rev-parse", "HEAD")
    dirty = bool(_git(path, "status", "--porcelain", "--", *_PATHS))
    if dirty:
        return commit, _write_tree(path, prefix), True
    tree = f"HEAD:{prefix.rstrip('/')}" if prefix else "HEAD^{tree}"
    return commit, _git(path, "rev-parse", tree), False


def _write_tree(path, prefix):
    """The tree that a commit of everything in the layer would have; the repository stays as it is."""
    objects = _git(path, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            "GIT_INDEX_FILE": os.path.join(scratch, "index"),
            "GIT_OBJECT_DIRECTORY": os.path.join(scratch, "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        os.mkdir(environment["GIT_OBJECT_DIRECTORY"])
        _git(path, "read-tree", "HEAD", **environment)
        _git(path, "add", "--all", "--", *_PATHS, **environment)
        whole = _git(path, "write-tree", **environment)
        if not prefix:
            return whole
        return _git(path, "rev-parse", f"{whole}:{prefix.rstrip('/')}", **environment)


def _git(path, *arguments, **environment):
    # a layer may belong to somebody else than the user who builds
    command = ["git", "-c", "safe.directory=*", "-C", path, *arguments]
    return subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
        text=True,
    ).stdout.strip()


def _hash_content(path):
    """A digest over names, kinds and contents of a layer that is in no git repository."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name != NOISE)
        for name in sorted(files):
            full = os.path.join(folder, name)
            digest.update(os.path.relpath(full, path).encode(errors="surrogateescape") + b"\0")
            if os.path.islink(full):
                digest.update(b"link " + os.readlink(full).encode(errors="surrogateescape"))
            else:
                with open(full, "rb") as file:
                    digest.update(_sha256(file).digest())
    return f"content:{digest.hexdigest()}"


def _sha256(file):
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest
