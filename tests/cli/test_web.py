# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Bundles on web servers, as a directory and as a tar."""

import base64
import glob
import hashlib
import json
import os
import shutil
import tarfile

import pytest

import registry
import support
import web
from support import NETWORK, PRIVILEGE, UNTRUSTED, USAGE

PLAIN = "--plain-http"
MIB = 1 << 20


@pytest.fixture(scope="module")
def releases(session_dir, publisher):
    """Two releases of which the second changes little, each as a directory and as a tar."""
    folder = session_dir + "/releases"
    helper = support.Helper(folder + "/no-store")
    contents = {"usr/lib/file-%d" % number: os.urandom(MIB).hex() for number in range(4)}
    for version in ("1.0", "2.0"):
        root = support.make_tiny_root("%s/root-%s" % (folder, version), extra={**contents, "usr/lib/version": version})
        base = ["--base", folder + "/tiny-1.0"] if version == "2.0" else []
        for form in ("", ".tar"):
            helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, *base, "--sign", publisher.key,
                   "--output", "%s/tiny-%s%s" % (folder, version, form))
    # with long names, and folders as members, as others make tars
    support.command("tar", "-c", "-C", folder + "/tiny-1.0", "--format=posix", "-f", folder + "/other.tar", ".")
    os.makedirs(folder + "/private")
    os.link(folder + "/tiny-1.0.tar", folder + "/private/tiny-1.0.tar")
    return folder


@pytest.fixture
def lighttpd(tmp, releases):
    registry.need("lighttpd", "htpasswd", "openssl")
    server = web.Lighttpd(tmp + "/lighttpd", releases)
    yield server
    server.process.kill()
    server.process.wait(20)


@pytest.fixture
def simple(releases):
    server = web.Simple(releases)
    yield server
    server.stop()


def size_of(path):
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


@pytest.mark.parametrize("form", ["tiny-1.0.tar", "tiny-1.0", "tiny-1.0/", "other.tar"])
def test_a_bundle_is_imported(lighttpd, helper, publisher, releases, form):
    env = lighttpd.environment()
    result = helper.json("import", *publisher.trust, "%s/%s" % (lighttpd.url, form), env=env)
    assert result["digest"] == helper.json("inspect", releases + "/tiny-1.0")["digest"]
    assert helper.json("fsck")["findings"] == []
    # contents are fetched once
    fetched = sum(size for _, size, _ in lighttpd.stop())
    assert fetched < 1.2 * size_of(releases + "/tiny-1.0"), fetched


def test_what_may_be_a_proof_is_shown_nowhere(lighttpd, helper, publisher):
    url = lighttpd.url + "/tiny-1.0.tar?X-Signature=geheim"
    result = helper("-vv", "import", *publisher.trust, url, env=lighttpd.environment())
    assert "geheim" not in result.stdout + result.stderr
    result = helper("-vv", "import", *publisher.trust, url.replace("1.0", "3.0"), env=lighttpd.environment(), code=USAGE)
    assert "does not exist" in result.stderr and "geheim" not in result.stderr
    result = helper("-vv", "import", *publisher.trust, "https://127.0.0.1:1/a.tar?X-Signature=geheim", code=NETWORK)
    assert "geheim" not in result.stderr
    for words in (["verify", *publisher.trust], ["push"], ["diff", "/etc"]):
        for address in ("https://127.0.0.1:1/a.tar?X-Signature=geheim", "https://me:geheim@127.0.0.1/a.tar"):
            more = ["oci://127.0.0.1:1/a"] if words == ["push"] else []
            assert "geheim" not in helper("-vv", *words, address, *more, code=USAGE).stderr


@pytest.mark.parametrize("form", ["tiny-%s.tar", "tiny-%s"])
def test_of_the_next_release_only_what_is_new_is_fetched(lighttpd, helper, publisher, releases, form):
    helper("import", *publisher.trust, releases + "/tiny-1.0")
    result = helper.json("import", *publisher.trust, lighttpd.url + "/" + form % "2.0", env=lighttpd.environment())
    assert result["bytesFetched"] < 100_000, result
    assert sum(size for _, size, _ in lighttpd.stop()) < MIB
    assert helper.json("fsck")["findings"] == []


