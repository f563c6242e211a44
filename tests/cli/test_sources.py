# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Package sources, preferences and keys that a product brings: for one run, before those of the template."""

import hashlib
import os

import pytest

import archive as archives
import support
from support import NETWORK, REFUSED, UNTRUSTED, USAGE


@pytest.fixture
def vendor(archive, tmp):
    """A vendor's repository with a package, and what a product has of it: a .list without a keyring, and the keyring."""
    archive.publish("vendor", [support.make_deb(tmp, "vended", "1.0"), support.make_deb(tmp, "vended", "2.0")])
    return support.write(tmp + "/vendor.list", "# the vendor's\ndeb %s/vendor stable main\n" % archive.url), archive.keyring("archive")


def plan(helper, *words, **options):
    return helper.json("plan", "server", *words, **options)["plan"]


def only(plan):
    (action,) = plan["actions"]
    return action


def test_package_of_the_product_s_repository(server, vendor, archive, tmp):
    sources, keyring = vendor
    words = ["server", "--sources", sources, "--keyring", keyring, "--add", "vended"]
    action = only(plan(server, *words[1:]))
    assert action["newVersion"] == "2.0" and action["origin"]["kind"] == "repository"
    # the template's own lists are as they were: nothing else is asked for
    out = tmp + "/out"
    server("install", *words, "--output", out, env=dict(os.environ, http_proxy="http://127.0.0.1:9/", no_proxy="127.0.0.1"))
    assert support.installed(out)["vended"] == "2.0"
    # it is for this run only
    found = support.command("grep", "-rlF", "-e", archive.url, out + "/etc", out + "/var/lib/apt", check=False).stdout
    assert found == "" and not os.path.exists(out + "/run/isar-template")


def test_a_password_in_an_address_goes_nowhere(server, vendor, archive, tmp):
    """Not into messages, logs of every level, a plan, the product, or the command line of any process."""
    sources, keyring = vendor
    server_name = archive.url[len("http://"):]
    support.write(sources, "deb http://%s:%s@%s/vendor stable main\n" % (archives.USER, archives.PASSWORD, server_name))
    archive.faults["InRelease"] = archive.faults[".deb"] = "login"
    words = ["server", "--sources", sources, "--keyring", keyring, "--add", "vended"]
    out = tmp + "/out"
    environment = dict(os.environ, RUST_LOG="trace")
    with support.command_lines() as seen:
        planned = server("--format", "json", "plan", *words, "--save", tmp + "/plan.json", env=environment)
        result = server("-v", "install", *words, "--output", out, env=environment)
    assert support.installed(out)["vended"] == "2.0"
    for text in (planned.stdout, planned.stderr, result.stdout, result.stderr, open(tmp + "/plan.json").read(), *seen):
        assert archives.PASSWORD not in text
    assert any("apt-get" in text for text in seen)
    assert support.command("grep", "-rlF", "-e", archives.PASSWORD, out + "/etc", out + "/var", out + "/run", check=False).stdout == ""


def test_keys_are_for_the_sources_that_they_came_with(server, vendor, archive, tmp):
    sources, keyring = vendor
    error = server.error("plan", "server", "--sources", sources, "--add", "vended", code=UNTRUSTED)
    assert error["kind"] == "key-unknown" and archive.key_id("archive") in error["message"]
    error = server.error("plan", "server", "--sources", sources, "--keyring", archive.keyring("next"), "--add", "vended", code=UNTRUSTED)
    assert error["kind"] == "key-unknown"
    both = ["--keyring", archive.keyring("next"), "--keyring", keyring]
    assert only(plan(server, "--sources", sources, *both, "--add", "vended"))["newVersion"] == "2.0"
    # without --sources there is nothing that it could be for
    assert "--sources" in server("plan", "server", "--keyring", keyring, "--add", "nano", code=USAGE).stderr


@pytest.mark.parametrize("armored", [False, True])
def test_sources_file_that_names_its_keyring(server, vendor, archive, tmp, armored):
    """As vendors have it in their instructions: the keyring is where it would be on the product."""
    keyring = tmp + ("/vendor.asc" if armored else "/vendor.gpg")
    archive.gpg(*(["--armor"] if armored else []), "--output", keyring, "--export", "archive@example.org")
    sources = support.write(tmp + "/vendor.sources", "Types: deb deb-src\nURIs: %s/vendor\nSuites: stable\nComponents: main\n"
                            "Signed-By: /usr/share/keyrings/%s\n" % (archive.url, os.path.basename(keyring)))
    assert only(plan(server, "--sources", sources, "--keyring", keyring, "--add", "vended"))["newVersion"] == "2.0"
    error = server.error("plan", "server", "--sources", sources, "--add", "vended", code=UNTRUSTED)
    assert "/usr/share/keyrings/vendor" in error["message"]


def test_sources_file_with_the_key_in_it(server, vendor, archive, tmp):
    key = archive.gpg("--armor", "--export", "archive@example.org").stdout
    lines = "".join(" %s\n" % (line or ".") for line in key.splitlines())
    sources = support.write(tmp + "/own.sources", "Types: deb\nURIs: %s/vendor\nSuites: stable\nComponents: main\nSigned-By:\n%s" % (archive.url, lines))
    assert only(plan(server, "--sources", sources, "--add", "vended"))["newVersion"] == "2.0"


def test_of_one_version_the_product_s_archive_is_taken(shared, platform, archive, tmp):
    """And its preferences go before the template's."""
    tree = tmp + "/tree"
    support.command("cp", "-a", "--reflink=auto", platform, tree)
    archive.publish("platform", [support.make_deb(tmp, "both", "1.0"), support.make_deb(tmp, "both", "3.0")])
    own = support.make_deb(os.path.join(tmp, "own"), "both", "1.0", files={"usr/share/own": "of the product\n"})
    archive.publish("product", [own])
    support.write(tree + "/etc/apt/keyrings/archive.gpg", open(archive.keyring("archive"), "rb").read(), 0o644)
    support.write(tree + "/etc/apt/sources.list", archive.source("platform"))
    pin = "Package: both\nPin: version 3.0\nPin-Priority: %d\n"
    support.write(tree + "/etc/apt/preferences", pin % 1001)
    sources = support.write(tmp + "/own.list", "deb %s/product stable main\n" % archive.url)
    words = ["platform", "--root", tree, "--sources", sources, "--keyring", archive.keyring("archive"), "--add", "both"]
    # sources alone do not decide about versions
    assert only(shared.json("plan", *words)["plan"])["newVersion"] == "3.0"
    words += ["--preferences", support.write(tmp + "/own.pref", "# ours\n" + pin % -1)]
    action = only(shared.json("plan", *words)["plan"])
    assert action["newVersion"] == "1.0" and action["sha256"] == hashlib.sha256(open(own, "rb").read()).hexdigest()
    archive.asked.clear()
    shared("install", *words)
    assert open(tree + "/usr/share/own").read() == "of the product\n"
    assert [path for path in archive.asked if path.endswith(".deb")] == ["/product/pool/both_1.0_all.deb"]
    assert open(tree + "/etc/apt/preferences").read() == pin % 1001


def test_a_file_that_an_archive_has_as_well_is_not_fetched(server, vendor, archive, tmp):
    """It is the same to apt, which would rather ask the archive."""
    sources, keyring = vendor
    deb = os.path.join(archive.folder, "vendor", "pool", "vended_2.0_all.deb")
    words = ["server", "--sources", sources, "--keyring", keyring, "--add", deb]
    value = server.json("plan", *words)["plan"]
    assert only(value)["origin"] == {"kind": "file", "path": deb} and value["downloadSize"] == 0
    archive.asked.clear()
    server("install", *words, "--output", tmp + "/out", "--no-reuse")
    assert support.installed(tmp + "/out")["vended"] == "2.0"
    assert not [path for path in archive.asked if path.endswith(".deb")]
    # another one of that version is not, and one may choose
    other = support.make_deb(tmp + "/other", "vended", "2.0", files={"usr/share/x": "x"})
    error = server.error("plan", *words[:-1], other, code=REFUSED)
    assert "has the same version 2.0" in error["message"] + error["hint"]


