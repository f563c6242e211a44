# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Settings are checked before anything else, and each error says what to do."""

import json
import re

import pytest

from imagetemplate import settings

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def produce(program, tmp_path):
    key = tmp_path / "key"
    key.touch()
    return {
        "TEMPLATE_MODE": "produce",
        "TEMPLATE_SIGNING_KEY": str(key),
        "TEMPLATE_COMPONENTS": "rootfs bootstrap",
        "TEMPLATE_HELPER": program,
        "TEMPLATE_STORE_DIR": "/store",
    }


@pytest.fixture
def consume(program, tmp_path):
    signers = tmp_path / "signers"
    signers.touch()
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    manifests = [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": DIGEST}]
    (bundle / "index.json").write_text(json.dumps({"manifests": manifests}))
    return {
        "TEMPLATE_MODE": "consume",
        "TEMPLATE_SOURCE": str(bundle),
        "TEMPLATE_ALLOWED_SIGNERS": str(signers),
        "TEMPLATE_IDENTITY": "platform-team@example.org",
        "TEMPLATE_ANCHOR": "strict",
        "TEMPLATE_QA": "off",
        "TEMPLATE_HELPER": program,
        "TEMPLATE_STORE_DIR": "/store",
    }


def refused(store, values, flags=None):
    with pytest.raises(settings.SettingsError) as error:
        settings.check(store(values, flags))
    return str(error.value)


def test_off_needs_nothing(store):
    settings.check(store({"TEMPLATE_MODE": "off"}))


def test_complete_settings_are_accepted(store, produce, consume):
    settings.check(store(produce))
    settings.check(store({**produce, "TEMPLATE_SIGNING_KEY": "none"}))
    settings.check(store(consume))
    settings.check(store({**consume, "TEMPLATE_SOURCE": "file://" + consume["TEMPLATE_SOURCE"]}))


def test_an_unknown_mode_lists_the_known_ones(store):
    message = refused(store, {"TEMPLATE_MODE": "yes"})
    assert message == "TEMPLATE_MODE has the unknown value 'yes', known are: off, produce, consume, derive"


def test_derive_needs_what_both_need(store, produce, consume):
    derive = {**produce, **consume, "TEMPLATE_MODE": "derive"}
    settings.check(store(derive))
    for name in ("TEMPLATE_SIGNING_KEY", "TEMPLATE_SOURCE"):
        assert f"TEMPLATE_MODE = 'derive' needs {name}" in refused(store, {**derive, name: ""})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"TEMPLATE_SIGNING_KEY": ""}, "needs TEMPLATE_SIGNING_KEY, an ssh key, or 'none'"),
        ({"TEMPLATE_SIGNING_KEY": "key"}, "TEMPLATE_SIGNING_KEY is not an absolute path: 'key'"),
        ({"TEMPLATE_SIGNING_KEY": "/no/key"}, "TEMPLATE_SIGNING_KEY is not a file: '/no/key'"),
        ({"TEMPLATE_BASE": "base.tar"}, "TEMPLATE_BASE is not an absolute path: 'base.tar'"),
        ({"TEMPLATE_BASE": "/no/base.tar"}, "TEMPLATE_BASE: '/no/base.tar': No such file"),
        ({"TEMPLATE_COMPONENTS": "rootfs sdk"}, "TEMPLATE_COMPONENTS has the unknown value 'sdk'"),
        ({"TEMPLATE_COMPONENTS": "bootstrap"}, "TEMPLATE_COMPONENTS lacks 'rootfs'"),
        ({"TEMPLATE_STORE_DIR": "store"}, "TEMPLATE_STORE_DIR is not an absolute path: 'store'"),
        ({"TEMPLATE_STORE_DIR": ""}, "TEMPLATE_STORE_DIR is not an absolute path: ''"),
        ({"TEMPLATE_HELPER": "/no/helper"}, "TEMPLATE_HELPER is not a program's absolute path: '/no/helper'"),
    ],
)
def test_produce_errors(store, produce, change, message):
    assert message in refused(store, {**produce, **change})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"TEMPLATE_SOURCE": ""}, "needs TEMPLATE_SOURCE"),
        ({"TEMPLATE_SOURCE": "bundle"}, "TEMPLATE_SOURCE: 'bundle' is not an absolute path"),
        ({"TEMPLATE_SOURCE": "ftp://host/name"}, "TEMPLATE_SOURCE: 'ftp://host/name' is neither a path"),
        ({"TEMPLATE_SOURCE": "oci://host/name:1.0"}, "a TEMPLATE_SOURCE in a registry needs TEMPLATE_DIGEST"),
        ({"TEMPLATE_SOURCE": "oci://host/name@sha256:12"}, "has an '@' that no sha256 digest follows"),
        (
            {"TEMPLATE_SOURCE": f"oci://host/name@{DIGEST}", "TEMPLATE_DIGEST": DIGEST.replace("0", "1")},
            f"TEMPLATE_SOURCE names {DIGEST}, and TEMPLATE_DIGEST",
        ),
        ({"TEMPLATE_PLAIN_HTTP": "yes"}, "TEMPLATE_PLAIN_HTTP is neither '0' nor '1': 'yes'"),
        ({"TEMPLATE_SOURCE": "/no/bundle"}, "TEMPLATE_SOURCE: '/no/bundle': No such file"),
        ({"TEMPLATE_SOURCE": "https://host/b.tar"}, "needs TEMPLATE_DIGEST"),
        (
            {"TEMPLATE_SOURCE": "https://host/b.tar", "TEMPLATE_DIGEST": DIGEST},
            "needs TEMPLATE_SOURCE[sha256sum]",
        ),
        ({"TEMPLATE_ALLOWED_SIGNERS": ""}, "needs TEMPLATE_ALLOWED_SIGNERS"),
        ({"TEMPLATE_ALLOWED_SIGNERS": "/no/file"}, "TEMPLATE_ALLOWED_SIGNERS is not a file"),
        ({"TEMPLATE_IDENTITY": ""}, "needs TEMPLATE_IDENTITY"),
        ({"TEMPLATE_KEEP": "maybe"}, "TEMPLATE_KEEP is neither '0' nor '1': 'maybe'"),
        ({"TEMPLATE_QA": "yes"}, "TEMPLATE_QA has the unknown value 'yes', known are: off, warn, error"),
        ({"TEMPLATE_REVOKED_KEYS": "/no/file"}, "TEMPLATE_REVOKED_KEYS is not a file"),
        ({"TEMPLATE_DIGEST": "sha256:12"}, "TEMPLATE_DIGEST is not 'sha256:' and 64 hex digits"),
    ],
)
def test_consume_errors(store, consume, change, message):
    assert message in refused(store, {**consume, **change})


