# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Which package sources a product has of its own, and when they make something anew."""

import pytest

from imagetemplate import apt_files


@pytest.fixture
def product(tmp_path, store):
    """A product whose layer has one file of each kind."""
    for name in ("vendor.list", "vendor.asc", "vendor.pref"):
        path = tmp_path / "layer" / "conf" / "distro" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return store(
        {
            "BBPATH": f"{tmp_path}/build:{tmp_path}/layer",
            "TEMPLATE_APT_SOURCES": "conf/distro/vendor.list",
            "TEMPLATE_APT_KEYRINGS": "conf/distro/vendor.asc",
            "TEMPLATE_APT_PREFERENCES": "conf/distro/vendor.pref",
        }
    )


def test_files_are_found_as_bitbake_finds_them(product, tmp_path):
    folder = f"{tmp_path}/layer/conf/distro"
    expected = ["--sources", f"{folder}/vendor.list", "--preferences", f"{folder}/vendor.pref", "--keyring", f"{folder}/vendor.asc"]
    assert apt_files.arguments(product) == expected
    product.setVar("TEMPLATE_APT_SOURCES", f"{folder}/vendor.list")
    assert apt_files.arguments(product) == expected


def test_nothing_is_the_default(store):
    assert apt_files.arguments(store({"BBPATH": "/nowhere"})) == []


def test_a_file_that_is_not_there_is_told_with_where_it_was_looked_for(product, tmp_path):
    product.setVar("TEMPLATE_APT_SOURCES", "conf/distro/other.list")
    with pytest.raises(apt_files.AptFilesError) as caught:
        apt_files.watch(product, "do_rootfs_install")
    assert "TEMPLATE_APT_SOURCES names 'conf/distro/other.list'" in str(caught.value)
    assert f"{tmp_path}/layer/conf/distro/other.list" in str(caught.value)


def test_a_change_makes_the_image_anew(product, tmp_path):
    apt_files.watch(product, "do_rootfs_install")
    assert "TEMPLATE_APT_SOURCES" in product.getVarFlag("do_rootfs_install", "vardeps").split()
    assert f"{tmp_path}/layer/conf/distro/vendor.asc:True" in product.getVarFlag("do_rootfs_install", "file-checksums").split()