@pytest.mark.parametrize("form", ["tiny-%s.tar", "tiny-%s"])
def test_a_server_without_parts_gives_all(simple, helper, publisher, releases, form):
    """What the store has is not read again nevertheless."""
    helper("import", *publisher.trust, PLAIN, simple.url + "/" + form % "1.0")
    result = helper.json("-v", "import", *publisher.trust, PLAIN, simple.url + "/" + form % "2.0")
    assert 4 * MIB < result["bytesFetched"] <= size_of(releases + "/tiny-2.0") and result["bytesRead"] < MIB, result
    assert helper.json("inspect", "tiny:2.0")["digest"] == helper.json("inspect", releases + "/tiny-2.0")["digest"]
    assert helper.json("fsck")["findings"] == []


@pytest.mark.parametrize("form", ["tiny-1.0.tar", "tiny-1.0"])
def test_contents_of_what_nobody_trusted_has_signed_are_not_fetched(lighttpd, helper, tmp, form):
    trust = ["--allowed-signers", support.allow(tmp, support.make_key(tmp)), "--identity", support.IDENTITY]
    assert helper.error("import", *trust, lighttpd.url + "/" + form, env=lighttpd.environment(), code=UNTRUSTED)["kind"] == "key-unknown"
    assert sum(size for _, size, _ in lighttpd.stop()) < MIB
    assert not helper.json("list")["templates"]


