# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""push and pull: with Debian's docker-registry, with skopeo as the other client, and with one that fails."""

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess

import pytest

import registry
import support
from support import DONE, REFUSED, UNTRUSTED, USAGE

NETWORK = 8
PRIVILEGE = support.PRIVILEGE
PLAIN = "--plain-http"


@pytest.fixture
def bundle(tmp, publisher):
    return registry.pack(tmp, publisher)


def files(path):
    """Blobs by name, and what is tagged."""
    blobs = {name: hashlib.sha256(open(os.path.join(path, "blobs/sha256", name), "rb").read()).hexdigest()
             for name in os.listdir(path + "/blobs/sha256")}
    index = json.load(open(path + "/index.json"))
    return blobs, sorted((m["digest"], m.get("annotations", {}).get("org.opencontainers.image.ref.name")) for m in index["manifests"])


def test_a_registry_without_tls_is_told_from_a_wrong_certificate(docker, helper, bundle):
    error = helper.error("push", bundle, "oci://%s/team/plain" % docker.host, code=USAGE)
    assert "without TLS" in error["message"] and "--plain-http" in error["hint"] and "certificate" not in error["hint"]


def test_pushed_and_pulled_is_the_same(docker, helper, tmp, publisher, bundle):
    place = "oci://%s/team/same" % docker.host
    first = helper.json("push", PLAIN, bundle, place)
    assert first["tags"] == ["1.0", "1.0-rootfs"] and first["signatures"] == 1 and first["bytesPushed"] > 0
    again = helper.json("push", PLAIN, bundle, place + ":1.0")
    assert again["bytesPushed"] == 0 and again["bytesPresent"] == first["bytesPushed"]
    report = helper.json("pull", PLAIN, place + ":1.0", tmp + "/pulled")
    assert report["digest"] == first["digest"] and report["signatures"] == 1 and report["signer"] is None
    assert files(tmp + "/pulled") == files(bundle)
    helper("verify", *publisher.trust, tmp + "/pulled")
    # as one file, and verified before contents come
    report = helper.json("pull", PLAIN, *publisher.trust, place + "@" + first["digest"], tmp + "/pulled.tar")
    assert report["signer"] == support.IDENTITY
    helper("verify", *publisher.trust, tmp + "/pulled.tar")


def test_default_place_of_what_is_pulled(docker, helper, tmp, bundle):
    place = "oci://%s/team/default" % docker.host
    helper("push", PLAIN, bundle, place)
    argv = helper.argv("pull", PLAIN, place + ":1.0")
    support.command(*argv, cwd=tmp + "/")
    # beside the bundle that the test has made
    assert files(tmp + "/default-1.0") == files(bundle)
    error = helper.error("pull", PLAIN, place + ":1.0", tmp + "/default-1.0", code=USAGE)
    assert "exists" in error["message"]
    error = helper.error("pull", PLAIN, place, tmp + "/x", code=USAGE)
    assert "names no version" in error["message"]


def test_import_from_a_registry(docker, helper, tmp, publisher, bundle):
    place = "oci://%s/team/imported" % docker.host
    helper("push", PLAIN, bundle, place)
    report = helper.json("import", PLAIN, *publisher.trust, place + ":1.0")
    assert report["nothingToDo"] is False and report["name"] == "tiny"
    assert helper.json("import", PLAIN, *publisher.trust, place + ":1.0")["nothingToDo"] is True
    helper("checkout", "--raw", "tiny", tmp + "/tree")
    with open(tmp + "/tree/usr/lib/version") as file:
        assert file.read() == "1.0"
    assert helper.json("fsck")["findings"] == []
    assert os.listdir(helper.store + "/tmp") == [] or not [name for name in os.listdir(helper.store + "/tmp") if name.startswith("scratch")]


