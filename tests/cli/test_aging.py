# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Templates age: the repositories they name move on, expire, change keys, or are out of reach."""

import os

import pytest

import archive as archives
import filetrees
import support
from support import INTERNAL, NETWORK, REFUSED, UNTRUSTED, USAGE


class Aged:
    """A tree of the template whose sources can be chosen; plans leave it alone."""

    def __init__(self, helper, tree, archive):
        self.helper, self.tree = helper, tree
        for name in os.listdir(archive.keys):
            if name.endswith(".gpg"):
                support.write(tree + "/etc/apt/keyrings/" + name, open(os.path.join(archive.keys, name), "rb").read(), 0o644)

    def sources(self, text):
        support.write(self.tree + "/etc/apt/sources.list", text)

    def update(self):
        """Have the package lists of now in the tree."""
        support.command("chroot", self.tree, "apt-get", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "update")

    def error(self, *words, code, **options):
        return self.helper.error("plan", "platform", "--root", self.tree, *words, code=code, **options)

    def plan(self, *words, **options):
        return self.helper.json("plan", "platform", "--root", self.tree, *words, **options)["plan"]

    def install(self, *words, **options):
        return self.helper("install", "platform", "--root", self.tree, *words, **options)


@pytest.fixture(scope="module")
def aged_tree(session_dir, platform):
    tree = os.path.join(session_dir, "aged")
    support.command("cp", "-a", platform, tree)
    return tree


@pytest.fixture
def aged(shared, aged_tree, archive):
    support.command("sh", "-c", "rm -rf '%s'/var/lib/apt/lists/*" % aged_tree)
    return Aged(shared, aged_tree, archive)


@pytest.fixture
def impatient(tmp):
    """The environment of a caller whose apt waits one second, and tries once."""
    return host_settings(tmp, 'Acquire::http::Timeout "1";\nAcquire::Retries "0";\n')


def host_settings(tmp, text, **variables):
    """The environment of a caller on a host with this apt.conf."""
    own = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE" and not name.lower().endswith("_proxy")}
    return dict(own, APT_CONFIG=support.write(tmp + "/host-apt.conf", text), **variables)


# -- what repositories say of themselves ------------------------------------------------------------------------


def test_expired_release_data_is_refused_with_the_date(aged, archive, tmp):
    archive.publish("expired", [support.make_deb(tmp, "old")], fields={"Date": "Tue, 02 Jan 2024 00:00:00 UTC", "Valid-Until": "Tue, 09 Jan 2024 12:34:56 UTC"})
    aged.sources(archive.source("expired"))
    error = aged.error("--add", "old", code=REFUSED)
    assert error["kind"] == "release-expired"
    assert "'%s/expired stable'" % archive.url in error["message"] and "2024-01-09 12:3" in error["message"]
    assert "check-valid-until=no" in error["hint"] and "mirror" in error["hint"]
    # the way out, for archives that are meant to be old
    aged.sources(archive.source("expired", options="check-valid-until=no"))
    assert aged.plan("--add", "old")["actions"][0]["newVersion"] == "1.0"


def test_release_data_of_the_future_asks_for_the_clock(aged, archive, tmp):
    archive.publish("future", [support.make_deb(tmp, "new")], fields={"Date": archives.date(9 * 86400)})
    aged.sources(archive.source("future"))
    error = aged.error("--add", "new", code=NETWORK)
    assert error["kind"] == "release-not-yet-valid" and "clock" in error["hint"]
    assert "'%s/future stable'" % archive.url in error["message"]


def test_key_that_the_template_does_not_know(aged, archive, tmp):
    """As after an archive has changed its key."""
    archive.publish("rotated", [support.make_deb(tmp, "rotated")], key="next")
    aged.sources(archive.source("rotated"))
    error = aged.error("--add", "rotated", code=UNTRUSTED)
    assert error["kind"] == "key-unknown"
    assert archive.key_id("next") in error["message"] and "'/etc/apt/keyrings/archive.gpg'" in error["message"]
    assert "keyring package" in error["hint"]
    aged.sources(archive.source("rotated", key="next"))
    assert aged.plan("--add", "rotated")["actions"]


