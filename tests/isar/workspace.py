# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A folder where an ordinary user can run bitbake: Isar, our layer, the product's layer, the helper, keys.

The user that runs bitbake may not read where the sources are (root's home), so all of it is copied.
"""

import json
import os
import shutil
import subprocess

import schemas

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))

HELPER = os.environ.get("ISAR_TEMPLATE") or os.path.join(TOP, "target", "release", "isar-template")
ISAR_COMMIT = "b90b722fc2666b806a64f0bf5ca0feeb9b6f203b"
ISAR_URL = "https://github.com/ilbers/isar"
USER = "isar-tests"
IDENTITY = "platform@example.org"


class NoIsar(Exception):
    """There is no Isar to test with, and none can be had."""


def find_isar():
    """The path of a checkout of Isar: $ISAR_DIR, the cached one, or a fresh clone of the pinned commit."""
    configured = os.environ.get("ISAR_DIR")
    if configured:
        if os.path.exists(os.path.join(configured, "isar-init-build-env")):
            return configured
        raise NoIsar(f"ISAR_DIR is not a checkout of Isar: '{configured}'")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(cache, "isar-template", "isar")
    if os.path.exists(os.path.join(path, "isar-init-build-env")):
        return path
    clone = f"{path}.new"
    shutil.rmtree(clone, ignore_errors=True)
    for command in (
        ["git", "clone", "--quiet", ISAR_URL, clone],
        ["git", "-C", clone, "checkout", "--quiet", ISAR_COMMIT],
    ):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
        if done.returncode:
            raise NoIsar(f"{' '.join(command[:3])}: {done.stderr.strip() or done.returncode}")
    os.rename(clone, path)
    return path


class Workspace:
    """The folder, and commands run in it as the user of the builds."""

    def __init__(self, path, isar, user=USER):
        self.path = path
        self.user = user
        self.isar = os.path.join(path, "isar")
        self.layer = os.path.join(path, "meta-template")
        self.platform_layer = os.path.join(path, "platform-layer")
        self.product_layer = os.path.join(path, "product-layer")
        self.product_layers = [self.platform_layer, self.product_layer, self.layer]
        self.helper = os.path.join(path, "bin", "isar-template")
        self._fill(isar)

    def _fill(self, isar):
        if os.getuid() == 0:
            subprocess.run([os.path.join(HERE, "setup-builder"), self.user], check=True)
        os.makedirs(os.path.dirname(self.helper), exist_ok=True)
        shutil.copy2(HELPER, self.helper)
        shutil.copytree(os.path.join(TOP, "meta-template"), self.layer, ignore=ignore_caches)
        shutil.copytree(os.path.join(HERE, "platform-layer"), self.platform_layer)
        shutil.copytree(os.path.join(HERE, "product-layer"), self.product_layer)
        subprocess.run(
            ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", isar, self.isar],
            check=True,
        )
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{self.user}:", self.path], check=True)
        self.key = self.make_key("platform")
        self.signers = self.write_signers("signers", self.key)

    def run(self, script, network=True, **options):
        """Run a bash script as the user of the builds; returns the completed process."""
        script = f"export LANG=en_US.UTF-8 LC_ALL=en_US.UTF-8; cd {self.path}; {script}"
        command = ["bash", "-c", script]
        if os.getuid() == 0:
            command = ["su", "-", self.user, "-c", script]
        if not network:
            command = ["unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh", *command]
        return subprocess.run(command, stdin=subprocess.DEVNULL, text=True, **options)

    def inspect(self, bundle):
        """What the helper tells about a bundle of the platform's team."""
        trust = ["--allowed-signers", self.signers, "--identity", IDENTITY]
        command = [self.helper, "--format", "json", "inspect", *trust, bundle]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        schemas.check("report-v1", report)
        return report

    def make_layer(self, name, files):
        """A layer of some recipes and bbappends, by their paths."""
        layer = os.path.join(self.path, f"{name}-layer")
        with open(os.path.join(self.product_layer, "conf", "layer.conf"), encoding="utf-8") as file:
            conf = file.read().replace("product", name).replace('*.bb"', '*.bb ${LAYERDIR}/recipes-*/*/*.bbappend"')
        for path, text in {"conf/layer.conf": conf, **files}.items():
            path = os.path.join(layer, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return layer

    def make_key(self, name):
        path = os.path.join(self.path, name)
        self.run(f"ssh-keygen -q -t ed25519 -N '' -C {name} -f {path}", check=True)
        return path

    def write_signers(self, name, key):
        """An allowed_signers file that trusts one key."""
        with open(f"{key}.pub", encoding="ascii") as file:
            kind, public = file.read().split()[:2]
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(f'{IDENTITY} namespaces="isar-template" {kind} {public}\n')
        os.chmod(path, 0o644)
        return path

    def clear(self, path=None):
        """Remove the workspace, or something in it that no test needs any more, unless all of it is to be kept."""
        if os.environ.get("ISAR_TESTS_KEEP") != "1":
            self.remove(path or self.path)

    def remove(self, path):
        """Remove something, with root's files in it."""
        command = ["rm", "-rf", "--one-file-system", path]
        subprocess.run(command if os.getuid() == 0 else ["sudo", *command], check=True)


def ignore_caches(_, names):
    return [name for name in names if name == "__pycache__"]