def test_contents_of_what_nobody_trusted_has_signed_are_not_fetched(small, helper, tmp, publisher, bundle):
    place = "oci://%s/a" % small.host
    helper("push", PLAIN, bundle, place)
    other = support.make_key(tmp)
    trust = ["--allowed-signers", support.allow(tmp, other), "--identity", support.IDENTITY]
    layers = [layer["digest"] for layer in json.loads(small.manifests["a", "1.0-rootfs"])["layers"]]
    small.requests.clear()
    assert helper.error("import", PLAIN, *trust, place + ":1.0", code=UNTRUSTED)["kind"] == "key-unknown"
    assert helper.error("pull", PLAIN, *trust, place + ":1.0", tmp + "/out", code=UNTRUSTED)["kind"] == "key-unknown"
    fetched = [path.rsplit("/", 1)[1] for method, path, *_ in small.requests if method == "GET"]
    assert not set(layers) & set(fetched)
    assert not os.path.exists(tmp + "/out") and not helper.json("list")["templates"]


def test_signed_later_and_elsewhere(docker, helper, tmp, publisher):
    """A signature that comes to the registry when the template is there already."""
    unsigned = registry.pack(tmp, publisher, sign=False)
    place = "oci://%s/team/later" % docker.host
    assert "not signed" in helper("push", PLAIN, unsigned, place).stderr
    assert helper.error("import", PLAIN, *publisher.trust, place + ":1.0", code=UNTRUSTED)["kind"] == "signature-missing"
    helper("pull", PLAIN, place + ":1.0", tmp + "/elsewhere")
    helper("sign", "--key", publisher.key, tmp + "/elsewhere")
    report = helper.json("push", PLAIN, tmp + "/elsewhere", place)
    assert report["signatures"] == 1
    helper("import", PLAIN, *publisher.trust, place + ":1.0")


SKOPEO = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]


def test_skopeo_reads_what_was_pushed(docker, helper, tmp, bundle):
    registry.need("skopeo")
    digest = helper.json("push", PLAIN, bundle, "oci://%s/team/skopeo" % docker.host)["digest"]
    source = "docker://%s/team/skopeo" % docker.host
    support.command(*SKOPEO, source + ":1.0-rootfs", "oci:%s/image:x" % tmp)
    image, layout = support.Layout(tmp + "/image"), support.Layout(bundle)
    assert image.tagged("x")["digest"] == layout.tagged("1.0-rootfs")["digest"]
    # the list of signatures is a tag like others, so that who copies tags copies signatures
    raw = support.command("skopeo", "inspect", "--raw", "--tls-verify=false", source + ":" + digest.replace(":", "-")).stdout
    (listed,) = json.loads(raw)["manifests"]
    assert os.path.exists(layout.blob_path(listed["digest"]))
    tags = json.loads(support.command("skopeo", "list-tags", "--tls-verify=false", source).stdout)["Tags"]
    assert sorted(tags) == ["1.0", "1.0-rootfs", digest.replace(":", "-")]


def test_skopeo_mirrors_templates_with_their_signatures(docker, helper, tmp, publisher, bundle):
    registry.need("skopeo")
    digest = helper.json("push", PLAIN, bundle, "oci://%s/team/mirrored" % docker.host)["digest"]
    for name in ("1.0", "1.0-rootfs", digest.replace(":", "-")):
        result = support.command(*SKOPEO, "--all", "--preserve-digests", "docker://%s/team/mirrored:%s" % (docker.host, name),
                                 "docker://%s/mirror/mirrored:%s" % (docker.host, name), check=False)
        if "Instructed to preserve digests" in result.stderr:
            pytest.skip("this skopeo writes image indexes anew, as it does not know artifactType")
        assert result.returncode == 0, result.stderr
    helper("import", PLAIN, *publisher.trust, "oci://%s/mirror/mirrored:1.0" % docker.host)


def test_what_skopeo_has_pushed(docker, helper, tmp, publisher, bundle):
    """skopeo takes no signatures along, and old ones write the image index anew: neither is imported, until the bundle is pushed."""
    registry.need("skopeo")
    place = "%s/pushed/skopeo" % docker.host
    for name in ("1.0", "1.0-rootfs"):
        support.command(*SKOPEO, "--all", "oci:%s:%s" % (bundle, name), "docker://%s:%s" % (place, name))
    helper.error("import", PLAIN, *publisher.trust, "oci://%s:1.0" % place, code=UNTRUSTED)
    report = helper.json("push", PLAIN, "--force", bundle, "oci://" + place)
    # what skopeo has pushed of it is there
    assert report["bytesPresent"] > report["bytesPushed"]
    helper("import", PLAIN, *publisher.trust, "oci://%s:1.0" % place)


