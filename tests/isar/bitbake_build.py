# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""One build directory of Isar: configure it, run bitbake in it, and look at what it did."""

import contextlib
import glob
import os
import re
import subprocess
import time

MULTICONFIG = "qemuamd64-bookworm"
MACHINE = "qemuamd64"

COMMON = """
BBMULTICONFIG = "{multiconfig}"
# the packages of the SBOM generator come from a git host
ROOTFS_FEATURES:remove = "generate-sbom"
"""

RUNNING = re.compile(r"NOTE: Running (?:setscene )?task \d+ of \d+ \((?:mc:[^:]+:)?(?:virtual:[^:]+:)?(.*):(do_\w+)\)")


class Build:
    """A build directory below a workspace, of some gigabytes: as a context it is removed at the end."""

    multiconfig = MULTICONFIG
    machine = MACHINE
    # without, bitbake runs where only the loopback interface is
    network = True

    def __init__(self, workspace, name, settings, layers):
        self.workspace = workspace
        self.name = name
        self.path = os.path.join(workspace.path, name)
        self.output = ""
        # that of the run which made what other tests look at
        self.made = ""
        self.seconds = 0.0
        workspace.run(f". isar/isar-init-build-env {name} >/dev/null", check=True)
        self.add_layers(layers)
        self.configure(COMMON.format(multiconfig=self.multiconfig) + settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.workspace.clear(self.path)

    def add_layers(self, layers):
        path = os.path.join(self.path, "conf", "bblayers.conf")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        ours = "".join(f"  {layer} \\\n" for layer in layers)
        text = re.sub(r"(  \S+/meta-isar \\\n)", lambda match: match.group(1) + ours, text)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def configure(self, settings):
        with open(os.path.join(self.path, "conf", "local.conf"), "a", encoding="utf-8") as file:
            file.write(settings)

    def run(self, command):
        """Run another command of bitbake's; returns what it said."""
        done = self.workspace.run(
            f". isar/isar-init-build-env {self.name} >/dev/null && {command}",
            check=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout

    def bitbake(self, arguments, check=True):
        """Run bitbake; returns whether it succeeded and keeps what it said and how long it took."""
        log = os.path.join(self.path, "bitbake.log")
        started = time.monotonic()
        with open(log, "w", encoding="utf-8") as file:
            done = self.workspace.run(
                f". isar/isar-init-build-env {self.name} >/dev/null && bitbake {arguments}",
                network=self.network,
                stdout=file,
                stderr=file,
            )
        self.seconds = time.monotonic() - started
        with open(log, encoding="utf-8", errors="replace") as file:
            self.output = file.read()
        if check and done.returncode:
            raise AssertionError(f"bitbake {arguments} in {self.path} failed:\n{self.errors()}")
        return done.returncode == 0

    def build(self, recipe, check=True):
        return self.bitbake(f"mc:{self.multiconfig}:{recipe}", check)

    def errors(self):
        """The errors of the last run, with the lines that belong to them."""
        found = re.findall(r"^ERROR: .*(?:\n(?!NOTE:|ERROR:|WARNING:).*)*", self.output, re.MULTILINE)
        return "\n".join(found) or self.output[-4000:]

    def tasks(self, output=None):
        """What the last run executed, or the one that said so, as pairs of recipe file and task."""
        found = RUNNING.findall(self.output if output is None else output)
        return [(os.path.basename(file), task) for file, task in found]

    def deployed(self, pattern):
        """The one deployed file that matches."""
        found = glob.glob(os.path.join(self.path, "tmp", "deploy", pattern))
        assert len(found) == 1, f"{pattern}: {found}"
        return found[0]

    def image(self, recipe, suffix):
        return self.deployed(f"images/{self.machine}/{recipe}-debian-bookworm-{self.machine}.{suffix}")

    def work(self, recipe):
        found = glob.glob(os.path.join(self.path, "tmp", "work", "*", recipe, "*"))
        assert len(found) == 1, f"{recipe}: {found}"
        return found[0]

    def rootfs(self, recipe):
        return os.path.join(self.work(f"{recipe}-{self.machine}"), "rootfs")

    def task_log(self, recipe, task):
        with open(os.path.join(self.work(recipe), "temp", f"log.{task}"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def variables(self, recipe, *names):
        """Values of variables as a recipe has them."""
        text = self.run(f"bitbake -e mc:{self.multiconfig}:{recipe}")
        values = dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
        return {name: values[name] for name in names}

    def signatures(self, recipe):
        """Every task's signature, as bitbake computes them without building anything."""
        self.bitbake(f"-S none -S lockedsigs mc:{self.multiconfig}:{recipe}")
        path = os.path.join(self.path, "locked-sigs.inc")
        with open(path, encoding="utf-8") as file:
            return file.read()

    @contextlib.contextmanager
    def configured(self, settings):
        """More settings in local.conf, until the end of the block."""
        path = os.path.join(self.path, "conf", "local.conf")
        with open(path, encoding="utf-8") as file:
            usual = file.read()
        self.configure(f"{settings}\n")
        try:
            yield
        finally:
            with open(path, "w", encoding="utf-8") as file:
                file.write(usual)

    def signatures_with(self, settings, recipe):
        """The same for a configuration with more settings, as a set of lines 'recipe:task:hash'."""
        with self.configured(settings):
            lines = self.signatures(recipe).splitlines()
        return {line.strip(" \\") for line in lines if line.count(":") == 2}
