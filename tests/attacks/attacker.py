# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The attacks of attack.c, and what they are after."""

import ctypes
import os
import re
import socket
import subprocess

import support

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attack.c")

with open(SOURCE) as file:
    ATTACKS = re.findall(r"\bATTACK\((\w+)\),", file.read())

# what attack.c does for these is harmless, but nobody has to trust it
ONLY_INSIDE = """
    sysrq load_module load_module_file reboot_machine kexec clock_set time_of_day_set clock_adjust host_name swap quota
    accounting umount_proc_sys
""".split()

# add_key and keyctl
KEY_CALLS = {"x86_64": (248, 250), "aarch64": (217, 219)}
KEYCTL_UNLINK, USER_KEYRING = 9, -4


def build(folder):
    """The program, in a folder that can be bound."""
    program = os.path.join(folder, "attack")
    support.command("gcc", "-O1", "-static", "-o", program, SOURCE)
    return program


def parse(text):
    """The program's lines: name to (worked, error)."""
    return {name: (verdict == "yes", error) for name, verdict, error in (line.split() for line in text.splitlines())}


class Victim:
    """A file, a process, a server, an abstract socket, and a key of the kernel's user keyring."""

    def __init__(self, folder):
        secret = support.write(os.path.join(folder, "secret"), "secret of the host\n")
        self.process = subprocess.Popen(["sleep", "3600"])
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=64)
        name = "isar-template-attack-%d" % os.getpid()
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind("\0" + name)
        self.unix.listen(64)
        self.words = [secret, str(self.process.pid), str(self.tcp.getsockname()[1]), name]
        self.call = ctypes.CDLL(None, use_errno=True).syscall
        self.add_key, self.keyctl = map(ctypes.c_long, KEY_CALLS[os.uname().machine])
        self.keyring = ctypes.c_long(USER_KEYRING)
        self.key = self.call(self.add_key, b"user", b"isar-template-attack", b"secret", ctypes.c_size_t(6), self.keyring)
        assert self.key > 0, os.strerror(ctypes.get_errno())

    def close(self):
        self.call(self.keyctl, ctypes.c_long(KEYCTL_UNLINK), ctypes.c_long(self.key), self.keyring)
        self.process.kill()
        self.process.wait()
        self.tcp.close()
        self.unix.close()


# what Isar and others mount into a root file system before they enter it; the attack comes to /tmp
CHROOT = """
    set -e
    mount --bind "$1" /mnt
    mount -t proc proc /mnt/proc
    mount --rbind /sys /mnt/sys
    mount -t tmpfs none /mnt/tmp
    cp "$2" /mnt/tmp/attack
    shift 2
    exec chroot /mnt /tmp/attack "$@"
"""


def in_a_chroot(tree, program, words):
    """By plain chroot. The mounts are in a namespace, so that nothing stays on this machine."""
    return parse(support.command("unshare", "-m", "sh", "-c", CHROOT, "sh", tree, program, *words).stdout)


def package(folder, program, words):
    """A package whose postinst attacks, and writes down what came of it."""
    with open(program, "rb") as file:
        content = file.read()
    script = "cp /usr/lib/hostile/attack /tmp/attack\nchmod +x /tmp/attack\n/tmp/attack %s > /usr/lib/hostile/log 2>&1\n" % " ".join(words)
    return support.make_deb(folder, "hostile", files={"usr/lib/hostile/attack": content},
                            scripts={"postinst": script, "postrm": "rm -f /usr/lib/hostile/log\n"}, arch=support.architecture())


def log(tree):
    """What the package has written down."""
    with open(os.path.join(tree, "usr/lib/hostile/log")) as file:
        return parse(file.read())
