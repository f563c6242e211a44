# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Help, usage errors, exit codes, the shape of JSON output, missing privilege."""

import json
import os
import re
import subprocess

import pytest

import support

VERBS = ["pack", "sign", "verify", "inspect", "import", "list", "gc", "checkout", "plan", "install", "exec", "diff", "qa"]


def test_help_lists_every_verb(helper):
    text = helper("--help").stdout
    for verb in VERBS:
        assert re.search(r"^\s+%s\s+\S" % verb, text, re.MULTILINE), verb
    for option in ("--store", "--format", "--progress", "-q", "-v"):
        assert option in text, option


def test_output_that_nobody_can_have(helper):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(helper.argv("list"), stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == support.INTERNAL
    assert "standard output" in result.stderr and "free some space" in result.stderr, result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(helper, verb):
    text = helper(verb, "--help").stdout
    assert "Usage:" in text
    # says what it changes or needs before the options
    assert len(text.split("Usage:")[0].strip()) > 20


def test_version_is_the_workspace_version(helper):
    with open(os.path.join(support.TOP, "Cargo.toml")) as file:
        version = re.search(r'^version = "(.*)"', file.read(), re.MULTILINE).group(1)
    assert helper("--version").stdout.split() == ["isar-template", version]


def test_manual_has_the_help_of_every_verb():
    support.command(os.path.join(support.TOP, "scripts/generate-docs"), "--check", "verbs",
                    env=dict(os.environ, ISAR_TEMPLATE=support.HELPER))


@pytest.mark.parametrize("words", [
    [], ["no-such-verb"], ["list", "--no-such-option"], ["list", "--format", "xml"], ["verify"], ["checkout", "only-name"],
    ["pack", "--name", "a"], ["install", "platform"], ["list", "--progress", "sometimes"],
])
def test_wrong_usage_is_exit_code_2(helper, words):
    result = helper(*words, code=support.USAGE)
    assert result.stdout == ""
    assert result.stderr


def test_tips_are_of_use(helper):
    assert "'checkout'" in helper("chekout", code=support.USAGE).stderr
    assert "'--store'" in helper("list", "--stor", "x", code=support.USAGE).stderr
    # an option that checkout does not have is no value of it either
    assert "-- " not in helper("checkout", "--output", "a", "b", code=support.USAGE).stderr
    assert "behind '--'" in helper("exec", "platform", "ls", code=support.USAGE).stderr


def test_a_mistake_in_a_path_is_told_before_what_else_is_missing(helper):
    for verb in ("plan", "import", "verify"):
        error = helper.error(verb, "./nosuch", code=support.USAGE)
        assert "'./nosuch' does not exist" in error["message"], error
    assert "--allowed-signers" in helper.error("plan", "./", code=support.USAGE)["message"]


def test_without_a_home_there_is_no_place_for_a_store(tmp, reachable_helper):
    result = support.as_nobody("env", "-u", "HOME", reachable_helper, "list", tmp=tmp)
    assert result.returncode == support.USAGE
    assert "HOME is not set" in result.stderr and "ISAR_TEMPLATE_STORE" in result.stderr, result.stderr


def test_usage_error_as_json(helper):
    error = helper.json("checkout", "--no-such-option", code=support.USAGE)["error"]
    assert error["kind"] == "usage"
    assert "--no-such-option" in error["message"]


def test_error_has_message_and_hint_on_lines_of_their_own(helper, tmp, tiny_bundle, publisher):
    helper("import", *publisher.trust, tiny_bundle)
    result = helper("checkout", "nothing-here", os.path.join(tmp, "out"), code=support.USAGE)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert "nothing-here" in lines[0]
    assert any(line.startswith("hint: ") for line in lines[1:])


def test_empty_store_lists_nothing(helper):
    value = helper.json("list")
    assert value["command"] == "list"
    assert value["templates"] == []
    helper("list")


def test_json_goes_to_stdout_alone(helper):
    result = helper("--format", "json", "-v", "list")
    json.loads(result.stdout)


def test_format_may_stand_after_the_verb(helper):
    assert json.loads(helper("list", "--format", "json").stdout)["ok"] is True


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "a:b:c", "ä"])
def test_bad_names_are_refused(helper, tmp, name):
    helper("checkout", "--", name, os.path.join(tmp, "out"), code=support.USAGE)
    assert not os.path.exists(os.path.join(tmp, "out"))


def test_store_from_the_environment(helper, tmp, tiny_bundle, publisher):
    environment = dict(os.environ, ISAR_TEMPLATE_STORE=os.path.join(tmp, "other"))
    argv = [support.HELPER, "import", *publisher.trust, tiny_bundle]
    support.command(*argv, env=environment)
    assert "tiny" in support.command(support.HELPER, "list", env=environment).stdout
    assert helper.json("list")["templates"] == []


@pytest.mark.parametrize("words", [
    ["install", "tiny", "--add", "x", "--output", "/nonexistent/out"],
    ["plan", "tiny", "--add", "x"],
    ["exec", "tiny", "--", "true"],
    ["checkout", "tiny", "/nonexistent/out"],
    ["import", "--allowed-signers", "{signers}", "--identity", support.IDENTITY, "{bundle}"],
])
def test_without_root_these_need_privilege(helper, tmp, tiny_bundle, publisher, reachable_helper, words):
    words = [word.format(signers=publisher.allowed_signers, bundle=tiny_bundle) for word in words]
    helper("import", *publisher.trust, tiny_bundle)
    result = support.as_nobody(reachable_helper, "--store", helper.store, *words, tmp=tmp)
    assert result.returncode == support.PRIVILEGE, result.stderr
    assert "root" in result.stderr
    assert "hint: " in result.stderr


def test_without_root_reading_works(helper, tmp, tiny_bundle, publisher, reachable_helper):
    trust = publisher.trust
    for words in (["verify", *trust, tiny_bundle], ["inspect", tiny_bundle], ["list"], ["diff", tiny_bundle, tiny_bundle]):
        result = support.as_nobody(reachable_helper, "--store", os.path.join(tmp, "nobody-store"), *words, tmp=tmp)
        assert result.returncode == 0, (words, result.stderr)


def test_without_root_signing_works(tmp, helper, tiny_bundle, reachable_helper):
    own = os.path.join(tmp, "own")
    os.mkdir(own)
    support.make_key(own)
    support.command("cp", "-r", tiny_bundle, own + "/bundle")
    support.command("chown", "-R", "65534:65534", own)
    result = support.as_nobody(reachable_helper, "sign", "--key", own + "/key", own + "/bundle", tmp=own)
    assert result.returncode == 0, result.stderr
    signers = support.allow(own, own + "/key")
    helper("verify", "--allowed-signers", signers, "--identity", support.IDENTITY, own + "/bundle")


@pytest.mark.parametrize("option", ["auto", "plain", "bitbake", "none"])
def test_progress_never_reaches_stdout(helper, tmp, tiny_bundle, publisher, option):
    result = helper("--progress", option, "--format", "json", "import", *publisher.trust, tiny_bundle)
    assert json.loads(result.stdout)["ok"] is True
    if option == "none":
        assert result.stderr == ""
    if option == "bitbake":
        assert re.search(r"\b100%", result.stderr)


def test_quiet_says_nothing(helper, tiny_bundle, publisher):
    result = helper("-q", "import", *publisher.trust, tiny_bundle)
    assert result.stderr == ""
