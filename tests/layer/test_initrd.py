# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""An initrd is used again as long as nothing that it is made of is different."""

import json
import os
import subprocess
import sys

import pytest

from imagetemplate import consume, helper, initrd, initrd_inputs

KERNEL = "6.1.0"
EPOCH = 1000
CONTENTS = [".", "bin", "usr/bin/busybox", "conf/made.conf", "usr/lib/modules/6.1.0/a.ko"]
HOOK = """\
#!/bin/sh
# never less than this
command -v busybox && copy_exec /sbin/fsck.$type
"""


def put(root, path, text="", mode=0o644, time=None):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    if time:
        os.utime(file, (time, time))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "rootfs"
    put(root, "usr/share/initramfs-tools/hooks/fsck", HOOK, 0o755)
    put(root, "etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    put(root, "usr/bin/busybox", "busybox", time=10)
    put(root, f"usr/lib/modules/{KERNEL}/a.ko", "module", time=10)
    put(root, f"usr/lib/modules/{KERNEL}/modules.dep", "a.ko:")
    put(root, f"boot/vmlinuz-{KERNEL}")
    put(root, f"boot/config-{KERNEL}")
    (root / "sbin").mkdir()
    (root / "bin").symlink_to("usr/bin")
    return root


def digests(root):
    return initrd_inputs.digests(str(root), KERNEL, EPOCH, CONTENTS)


def changed(before, root):
    after = digests(root)
    return [kind for kind, value in before.items() if after[kind] != value]


@pytest.mark.parametrize(
    "path, text, kind",
    [
        ("usr/share/initramfs-tools/hooks/own", "", "scripts and configuration"),
        ("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n", "scripts and configuration"),
        ("etc/fstab", "/dev/sda1", "scripts and configuration"),
        ("usr/bin/busybox", "another", "contents"),
        (f"usr/lib/modules/{KERNEL}/b.ko", "", "modules"),
        (f"usr/lib/modules/{KERNEL}/modules.dep", "b.ko:", "modules"),
        ("sbin/fsck.ext4", "", "programs that scripts look for"),
    ],
)
def test_what_matters_is_noticed(tree, path, text, kind):
    before = digests(tree)
    put(tree, path, text, time=10)
    assert changed(before, tree) == [kind]


@pytest.mark.parametrize("path", ["usr/bin/nano", "usr/bin/less", "etc/hostname", "usr/share/doc/a"])
def test_what_does_not_matter_is_not(tree, path):
    before = digests(tree)
    put(tree, path, "more")
    assert changed(before, tree) == []


def test_times_count_up_to_that_of_the_build(tree):
    before = digests(tree)
    put(tree, "usr/bin/busybox", "busybox", time=20)
    assert changed(before, tree) == ["contents"]
    put(tree, "usr/bin/busybox", "busybox", time=EPOCH)
    late = digests(tree)
    put(tree, "usr/bin/busybox", "busybox", time=EPOCH + 5)
    assert changed(late, tree) == []


def test_a_file_that_lost_its_setuid_bit_is_another(tree):
    before = digests(tree)
    (tree / "usr/bin/busybox").chmod(0o755)
    assert changed(before, tree) == ["contents"]


@pytest.fixture
def as_root(monkeypatch):
    """Commands that would need root, run without."""
    def run(d, *argv, text=""):
        if argv[0] == "chroot":
            return "".join(f"{path}\n" for path in CONTENTS)
        command = [sys.executable, *argv[1:]] if argv[0] == "python3" else argv
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return done.stdout

    monkeypatch.setattr(helper, "as_root", run)


@pytest.fixture
def image(store, tree, tmp_path):
    put(tmp_path, "deployed.img", "an initrd")
    return store(
        {
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "ROOTFS_INITRAMFS_GENERATOR_CMD": "update-initramfs",
            "ROOTFS_INITRAMFS_GENERATOR_CMDLINE": "update-initramfs -u",
        }
    )


def stage(d, tree, tmp_path):
    missing = initrd.stage(d, str(tree), str(tmp_path / "deployed.img"), str(tmp_path / "staged"))
    assert missing is None
    return json.loads((tmp_path / "staged" / initrd.RECORD).read_text())


def test_a_staged_initrd_serves_an_equal_tree(image, tree, tmp_path, as_root):
    put(tree, f"{initrd.STATE}/{KERNEL}", "checksum")
    record = stage(image, tree, tmp_path)
    assert initrd.differences(image, str(tree), record) == []
    (tree / initrd.STATE / KERNEL).unlink()
    initrd.use(image, str(tree), record, str(tmp_path / "staged" / initrd.IMAGE), str(tmp_path / "again.img"))
    assert (tree / f"boot/initrd.img-{KERNEL}").read_text() == "an initrd"
    assert (tmp_path / "again.img").read_text() == "an initrd"
    assert (tree / initrd.STATE / KERNEL).read_text() == "checksum"


def test_another_command_time_or_kernel_is_a_difference(image, tree, tmp_path, as_root):
    record = stage(image, tree, tmp_path)
    image.values["SOURCE_DATE_EPOCH"] = "1"
    image.values["ROOTFS_INITRAMFS_GENERATOR_CMDLINE"] = "other"
    assert initrd.differences(image, str(tree), record) == ["generator", "epoch"]
    put(tree, "boot/vmlinuz-6.2")
    assert "kernel" in initrd.differences(image, str(tree), record)
    assert initrd.differences(image, str(tree), {**record, "version": 0}) == ["how initrds are compared"]


@pytest.mark.parametrize("change", ["kernel", "dracut"])
def test_what_cannot_be_judged_is_left_out(image, tree, tmp_path, as_root, change):
    if change == "kernel":
        put(tree, "boot/vmlinuz-6.2")
    else:
        image.values["ROOTFS_INITRAMFS_GENERATOR_CMD"] = "dracut"
    assert initrd.stage(image, str(tree), str(tmp_path / "deployed.img"), str(tmp_path / "staged"))
    assert not (tmp_path / "staged").exists()


def test_it_can_be_switched_off(image):
    image.values["TEMPLATE_REUSE_INITRD"] = "0"
    assert not consume.reuse_initrd(image, "/no/root", "/no/file")