def test_referrers_and_lists_both_count(small, helper, tmp, publisher, bundle):
    place = "oci://%s/a" % small.host
    digest = helper.json("push", PLAIN, bundle, place)["digest"]
    tag = digest.replace(":", "-")
    listed = small.manifests.pop(("a", tag))
    helper("import", PLAIN, *publisher.trust, place + ":1.0")
    small.manifests["a", tag] = listed
    small.referrers = False
    other = support.Helper(tmp + "/other-store")
    other("import", PLAIN, *publisher.trust, place + ":1.0")
    assert json.loads(listed)["manifests"][0]["artifactType"] == "application/vnd.isar.template.signature.v1"


def test_a_tag_with_another_meaning_is_left_alone(docker, helper, tmp, publisher, bundle):
    place = "oci://%s/team/twice" % docker.host
    helper("push", PLAIN, bundle, place)
    os.makedirs(tmp + "/2")
    other = registry.pack(tmp + "/2", publisher)
    error = helper.error("push", PLAIN, other, place, code=REFUSED)
    assert "tag '1.0'" in error["message"] and "--force" in error["hint"]
    report = helper.json("push", PLAIN, "--force", other, place)
    assert helper.json("pull", PLAIN, place + ":1.0", tmp + "/out")["digest"] == report["digest"]


def test_wrong_tags(small, helper, tmp, bundle):
    place = "oci://%s/a" % small.host
    error = helper.error("push", PLAIN, bundle, place + ":2.0", code=USAGE)
    assert "version '1.0'" in error["message"]
    helper("push", PLAIN, bundle, place)
    small.manifests["a", "2.0"] = small.manifests["a", "1.0"]
    error = helper.error("pull", PLAIN, place + ":2.0", tmp + "/out", code=UNTRUSTED)
    assert error["kind"] == "tag-differs"
    error = helper.error("pull", PLAIN, place + ":3.0", tmp + "/out", code=USAGE)
    assert "has no '3.0'" in error["message"]
    error = helper.error("pull", PLAIN, place + ":1.0-rootfs", tmp + "/out", code=UNTRUSTED)
    assert "no template" in error["message"]


def test_pinned_digest(docker, helper, tmp, publisher, bundle):
    place = "oci://%s/team/pinned" % docker.host
    digest = helper.json("push", PLAIN, bundle, place)["digest"]
    wrong = "sha256:" + "0" * 64
    assert helper.error("import", PLAIN, *publisher.trust, "--digest", wrong, place + ":1.0", code=USAGE)["kind"] == "not-found"
    helper.error("pull", PLAIN, "--digest", wrong, *publisher.trust, place + ":1.0", tmp + "/out", code=USAGE)
    error = helper.error("import", PLAIN, *publisher.trust, "--digest", wrong, place + "@" + digest, code=USAGE)
    assert "names another release" in error["message"]
    assert helper.json("import", PLAIN, *publisher.trust, "--digest", digest, place + ":1.0")["digest"] == digest


@pytest.mark.parametrize("text", ["oci://host", "oci://host/A", "oci://h/a:b:c", "oci://h/a@sha256:1"])
def test_references_that_are_none(helper, bundle, text):
    result = helper("push", bundle, text, code=USAGE)
    assert "REPOSITORY" in result.stderr


# -- logins and certificates ------------------------------------------------------------------------------------------


def environment(private, **variables):
    return dict(os.environ, SSL_CERT_FILE=private.authority, **variables)


def auth_file(tmp, host, text="me:secret"):
    return support.write(tmp + "/auth.json", json.dumps({"auths": {host: {"auth": base64.b64encode(text.encode()).decode()}}}))


