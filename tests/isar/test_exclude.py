# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A template that leaves packages out, and a product that puts them in: the fast loop of who works on them."""

import os
import re

from bitbake_build import MACHINE, Build
from conftest import PLATFORM, PRODUCE

IMAGE = "product-image"


def test_a_kernel_that_was_left_out_comes_in_the_second_step(workspace, producer, consume_settings):
    settings = PLATFORM + PRODUCE.format(key=workspace.key, helper=workspace.helper)
    settings += f"""
TEMPLATE_EXCLUDE = "linux-image-amd64 platform-tool"
TEMPLATE_NAME = "kernelless"
DL_DIR = "{producer.path}/downloads"
SSTATE_DIR = "{producer.path}/sstate-cache"
"""
    with Build(workspace, "kernelless", settings, [workspace.platform_layer, workspace.layer]) as build:
        build.build("isar-image-base")
        assert not [task for _, task in build.tasks() if task.startswith("do_image_")]
        assert not [recipe for recipe, _ in build.tasks() if recipe.startswith("platform-tool")]
        bundle = build.deployed("template/kernelless-1.0.tar")
        installed = {package["package"] for package in workspace.inspect(bundle)["manifest"]["packages"]}
        assert not [name for name in installed if re.match("linux-image|platform-", name)]
        # what is left of it is the bundle
        kept = os.path.join(workspace.path, "kernelless-1.0.tar")
        os.rename(bundle, kept)

    settings = consume_settings(kept) + f'DL_DIR = "{producer.path}/downloads"\n'
    with Build(workspace, "with-kernel", settings, workspace.product_layers) as product:
        product.build(IMAGE)
        assert os.listdir(os.path.join(product.rootfs(IMAGE), "usr/lib/modules"))
        assert os.path.getsize(product.image(IMAGE, "wic")) > 0
        assert os.path.exists(product.deployed(f"images/{MACHINE}/{IMAGE}-debian-bookworm-{MACHINE}-initrd.img"))
        assert {recipe.split("_")[0] for recipe, task in product.tasks() if task == "do_dpkg_build"} == {
            "product-app", "platform-lib", "platform-tool",
        }  # fmt: skip
    workspace.clear(kept)