@pytest.mark.parametrize("form", ["tiny-1.0.tar", "tiny-1.0"])
@pytest.mark.parametrize("gives_parts", [True, False])
def test_what_was_altered_is_not_taken(tmp, helper, publisher, releases, form, gives_parts):
    registry.need("lighttpd", "htpasswd", "openssl")
    root = tmp + "/altered"
    os.mkdir(root)
    support.command("cp", "-a", releases + "/" + form, root + "/" + form)
    victim = root + "/" + form
    if os.path.isdir(victim):
        victim = max(glob.glob(victim + "/blobs/sha256/*"), key=os.path.getsize)
    with open(victim, "r+b") as file:
        file.seek(os.path.getsize(victim) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    server = web.Lighttpd(tmp + "/lighttpd", root) if gives_parts else web.Simple(root)
    env = server.environment() if gives_parts else None
    error = helper.error("import", *publisher.trust, PLAIN, server.url + "/" + form, env=env, code=UNTRUSTED)
    server.stop()
    assert error["kind"] in ("digest-differs", "damaged") and error["hint"], error
    assert not helper.json("list")["templates"]


def test_of_a_tar_that_comes_as_a_whole_documents_alone_are_not_fetched(simple, helper, publisher):
    """It would all go to a temporary directory, just to be looked at."""
    error = helper.error("inspect", PLAIN, *publisher.trust, simple.url + "/tiny-1.0.tar", code=USAGE)
    assert "no parts of files" in error["message"] and "pull" in error["hint"]
    assert helper.json("inspect", PLAIN, *publisher.trust, simple.url + "/tiny-1.0")["verified"] is True


@pytest.fixture
def derived(helper, tmp, publisher, releases):
    """A bundle that leaves its parent's layers to the parent."""
    out = tmp + "/derived/product"
    os.makedirs(tmp + "/derived")
    helper("pack", "--name", "parent", "--version", "1.0", "--component", "rootfs=" + releases + "/root-1.0", "--sign", publisher.key,
           "--output", tmp + "/derived/parent")
    helper("pack", "--name", "product", "--version", "1.0", "--component", "rootfs=" + releases + "/root-1.0",
           "--parent", tmp + "/derived/parent", *publisher.trust, "--sign", publisher.key, "--output", out)
    # what install derives names the parent's blobs, and this one has the very same
    documents = helper.json("inspect", out)["manifest"]["components"][0]
    for blob in (documents["tree"]["digest"], documents["tree"]["tocDigest"]):
        os.remove(out + "/blobs/sha256/" + blob.partition(":")[2])
    support.command("tar", "-c", "-C", out, "-f", out + ".tar", ".")
    return tmp + "/derived"


@pytest.mark.parametrize("form", ["product", "product.tar"])
@pytest.mark.parametrize("gives_parts", [True, False])
def test_a_derived_bundle(derived, helper, tmp, publisher, form, gives_parts):
    registry.need("lighttpd", "htpasswd", "openssl")
    server = web.Lighttpd(tmp + "/lighttpd", derived) if gives_parts else web.Simple(derived)
    env = server.environment() if gives_parts else None
    try:
        place = [PLAIN, server.url + "/" + form]
        error = helper.error("import", *publisher.trust, *place, env=env, code=UNTRUSTED)
        assert "holds what changed since 'parent:1.0'" in error["message"] and "import the parent" in error["hint"], error
        assert server.url in error["message"]
        helper("pull", *place, tmp + "/pulled", env=env)
        helper("import", *publisher.trust, derived + "/parent")
        helper("import", *publisher.trust, *place, env=env)
        assert helper.json("fsck")["findings"] == []
        helper("import", *publisher.trust, tmp + "/pulled")
    finally:
        server.stop()


@pytest.mark.parametrize("gives_parts", [True, False])
def test_a_tar_that_lacks_a_blob_is_not_pulled(tmp, helper, releases, gives_parts):
    registry.need("lighttpd", "htpasswd", "openssl")
    os.mkdir(tmp + "/root")
    support.command("cp", "-a", releases + "/tiny-1.0", tmp + "/copy")
    os.remove(max(glob.glob(tmp + "/copy/blobs/sha256/*"), key=os.path.getsize))
    support.command("tar", "-c", "-C", tmp + "/copy", "-f", tmp + "/root/a.tar", ".")
    server = web.Lighttpd(tmp + "/lighttpd", tmp + "/root") if gives_parts else web.Simple(tmp + "/root")
    try:
        helper.error("pull", PLAIN, server.url + "/a.tar", tmp + "/out", env=server.environment() if gives_parts else None, code=UNTRUSTED)
        assert not os.path.exists(tmp + "/out")
    finally:
        server.stop()


def test_other_verbs_take_it(lighttpd, helper, tmp, publisher, releases):
    url, env = lighttpd.url + "/tiny-1.0.tar", lighttpd.environment()
    digest = helper.json("inspect", releases + "/tiny-1.0")["digest"]
    assert helper.json("inspect", url, env=env)["verified"] is False
    assert helper.json("inspect", *publisher.trust, url, env=env)["digest"] == digest
    helper("checkout", "--no-store", *publisher.trust, url, tmp + "/tree", env=env)
    assert support.command("cat", tmp + "/tree/usr/lib/version").stdout == "1.0"
    helper("checkout", *publisher.trust, url, tmp + "/other", env=env)
    assert [template["digest"] for template in helper.json("list")["templates"]] == [digest]


@pytest.mark.parametrize("form", ["tiny-1.0.tar", "tiny-1.0"])
def test_pulled_is_the_same(lighttpd, simple, helper, tmp, publisher, releases, form):
    for server, env in ((lighttpd, lighttpd.environment()), (simple, None)):
        out = support.command("mktemp", "-d", "-p", tmp).stdout.strip()
        result = helper.json("pull", PLAIN, server.url + "/" + form, cwd=out, env=env)
        assert result["output"] == "tiny-1.0" and result["signatures"] == 1
        assert helper.json("verify", *publisher.trust, out + "/tiny-1.0")["digest"] == result["digest"]
        assert sorted(os.listdir(out + "/tiny-1.0/blobs/sha256")) == sorted(os.listdir(releases + "/tiny-1.0/blobs/sha256"))


def test_what_the_store_has_is_not_asked_for(helper, publisher, releases):
    digest = helper.json("import", *publisher.trust, releases + "/tiny-1.0")["digest"]
    nowhere = "https://127.0.0.1:1/tiny-1.0.tar"
    for options in ([], ["--offline"]):
        assert helper.json("import", *options, *publisher.trust, "--digest", digest, nowhere)["nothingToDo"] is True
    error = helper.error("import", "--offline", *publisher.trust, nowhere, code=USAGE)
    assert "--digest" in error["hint"]
    error = helper.error("import", *publisher.trust, "--digest", "sha256:" + "0" * 64, "--offline", nowhere, code=USAGE)
    assert "not in the store" in error["message"]


def test_a_login(lighttpd, helper, tmp, publisher):
    url = lighttpd.url + "/private/tiny-1.0.tar"
    none = support.write(tmp + "/none.json", "{}")
    error = helper.error("import", *publisher.trust, url, env=lighttpd.environment(REGISTRY_AUTH_FILE=none), code=PRIVILEGE)
    assert "auth.json" in error["hint"] and "the server says 401" in error["message"]
    auth = json.dumps({"auths": {lighttpd.host: {"auth": base64.b64encode(b"me:secret").decode()}}})
    helper("import", *publisher.trust, url, env=lighttpd.environment(REGISTRY_AUTH_FILE=support.write(tmp + "/auth.json", auth)))


def test_a_hostile_server_is_not_asked_for_more_than_a_bundle_has(simple, helper, tmp, publisher, releases):
    """An image index with any number of manifests, tars with any number of headers, names without end."""
    folder = releases + "/hostile"
    support.command("cp", "-a", releases + "/tiny-1.0", folder)
    with open(folder + "/index.json", encoding="utf-8") as file:
        top = json.load(file)
    template = [entry for entry in top["manifests"] if entry.get("artifactType", "").endswith("template.v0") or "template" in entry.get("artifactType", "")][0]
    with open(folder + "/blobs/sha256/" + template["digest"].partition(":")[2], encoding="utf-8") as file:
        index = json.load(file)
    index["manifests"] += [dict(index["manifests"][0], digest="sha256:%064x" % number) for number in range(5000)]
    content = json.dumps(index).encode()
    template.update(digest="sha256:" + hashlib.sha256(content).hexdigest(), size=len(content))
    support.write(folder + "/blobs/sha256/" + template["digest"].partition(":")[2], content)
    support.write(folder + "/index.json", json.dumps(top))
    error = helper.error("import", *publisher.trust, PLAIN, simple.url + "/hostile", code=UNTRUSTED)
    assert error["kind"] in ("damaged", "tag-differs") and "fetching manifest" not in error["message"], error
    with tarfile.open(releases + "/many.tar", "w") as tar:
        for number in range(100_001):
            tar.addfile(tarfile.TarInfo("a%d" % number))
    with tarfile.open(releases + "/long.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("n" * 70_000))
    for name in ("many.tar", "long.tar"):
        error = helper.error("import", *publisher.trust, PLAIN, simple.url + "/" + name, code=UNTRUSTED)
        assert "is no template bundle" in error["message"], error
    assert not os.listdir(tmp + "/store/tmp")


def test_wrong_places(lighttpd, simple, helper, releases, publisher, tmp):
    env = lighttpd.environment()
    cases = [
        (lighttpd.url + "/tiny-3.0.tar", USAGE, "does not exist"),
        (lighttpd.url + "/tiny-3.0", USAGE, "it has no index.json"),
        (lighttpd.url + "/root-1.0", USAGE, "it has no index.json"),
        (simple.url + "/tiny-1.0.tar", USAGE, "without TLS"),
        ("https://me:secret@host/a.tar", USAGE, "passwords do not belong"),
        ("https://host/a b.tar", USAGE, "%XX"),
        ("ftp://host/a.tar", USAGE, "are not fetched by 'ftp'"),
    ]
    for url, code, words in cases:
        error = helper.error("import", *publisher.trust, url, env=env, code=code)
        assert words in error["message"] and error["hint"] and "secret" not in str(error), error
    # the certificate
    error = helper.error("import", *publisher.trust, lighttpd.url + "/tiny-1.0.tar", code=NETWORK)
    assert "server 127.0.0.1" in error["message"] and "certs.d" in error["hint"]
    # a tar of something else, and what is none
    support.command("tar", "-c", "-C", releases, "-f", releases + "/tree.tar", "root-1.0")
    support.write(releases + "/text.tar", "no tar at all\n" * 1000)
    support.write(releases + "/empty.tar", "")
    for name in ("tree.tar", "text.tar", "empty.tar"):
        for url, options in ((lighttpd.url, []), (simple.url, [PLAIN])):
            error = helper.error("import", *publisher.trust, *options, "%s/%s" % (url, name), env=env, code=UNTRUSTED)
            assert "is no template bundle" in error["message"] and error["hint"], (name, error)
    assert not os.listdir(tmp + "/store/tmp")


def test_a_tar_that_was_cut_off(lighttpd, simple, helper, publisher, releases):
    shutil.copyfile(releases + "/tiny-1.0.tar", releases + "/cut.tar")
    os.truncate(releases + "/cut.tar", os.path.getsize(releases + "/cut.tar") // 2)
    for url, options in ((lighttpd.url, []), (simple.url, [PLAIN])):
        error = helper.error("import", *publisher.trust, *options, url + "/cut.tar", env=lighttpd.environment(), code=UNTRUSTED)
        assert error["hint"]
    assert not helper.json("list")["templates"]