def test_private_registry(private, helper, tmp, publisher, bundle):
    place = "oci://%s/team/private" % private.host
    # the certificate
    result = helper("push", bundle, place, code=NETWORK)
    assert "certs.d" in result.stderr
    # the login
    env = environment(private, REGISTRY_AUTH_FILE=support.write(tmp + "/none.json", "{}"))
    result = helper("push", bundle, place, code=PRIVILEGE, env=env)
    assert "podman login" in result.stderr
    env = environment(private, REGISTRY_AUTH_FILE=auth_file(tmp, private.host, "me:wrong-secret"))
    result = helper("push", bundle, place, code=PRIVILEGE, env=env)
    assert "wrong-secret" not in result.stderr
    env = environment(private, REGISTRY_AUTH_FILE=auth_file(tmp, private.host))
    result = helper("-vv", "push", bundle, place, code=DONE, env=env)
    assert "secret" not in result.stderr and "bWU6c2VjcmV0" not in result.stderr
    helper("import", *publisher.trust, place + ":1.0", env=env)


def test_certificate_where_podman_has_it(private, helper, tmp, bundle):
    folder = "/etc/containers/certs.d/" + private.host
    os.makedirs(folder)
    try:
        support.command("cp", private.authority, folder + "/ca.crt")
        env = dict(os.environ, REGISTRY_AUTH_FILE=auth_file(tmp, private.host))
        helper("push", bundle, "oci://%s/team/certs" % private.host, env=env)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("where", ["containers", "docker", "helper"])
def test_places_of_logins(private, helper, tmp, bundle, where):
    home = tmp + "/home"
    env = environment(private, HOME=home, XDG_RUNTIME_DIR=tmp + "/run", PATH=home + "/bin:" + os.environ["PATH"])
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        env.pop(name, None)
    os.makedirs(home)
    if where == "containers":
        os.makedirs(home + "/.config/containers")
        os.rename(auth_file(tmp, private.host), home + "/.config/containers/auth.json")
    elif where == "docker":
        os.makedirs(home + "/.docker")
        os.rename(auth_file(tmp, private.host), home + "/.docker/config.json")
    else:
        os.makedirs(home + "/bin")
        answer = json.dumps({"ServerURL": private.host, "Username": "me", "Secret": "secret"})
        support.write(home + "/bin/docker-credential-test", "#!/bin/sh\ntest \"$(cat)\" = %s && echo '%s'\n" % (private.host, answer), 0o755)
        os.makedirs(home + "/.docker")
        support.write(home + "/.docker/config.json", json.dumps({"credHelpers": {private.host: "test"}}))
    helper("push", bundle, "oci://%s/team/login-%s" % (private.host, where), env=env)


def test_tokens(helper, tmp, publisher, bundle):
    small = registry.SmallRegistry(token="t0ken")
    try:
        env = dict(os.environ, REGISTRY_AUTH_FILE=auth_file(tmp, small.host))
        helper("push", PLAIN, bundle, "oci://%s/a" % small.host, env=env)
        assert small.asked["scope"] == ["repository:a:pull,push"] and small.asked["service"] == ["small"]
        helper("import", PLAIN, *publisher.trust, "oci://%s/a:1.0" % small.host, env=env)
        assert small.asked["scope"] == ["repository:a:pull"]
        env = dict(os.environ, REGISTRY_AUTH_FILE=auth_file(tmp, small.host, "me:wrong"))
        result = helper("push", PLAIN, bundle, "oci://%s/b" % small.host, code=PRIVILEGE, env=env)
        assert "wrong password" in result.stderr
    finally:
        small.stop()


# -- what goes wrong on the way -----------------------------------------------------------------------------------------


class Times:
    """Does something the first few times that a path is asked for."""

    def __init__(self, count, needle, act, method="GET"):
        self.left, self.needle, self.act, self.method = count, needle, act, method

    def __call__(self, method, path):
        if method != self.method or self.needle not in path or not self.left:
            return None
        self.left -= 1
        return self.act


def layer_of(small, version="1.0"):
    layers = json.loads(small.manifests["a", version + "-rootfs"])["layers"]
    return max(layers, key=lambda layer: layer["size"])["digest"]