def test_key_that_was_changed_since_the_lists_were_made(aged, archive, tmp):
    deb = support.make_deb(tmp, "rotated")
    archive.publish("rotating", [deb])
    aged.sources(archive.source("rotating"))
    aged.update()
    archive.publish("rotating", [deb], key="next")
    # the lists of the template do still
    assert aged.plan("--add", "rotated")["actions"]
    assert aged.error("--update", "all", "--add", "rotated", code=UNTRUSTED)["kind"] == "key-unknown"


def trust(aged, archive, name):
    """Have the key as it is now in the tree."""
    support.write(aged.tree + "/etc/apt/keyrings/%s.gpg" % name, open(archive.keyring(name), "rb").read(), 0o644)


def test_key_that_has_expired(aged, archive, tmp):
    archive.make_key("past", "--faked-system-time", "20200101T000000")
    archive.publish("past", [support.make_deb(tmp, "past")], key="past")
    archive.expire("past")
    trust(aged, archive, "past")
    aged.sources(archive.source("past", key="past"))
    error = aged.error("--add", "past", code=UNTRUSTED)
    assert error["kind"] == "key-expired" and archive.key_id("past") in error["message"]


def test_key_that_was_revoked(aged, archive, tmp):
    archive.make_key("stolen")
    archive.publish("stolen", [support.make_deb(tmp, "stolen")], key="stolen")
    aged.sources(archive.source("stolen", key="stolen"))
    trust(aged, archive, "stolen")
    assert aged.plan("--add", "stolen")["actions"]
    archive.revoke("stolen")
    trust(aged, archive, "stolen")
    error = aged.error("--add", "stolen", code=UNTRUSTED)
    assert error["kind"] == "key-revoked" and archive.key_id("stolen") in error["message"]


def test_signature_that_is_too_weak(aged, archive, tmp):
    archive.publish("weak", [support.make_deb(tmp, "weak")], sign=["--digest-algo", "SHA1", "--weak-digest", "MD5"])
    aged.sources(archive.source("weak"))
    error = aged.error("--add", "weak", code=UNTRUSTED)
    assert error["kind"] == "key-weak" and "stronger" in error["hint"]


def test_release_data_that_was_changed(aged, archive, tmp):
    root = archive.publish("changed", [support.make_deb(tmp, "changed")])
    with open(root + "/dists/stable/InRelease") as file:
        text = file.read()
    support.write(root + "/dists/stable/InRelease", text.replace("Label: Example", "Label: Changed"))
    aged.sources(archive.source("changed"))
    assert aged.error("--add", "changed", code=UNTRUSTED)["kind"] == "signature-wrong"


def test_sources_that_apt_does_not_understand(aged, archive, tmp):
    """Nothing of the repository is wrong, and trying again is of no use."""
    archive.publish("twice", [support.make_deb(tmp, "twice")])
    aged.sources(archive.source("twice"))
    more = aged.tree + "/etc/apt/sources.list.d/more.list"
    try:
        for text, said in ((archive.source("twice", key="next"), "Signed-By"), (archive.source("twice", options="arch"), "'/etc/apt/sources.list.d/more.list'"),
                           ("deb %s stable\n" % archive.url, "'/etc/apt/sources.list.d/more.list'")):
            support.write(more, text)
            for update in ("all", "none"):
                error = aged.error("--update", update, "--add", "twice", code=USAGE)
                assert error["kind"] == "usage" and said in error["message"] and "/run/" not in error["message"], (text, update)
                assert "new version" in error["hint"]
    finally:
        os.unlink(more)


def test_what_nobody_has_heard_of_is_told_in_the_words_of_apt(aged):
    aged.sources("deb carrier-pigeon://loft.example stable main\n")
    error = aged.error("--add", "anything", code=INTERNAL)
    assert error["kind"] == "apt-failed" and "carrier-pigeon" in error["message"] and not error.get("hint")


def test_repository_without_a_signature(aged, archive, tmp):
    archive.publish("unsigned", [support.make_deb(tmp, "unsigned")], key=None)
    aged.sources(archive.source("unsigned"))
    error = aged.error("--add", "unsigned", code=REFUSED)
    assert error["kind"] == "repository-unsigned" and "--repo" in error["hint"]


# -- servers that fail ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(archive_servers, session_dir):
    """A repository with a package that nobody changes, and can be used by many tests."""
    archive_servers.publish("pool", [support.make_deb(session_dir, "pooled")])
    return archive_servers.source("pool")


