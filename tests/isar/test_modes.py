# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""TEMPLATE_MODE and TEMPLATE_FORBID from every place that may set them, and settings that cannot work."""

import contextlib
import json
import os
import re
import zlib

import pytest

import signatures
from bitbake_build import Build
from conftest import PLATFORM

IMAGE = "isar-image-base"
NATIVE = 'MACHINE = "qemuamd64"\nDISTRO = "debian-bookworm"\n'
FOREIGN = 'MACHINE = "qemuarm64"\nDISTRO = "debian-bookworm"\n'
OWN_LAYER = """\
BBFILES += "${LAYERDIR}/*.bb"
BBFILE_COLLECTIONS += "own"
BBFILE_PATTERN_own = "^${LAYERDIR_RE}/"
LAYERSERIES_COMPAT_own = "v0.6"
"""


@pytest.fixture
def consuming(bundle, consume_settings):
    """Settings for a build on the platform's template."""
    return consume_settings(bundle)


@pytest.fixture
def make(workspace):
    """A build directory of its own for each configuration: a server that failed may still be shutting down."""
    made = contextlib.ExitStack()

    def make(settings, multiconfigs=None, recipes=None):
        multiconfigs = multiconfigs or {}
        text = json.dumps([settings, multiconfigs, recipes])
        name = f"modes-{zlib.crc32(text.encode())}"
        layers = [workspace.platform_layer, workspace.layer]
        if recipes:
            layers.append(write_layer(os.path.join(workspace.path, f"{name}-layer"), recipes))
        build = made.enter_context(Build(workspace, name, f"{PLATFORM}\n{settings}\n", layers))
        for mc, conf in multiconfigs.items():
            folder = os.path.join(build.path, "conf", "multiconfig")
            os.makedirs(folder, exist_ok=True)
            write(os.path.join(folder, f"{mc}.conf"), conf)
        if multiconfigs:
            build.configure(f'BBMULTICONFIG = "{" ".join(multiconfigs)}"\n')
        return build

    with made:
        yield make


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_layer(path, recipes):
    os.makedirs(os.path.join(path, "conf"))
    write(os.path.join(path, "conf", "layer.conf"), OWN_LAYER)
    for name, settings in recipes.items():
        write(os.path.join(path, f"{name}.bb"), f"{settings}\nrequire recipes-core/images/{IMAGE}.bb\n")
    return path


def consumes(build, target):
    """Whether an image is built on a template, by what installs its packages and what tells of it."""
    text = build.run(f"bitbake -e {target}")
    values = dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
    found = {"template_install_packages" in values["ROOTFS_INSTALL_COMMAND"].split(),
             bool(re.search("-template-[0-9a-f]{12}$", values["SCHROOT_TARGET_DIR"]))}  # fmt: skip
    assert len(found) == 1
    return found.pop()


def assert_refused_before_parsing(build, message):
    assert not build.bitbake(f"{IMAGE}", check=False)
    assert message in build.errors()
    assert "Parsing recipes" not in build.output


PRODUCE = 'TEMPLATE_MODE = "produce"\nTEMPLATE_SIGNING_KEY = "none"\n'


@pytest.mark.parametrize(
    "settings, message",
    [
        ('TEMPLATE_MODE = "on"', "unknown value 'on', known are: off, produce, consume, derive"),
        (f'{PRODUCE}TEMPLATE_STORE_DIR = "store"', "TEMPLATE_STORE_DIR is not an absolute path: 'store'"),
        ('TEMPLATE_MODE = "derive"', 'add to local.conf: TEMPLATE_SIGNING_KEY = "/path/to/key"'),
        ('TEMPLATE_MODE = "produce"', 'add to local.conf: TEMPLATE_SIGNING_KEY = "/path/to/key"'),
        ('TEMPLATE_MODE = "consume"', 'add to local.conf: TEMPLATE_SOURCE = "/path/to/platform-1.0.tar"'),
        (f'{PRODUCE}TEMPLATE_HELPER = "/nowhere"', "TEMPLATE_HELPER is not a program's absolute path: '/nowhere'"),
        (PRODUCE, 'add to local.conf: TEMPLATE_HELPER = "/path/to/isar-template"'),
        ('TEMPLATE_FORBID = "maybe"', "TEMPLATE_FORBID is neither '0' nor '1': 'maybe'"),
        (f'{PRODUCE}TEMPLATE_FORBID = "1"', "TEMPLATE_FORBID is set, but TEMPLATE_MODE = 'produce' would use a template"),
    ],
)
def test_unusable_settings_stop_the_build_before_parsing(make, settings, message):
    assert_refused_before_parsing(make(settings), message)


