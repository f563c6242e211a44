# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What stands in for sgdisk makes the bytes that sgdisk makes."""

import os
import shutil
import subprocess

import pytest

STAND_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "meta-template", "files", "sgdisk")
EFI = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
UUID = "b7b3f2f1-1111-4222-8333-444455556666"
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
WIC_CHANGES = [
    "--change-name=1:efi",
    "--typecode=2:EF02",
    "--typecode=2:8200",
    "--typecode=2:8300",
    "--typecode=1:ef00",
    f"--typecode=1:{EFI}",
    f"--typecode=2:{EFI.upper()}",
    f"--partition-guid=2:{UUID}",
    f"--change-name=2:{'root.fs-0_A' * 3}",
]

needs_tools = pytest.mark.skipif(
    not all(shutil.which(tool, path=PATH) for tool in ("sgdisk", "sfdisk", "parted")),
    reason="needs sgdisk, sfdisk and parted: run 'make test-layer', which installs them",
)


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, env={**os.environ, "PATH": PATH})


@pytest.fixture
def stand_in(tmp_path):
    """Called in its place, with a real one that only tells how it was called."""
    path = tmp_path / "bin" / "sgdisk"
    path.parent.mkdir()
    shutil.copy(STAND_IN, path)
    real = tmp_path / "bin" / "sgdisk.real"
    real.write_text('#!/bin/sh\nprintf "real: %s|" "$@"\n')
    real.chmod(0o755)
    return path


def make_disk(path):
    """As wic does before it names anything."""
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    run("parted", "-s", path, "mklabel", "gpt")
    run("sfdisk", "--disk-id", path, "0f8a2a64-2a54-4b2b-9a2b-7a9f2f0f1111")
    run("parted", "-s", path, "unit", "s", "mkpart", "primary", "fat32", "2048", "20000")
    run("parted", "-s", path, "unit", "s", "mkpart", "primary", "ext2", "20480", "40000")
    # what parted draws by lot
    for number in ("1", "2"):
        run("sfdisk", "--part-uuid", path, number, UUID[:-1] + number)


@needs_tools
def test_what_wic_changes_gives_the_same_bytes(tmp_path, stand_in):
    disk, ours = str(tmp_path / "disk"), str(tmp_path / "ours")
    make_disk(disk)
    shutil.copy(disk, ours)
    for change in WIC_CHANGES:
        run("sgdisk", change, disk)
        assert b"real:" not in run(str(stand_in), change, ours).stdout
        with open(disk, "rb") as by_sgdisk, open(ours, "rb") as by_sfdisk:
            assert by_sgdisk.read() == by_sfdisk.read(), change


@needs_tools
def test_a_change_of_no_partition_fails(tmp_path, stand_in):
    disk = str(tmp_path / "disk")
    make_disk(disk)
    assert run(str(stand_in), "--change-name=7:x", disk, check=False).returncode


@pytest.mark.parametrize(
    "option",
    [
        f"--change-name=1:{'x' * 40}",
        "--change-name=1:über",
        "--change-name=1:two words",
        "--change-name=1:",
        "--typecode=1:fd00",
        "--partition-guid=1:R",
        "--hybrid=1:EE",
        "--zap",
    ],
)
def test_everything_else_is_left_to_sgdisk(stand_in, option):
    assert run(str(stand_in), option, "disk image").stdout.decode() == f"real: {option}|real: disk image|"


def test_two_changes_at_once_are_left_to_sgdisk(stand_in):
    options = ["--change-name=1:efi", "--change-name=2:root", "disk"]
    assert run(str(stand_in), *options).stdout.decode().count("real: ") == 3