@pytest.mark.parametrize("file,fault,kind", [
    ("InRelease", "garble", "repository-damaged"),
    ("InRelease", "short", "repository-damaged"),
    ("Release", 404, "repository-missing"),
    ("Release", 403, "access-denied"),
    ("Packages", 404, "repository-missing"),
    ("Packages", "garble", "repository-damaged"),
    ("Release", "hang", "network"),
    ("Release", 503, "network"),
    ("Release", "break", "network"),
])
def test_lists_that_cannot_be_had(aged, archive, pool, impatient, file, fault, kind):
    aged.sources(pool)
    archive.faults[file] = fault
    error = aged.error("--add", "pooled", code=NETWORK, env=impatient)
    assert error["kind"] == kind and error["hint"]
    assert archive.url in error["message"]


@pytest.mark.parametrize("fault,kind", [
    ("garble", "repository-damaged"),
    ("short", "repository-damaged"),
    ("break", "network"),
    ("hang", "network"),
    (404, "repository-missing"),
])
def test_packages_that_cannot_be_had(aged, archive, pool, impatient, fault, kind):
    """Lists are made anew once where that may help; then it is a failure."""
    aged.sources(pool)
    aged.update()
    archive.faults[".deb"] = fault
    archive.asked.clear()
    result = aged.helper.json("install", "platform", "--root", aged.tree, "--add", "pooled", code=NETWORK, env=impatient)
    assert result["error"]["kind"] == kind
    assert "pooled_1.0_all.deb" in result["error"]["message"]
    refreshed = [path for path in archive.asked if path.endswith("InRelease")]
    assert len(refreshed) == (0 if kind == "network" else 1)
    assert "pooled" not in support.installed(aged.tree)


def test_lists_of_before_are_made_anew_once(aged, archive, tmp):
    archive.publish("moving", [support.make_deb(tmp, "moving")])
    aged.sources(archive.source("moving"))
    aged.update()
    lists = filetrees.files_of(aged.tree + "/var/lib/apt/lists")
    archive.publish("moving", [support.make_deb(tmp, "moving", "1.1")])
    result = aged.install("--add", "moving")
    assert result.stderr.index(" 1.0") < result.stderr.index(" 1.1"), "the plan is shown anew"
    assert support.installed(aged.tree)["moving"] == "1.1"
    # in the instance only
    assert filetrees.files_of(aged.tree + "/var/lib/apt/lists") == lists


# -- releases that move on --------------------------------------------------------------------------------------


def test_release_that_is_oldstable_now_is_noted(aged, archive, tmp):
    deb = support.make_deb(tmp, "steady")
    archive.publish("renamed", [deb], fields={"Date": archives.date(-86400)})
    aged.sources(archive.source("renamed"))
    aged.update()
    archive.publish("renamed", [deb], fields={"Suite": "oldstable"})
    plan = aged.plan("--update", "all", "--add", "steady")
    note = next(note for note in plan["notes"] if "oldstable" in note)
    assert "'%s/renamed stable'" % archive.url in note and "'one'" in note
    assert plan["actions"][0]["newVersion"] == "1.0"


def test_stable_that_means_another_release_is_refused(aged, archive, tmp):
    deb = support.make_deb(tmp, "steady")
    archive.publish("replaced", [deb], fields={"Date": archives.date(-86400)})
    aged.sources(archive.source("replaced"))
    aged.update()
    archive.publish("replaced", [deb], fields={"Codename": "two"})
    error = aged.error("--update", "all", "--add", "steady", code=REFUSED)
    assert error["kind"] == "release-changed"
    assert "'%s/replaced stable'" % archive.url in error["message"] and "'one' to 'two'" in error["message"]


def test_package_of_another_release_of_the_distribution_is_refused(aged, archive, tmp):
    """The template has no lists, so that apt knows nothing of before."""
    archive.publish("another", [support.make_deb(tmp, "modern")], fields={"Origin": "Debian", "Label": "Debian", "Codename": "nonsuch", "Version": "99"})
    aged.sources(archive.source("another"))
    error = aged.error("--add", "modern", code=REFUSED)
    assert error["kind"] == "policy-refused"
    assert "'modern'" in error["message"] and "'nonsuch'" in error["message"] and support.SUITE in error["hint"]
    # backports of the template's release, and repositories of others, are no other release
    for codename, origin in ((support.SUITE + "-backports", "Debian"), ("nonsuch", "Vendor")):
        archive.publish("another", [support.make_deb(tmp, "modern")], fields={"Origin": origin, "Label": origin, "Codename": codename})
        assert aged.plan("--add", "modern")["actions"]


