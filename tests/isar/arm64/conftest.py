# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Builds for arm64 on a machine of another architecture, each made once: 'make test-arm64'.

Packages are cross built; scripts of packages, and what is not cross built, run by qemu through the kernel's
binfmt_misc. Where that or Isar is missing, the tests fail.
"""

import os
import platform
import shutil
import subprocess

import pytest

from bitbake_build import Build
from emulator import Emulator

HERE = os.path.dirname(os.path.abspath(__file__))
BINFMT = "/proc/sys/fs/binfmt_misc"
ENTRY = "qemu-aarch64"

PLATFORM = """
IMAGE_INSTALL = "example-raw enable-fsck isar-exclude-docs sshd-regen-keys hello platform-tool cross-tool"
IMAGE_PREINSTALL:append = " less"
"""
# Isar has an image for this machine that has no boot loader
DISK = """
IMAGE_FSTYPES = "wic"
WKS_FILE = "cross"
IMAGER_INSTALL:wic += "${SYSTEMD_BOOTLOADER_INSTALL}"
"""


class CrossBuild(Build):
    multiconfig = "qemuarm64-bookworm"
    machine = "qemuarm64"


class CrossEmulator(Emulator):
    folder = "emulator-arm64"
    qemu = "qemu-system-aarch64"
    firmware = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
    packages = "qemu-system-arm,qemu-efi-aarch64"
    machine = ("-M", "virt", "-cpu", "cortex-a57", "-m", "1024")
    # fstab has it as sda
    disk = ("-drive", "file={image},if=none,format=raw,id=disk",
            "-device", "virtio-scsi-device", "-device", "scsi-hd,drive=disk")  # fmt: skip
    accelerators = ("tcg",)


def is_enabled():
    """Whether the kernel runs programs of arm64, by an interpreter that it keeps open for all roots."""
    try:
        with open(os.path.join(BINFMT, ENTRY), encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    return "enabled" in lines and any(line.startswith("flags:") and "F" in line for line in lines)


@pytest.fixture(scope="session")
def emulation():
    """Programs of arm64 run on this machine."""
    if platform.machine() == "aarch64":
        pytest.fail("this machine is arm64 itself: nothing would be cross built")
    commands = (
        ["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT],
        ["update-binfmts", "--enable", ENTRY],
    )
    if not os.path.exists(os.path.join(BINFMT, "register")):
        subprocess.run(commands[0])
    if not is_enabled():
        subprocess.run(commands[1])
    if not is_enabled():
        told = "; ".join(" ".join(command) for command in commands)
        pytest.fail(
            "this machine runs no programs of arm64: install qemu-user-static and binfmt-support, then, as root: "
            f"{told}"
        )


@pytest.fixture(scope="session")
def workspace(workspace, emulation):
    workspace.cross_layer = os.path.join(workspace.path, "cross-layer")
    shutil.copytree(os.path.join(HERE, "cross-layer"), workspace.cross_layer)
    workspace.product_layers = [workspace.platform_layer, workspace.cross_layer, workspace.layer]
    return workspace


@pytest.fixture(scope="session")
def producer(workspace, produce_settings):
    """The platform, built and deployed as a template."""
    build = CrossBuild(workspace, "produce", DISK + PLATFORM + produce_settings, workspace.product_layers)
    build.build("isar-image-base")
    return build


@pytest.fixture(scope="session")
def consumer(workspace, bundle, consume_settings):
    """The product, built on the template, in a build directory that shares nothing with the producer's."""
    build = CrossBuild(workspace, "consume", DISK + consume_settings(bundle), workspace.product_layers)
    build.build("cross-image")
    return build


@pytest.fixture(scope="session")
def stock(workspace, producer):
    """The same product by Isar alone, with the producer's downloads and shared state."""
    settings = f"""
DL_DIR = "{producer.path}/downloads"
SSTATE_DIR = "{producer.path}/sstate-cache"
"""
    build = CrossBuild(workspace, "stock", DISK + settings, workspace.product_layers[:-1])
    build.build("cross-image")
    return build


@pytest.fixture(scope="session")
def emulator(workspace):
    return CrossEmulator(os.path.dirname(workspace.path))