@pytest.mark.parametrize(
    "name, value",
    [
        ("TEMPLATE_SIGNING_KEY", ""),
        ("TEMPLATE_SIGNING_KEY", "relative"),
        ("TEMPLATE_SIGNING_KEY", "/no/key"),
        ("TEMPLATE_STORE_DIR", "relative"),
        ("TEMPLATE_HELPER", ""),
        ("TEMPLATE_HELPER", "/no/helper"),
    ],
)
def test_errors_of_produce_end_with_the_line_to_add(store, produce, monkeypatch, name, value):
    monkeypatch.setenv("PATH", "/nowhere")
    message = refused(store, {**produce, "LAYERDIR_template": "/nowhere/layer", name: value})
    assert re.search(f'add to local.conf: {name} = "[^"]+"$', message.splitlines()[-1])


@pytest.mark.parametrize("value", ["", "relative", "/no/such/file"])
@pytest.mark.parametrize("name", ["TEMPLATE_SOURCE", "TEMPLATE_ALLOWED_SIGNERS"])
def test_errors_of_consume_end_with_the_line_to_add(store, consume, name, value):
    message = refused(store, {**consume, name: value})
    assert re.fullmatch(f'add to local.conf: {name} = "[^"]+"', message.splitlines()[-1])


@pytest.mark.parametrize(
    "signers, identity",
    [
        ("", "platform-team@example.org"),
        ("# none\n*@example.com ssh-ed25519 A\n", "platform-team@example.org"),
        ("# ours\n\nteam@example.com,other@example.com ssh-ed25519 A\n", "team@example.com"),
    ],
)
def test_a_missing_identity_is_told_from_the_file_that_has_it(store, consume, signers, identity):
    with open(consume["TEMPLATE_ALLOWED_SIGNERS"], "w", encoding="utf-8") as file:
        file.write(signers)
    message = refused(store, {**consume, "TEMPLATE_IDENTITY": ""})
    assert message.splitlines()[-1] == f'add to local.conf: TEMPLATE_IDENTITY = "{identity}"'


@pytest.mark.parametrize("multiconfig, prefix", [(None, ""), ("default", ""), ("mc", "multiconfig 'mc': ")])
def test_errors_name_the_multiconfig(store, multiconfig, prefix):
    assert settings.where(store({"BB_CURRENT_MC": multiconfig})) == prefix


@pytest.mark.parametrize("mode", ["produce", "consume", "derive", "on"])
def test_no_mode_but_off_is_allowed_where_templates_are_forbidden(store, produce, mode):
    message = refused(store, {**produce, "TEMPLATE_MODE": mode, "TEMPLATE_FORBID": "1"})
    assert message.startswith(f"TEMPLATE_FORBID is set, but TEMPLATE_MODE = '{mode}'")
    assert 'set TEMPLATE_MODE = "off"' in message
    settings.check(store({"TEMPLATE_MODE": "off", "TEMPLATE_FORBID": "1"}))


@pytest.mark.parametrize("value", ["yes", "true", "2", " "])
def test_forbid_is_a_boolean(store, value):
    message = refused(store, {"TEMPLATE_MODE": "off", "TEMPLATE_FORBID": value})
    assert message.startswith(f"TEMPLATE_FORBID is neither '0' nor '1': '{value}'")