def test_sources_that_are_not_the_templates_are_told(aged, archive, pool):
    aged.sources(pool)
    plan = aged.plan("--add", "pooled")
    assert "package source '%s/pool stable' is not the template's" % archive.url in plan["notes"]


# -- reaching repositories --------------------------------------------------------------------------------------


LOOK_AROUND = """\
mkdir -p /var/lib/looked
env > /var/lib/looked/env
find /run /etc/apt > /var/lib/looked/files
"""


def assert_out_of_sight(tree, *secrets):
    """Neither the package scripts nor the product got anything of how it was fetched."""
    seen = open(tree + "/var/lib/looked/env").read() + open(tree + "/var/lib/looked/files").read()
    assert "proxy" not in seen.lower() and "access" not in seen and "auth.conf.d/" not in seen
    for secret in secrets:
        found = support.command("grep", "-rlF", "-e", secret, tree + "/etc", tree + "/var", tree + "/run", check=False).stdout
        assert found == ""


@pytest.mark.parametrize("way", ["environment", "apt.conf"])
def test_proxy_of_the_caller(aged, archive, tmp, way):
    name = "proxied-" + way.replace(".", "-")
    archive.publish("proxied", [support.make_deb(tmp, name, scripts={"postinst": LOOK_AROUND})])
    aged.sources(archive.source("proxied", url=archives.BEHIND_PROXY))
    proxy = "http://%s:%s@%s/" % (archives.USER, archives.PASSWORD, archive.url[len("http://"):])
    # what the template says is of another place
    support.write(aged.tree + "/etc/apt/apt.conf.d/80elsewhere", 'Acquire::http::Proxy "http://127.0.0.1:9/";\n')
    try:
        if way == "environment":
            environment = host_settings(tmp, 'Acquire::http::Proxy "http://127.0.0.1:9/";\nAcquire::Retries "0";\n', http_proxy=proxy)
        else:
            environment = host_settings(tmp, 'Acquire::http::Proxy "%s";\n' % proxy)
        environment["RUST_LOG"] = "trace"
        result = aged.install("-v", "--add", name, env=environment)
    finally:
        os.unlink(aged.tree + "/etc/apt/apt.conf.d/80elsewhere")
    assert any(path.endswith(name + "_1.0_all.deb") for path in archive.proxied)
    assert archives.PASSWORD not in result.stderr + result.stdout
    assert_out_of_sight(aged.tree, archives.PASSWORD)


def test_no_proxy_and_a_proxy_that_fails(aged, archive, pool, tmp):
    aged.sources(pool)
    secret = "http://%s:%s@127.0.0.1:9/" % (archives.USER, archives.PASSWORD)
    environment = host_settings(tmp, 'Acquire::Retries "0";\n', http_proxy=secret)
    error = aged.error("--add", "pooled", code=NETWORK, env=environment)
    assert error["kind"] == "network" and archives.PASSWORD not in support.said(error)
    assert aged.plan("--add", "pooled", env=dict(environment, no_proxy="127.0.0.1"))["actions"]


@pytest.fixture(scope="module")
def https(archive_servers):
    return archive_servers.serve_https()


def test_certificates_of_an_own_authority(aged, archive, https, tmp):
    url, authority = https
    archive.publish("private", [support.make_deb(tmp, "private", scripts={"postinst": LOOK_AROUND})])
    aged.sources(archive.source("private", url=url))
    once = 'Acquire::Retries "0";\n'
    error = aged.error("--add", "private", code=UNTRUSTED, env=host_settings(tmp, once))
    assert error["kind"] == "certificate-unknown" and "SSL_CERT_FILE" in error["hint"]
    assert aged.plan("--add", "private", env=host_settings(tmp, once, SSL_CERT_FILE=authority))["actions"]
    settings = host_settings(tmp, once + 'Acquire::https::CaInfo "%s";\n' % authority)
    aged.install("--add", "private", env=settings)
    with open(authority) as file:
        assert_out_of_sight(aged.tree, file.read().splitlines()[1])
    aged.error("--update", "all", "--add", "private", code=support.INTERNAL, env=host_settings(tmp, once, SSL_CERT_FILE=tmp + "/nowhere"))


