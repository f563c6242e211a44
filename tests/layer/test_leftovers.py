# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Which mounts belong to a tree."""

import pytest

from imagetemplate import consume, helper, leftovers

MOUNTS = r"""/dev/vda / ext4 rw 0 0
none {root}/dev devtmpfs rw 0 0
none {root}/dev/shm tmpfs rw 0 0
none {root}-of-another/dev tmpfs rw 0 0
/dev/vda {root}/with\040blank ext4 rw 0 0
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    path = tmp_path / "mounts"
    path.write_text(MOUNTS.format(root=tmp_path / "rootfs"))
    monkeypatch.setattr(leftovers.below, "__defaults__", (str(path),))
    return [f"{tmp_path}/rootfs/{name}" for name in ("with blank", "dev/shm", "dev")]


def test_the_last_one_that_was_mounted_comes_first(tmp_path, mounts):
    assert leftovers.below(str(tmp_path / "rootfs")) == mounts
    assert leftovers.below(str(tmp_path / "root")) == []


def test_all_are_unmounted(store, tmp_path, mounts, monkeypatch):
    calls = []
    monkeypatch.setattr(helper, "as_root", lambda d, *argv: calls.append(argv))
    assert consume.unmount_leftovers(store(), str(tmp_path / "rootfs")) == mounts
    assert calls == [("umount", point) for point in mounts]


def test_what_cannot_be_unmounted_ends_the_build(store, tmp_path, mounts, monkeypatch):
    def fail(d, *argv):
        raise helper.HelperError("umount: target is busy")

    monkeypatch.setattr(helper, "as_root", fail)
    with pytest.raises(consume.ConsumeError, match="busy"):
        consume.unmount_leftovers(store(), str(tmp_path / "rootfs"))
