# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What makes a release another one, and who may publish it."""

import json
import subprocess

import pytest

from imagetemplate import release, settings


def make_key(path, passphrase=""):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "somebody", "-f", path], check=True
    )
    return str(path)


def test_a_key_is_its_public_half_wherever_it_is(tmp_path):
    key = make_key(tmp_path / "key")
    described = release.describe_key(key)
    assert described.startswith("ssh-ed25519 ") and "somebody" not in described
    assert release.describe_key(f"{key}.pub") == described
    moved = tmp_path / "moved"
    (tmp_path / "key").rename(moved)
    assert release.describe_key(str(moved)) == described
    (tmp_path / "moved.pub").write_text("")
    assert release.describe_key(str(moved)) == described


def test_another_key_is_another_one(tmp_path):
    assert release.describe_key(make_key(tmp_path / "a")) != release.describe_key(make_key(tmp_path / "b"))


def test_a_key_with_a_passphrase_and_no_public_half_is_its_content(tmp_path):
    key = make_key(tmp_path / "key", "secret")
    (tmp_path / "key.pub").unlink()
    assert release.describe_key(key).startswith("sha256:")


def test_no_key_is_none(tmp_path):
    assert release.describe_key("none") == "none"
    assert release.key_files("none") == []


def test_a_key_that_is_gone_is_an_error():
    with pytest.raises(settings.SettingsError, match="TEMPLATE_SIGNING_KEY: '/no/key': No such file"):
        release.describe_key("/no/key")


def test_settings_that_are_recorded_make_another_release(store):
    first = release.describe_settings(store({"LOCALE_GEN": "en", "TOPDIR": "/a"}))
    assert release.describe_settings(store({"LOCALE_GEN": "en", "TOPDIR": "/b"})) == first
    assert release.describe_settings(store({"LOCALE_GEN": "de"})) != first


@pytest.fixture
def image(store):
    return lambda **values: store({"BB_CURRENT_MC": "own", "PN": "image", "MACHINE": "qemuamd64", **values})


def test_an_image_may_be_published_again(image, tmp_path):
    bundle = str(tmp_path / "platform-1.0.tar")
    release.claim(image(), bundle)
    release.claim(image(), bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["platform-1.0.tar.owner"]


@pytest.mark.parametrize("other", [{"PN": "other"}, {"MACHINE": "other"}, {"BB_CURRENT_MC": "other"}])
def test_another_image_may_not_take_its_name(image, tmp_path, other):
    bundle = str(tmp_path / "platform-1.0.tar")
    release.claim(image(), bundle)
    with pytest.raises(release.ClaimError) as error:
        release.claim(image(**other), bundle)
    assert f"'{bundle}' is already the template of image 'image' machine 'qemuamd64' multiconfig 'own'" in str(error.value)
    assert "TEMPLATE_NAME" in str(error.value)
    assert json.loads((tmp_path / "platform-1.0.tar.owner").read_text())["image"] == "image"
    release.claim(image(**other), str(tmp_path / "platform-1.1.tar"))
