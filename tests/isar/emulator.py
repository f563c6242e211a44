# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Boot a disk image and read its serial console.

qemu is the host's, or that of a small Debian made for the purpose where the host has none.
"""

import os
import select
import shlex
import shutil
import subprocess
import time

SUITE = "bookworm"
# mmdebstrap knows one when none is named
MIRROR = [os.environ["ISAR_TEMPLATE_TEST_MIRROR"]] if os.environ.get("ISAR_TEMPLATE_TEST_MIRROR") else []
# without KVM, on a busy machine, booting takes minutes
PATIENCE = 600
READ_SIZE = 65536
# a device that is there but does not work, as in some virtual machines; qemu then stops the guest and stays
KVM_BROKEN = "KVM internal error"


class Emulator:
    """qemu on the host, or in a tree to chroot into."""

    folder = "emulator"
    qemu = "qemu-system-x86_64"
    firmware = "/usr/share/ovmf/OVMF.fd"
    packages = "qemu-system-x86,ovmf"
    machine = ("-M", "q35", "-m", "1024")
    disk = ("-hda", "{image}")
    # the fastest first
    accelerators = ("kvm", "tcg")

    def __init__(self, scratch):
        self.root = None
        if not (shutil.which(self.qemu) and os.path.exists(self.firmware)):
            self.root = os.path.join(scratch, self.folder)
            self._make_root()

    def _make_root(self):
        if os.path.isdir(self.root):
            return
        new = f"{self.root}.new"
        subprocess.run(
            ["mmdebstrap", "--variant=essential", f"--include={self.packages}",
             "--aptopt=APT::Install-Recommends false", SUITE, new, *MIRROR],
            check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        os.rename(new, self.root)

    def boot(self, image, lines, patience=PATIENCE):
        """Boot a throw-away view of `image` until the console has shown all `lines`; returns its text."""
        console = ""
        for accelerator in self.accelerators:
            if accelerator == "kvm" and not os.path.exists("/dev/kvm"):
                continue
            console, alive = self._run(image, lines, accelerator, patience)
            if alive:
                break
        missing = [line for line in lines if line not in console]
        assert not missing, f"not on the console: {missing}\n{console[-6000:]}"
        return console

    def _command(self, image, accelerator):
        qemu = [self.qemu, *self.machine, "-accel", accelerator, "-nographic", "-no-reboot",
                "-snapshot", "-bios", self.firmware, "-net", "none"]  # fmt: skip
        folder, name = os.path.split(os.path.realpath(image))
        seen = image if self.root is None else f"/mnt/{name}"
        qemu += [word.format(image=seen) for word in self.disk]
        if self.root is None:
            return qemu
        # mounts of a namespace of its own go when qemu goes
        script = (
            f"mount --bind {shlex.quote(folder)} {shlex.quote(self.root)}/mnt"
            f" && mount --rbind /dev {shlex.quote(self.root)}/dev"
            f" && exec chroot {shlex.quote(self.root)} {shlex.join(qemu)}"
        )
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    def _run(self, image, lines, accelerator, patience):
        """The console's text, and whether qemu itself worked."""
        process = subprocess.Popen(
            self._command(image, accelerator),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        console = ""
        end = time.monotonic() + patience
        try:
            while time.monotonic() < end and not all(line in console for line in lines):
                if not select.select([process.stdout], [], [], 1)[0]:
                    continue
                read = os.read(process.stdout.fileno(), READ_SIZE)
                if not read:
                    return console, False
                console += read.decode(errors="replace")
                if KVM_BROKEN in console:
                    return console, False
            return console, True
        finally:
            process.kill()
            process.wait()
