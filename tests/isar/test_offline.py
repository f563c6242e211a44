# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A product built where there is no network at all, on a template that brings what was downloaded."""

import os

import pytest

from bitbake_build import Build

IMAGE = "product-image"
DOWNLOADS = os.path.join("downloads", "deb", "debian-bookworm")


def packages(build, name):
    """The files of a package among the downloads of a build."""
    folder = os.path.join(build.path, DOWNLOADS)
    return [os.path.join(folder, file) for file in os.listdir(folder) if file.startswith(f"{name}_")]


@pytest.fixture(scope="module")
def full_bundle(producer, stock, workspace):
    """A release of the platform with all downloads, those of the product among them."""
    with producer.configured('TEMPLATE_VERSION = "1.2"\nTEMPLATE_COMPONENTS:append = " base-apt"'):
        producer.build("isar-image-base")
    path = producer.deployed("template/platform-1.2.tar")
    yield path
    workspace.clear(path)


@pytest.fixture(scope="module")
def there_already(producer):
    """The name of a package, a file of which is among the consumer's downloads before it builds."""
    (path,) = packages(producer, "less")
    return os.path.basename(path)


@pytest.fixture(scope="module")
def offline(workspace, full_bundle, consume_settings, there_already):
    settings = consume_settings(full_bundle) + 'BB_NO_NETWORK = "1"\n'
    with Build(workspace, "offline", settings, workspace.product_layers) as build:
        folder = os.path.join(build.path, DOWNLOADS)
        workspace.run(f"mkdir -p {folder} && echo mine > {folder}/{there_already}", check=True)
        build.network = False
        build.build(IMAGE)
        print(f"\noffline {build.seconds:.0f} s")
        yield build


def test_the_image_is_complete_and_that_of_a_full_build(offline, stock):
    assert (f"{IMAGE}.bb", "do_image_wic") in offline.tasks()
    assert ("product-app_1.0.bb", "do_dpkg_build") in offline.tasks()
    assert os.path.getsize(offline.image(IMAGE, "wic"))
    manifests = []
    for build in (offline, stock):
        with open(build.image(IMAGE, "manifest"), encoding="utf-8") as file:
            manifests.append(sorted(file.read().splitlines()))
    assert manifests[0] == manifests[1]


def test_what_the_template_brought_is_among_the_downloads(offline, there_already, workspace):
    for name in ("nano", "dosfstools", "localepurge"):
        (path,) = packages(offline, name)
        assert os.path.getsize(path)
        assert os.stat(path).st_uid == os.stat(offline.path).st_uid
    with open(os.path.join(offline.path, DOWNLOADS, there_already), encoding="ascii") as file:
        assert file.read() == "mine\n"


def test_packing_after_the_image_leaves_the_initrd_as_it_was(offline):
    log = offline.task_log(f"{IMAGE}-qemuamd64", "do_generate_initramfs")
    assert "the initrd is that of the template" in log


def test_a_package_that_nobody_downloaded_is_named_with_the_way_out(offline):
    with offline.configured('IMAGE_PREINSTALL:append = " tree"'):
        assert not offline.bitbake(f"-c rootfs_install mc:{offline.multiconfig}:{IMAGE}", check=False)
    print(offline.errors())
    assert "tree" in offline.errors()
    assert 'TEMPLATE_COMPONENTS:append = " base-apt"' in offline.errors()
