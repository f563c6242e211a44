# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Say in which state the layers of a build are."""

import hashlib
import os
import re
import subprocess
import tempfile

COLLECTION = re.compile(r'^\s*BBFILE_COLLECTIONS\s*\+?=\s*"\s*([^\s"]+)', re.MULTILINE)

# bitbake leaves these behind in layers that have python modules
NOISE = "__pycache__"


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


def directories(d):
    """Paths and names of all layers but this one, the longest path first."""
    paths = sorted(base_layers(d), key=len, reverse=True)
    return [(path, read_name(path)) for path in paths]


def read_name(path):
    """The collection of the layer at `path`."""
    with open(os.path.join(path, "conf", "layer.conf"), encoding="utf-8") as file:
        collection = COLLECTION.search(file.read())
    return collection.group(1) if collection else os.path.basename(path)


def describe_layer(path):
    """Name, commit, tree and dirtiness of the layer at `path`."""
    name = read_name(path)
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
                    digest.update(hash_file(file).digest())
    return f"content:{digest.hexdigest()}"


def hash_file(file):
    """The SHA256 object of an open file."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest
