# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Where wic works, and when the tools that were installed beforehand are those that Isar would install."""

import pytest

from imagetemplate import helper, imager

ISARS = """\
    export BUILDDIR=${TOPDIR}
    imager_run -p -d ${PP_WORK} -u root <<'EOIMAGER'
        set -e
        wic create -o "/tmp/${IMAGE_FULLNAME}.wic/"
        WIC_DIRECT=$(ls -t -1 /tmp/${IMAGE_FULLNAME}.wic/*.direct | head -1)
        mv -f ${WIC_DIRECT} ${PP_DEPLOY}/${IMAGE_FULLNAME}.wic
EOIMAGER
"""
STATUS = """\
Package: grub-efi-amd64-bin
Status: install ok installed
Architecture: amd64
Depends: grub-common (= 2.06-13), mkbootimage | our-mkimage
Version: 2.06-13

Package: parted
Status: install ok unpacked
Version: 3.5-3

Package: removed
Status: deinstall ok config-files
Version: 1
"""


@pytest.fixture
def image(tmp_path, monkeypatch, store):
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    top = tmp_path / "tmp"
    tools = top / "work" / "image" / "template-tools"
    write(tools / "layer" / "var/lib/dpkg/status", STATUS)
    write(tmp_path / "apt" / "own" / "dists/own/main/binary-amd64/Packages", "")
    monkeypatch.setattr(helper, "as_root", lambda d, *argv, text="": "")
    return store(
        {
            "LAYERDIR_template": "/layers/meta-template",
            "STAGING_DIR": str(top),
            "SCHROOT_MOUNTS": f"/layers/meta-template {top} /scripts",
            "TEMPLATE_WIC_DIR": str(top / "work" / "image" / "template-wic"),
            "TEMPLATE_TOOLS_DIR": str(tools),
            "IMAGE_ROOTFS": str(top / "work" / "image" / "rootfs"),
            "DEPLOY_DIR_IMAGE": str(top / "deploy"),
            "REPO_ISAR_DIR": str(tmp_path / "apt"),
            "DISTRO": "own",
            "INSTALL_image_wic": " grub-efi-amd64-bin",
        }
    )


def offer(image, text):
    with open(f"{image.getVar('REPO_ISAR_DIR')}/own/dists/own/main/binary-amd64/Packages", "w", encoding="utf-8") as file:
        file.write(text)


def test_wic_works_and_deploys_in_the_mount_of_the_root_filesystem(image):
    text = imager.link_wic(image, ISARS)
    assert '-o "${TEMPLATE_WIC_DIR}/"' in text
    assert "ls -t -1 ${TEMPLATE_WIC_DIR}/*.direct" in text
    assert "${WIC_DIRECT} ${DEPLOY_DIR_IMAGE}/${IMAGE_FULLNAME}.wic" in text
    assert "/tmp/" not in text
    lines = text.splitlines()
    assert lines[0] == lines[-1] == "    sudo rm -rf --one-file-system '${TEMPLATE_WIC_DIR}'"
    assert "EOIMAGER" in lines


@pytest.mark.parametrize(
    "name, value",
    [
        ("DEPLOY_DIR_IMAGE", "/elsewhere"),
        ("IMAGE_ROOTFS", "/elsewhere"),
        ("SCHROOT_MOUNTS", "/layers"),
    ],
)
def test_wic_stays_where_it_is_when_that_is_not_one_mount(image, name, value):
    image.values[name] = value
    assert imager.link_wic(image, ISARS) == ISARS


def test_wic_stays_where_it_is_when_isar_has_it_elsewhere(image):
    text = ISARS.replace("/tmp/", "/var/tmp/")
    assert imager.link_wic(image, text) == text


def test_the_session_has_our_sgdisk_before_wic_runs(image):
    text = imager.use_sfdisk(image, ISARS)
    assert [line for line in text.splitlines() if line not in ISARS.splitlines()] == [
        "        [ ! -x /sbin/sgdisk ] || mv /sbin/sgdisk /sbin/sgdisk.real",
        "        [ ! -x /sbin/sgdisk.real ] || install -m 755 '${LAYERDIR_template}/files/sgdisk' /sbin/sgdisk",
    ]
    assert text.index("sgdisk") < text.index("wic create")


def test_a_session_that_does_not_see_the_layer_has_its_own_sgdisk(image):
    image.values["SCHROOT_MOUNTS"] = "/scripts"
    assert imager.use_sfdisk(image, ISARS) == ISARS


def test_tools_that_are_there_are_not_installed_again(image):
    assert imager.use_layer(image) == ""
    assert image.values["INSTALL_image_wic"] == ""
    tools = image.values["TEMPLATE_TOOLS_DIR"]
    assert image.values["TEMPLATE_SESSION_LAYER"] == f"{tools}/layer"
    assert image.values["TEMPLATE_SESSION_DIR"] == f"{tools}/session"


def test_tools_may_be_named_with_their_architecture(image):
    image.values["INSTALL_image_wic"] += " grub-efi-amd64-bin:amd64"
    assert imager.use_layer(image) == ""


@pytest.mark.parametrize("name", ["parted", "removed", "dosfstools", "grub-efi-amd64-bin=2.06", "grub-efi-amd64-bin:arm64"])
def test_tools_that_are_not_quite_installed_are_left_to_isar(image, name):
    image.values["INSTALL_image_wic"] += f" {name}"
    assert imager.use_layer(image) == f"not installed is {name}"
    assert image.values["INSTALL_image_wic"].split() == ["grub-efi-amd64-bin", name]
    assert not image.values.get("TEMPLATE_SESSION_DIR")


@pytest.mark.parametrize(
    "fields, name",
    [
        ("Package: grub-common", "grub-common"),
        ("Package: our-mkimage", "our-mkimage"),
        ("Package: other\nProvides: grub, our-mkimage (= 1)", "our-mkimage"),
        ("Package: grub-efi-amd64-bin", "grub-efi-amd64-bin"),
    ],
)
def test_tools_that_may_be_built_here_are_left_to_isar(image, fields, name):
    offer(image, f"{fields}\nFilename: pool/any.deb\n\n")
    assert imager.use_layer(image) == f"{name} is built here"


def test_what_is_built_here_and_concerns_no_tool_does_not_matter(image):
    offer(image, "Package: product-app\nDepends: grub-common\nFilename: pool/any.deb\n\n")
    assert imager.use_layer(image) == ""


def test_nothing_is_used_that_was_not_finished(image):
    image.values["TEMPLATE_TOOLS_DIR"] += "-none"
    assert imager.use_layer(image) == "they were not installed"


def test_the_first_session_is_kept_as_a_layer(image):
    imager.begin_layer(image)
    assert "TEMPLATE_SESSION_LAYER" not in image.values
    assert image.values["TEMPLATE_SESSION_DIR"] == f"{image.values['TEMPLATE_TOOLS_DIR']}/new"
    assert image.values["SCHROOT_MOUNTS"] == f"{image.values['REPO_ISAR_DIR']}/own:/isar-apt"