def test_another_release_is_refused_from_there_too(server, archive, tmp):
    archive.publish("newer", [support.make_deb(tmp, "modern")], fields={"Origin": "Debian", "Label": "Debian", "Codename": "nonsuch", "Version": "99"})
    sources = support.write(tmp + "/newer.list", "deb %s/newer stable main\n" % archive.url)
    words = ["--sources", sources, "--keyring", archive.keyring("archive"), "--add", "modern"]
    error = server.error("plan", "server", *words, code=REFUSED)
    assert error["kind"] == "policy-refused" and "--allow-suite nonsuch" in error["hint"]
    assert only(plan(server, *words, "--allow-suite", "nonsuch"))["newVersion"] == "1.0"


def test_saved_plan_carries_them(server, vendor, archive, tmp):
    sources, keyring = vendor
    preferences = support.write(tmp + "/old.pref", "Package: vended\nPin: version 1.0\nPin-Priority: 1001\n")
    saved = tmp + "/plan.json"
    server("plan", "server", "--sources", "vendor.list", "--keyring", keyring, "--preferences", "old.pref", "--add", "vended", "--save", saved, cwd=tmp)
    server("install", "server", "--plan", saved, "--output", tmp + "/out")
    assert support.installed(tmp + "/out")["vended"] == "1.0"
    # the same version, another content
    archive.publish("vendor", [support.make_deb(tmp + "/other", "vended", "1.0", files={"usr/share/x": "x"})])
    error = server.error("install", "server", "--plan", saved, "--output", tmp + "/again", code=REFUSED)
    assert error["kind"] == "plan-changed" and "vended" in error["message"]
    assert "cannot be used with" in server("install", "server", "--plan", saved, "--preferences", preferences, "--output", tmp + "/again", code=USAGE).stderr


def test_qa_finds_what_packages_need_there(server, vendor, tmp):
    sources, keyring = vendor
    app = support.make_deb(tmp, "app", Depends="vended")
    value = server.json("qa", "server", "--sources", sources, "--keyring", keyring, app)
    (report,) = value["qa"]["packages"]
    assert report["findings"] == []


@pytest.mark.parametrize("name,text,said", [
    ("own.txt", "deb http://a x main\n", "*.list"),
    ("own.list", "# nothing\n", "names no repository"),
    ("own.list", "deb-src http://a x main\n", "names no repository"),
    ("own.sources", "URIs: http://a\nSuites: x\n", "names no repository"),
    ("own.list", "deb file:/nowhere/at/all ./\n", "--repo"),
])
def test_sources_that_are_none(server, tmp, name, text, said):
    path = support.write(os.path.join(tmp, name), text)
    error = server.error("plan", "server", "--sources", path, "--add", "nano", code=USAGE)
    assert said in error["message"] + (error.get("hint") or ""), error


@pytest.mark.parametrize("option,text,said", [
    ("--preferences", "Package: *\nPin: release n=x\n", "Pin-Priority"),
    ("--preferences", "", "no record"),
    ("--keyring", "no key\n", "no OpenPGP keys"),
])
def test_other_files_that_are_none(server, vendor, tmp, option, text, said):
    path = support.write(tmp + "/wrong", text)
    error = server.error("plan", "server", "--sources", vendor[0], option, path, "--add", "nano", code=USAGE)
    assert path in error["message"] and said in error["message"]
    error = server.error("plan", "server", "--sources", vendor[0], option, tmp + "/nowhere", "--add", "nano", code=USAGE)
    assert tmp + "/nowhere: No such file" in error["message"]


def test_lists_that_must_not_be_fetched(server, vendor):
    for update in ("local", "none"):
        error = server.error("plan", "server", "--sources", vendor[0], "--update", update, "--add", "vended", code=USAGE)
        assert "/vendor stable'" in error["message"] and "--update " + update in error["message"]


def test_server_of_the_product_that_is_away(server, tmp):
    sources = support.write(tmp + "/away.list", "deb [trusted=yes] http://127.0.0.1:9 stable main\n")
    settings = support.write(tmp + "/apt.conf", 'Acquire::Retries "0";\n')
    error = server.error("plan", "server", "--sources", sources, "--add", "nano", code=NETWORK, env=dict(os.environ, APT_CONFIG=settings))
    assert error["kind"] == "network" and "127.0.0.1:9" in error["message"]