def test_passwords_of_private_repositories(aged, archive, tmp):
    archive.publish("members", [support.make_deb(tmp, "members", scripts={"postinst": LOOK_AROUND})])
    aged.sources(archive.source("members"))
    archive.faults["InRelease"] = archive.faults[".deb"] = "login"
    error = aged.error("--add", "members", code=NETWORK, env=host_settings(tmp, ""))
    assert error["kind"] == "access-denied" and "auth.conf.d" in error["hint"]
    support.write(tmp + "/auth.conf.d/members.conf", "machine %s/ login %s password %s\n" % (archive.url, archives.USER, archives.PASSWORD)
                  + "machine elsewhere.example login other password not-for-this-one\n")
    environment = host_settings(tmp, 'Dir::Etc::netrcparts "%s/auth.conf.d";\n' % tmp, RUST_LOG="trace")
    result = aged.install("-v", "--add", "members", env=environment)
    assert archives.PASSWORD not in result.stderr + result.stdout
    assert_out_of_sight(aged.tree, archives.PASSWORD, "not-for-this-one")


# -- questions --------------------------------------------------------------------------------------------------


QUESTION = """\
Template: asking/%s
Type: string
Default: from-the-package
Description: What is it?
 It has to be answered.
"""


def asking_deb(tmp, name):
    config = ". /usr/share/debconf/confmodule\ndb_input critical asking/%s || true\ndb_go || true\n" % name
    postinst = ". /usr/share/debconf/confmodule\ndb_get asking/%s\necho \"$RET\" > /etc/%s\n" % (name, name)
    tree = os.path.join(tmp, "tree-" + name)
    support.write(tree + "/DEBIAN/templates", QUESTION % name)
    for script, text in (("config", config), ("postinst", postinst)):
        support.write(tree + "/DEBIAN/" + script, "#!/bin/sh\nset -e\n" + text, 0o755)
    support.write(tree + "/DEBIAN/control", "Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n"
                  "Depends: debconf\nDescription: asks\n" % name)
    deb = os.path.join(tmp, name + "_1_all.deb")
    support.command("dpkg-deb", "--root-owner-group", "--build", tree, deb)
    return deb


def test_questions_are_answered_by_what_was_preseeded_or_the_default(aged, tmp):
    aged.sources("")
    support.command("chroot", aged.tree, "debconf-set-selections", stdin=None, input="asks-preseeded asking/asks-preseeded string from-the-template\n")
    for name in ("asks-preseeded", "asks"):
        aged.install("--add", asking_deb(tmp, name))
    assert open(aged.tree + "/etc/asks-preseeded").read() == "from-the-template\n"
    assert open(aged.tree + "/etc/asks").read() == "from-the-package\n"


def test_configuration_that_the_template_changed_is_kept(aged, tmp):
    aged.sources("")

    def deb(version, text):
        tree = os.path.join(tmp, "tree-" + version)
        for name in ("changed", "unchanged"):
            support.write("%s/etc/configured/%s" % (tree, name), text)
        support.write(tree + "/DEBIAN/conffiles", "/etc/configured/changed\n/etc/configured/unchanged\n")
        support.write(tree + "/DEBIAN/control", "Package: configured\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n"
                      "Description: has configuration\n" % version)
        path = os.path.join(tmp, "configured_%s_all.deb" % version)
        support.command("dpkg-deb", "--root-owner-group", "--build", tree, path)
        return path
    aged.install("--add", deb("1", "one\n"))
    support.write(aged.tree + "/etc/configured/changed", "ours\n")
    result = aged.helper.json("install", "platform", "--root", aged.tree, "--allow-upgrade", "configured", "--add", deb("2", "two\n"))
    assert [note for note in result["plan"]["notes"] if "'/etc/configured/changed'" in note and "kept" in note]
    assert open(aged.tree + "/etc/configured/changed").read() == "ours\n"
    assert open(aged.tree + "/etc/configured/changed.dpkg-dist").read() == "two\n"
    assert open(aged.tree + "/etc/configured/unchanged").read() == "two\n"