@pytest.mark.parametrize("value", ["0", "", None])
def test_neither_multiconfig_nor_recipe_can_allow_what_is_forbidden(store, value):
    base, other = store({"TEMPLATE_FORBID": "1"}), store({"TEMPLATE_FORBID": value, "PN": "image"})
    settings.check_multiconfigs({"": base, "mc": base})
    with pytest.raises(settings.SettingsError, match="^multiconfig 'mc' sets TEMPLATE_FORBID = '0?', but"):
        settings.check_multiconfigs({"": base, "mc": other})
    settings.check_multiconfigs({"": other, "mc": base})
    with pytest.raises(settings.SettingsError, match="^image sets TEMPLATE_FORBID = '0?', but"):
        settings.check_recipe(other, {"TEMPLATE_FORBID": "1"})


def test_a_recipe_can_forbid_itself_what_others_may(store):
    values = {"TEMPLATE_FORBID": "1", "PN": "image"}
    settings.check_recipe(store({**values, "TEMPLATE_MODE": "off"}), {"TEMPLATE_FORBID": "0"})
    with pytest.raises(settings.SettingsError, match="^TEMPLATE_FORBID is set, but"):
        settings.check_recipe(store({**values, "TEMPLATE_MODE": "consume"}), {"TEMPLATE_FORBID": "0"})


def test_https_is_accepted_with_digest_and_checksum(store, consume):
    values = {**consume, "TEMPLATE_SOURCE": "https://host/b.tar", "TEMPLATE_DIGEST": DIGEST}
    settings.check(store(values, {("TEMPLATE_SOURCE", "sha256sum"): "0" * 64}))


def configured(values):
    return {name: values.get(name) for name in ("TEMPLATE_MODE", *settings.SHARED)}


def test_an_image_may_have_the_mode_of_its_configuration_or_none(store, produce, consume):
    settings.check_image(store(produce), configured(produce))
    settings.check_image(store(consume), configured(consume))
    settings.check_image(store({**consume, "TEMPLATE_MODE": "off"}), configured(consume))
    settings.check_image(store({"TEMPLATE_MODE": "off"}), {"TEMPLATE_MODE": "off"})


@pytest.mark.parametrize("mode", ["off", "produce"])
def test_an_image_cannot_switch_itself_on(store, consume, mode):
    with pytest.raises(settings.SettingsError) as error:
        settings.check_image(store({**consume, "PN": "image"}), {**configured(consume), "TEMPLATE_MODE": mode})
    assert str(error.value).startswith(
        f"image sets TEMPLATE_MODE = 'consume', but the configuration has '{mode}': a recipe can only switch itself 'off'"
    )


@pytest.mark.parametrize("name", ["TEMPLATE_SOURCE", "TEMPLATE_DIGEST"])
def test_an_image_cannot_have_a_template_of_its_own(store, consume, name):
    with pytest.raises(settings.SettingsError, match=f"image sets {name} = 'own'.*on one template"):
        settings.check_image(store({**consume, "PN": "image", name: "own"}), configured(consume))


def test_settings_of_an_image_are_checked_as_well(store, produce):
    with pytest.raises(settings.SettingsError, match="unknown value 'sdk'"):
        settings.check_image(store({**produce, "TEMPLATE_COMPONENTS": "sdk"}), configured(produce))


@pytest.mark.parametrize("name", ["platform", "a", "base-platform_1.2", "c++", "x" * 100])
@pytest.mark.parametrize("version", ["1.0", "1", "2026.1-rc1"])
def test_names_that_the_helper_takes(store, name, version):
    settings.check_release(store({"TEMPLATE_NAME": name, "TEMPLATE_VERSION": version}))


@pytest.mark.parametrize(
    "name, version, message",
    [
        ("", "1.0", 'set for example: TEMPLATE_NAME = "platform"'),
        ("a b", "1.0", "TEMPLATE_NAME is not a template name: 'a b'"),
        ("-a", "1.0", "TEMPLATE_NAME is not"),
        ("a/b", "1.0", "TEMPLATE_NAME is not"),
        ("x" * 101, "1.0", "TEMPLATE_NAME is not"),
        ("a\n", "1.0", "TEMPLATE_NAME is not"),
        ("a", "", "TEMPLATE_VERSION is not a template version: ''"),
        ("a", "1.0+git", 'set for example: TEMPLATE_VERSION = "1.0"'),
        ("a", "1.0~rc1", "TEMPLATE_VERSION is not"),
        ("a", "1.0-rootfs", "TEMPLATE_VERSION ends in '-rootfs'"),
    ],
)
def test_names_that_it_does_not_take(store, name, version, message):
    with pytest.raises(settings.SettingsError) as error:
        settings.check_release(store({"TEMPLATE_NAME": name, "TEMPLATE_VERSION": version}))
    assert message in str(error.value)
