# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Hand on downloaded Debian packages, as the component 'base-apt', so that products need no network for them.

The component is laid out as DEBDIR is, where Isar looks before it downloads: DISTRO-CODENAME/FILE.deb.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil

from . import verified

COMPONENT = "base-apt"
FOLDER = re.compile(r"[a-z0-9][a-z0-9+.-]*")
# as apt names what it keeps, with ':' as '%3a'
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*_[A-Za-z0-9+.~%-]+_(?P<architecture>[a-z0-9-]+)\.deb")


class BaseAptError(Exception):
    """The component holds something else than packages."""


def stage(d, path):
    """Put the packages of this distribution that were downloaded at `path`; returns why there are none, if so."""
    architectures = {"all", *(d.getVar(f"{whose}_ARCH") for whose in ("DISTRO", "HOST", "COMPAT_DISTRO"))}
    place, found = d.getVar("DEBDIR"), 0
    for name in _folders(d):
        folder = os.path.join(place, name)
        if not os.path.isdir(folder):
            continue
        os.makedirs(os.path.join(path, name))
        with _locked(folder):
            for package in sorted(os.listdir(folder)):
                match = PACKAGE.fullmatch(package)
                if match and match.group("architecture") in architectures:
                    found += _add(os.path.join(folder, package), os.path.join(path, name, package))
    return None if found else f"nothing was downloaded to {place}"


def take(d, manifest, location):
    """Add the packages of the template to those that were downloaded; returns how many were missing.

    `location` is the bundle, which was verified before.
    """
    if not any(component["name"] == COMPONENT for component in manifest.get("components") or ()):
        return 0
    unpacked = os.path.join(d.getVar("WORKDIR"), COMPONENT)
    shutil.rmtree(unpacked, ignore_errors=True)
    verified.take_component(d, COMPONENT, unpacked, location)
    try:
        packages = list(_list(unpacked))
        added = 0
        for folder in sorted({folder for folder, _ in packages}):
            target = os.path.join(d.getVar("DEBDIR"), folder)
            os.makedirs(target, exist_ok=True)
            with _locked(target):
                for name in (name for where, name in packages if where == folder):
                    added += _add(os.path.join(unpacked, folder, name), os.path.join(target, name))
        return added
    finally:
        shutil.rmtree(unpacked)


def _folders(d):
    """The folders of DEBDIR that packages of this configuration get into, those for cross builds among them."""
    codename = d.getVar("BASE_DISTRO_CODENAME")
    return sorted({f"{d.getVar(whose)}-{codename}" for whose in ("BASE_DISTRO", "HOST_BASE_DISTRO")})


def _list(path):
    """Folder and name of each package; all that is anything else is an error."""
    for folder in sorted(os.scandir(path), key=lambda entry: entry.name):
        if not folder.is_dir(follow_symlinks=False) or not FOLDER.fullmatch(folder.name):
            raise BaseAptError(f"the component '{COMPONENT}' has '{folder.name}', which is no folder of packages")
        for entry in sorted(os.scandir(folder.path), key=lambda entry: entry.name):
            if not entry.is_file(follow_symlinks=False) or not PACKAGE.fullmatch(entry.name):
                raise BaseAptError(
                    f"the component '{COMPONENT}' has '{folder.name}/{entry.name}', which is no package"
                )
            yield folder.name, entry.name


def _add(source, target):
    """Give a file a second name, or copy it; returns whether there was none of that name."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        # DL_DIR may be on another file system, or its files somebody else's
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        new = f"{target}.{os.getpid()}.new"
        shutil.copyfile(source, new)
        os.replace(new, target)
    return True


@contextlib.contextmanager
def _locked(folder):
    """Isar's lock on a folder of DEBDIR."""
    with open(f"{folder}.lock", "a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
