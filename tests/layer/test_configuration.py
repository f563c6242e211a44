# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What happens before recipes are parsed, and when a build begins."""

import json

import pytest

from imagetemplate import configuration, helper, layers, origin, siggen, verified

MANIFEST = {
    "name": "platform",
    "templateVersion": "1.0",
    "anchors": {
        "layers": [{"name": "core", "tree": "t1", "commit": "c1", "dirty": False}],
        "configuration": {"DISTRO": "debian"},
        "tasks": {"sbuild-chroot-target:do_build": "11"},
    },
}


@pytest.fixture
def consuming(tmp_path, monkeypatch, store):
    """Makes configurations that are built on a template."""
    monkeypatch.setattr(layers, "describe_layers", lambda d: MANIFEST["anchors"]["layers"])
    monkeypatch.setattr(layers, "directories", lambda d: [])
    monkeypatch.setattr(siggen, "install", lambda handler: f"{handler}Template")
    monkeypatch.setattr(verified, "ensure", lambda d, fetch: MANIFEST)

    def make(**values):
        return store(
            {
                "TEMPLATE_MODE": "consume",
                "TEMPLATE_ANCHOR": "strict",
                "DISTRO": "debian",
                "BB_SIGNATURE_HANDLER": "OEBasicHash",
                "TEMPLATE_SSTATE_MIRROR": "file://.* file:///one/PATH",
                "TEMPLATE_SSTATE_DIR": "/one",
                **values,
            }
        )

    return make


def test_without_templates_nothing_is_touched(store):
    d = store({"TEMPLATE_MODE": "off"})
    configuration.prepare({"": d}, d, None)
    assert d.values == {"TEMPLATE_MODE": "off"}


def test_pins_and_mirrors_of_multiconfigs_get_into_the_default_configuration(consuming, store):
    default = store({"TEMPLATE_MODE": "off", "BB_SIGNATURE_HANDLER": "OEBasicHash", "SSTATE_MIRRORS": "own"})
    two = consuming(TEMPLATE_SSTATE_MIRROR="file://.* file:///two/PATH")
    configuration.prepare({"": default, "a": consuming(), "b": two, "c": consuming()}, default, None)
    assert json.loads(default.getVar(siggen.VARIABLE)) == {
        name: {"sbuild-chroot-target:do_build": "11"} for name in "abc"
    }
    assert default.getVar("SSTATE_MIRRORS") == "own file://.* file:///one/PATH file://.* file:///two/PATH"
    assert default.getVar("BB_SIGNATURE_HANDLER") == "OEBasicHashTemplate"
    assert two.getVar("PREFERRED_PROVIDER_bootstrap-target") == "template-bootstrap-target"


def test_when_no_configuration_fits_it_stops_with_the_closest(consuming):
    default, other = consuming(DISTRO="a"), consuming(DISTRO="b")
    monkey = MANIFEST["anchors"]["configuration"]
    with pytest.raises(configuration.ConfigurationError, match="layer|DISTRO") as caught:
        configuration.prepare({"": default, "other": other}, default, None)
    assert f'set DISTRO = "{monkey["DISTRO"]}"' in str(caught.value)


def test_a_configuration_that_nobody_builds_may_differ(consuming):
    default, fits = consuming(DISTRO="a"), consuming()
    configuration.prepare({"": default, "fits": fits}, default, None)
    with pytest.raises(configuration.ConfigurationError, match="DISTRO"):
        configuration.begin_build(default, ["image:do_build"], None, None)
    configuration.begin_build(default, ["mc:fits:image:do_build", "image:do_build"], None, None)


def test_warn_lets_it_be_built_and_tells(consuming):
    d, told = consuming(DISTRO="a", TEMPLATE_ANCHOR="warn"), []
    configuration.prepare({"": d}, d, None)
    configuration.begin_build(d, ["image:do_build"], None, told.append)
    assert len(told) == 1 and "DISTRO" in told[0]


def test_the_origin_is_written_when_it_changes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "directories", lambda d: [])
    monkeypatch.setattr(layers, "describe_layers", lambda d: [])
    path = tmp_path / "tmp" / "origin.json"
    d = store({"TEMPLATE_ORIGIN": str(path), "TEMPLATE_MODE": "produce", "DISTRO": "a"})
    configuration.begin_build(d, [], None, None)
    before = path.stat().st_ino
    configuration.begin_build(d, [], None, None)
    assert path.stat().st_ino == before, "bitbake would hash it again"
    d.setVar("DISTRO", "b")
    configuration.begin_build(d, [], None, None)
    assert origin.read(d)["configuration"]["DISTRO"] == "b"