def hang_up(request):
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)


def breaks_off(server, request):
    """Half of what is left, and then nothing."""
    name = request.path.rsplit("/", 1)[1]
    body = server.blobs["a", name]
    begin = int((request.headers.get("Range") or "bytes=0-")[6:].rstrip("-")) if server.ranges else 0
    request.send_response(206 if begin else 200)
    request.send_header("Content-Length", str(len(body) - begin))
    if begin:
        request.send_header("Content-Range", "bytes %d-%d/%d" % (begin, len(body) - 1, len(body)))
    request.end_headers()
    request.wfile.write(body[begin:begin + (len(body) - begin) // 2])
    request.wfile.flush()
    hang_up(request)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(small, helper, tmp, bundle, ranges):
    place = "oci://%s/a" % small.host
    helper("push", PLAIN, bundle, place)
    small.ranges = ranges
    small.fault = Times(2, layer_of(small), breaks_off)
    small.requests.clear()
    helper("pull", PLAIN, place + ":1.0", tmp + "/out")
    assert files(tmp + "/out") == files(bundle)
    asked = [part for method, path, part, _ in small.requests if path.endswith(layer_of(small))]
    assert len(asked) == 3 and asked[0] is None and all(part.startswith("bytes=") for part in asked[1:])


def test_a_registry_that_is_busy_is_asked_again(small, helper, tmp, bundle):
    place = "oci://%s/a" % small.host
    busy = lambda server, request: server.answer(request, 503, b"{}", {"Retry-After": "0"})  # noqa: E731
    small.fault = Times(2, "/blobs/uploads/", busy, "POST")
    helper("push", PLAIN, bundle, place)
    small.fault = Times(2, "/manifests/1.0", busy)
    helper("pull", PLAIN, place + ":1.0", tmp + "/out")
    assert files(tmp + "/out") == files(bundle)


def test_a_registry_that_stays_away(helper, tmp):
    place = "oci://127.0.0.1:%d/a:1.0" % registry.free_port()
    error = helper.error("pull", PLAIN, place, tmp + "/out", code=NETWORK)
    assert error["kind"] == "network" and "try again" in error["hint"]
    assert not os.path.exists(tmp + "/out")


@pytest.mark.parametrize("what", ["layer", "index", "config", "manifest"])
@pytest.mark.parametrize("how", ["changed", "longer", "shorter"])
def test_a_registry_that_gives_something_else(small, helper, tmp, publisher, bundle, what, how):
    place = "oci://%s/a" % small.host
    digest = helper.json("push", PLAIN, bundle, place)["digest"]
    index = json.loads(small.manifests["a", digest])
    manifest = index["manifests"][0]["digest"]
    blob = {"layer": layer_of(small), "index": digest, "manifest": manifest,
            "config": json.loads(small.manifests["a", manifest])["config"]["digest"]}[what]
    change = {"changed": lambda body: body[:-9] + b"x" + body[-8:], "longer": lambda body: body + b" ", "shorter": lambda body: body[:-1]}[how]
    for table in (small.manifests, small.blobs):
        if ("a", blob) in table:
            table["a", blob] = change(table["a", blob])
    if what == "index":
        place += "@" + digest
    else:
        place += ":1.0"
    code = NETWORK if (what, how) == ("layer", "shorter") else UNTRUSTED
    helper.error("import", PLAIN, *publisher.trust, place, code=code)
    helper.error("pull", PLAIN, place, tmp + "/out", code=code)
    assert not os.path.exists(tmp + "/out") and not helper.json("list")["templates"]


def test_endless_answers(small, helper, tmp, bundle):
    def endless(server, request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except OSError:
            pass
    place = "oci://%s/a" % small.host
    helper("push", PLAIN, bundle, place)
    for needle in ("/manifests/1.0", "/referrers/", layer_of(small)):
        small.fault = Times(9, needle, endless)
        result = support.command(*helper.argv("pull", PLAIN, place + ":1.0", tmp + "/out"), check=False, timeout=60)
        assert result.returncode in (UNTRUSTED, DONE), result
        shutil.rmtree(tmp + "/out", ignore_errors=True)


def test_what_strangers_have_added_is_bounded(small, helper, tmp, publisher, bundle):
    """Whoever may push to a repository can say that something is a signature."""
    place = "oci://%s/a" % small.host
    digest = helper.json("push", PLAIN, bundle, place)["digest"]
    size = len(small.manifests["a", digest])
    for number in range(200):
        parts = [{"mediaType": "application/vnd.isar.template.sshsig.v1", "digest": "sha256:%064x" % number, "size": 1 << 40}]
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "artifactType": "application/vnd.isar.template.signature.v1", "layers": parts if number < 40 else [],
                    "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest(), "size": 2},
                    "subject": {"mediaType": registry.INDEX, "digest": digest, "size": size}}
        body = json.dumps(manifest).encode()
        small.manifests["a", "sha256:" + hashlib.sha256(body).hexdigest()] = body
    small.requests.clear()
    result = support.command(*helper.argv("import", PLAIN, *publisher.trust, place + ":1.0"), check=False, timeout=120)
    # our own came first
    assert result.returncode == DONE and "too large" in result.stderr
    assert len(small.requests) < 300


def test_an_upload_that_breaks_off_is_begun_again(small, helper, tmp, bundle):
    small.fault = Times(1, "/blobs/uploads/1", lambda server, request: hang_up(request), "PUT")
    helper("push", PLAIN, bundle, "oci://%s/a" % small.host)
    helper("pull", PLAIN, "oci://%s/a:1.0" % small.host, tmp + "/out")
    assert files(tmp + "/out") == files(bundle)


@pytest.mark.parametrize("verb", ["pull", "import"])
def test_killed_midway(small, helper, tmp, publisher, bundle, verb):
    place = "oci://%s/a" % small.host
    helper("push", PLAIN, bundle, place)

    def hangs(server, request):
        support.wait_for(lambda: process.poll() is not None, 30)
    words = {"pull": ["pull", PLAIN, place + ":1.0", tmp + "/out"], "import": ["import", PLAIN, *publisher.trust, place + ":1.0"]}[verb]
    small.fault = Times(1, layer_of(small), hangs)
    process = subprocess.Popen(helper.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    support.wait_for(lambda: small.fault.left == 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not os.path.exists(tmp + "/out")
    helper(*words)
    assert not [name for name in os.listdir(tmp) if name.startswith(".")]
    if verb == "import":
        assert helper.json("fsck")["findings"] == []


def test_a_stored_template_is_not_pushed(helper, publisher, bundle):
    helper("import", *publisher.trust, bundle)
    error = helper.error("push", "tiny", "oci://127.0.0.1:1/a", code=USAGE)
    assert "pull" in error["hint"]


def test_what_two_releases_share_is_not_fetched_again(small, helper, tmp, publisher):
    """Whole trees: a build chroot that did not change."""
    place = "oci://%s/a" % small.host
    shared = support.make_tiny_root(tmp + "/chroot", extra={"usr/lib/chroot": os.urandom(1 << 20).hex()})
    for version in ("1.0", "2.0"):
        root = support.make_tiny_root(tmp + "/root-" + version, extra={"usr/lib/version": version})
        out = tmp + "/tiny-" + version
        helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, "--component", "buildchroot-target=" + shared,
               "--sign", publisher.key, "--output", out)
        helper("push", PLAIN, out, place)
    helper("import", PLAIN, *publisher.trust, place + ":1.0")
    small.requests.clear()
    helper("import", PLAIN, *publisher.trust, place + ":2.0")
    chroot = [component for component in helper.json("inspect", "tiny:2.0")["manifest"]["components"] if component["name"] == "buildchroot-target"][0]
    fetched = {path.rsplit("/", 1)[1] for method, path, *_ in small.requests if method == "GET"}
    layers = json.dumps(chroot)
    assert not [digest for digest in fetched if digest in layers], fetched
    assert helper.json("fsck")["findings"] == []
