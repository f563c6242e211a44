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

QEMU = "qemu-system-x86_64"
FIRMWARE = "/usr/share/ovmf/OVMF.fd"
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

    def __init__(self, scratch):
        self.root = None
        if not (shutil.which(QEMU) and os.path.exists(FIRMWARE)):
            self.root = os.path.join(scratch, "emulator")
            self._make_root()

    def _make_root(self):
        if os.path.isdir(self.root):
            return
        new = f"{self.root}.new"
        subprocess.run(
            ["mmdebstrap", "--variant=essential", "--include=qemu-system-x86,ovmf",
             "--aptopt=APT::Install-Recommends false", SUITE, new, *MIRROR],
            check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        os.rename(new, self.root)

    def boot(self, image, lines, patience=PATIENCE):
        """Boot a throw-away view of `image` until the console has shown all `lines`; returns its text."""
        console = ""
        for accelerator in ("kvm", "tcg") if os.path.exists("/dev/kvm") else ("tcg",):
            console, alive = self._run(image, lines, accelerator, patience)
            if alive:
                break
        missing = [line for line in lines if line not in console]
        assert not missing, f"not on the console: {missing}\n{console[-6000:]}"
        return console

    def _command(self, image, accelerator):
        qemu = [QEMU, "-M", "q35", "-m", "1024", "-accel", accelerator, "-nographic", "-no-reboot",
                "-snapshot", "-bios", FIRMWARE, "-net", "none"]  # fmt: skip
        if self.root is None:
            return [*qemu, "-hda", image]
        folder, name = os.path.split(os.path.realpath(image))
        qemu += ["-hda", f"/mnt/{name}"]
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