@pytest.fixture
def trusting(tmp_path, store):
    (tmp_path / "signers").write_text("somebody")
    return store(
        {
            "TEMPLATE_VERIFIED": str(tmp_path / "tmp" / "verified.json"),
            "TEMPLATE_PIN": "sha256:1",
            "TEMPLATE_IDENTITY": "me",
            "TEMPLATE_SOURCE": "/bundle.tar",
            "TEMPLATE_ALLOWED_SIGNERS": str(tmp_path / "signers"),
        }
    )


def test_what_was_verified_holds_until_trust_changes(trusting, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(helper, "run", lambda *_, **options: calls.append(options) or {"manifest": {"name": "x"}})
    for _ in range(2):
        assert verified.ensure(trusting, None) == {"name": "x"}
    assert calls == [{"privileged": False}]
    (tmp_path / "signers").write_text("somebody else")
    verified.ensure(trusting, None)
    trusting.setVar("TEMPLATE_IDENTITY", "you")
    verified.ensure(trusting, None)
    assert len(calls) == 3
    assert verified.read(trusting) == {"name": "x"}


def test_what_is_not_trusted_is_not_kept(trusting, monkeypatch):
    def fail(*_, **__):
        raise helper.HelperError("key unknown", "ask", "key-unknown")

    monkeypatch.setattr(helper, "run", fail)
    with pytest.raises(verified.VerifyError, match="key unknown"):
        verified.ensure(trusting, None)
    assert verified.read(trusting) == {}


def test_an_https_bundle_is_fetched_first(trusting):
    trusting.setVar("TEMPLATE_SOURCE", "https://example.org/bundle.tar")
    assert verified.location(trusting, lambda d: "/downloads/bundle.tar") == "/downloads/bundle.tar"


def test_a_registry_is_for_the_helper(trusting):
    trusting.setVar("TEMPLATE_SOURCE", "oci://host/platform:1.0")
    assert verified.location(trusting, None) == "oci://host/platform:1.0"
    assert "--offline" not in verified.options(trusting) and "--plain-http" not in verified.options(trusting)
    trusting.setVar("BB_NO_NETWORK", "1")
    trusting.setVar("TEMPLATE_PLAIN_HTTP", "1")
    assert verified.options(trusting)[-2:] == ["--offline", "--plain-http"]
    trusting.setVar("TEMPLATE_SOURCE", "/bundle.tar")
    assert "--offline" not in verified.options(trusting)


@pytest.mark.parametrize("stored", [True, False])
def test_a_component_is_not_fetched_when_the_store_has_it(trusting, monkeypatch, stored):
    """Files of the store are root's, so they are given to who builds."""
    ran, as_root = [], []

    def run(d, verb, *arguments, privileged=True):
        ran.append((verb, privileged, *arguments[:3]))
        if verb == "inspect" and not stored:
            raise helper.HelperError("not there", None, "not-found")

    monkeypatch.setattr(helper, "run", run)
    monkeypatch.setattr(helper, "as_root", lambda d, *words: as_root.append((words[0], words[-1])))
    trusting.setVar("TEMPLATE_SOURCE", "oci://host/platform:1.0")
    verified.take_component(trusting, "sstate", "/out", "oci://host/platform:1.0")
    if stored:
        assert ran[1] == ("checkout", True, "--component", "sstate", "sha256:1")
        assert as_root == [("chown", "/out")]
    else:
        assert ran[1] == ("checkout", False, "--no-store", "--component", "sstate")
        assert not as_root


def test_multiconfigs_on_different_templates_need_a_tmpdir_each(consuming, store):
    def make(name, **values):
        return consuming(**{"TMPDIR": "/tmp", "TEMPLATE_PIN": "sha256:1", "BB_CURRENT_MC": name, **values})

    off = store({"TEMPLATE_MODE": "off", "TMPDIR": "/other", "BB_SIGNATURE_HANDLER": "OEBasicHash"})
    one, same = make("one"), make("same")
    two, apart = make("two", TEMPLATE_PIN="sha256:2"), make("apart", TEMPLATE_PIN="sha256:2", TMPDIR="/tmp-two")
    found = {"": off, "one": one, "same": same, "two": two, "apart": apart}
    configuration.prepare(found, off, None)

    def build(d, *names):
        targets = [f"mc:{name}:image:do_build" for name in names] + ["image:do_build"] * len(names)
        configuration.begin_build(d, targets, None, None)

    for d in (one, same, apart):
        build(d, "one", "same", "apart")
    with pytest.raises(configuration.ConfigurationError, match="one and two are built from different") as caught:
        build(one, "one", "two")
    assert 'TMPDIR = "${TOPDIR}/tmp-one"' in str(caught.value)
    build(two, "two")