def test_a_variable_that_is_nearly_one_of_the_layer_is_told(make):
    build = make('TEMPLATE_MOD = "consume"\nTEMPLATE_FORBID = "maybe"')
    assert_refused_before_parsing(build, "TEMPLATE_FORBID is neither '0' nor '1'")
    assert build.output.count("which nobody reads") == 1
    assert "WARNING: TEMPLATE_MOD is set, which nobody reads: is TEMPLATE_MODE meant?" in build.output


def test_a_wrong_value_in_a_multiconfig_names_it(make):
    build = make("", {"native": f'{NATIVE}TEMPLATE_MODE = "on"\n'})
    assert_refused_before_parsing(build, "multiconfig 'native': TEMPLATE_MODE has the unknown value 'on'")


def test_one_multiconfig_consumes_and_all_else_is_as_with_the_mode_off(make, consuming):
    build = make("", {"native": NATIVE, "foreign": FOREIGN})
    before = signatures.write(build, "off", [f"mc:foreign:{IMAGE}"])
    write(os.path.join(build.path, "conf", "multiconfig", "native.conf"), NATIVE + consuming)
    after = signatures.write(build, "one", [f"mc:foreign:{IMAGE}"])
    assert signatures.difference(build, before, after) is None
    assert consumes(build, f"mc:native:{IMAGE}")
    assert not consumes(build, f"mc:foreign:{IMAGE}")
    # both at once, too
    both = signatures.write(build, "both", [f"mc:native:{IMAGE}", f"mc:foreign:{IMAGE}"])
    assert signatures.difference(build, before, {task: both[task] for task in before}) is None
    assert [task for task in both if "template-import" in task and task.endswith(".do_template_import")]


def test_the_configuration_consumes_and_one_multiconfig_does_not(make, consuming):
    build = make(f'{NATIVE}BBMULTICONFIG = ""\n', {"foreign": f'{FOREIGN}TEMPLATE_MODE = "off"\n'})
    before = signatures.write(build, "off", [f"mc:foreign:{IMAGE}"])
    build.configure(consuming)
    both = signatures.write(build, "both", [IMAGE, f"mc:foreign:{IMAGE}"])
    assert signatures.difference(build, before, {task: both[task] for task in before}) is None
    assert consumes(build, IMAGE)
    assert not consumes(build, f"mc:foreign:{IMAGE}")


def test_an_image_recipe_switches_itself_off(make, consuming):
    build = make(f'{NATIVE}BBMULTICONFIG = ""\n{consuming}', recipes={"own-image": 'TEMPLATE_MODE = "off"'})
    text = build.run("bitbake -e own-image")
    assert "template_install_packages" not in re.search('^ROOTFS_INSTALL_COMMAND="(.*)"$', text, re.MULTILINE).group(1)
    assert consumes(build, IMAGE)


def test_a_multiconfig_cannot_allow_what_the_configuration_forbids(make, consuming):
    build = make('TEMPLATE_FORBID = "1"', {"native": f'{NATIVE}{consuming}TEMPLATE_FORBID = "0"\n'})
    assert_refused_before_parsing(build, "multiconfig 'native' sets TEMPLATE_FORBID = '0', but the configuration has '1'")


def test_a_multiconfig_that_uses_a_template_is_refused_where_it_is_forbidden(make, consuming):
    build = make('TEMPLATE_FORBID = "1"', {"native": NATIVE + consuming})
    assert_refused_before_parsing(build, "multiconfig 'native': TEMPLATE_FORBID is set, but TEMPLATE_MODE = 'consume'")


@pytest.mark.parametrize(
    "settings, message",
    [
        ('TEMPLATE_FORBID = "0"', "own-image sets TEMPLATE_FORBID = '0', but the configuration has '1'"),
        ('TEMPLATE_MODE = "consume"', "TEMPLATE_FORBID is set, but TEMPLATE_MODE = 'consume'"),
    ],
)
def test_an_image_recipe_cannot_use_templates_where_it_is_forbidden(make, settings, message):
    build = make(f'{NATIVE}BBMULTICONFIG = ""\nTEMPLATE_FORBID = "1"', recipes={"own-image": settings})
    assert not build.bitbake(IMAGE, check=False)
    assert f"own-image.bb: {message}" in build.output
    assert not build.tasks()
