# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Signatures both ways with the real ssh-keygen, and everything that must not be trusted."""

import datetime
import json
import os
import shutil
import subprocess

import pytest

import filetrees
import support
from support import IDENTITY, NAMESPACE, UNTRUSTED

KINDS = [("ed25519", None), ("rsa", 3072), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521)]


@pytest.fixture
def unsigned(tmp, helper):
    root = support.make_tiny_root(os.path.join(tmp, "tiny"))
    bundle = os.path.join(tmp, "unsigned")
    helper("pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root, "--output", bundle)
    return bundle


def trust(signers, identity=IDENTITY):
    return ["--allowed-signers", signers, "--identity", identity]


def signed_bytes(bundle):
    layout = support.Layout(bundle)
    return layout.read(layout.tagged("1.0")["digest"])


# -- both directions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind,bits", KINDS)
def test_ssh_keygen_verifies_what_we_sign(helper, tmp, unsigned, kind, bits):
    key = support.make_key(tmp, kind=kind, bits=bits)
    signers = support.allow(tmp, key)
    helper("sign", "--key", key, unsigned)
    texts = support.Layout(unsigned).signature_texts()
    assert len(texts) == 1
    signature = support.write(os.path.join(tmp, "signature"), texts[0])
    support.command("ssh-keygen", "-Y", "verify", "-f", signers, "-I", IDENTITY, "-n", NAMESPACE, "-s", signature,
                    stdin=None, input=signed_bytes(unsigned), text=False)
    helper("verify", *trust(signers), unsigned)


@pytest.mark.parametrize("kind,bits", KINDS)
def test_we_verify_what_ssh_keygen_signs(helper, tmp, unsigned, kind, bits):
    key = support.make_key(tmp, kind=kind, bits=bits)
    signers = support.allow(tmp, key)
    # an unrelated key makes the place, then ssh-keygen's signature goes there
    helper("sign", "--key", support.make_key(tmp, "other"), unsigned)
    helper.error("verify", *trust(signers), unsigned, code=UNTRUSTED)
    support.Layout(unsigned).replace_signature(support.ssh_sign(key, signed_bytes(unsigned)))
    helper("verify", *trust(signers), unsigned)
    value = helper.json("import", *trust(signers), unsigned)
    assert value["signer"]


def test_we_verify_sha256_signatures_of_rsa(helper, tmp, unsigned):
    key = support.make_key(tmp, kind="rsa", bits=2048)
    helper("sign", "--key", key, unsigned)
    text = support.command("ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", NAMESPACE, "-O", "hashalg=sha256", text=False,
                           stdin=None, input=signed_bytes(unsigned)).stdout
    support.Layout(unsigned).replace_signature(text)
    helper("verify", *trust(support.allow(tmp, key)), unsigned)


def test_signing_with_an_agent(helper, tmp, unsigned):
    key = support.make_key(tmp)
    agent = support.command("ssh-agent", "-s").stdout
    environment = dict(os.environ)
    for word in agent.replace(";", "\n").splitlines():
        if word.startswith("SSH_"):
            name, value = word.split("=", 1)
            environment[name] = value
    try:
        support.command("ssh-add", "-q", key, env=environment)
        os.rename(key, key + ".away")
        helper("sign", "--key", key + ".pub", unsigned, env=environment)
    finally:
        support.command("kill", environment["SSH_AGENT_PID"])
    helper("verify", *trust(support.allow(tmp, key)), unsigned)


def test_several_signatures_coexist(helper, tmp, unsigned):
    one, two = support.make_key(tmp, "one"), support.make_key(tmp, "two")
    helper("sign", "--key", one, unsigned)
    helper("sign", "--key", two, unsigned)
    assert len(support.Layout(unsigned).signature_texts()) == 2
    for key in (one, two):
        helper("verify", *trust(support.allow(tmp, key)), unsigned)


def test_what_is_no_key_or_no_signature_is_named(helper, tmp, unsigned):
    text = support.write(os.path.join(tmp, "text"), "platform-team@example.org ssh-ed25519 AAAA\n")
    error = helper.error("sign", "--key", text, unsigned, code=support.USAGE)
    assert "'%s' is no key" % text in error["message"] and "ssh-keygen" in error["hint"]
    error = helper.error("sign", "--signature", text, unsigned, code=UNTRUSTED)
    assert "'%s'" % text in error["message"] and "--print-index" in error["hint"]


def test_signing_twice_with_one_key_is_no_change(helper, tmp, unsigned):
    key = support.make_key(tmp)
    helper("sign", "--key", key, unsigned)
    before = filetrees.files_of(unsigned)
    helper("sign", "--key", key, unsigned)
    assert filetrees.files_of(unsigned) == before


def test_signing_a_tar(helper, tmp):
    root = support.make_tiny_root(os.path.join(tmp, "tiny"))
    tar, key = os.path.join(tmp, "b.tar"), support.make_key(tmp)
    helper("pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root, "--output", tar)
    helper("sign", "--key", key, tar)
    helper("verify", *trust(support.allow(tmp, key)), tar)


def test_signing_does_not_change_the_digest(helper, tmp, unsigned):
    before = helper.json("inspect", unsigned)["digest"]
    helper("sign", "--key", support.make_key(tmp), unsigned)
    assert helper.json("inspect", unsigned)["digest"] == before


def test_layout_stays_valid_for_others_after_signing(helper, tmp, unsigned):
    helper("sign", "--key", support.make_key(tmp), unsigned)
    layout = support.Layout(unsigned)
    for descriptor, manifest in layout.signatures():
        assert manifest["subject"]["digest"] == layout.tagged("1.0")["digest"]
        assert descriptor["mediaType"] == manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"


# -- allowed signers ----------------------------------------------------------------------------------------


def stamp(days):
    """A date; never tomorrow or yesterday, since the tests may run over midnight."""
    return (datetime.datetime.now() + datetime.timedelta(days=days)).strftime("%Y%m%d")


@pytest.mark.parametrize("options", [
    "", 'namespaces="isar-template"', 'namespaces="git,isar-template"', 'namespaces="isar-*"', 'namespaces="file,isar-templat?"',
    'valid-before="%s"' % stamp(10), 'valid-after="%s"' % stamp(-10), 'valid-after="%sZ",valid-before="%sZ"' % (stamp(-9), stamp(9)),
    'valid-after="%s1200"' % stamp(-3), 'valid-after="%s120030"' % stamp(-3),
])
@pytest.mark.parametrize("identity", [IDENTITY, "*@example.org", "nobody@example.net,platform-*"])
def test_what_ssh_keygen_allows_is_allowed(helper, tmp, tiny_bundle, publisher, options, identity):
    signers = support.allow(tmp, publisher.key, identity=identity, options=options)
    signature = support.write(os.path.join(tmp, "signature"), support.Layout(tiny_bundle).signature_texts()[0])
    support.command("ssh-keygen", "-Y", "verify", "-f", signers, "-I", IDENTITY, "-n", NAMESPACE, "-s", signature,
                    stdin=None, input=signed_bytes(tiny_bundle), text=False)
    helper("verify", *trust(signers), tiny_bundle)


@pytest.mark.parametrize("options,identity", [
    ('valid-before="%s"' % stamp(-2), IDENTITY),
    ('valid-after="%s"' % stamp(2), IDENTITY),
    ('namespaces="git"', IDENTITY),
    ('namespaces="!isar-template,isar-*"', IDENTITY),
    ("", "other-team@example.org"),
    ("", "!platform-team@example.org,*@example.org"),
    ("cert-authority", IDENTITY),
])
def test_what_ssh_keygen_refuses_is_refused(helper, tmp, tiny_bundle, publisher, options, identity):
    signers = support.allow(tmp, publisher.key, identity=identity, options=options)
    signature = support.write(os.path.join(tmp, "signature"), support.Layout(tiny_bundle).signature_texts()[0])
    result = support.command("ssh-keygen", "-Y", "verify", "-f", signers, "-I", IDENTITY, "-n", NAMESPACE, "-s", signature,
                             stdin=None, input=signed_bytes(tiny_bundle), text=False, check=False)
    assert result.returncode != 0
    helper.error("verify", *trust(signers), tiny_bundle, code=UNTRUSTED)


def test_comments_and_other_keys_in_allowed_signers(helper, tmp, tiny_bundle, publisher):
    other = support.make_key(tmp, "other", kind="rsa", bits=2048)
    text = "# who may sign\n\n%s %s comment here\n%s namespaces=\"isar-template\" %s\n" % (
        IDENTITY, support.public_key(other), IDENTITY, support.public_key(publisher.key))
    helper("verify", *trust(support.write(os.path.join(tmp, "signers"), text)), tiny_bundle)


def test_allowed_signers_that_is_no_such_file_is_a_usage_error(helper, tmp, tiny_bundle):
    helper.error("verify", *trust(os.path.join(tmp, "missing")), tiny_bundle, code=support.USAGE)
    helper.error("verify", *trust(support.write(os.path.join(tmp, "rubbish"), "what is this\n")), tiny_bundle, code=support.USAGE)


# -- refusals -----------------------------------------------------------------------------------------------


def largest_blob(layout):
    blobs = os.path.join(layout.path, "blobs/sha256")
    return max((os.path.join(blobs, name) for name in os.listdir(blobs)), key=os.path.getsize)


def layer_blob(layout):
    """The layer of the runnable image that holds the files."""
    return layout.blob_path(layout.document(layout.tagged("1.0-rootfs")["digest"])["layers"][0]["digest"])


def component_blob(layout, component, kind):
    """A blob of a component, as the artifact manifest lists it."""
    index = layout.document(layout.tagged("1.0")["digest"])
    for descriptor in index["manifests"]:
        if descriptor.get("artifactType"):
            for entry in layout.document(descriptor["digest"])["layers"]:
                if entry["annotations"]["org.isar.template.component"] == component and kind in entry["mediaType"]:
                    return layout.blob_path(entry["digest"])
    raise AssertionError(component)


def spoil(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))


class Case:
    """One way to be refused: how to get there, and the kind of error it is."""

    def __init__(self, kind, prepare):
        self.kind, self.prepare = kind, prepare


def case_unsigned(folder, layout, publisher):
    layout.drop_signatures()


def case_unknown_key(folder, layout, publisher):
    return trust(support.allow(folder, support.make_key(folder, "stranger")))


def case_expired(folder, layout, publisher):
    return trust(support.allow(folder, publisher.key, options='valid-before="20200101"'))


def case_revoked_by_list(folder, layout, publisher):
    revoked = support.write(folder + "/revoked", "# lost\n%s\n" % support.public_key(publisher.key))
    return publisher.trust + ["--revocation", revoked]


def case_revoked_by_krl(folder, layout, publisher):
    support.command("ssh-keygen", "-q", "-k", "-f", folder + "/krl", publisher.key + ".pub")
    return publisher.trust + ["--revocation", folder + "/krl"]


def case_revoked_by_krl_of_hashes(folder, layout, publisher):
    fingerprint = support.command("ssh-keygen", "-l", "-f", publisher.key + ".pub").stdout.split()[1]
    specification = support.write(folder + "/spec", "hash: %s\n" % fingerprint)
    support.command("ssh-keygen", "-q", "-k", "-f", folder + "/krl", specification)
    return publisher.trust + ["--revocation", folder + "/krl"]


def case_wrong_namespace(folder, layout, publisher):
    layout.replace_signature(support.ssh_sign(publisher.key, layout.read(layout.tagged("1.0")["digest"]), namespace="git"))


def case_wrong_identity(folder, layout, publisher):
    return trust(publisher.allowed_signers, "someone-else@example.org")


def case_wrong_pin(folder, layout, publisher):
    return publisher.trust + ["--digest", "sha256:" + "0" * 64]


def case_relabelled_tag(folder, layout, publisher):
    index = layout.index()
    for descriptor in index["manifests"]:
        annotations = descriptor.get("annotations", {})
        tag = annotations.get("org.opencontainers.image.ref.name", "")
        if tag.startswith("1.0"):
            annotations["org.opencontainers.image.ref.name"] = tag.replace("1.0", "2.0")
    layout.write_index(index)


def case_altered_layer(folder, layout, publisher):
    spoil(layer_blob(layout))


def case_altered_in_a_later_component(folder, layout, publisher):
    spoil(component_blob(layout, "buildchroot-target", "layer.v1"))


def case_altered_table(folder, layout, publisher):
    """Not even decompressed before its digest is right."""
    path = component_blob(layout, "rootfs", "toc.v1")
    size = os.path.getsize(path)
    support.write(path, filetrees.big_content(size))


def case_missing_in_a_later_component(folder, layout, publisher):
    os.unlink(component_blob(layout, "buildchroot-target", "layer.v1"))


def case_other_image_under_the_tag(folder, layout, publisher):
    """Whom the signature does not interest, a container engine, must not get something else either."""
    index = layout.index()
    image = layout.document(layout.tagged("1.0-rootfs")["digest"])
    image["annotations"] = {"evil": "yes"}
    digest, size = layout.add(json.dumps(image).encode())
    for descriptor in index["manifests"]:
        if descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name") == "1.0-rootfs":
            descriptor.update(digest=digest, size=size)
    layout.write_index(index)


def case_altered_index(folder, layout, publisher):
    """The image index is replaced, with everything unsigned made to agree."""
    index = layout.index()
    old = layout.tagged("1.0")
    document = layout.document(old["digest"])
    document.setdefault("annotations", {})["org.opencontainers.image.title"] = "evil"
    digest, size = layout.add(json.dumps(document).encode())
    for descriptor in index["manifests"]:
        if descriptor["digest"] == old["digest"]:
            descriptor.update(digest=digest, size=size)
    layout.write_index(index)
    for descriptor, manifest in layout.signatures():
        manifest["subject"].update(digest=digest, size=size)
        content = json.dumps(manifest).encode()
        new_digest, new_size = layout.add(content)
        for entry in index["manifests"]:
            if entry["digest"] == descriptor["digest"]:
                entry.update(digest=new_digest, size=new_size)
    layout.write_index(index)


def case_index_altered_in_place(folder, layout, publisher):
    path = layout.blob_path(layout.tagged("1.0")["digest"])
    with open(path, "rb") as file:
        content = file.read()
    support.write(path, content.replace(b"1.0", b"9.0"))


def case_manifest_altered_in_place(folder, layout, publisher):
    for descriptor in layout.document(layout.tagged("1.0")["digest"])["manifests"]:
        spoil(layout.blob_path(descriptor["digest"]))


def case_missing_layer(folder, layout, publisher):
    os.unlink(layer_blob(layout))


def case_missing_config(folder, layout, publisher):
    index = layout.document(layout.tagged("1.0")["digest"])
    for descriptor in index["manifests"]:
        manifest = layout.document(descriptor["digest"])
        if manifest.get("artifactType"):
            os.unlink(layout.blob_path(manifest["config"]["digest"]))


def case_missing_index(folder, layout, publisher):
    os.unlink(layout.blob_path(layout.tagged("1.0")["digest"]))


def case_truncated_layer(folder, layout, publisher):
    path = layer_blob(layout)
    os.truncate(path, os.path.getsize(path) - 1)


def case_longer_layer(folder, layout, publisher):
    with open(layer_blob(layout), "ab") as file:
        file.write(b"\0")


def case_signature_of_other_bytes(folder, layout, publisher):
    layout.replace_signature(support.ssh_sign(publisher.key, b"something else"))


def case_signature_is_rubbish(folder, layout, publisher):
    layout.replace_signature(b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n")


REFUSALS = {
    "unsigned": Case("signature-missing", case_unsigned),
    "unknown-key": Case("key-unknown", case_unknown_key),
    "expired": Case("key-expired", case_expired),
    "revoked-by-list": Case("key-revoked", case_revoked_by_list),
    "revoked-by-krl": Case("key-revoked", case_revoked_by_krl),
    "revoked-by-krl-of-hashes": Case("key-revoked", case_revoked_by_krl_of_hashes),
    "wrong-namespace": Case("namespace-wrong", case_wrong_namespace),
    "wrong-identity": Case("identity-wrong", case_wrong_identity),
    "wrong-pin": Case("digest-differs", case_wrong_pin),
    "relabelled-tag": Case("tag-differs", case_relabelled_tag),
    "altered-layer": Case("digest-differs", case_altered_layer),
    "altered-in-a-later-component": Case("digest-differs", case_altered_in_a_later_component),
    "altered-table": Case("digest-differs", case_altered_table),
    "missing-in-a-later-component": Case("blob-missing", case_missing_in_a_later_component),
    "other-image-under-the-tag": Case("tag-differs", case_other_image_under_the_tag),
    "altered-index": Case("signature-wrong", case_altered_index),
    "index-altered-in-place": Case("digest-differs", case_index_altered_in_place),
    "manifest-altered-in-place": Case("digest-differs", case_manifest_altered_in_place),
    "truncated-layer": Case("damaged", case_truncated_layer),
    "longer-layer": Case("damaged", case_longer_layer),
    "missing-layer": Case("blob-missing", case_missing_layer),
    "missing-config": Case("blob-missing", case_missing_config),
    "missing-index": Case("blob-missing", case_missing_index),
    "signature-of-other-bytes": Case("signature-wrong", case_signature_of_other_bytes),
    "signature-is-rubbish": Case("signature-wrong", case_signature_is_rubbish),
}


@pytest.mark.parametrize("verb", ["verify", "import"])
@pytest.mark.parametrize("name", REFUSALS)
def test_refused_with_its_own_message(helper, tmp, tiny_bundle, publisher, name, verb):
    case = REFUSALS[name]
    options = case.prepare(tmp, support.Layout(tiny_bundle), publisher) or publisher.trust
    error = helper.error(verb, *options, tiny_bundle, code=UNTRUSTED)
    assert error["kind"] == case.kind, error
    assert helper.json("list")["templates"] == []
    assert_nothing_stored(helper)


def assert_nothing_stored(helper):
    """No content is left in the store, under a final name or another."""
    if os.path.isdir(helper.store):
        left = [name for name, size in filetrees.files_of(helper.store)
                if os.path.isfile(os.path.join(os.fsencode(helper.store), name)) and size > 0]
        assert not [name for name in left if name != b"format"], left


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_from_a_tar_as_well(helper, tmp, tiny_bundle, publisher, name):
    case = REFUSALS[name]
    options = case.prepare(tmp, support.Layout(tiny_bundle), publisher) or publisher.trust
    tar = os.path.join(tmp, "bundle.tar")
    support.command("tar", "-c", "-f", tar, "-C", tiny_bundle, ".")
    error = helper.error("import", *options, tar, code=UNTRUSTED)
    assert error["kind"] == case.kind, error
    assert_nothing_stored(helper)


def test_messages_of_the_refusals_differ(helper, tmp, tiny_bundle, publisher):
    """Each says in words of its own what it was, and what to do is on a line of its own."""
    messages = {}
    for name, case in REFUSALS.items():
        copy, folder = os.path.join(tmp, "copy"), os.path.join(tmp, "case-" + name)
        os.mkdir(folder)
        shutil.copytree(tiny_bundle, copy)
        options = case.prepare(folder, support.Layout(copy), publisher) or publisher.trust
        error = helper.error("verify", *options, copy, code=UNTRUSTED)
        messages.setdefault(error["message"], []).append(name)
        shutil.rmtree(copy)
    # one reason in several disguises: a signature does not tell which other bytes it was made for
    disguises = [{"revoked-by-list", "revoked-by-krl", "revoked-by-krl-of-hashes"}, {"altered-index", "signature-of-other-bytes"}]
    shared = [set(names) for names in messages.values() if len(names) > 1]
    assert all(any(names <= disguise for disguise in disguises) for names in shared), shared


def test_verification_at_another_time(helper, tmp, tiny_bundle, publisher):
    signers = support.allow(tmp, publisher.key, options='valid-after="20200101",valid-before="20200201"')
    helper.error("verify", *trust(signers), tiny_bundle, code=UNTRUSTED)
    helper("verify", "--verify-time", "20200115", *trust(signers), tiny_bundle)
    helper("import", "--verify-time", "20200115", *trust(signers), tiny_bundle)


def test_what_was_imported_stays_valid(helper, tmp, tiny_bundle, publisher):
    signers = support.allow(tmp, publisher.key, options='valid-before="20200201"')
    helper("import", "--verify-time", "20200115", *trust(signers), tiny_bundle)
    helper("checkout", "tiny", os.path.join(tmp, "out"))


def test_right_pin_is_accepted(helper, tiny_bundle, publisher):
    digest = support.Layout(tiny_bundle).tagged("1.0")["digest"]
    helper("verify", *publisher.trust, "--digest", digest, tiny_bundle)
    assert helper.json("import", *publisher.trust, "--digest", digest, tiny_bundle)["digest"] == digest


def test_a_good_signature_beside_a_bad_one_is_enough(helper, tmp, tiny_bundle, publisher):
    helper("sign", "--key", support.make_key(tmp, "stranger"), tiny_bundle)
    layout = support.Layout(tiny_bundle)
    layout.replace_signature(support.ssh_sign(publisher.key, b"something else"))
    layout.replace_signature(layout.signature_texts()[0])
    stranger = support.allow(tmp, os.path.join(tmp, "stranger"))
    helper("verify", *trust(stranger), tiny_bundle)


def test_unstored_bundle_is_not_used_without_verification(helper, tmp, tiny_bundle, publisher):
    out = os.path.join(tmp, "out")
    for words in (["checkout", tiny_bundle, out], ["exec", tiny_bundle, "--", "true"],
                  ["install", tiny_bundle, "--output", out], ["plan", tiny_bundle]):
        assert "--allowed-signers" in support.said(helper.error(*words, code=support.USAGE))
        assert not os.path.exists(out)


def test_inspect_reads_an_unverified_bundle_and_says_so(helper, tiny_bundle):
    result = helper("inspect", tiny_bundle)
    assert "not verified" in (result.stdout + result.stderr).lower() or "unverified" in (result.stdout + result.stderr).lower()


def test_rubbish_is_not_a_bundle(helper, tmp, publisher):
    empty = os.path.join(tmp, "empty")
    os.mkdir(empty)
    rubbish = support.write(os.path.join(tmp, "rubbish.tar"), filetrees.big_content(10240))
    missing = os.path.join(tmp, "missing")
    for path in (empty, rubbish, missing):
        error = helper.error("import", *publisher.trust, path, code=support.USAGE if path == missing else UNTRUSTED)
        assert path in error["message"] and error["hint"]


def test_revocation_list_from_a_pipe(helper, tmp, tiny_bundle, publisher):
    """It can be read only once, and holds for every signature."""
    second = support.make_key(tmp, "second")
    helper("sign", "--key", second, tiny_bundle)
    keys = [support.public_key(publisher.key), support.public_key(second)]
    signers = support.write(tmp + "/both", "".join("%s %s\n" % (IDENTITY, key) for key in keys))
    revoked = support.write(tmp + "/revoked", "\n".join(keys) + "\n")
    words = helper.argv("verify", *trust(signers), "--revocation", "/dev/stdin", tiny_bundle)
    result = support.command("sh", "-c", 'cat "$0" | "$@"', revoked, *words, check=False)
    assert result.returncode == UNTRUSTED, result.stdout + result.stderr


def test_a_pin_that_is_no_digest_is_wrong_usage(helper, tiny_bundle, publisher):
    for pin in ("md5:00", "sha512:" + "0" * 128, "sha256:xyz", "1.0"):
        helper.error("verify", *publisher.trust, "--digest", pin, tiny_bundle, code=support.USAGE)


def test_signing_at_the_same_time_loses_no_signature(helper, tmp, unsigned):
    keys = [support.make_key(tmp, "key%d" % number) for number in range(6)]
    running = [subprocess.Popen(helper.argv("sign", "--key", key, unsigned), stdout=subprocess.DEVNULL) for key in keys]
    assert [process.wait(timeout=60) for process in running] == [0] * len(keys)
    assert len(support.Layout(unsigned).signature_texts()) == len(keys)


def test_an_unverified_bundle_cannot_write_on_the_terminal(helper, tmp, tiny_bundle):
    layout = support.Layout(tiny_bundle)
    index = layout.index()
    tagged = layout.tagged("1.0")
    tagged["digest"] = "sha256:\x1b[2K" + "0" * 60
    index["manifests"][0] = tagged
    layout.write_index(index)
    result = support.command(*helper.argv("inspect", tiny_bundle), check=False)
    assert result.returncode == UNTRUSTED
    assert "\x1b" not in result.stdout + result.stderr


def test_a_private_key_goes_nowhere(tmp, helper, publisher):
    """Its path alone is told to others; no line of it is in logs, command lines or the bundle."""
    with open(publisher.key) as file:
        secret = [line for line in file.read().splitlines() if not line.startswith("-----")]
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    bundle = os.path.join(tmp, "bundle")
    with support.command_lines() as seen:
        result = helper("-vv", "pack", "--name", "n", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key,
                        "--output", bundle, env=dict(os.environ, RUST_LOG="trace"))
    words = ["grep", "-rlF", *(word for line in secret for word in ("-e", line)), bundle]
    assert support.command(*words, check=False).stdout == ""
    for text in (result.stdout, result.stderr, *seen):
        assert not any(line in text for line in secret)
