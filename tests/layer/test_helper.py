# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Finding the helper, and understanding what it answers."""

import json
import os

import pytest

from imagetemplate import helper


class Environment:
    def __init__(self, **values):
        self.values = values

    def getVar(self, name, expand=True):
        return self.values.get(name)


def test_the_configured_helper_wins(store, program):
    d = store({"TEMPLATE_HELPER": program, "BB_ORIGENV": Environment(PATH="/usr/bin")})
    assert helper.find_helper(d) == program


def test_then_the_path_of_whoever_started_bitbake(store, program):
    d = store({"BB_ORIGENV": Environment(PATH=f"/nowhere:{os.path.dirname(program)}")})
    assert helper.find_helper(d) == program


def test_then_what_was_built_beside_the_layer(store, tmp_path):
    built = tmp_path / "target" / "release" / "isar-template"
    built.parent.mkdir(parents=True)
    built.touch(mode=0o755)
    layer = tmp_path / "meta-template"
    d = store({"BB_ORIGENV": Environment(PATH="/nowhere"), "LAYERDIR_template": str(layer)})
    assert helper.find_helper(d) == str(built)


def test_no_helper_says_what_to_add(store, tmp_path):
    d = store({"BB_ORIGENV": Environment(PATH="/nowhere"), "LAYERDIR_template": str(tmp_path)})
    with pytest.raises(helper.HelperError, match='add to local.conf: TEMPLATE_HELPER = "'):
        helper.find_helper(d)


def test_a_result_is_returned():
    result = {"version": 1, "ok": True, "name": "platform"}
    assert helper.parse_result("import", 0, json.dumps(result)) == result


def test_a_failure_carries_message_hint_and_kind():
    error = {"kind": "unknown-key", "message": "verifying 'b': key unknown", "hint": "add it", "exitCode": 3}
    with pytest.raises(helper.HelperError) as caught:
        helper.parse_result("import", 3, json.dumps({"ok": False, "error": error}))
    assert str(caught.value) == "isar-template import: verifying 'b': key unknown\nadd it"
    assert caught.value.kind == "unknown-key"


@pytest.mark.parametrize("said", ["sudo: a password is required", None])
def test_without_sudo_it_is_said_who_can_change_that(store, program, tmp_path, monkeypatch, said):
    """It asks for a password, or is not there."""
    if said:
        sudo = tmp_path / "bin" / "sudo"
        sudo.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    d = store({"TEMPLATE_HELPER": program, "TEMPLATE_STORE_DIR": "/nowhere", "BB_ORIGENV": Environment()})
    for call in (lambda: helper.run(d, "import"), lambda: helper.as_root(d, "true")):
        with pytest.raises(helper.HelperError, match=said or "sudo is not installed") as caught:
            call()
        assert "NOPASSWD" in caught.value.hint


@pytest.mark.parametrize("output", ["", "panicked", "[]", "{}", '{"ok": false}'])
def test_a_crash_shows_the_last_line(output):
    with pytest.raises(helper.HelperError, match="isar-template import: killed"):
        helper.parse_result("import", 137, output, "killed")


def test_success_without_a_result_is_a_failure():
    with pytest.raises(helper.HelperError, match="exit code 0"):
        helper.parse_result("import", 0, "")


@pytest.mark.parametrize("value, expected", [(None, False), ("", False), ("0", False), ("1", True), ("Yes", True), ("no", False)])
def test_truth_is_bitbakes(value, expected):
    assert helper.is_true(value) is expected


def test_proxies_of_the_configuration_win_over_those_of_the_environment(store):
    caller = Environment(http_proxy="http://caller", HTTPS_PROXY="http://caller")
    d = store({"http_proxy": "http://configured", "no_proxy": "localhost", "BB_ORIGENV": caller})
    assert helper.proxies(d) == {
        "http_proxy": "http://configured", "no_proxy": "localhost", "HTTPS_PROXY": "http://caller",
    }  # fmt: skip


def test_without_network_every_proxy_is_dead(store):
    d = store({"BB_NO_NETWORK": "1", "http_proxy": "http://configured", "no_proxy": "*", "BB_ORIGENV": Environment()})
    proxies = helper.proxies(d)
    assert {proxies[name] for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ftp_proxy")} == {helper.DEAD_PROXY}
    assert proxies["no_proxy"] == proxies["NO_PROXY"] == ""


def test_the_program_runs_with_these_proxies(store, monkeypatch):
    commands = []
    monkeypatch.setattr(helper.subprocess, "Popen", lambda command, **_: commands.append(command))
    helper.run_privileged(store({"http_proxy": "http://configured", "BB_ORIGENV": Environment(SSH_AUTH_SOCK="/agent", SSL_CERT_FILE="/ca.pem")}), ["true"])
    assert {"http_proxy=http://configured", "SSH_AUTH_SOCK=/agent", "SSL_CERT_FILE=/ca.pem"} < set(commands[0])


def test_logins_are_those_of_who_builds(store, monkeypatch):
    commands = []
    monkeypatch.setattr(helper.subprocess, "Popen", lambda command, **_: commands.append(command))
    helper.run_privileged(store({"BB_ORIGENV": Environment(HOME="/home/me", XDG_RUNTIME_DIR="/run/user/1")}), ["true"])
    assert {"HOME=/root", "DOCKER_CONFIG=/home/me/.docker", "XDG_CONFIG_HOME=/home/me/.config", "XDG_RUNTIME_DIR=/run/user/1"} < set(commands[0])
    helper.run_privileged(store({"REGISTRY_AUTH_FILE": "/auth.json", "BB_ORIGENV": Environment(DOCKER_CONFIG="/docker")}), ["true"])
    assert {"REGISTRY_AUTH_FILE=/auth.json", "DOCKER_CONFIG=/docker"} < set(commands[1])


@pytest.mark.parametrize("multiconfig, target", [("", "image"), ("default", "image"), ("own", "mc:own:image")])
def test_a_target_is_named_as_on_the_command_line(store, multiconfig, target):
    assert helper.target(store({"BB_CURRENT_MC": multiconfig}), "image") == target
