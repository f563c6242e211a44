# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Templates that were made from others: what their bundles carry, and that every link of the chain has to be good."""

import json
import os
import shutil

import pytest

import filetrees
import support
from support import NAMESPACE, REFUSED, UNTRUSTED, USAGE

ANCESTOR = "application/vnd.isar.template.ancestor.v1"
INDEX = "application/vnd.isar.template.ancestor.index.v1+json"
MANIFEST = "application/vnd.isar.template.ancestor.manifest.v1+json"
CONFIG = "application/vnd.isar.template.config.v1+json"
SIGNATURE = "application/vnd.isar.template.sshsig.v1"
LEVELS = ["base", "division", "product"]
TAG = "org.opencontainers.image.ref.name"


def team(level):
    return level + "-team@example.org"


class Chain:
    """Three teams with keys of their own; each makes its template from that of the team before."""

    def __init__(self, folder, store):
        self.folder, self.helper = folder, support.Helper(store)
        self.keys = {level: support.make_key(folder, level) for level in LEVELS}
        self.signers = support.write(folder + "/signers", "".join(
            '%s namespaces="%s" %s\n' % (team(level), NAMESPACE, support.public_key(key)) for level, key in self.keys.items()))
        self.bundles = {}
        parent = []
        for level in LEVELS:
            self.bundles[level] = self.pack(level, *parent)
            self.helper("import", *self.trust(level), self.bundles[level])
            parent = ["--parent", level]

    def root(self, level):
        path = os.path.join(self.folder, "root-" + level)
        return path if os.path.exists(path) else support.make_tiny_root(path, extra={"etc/level": level})

    def pack(self, level, *options, output=None, version="1.0", key=None):
        output = output or os.path.join(self.folder, "bundle-" + level)
        self.helper("pack", "--name", level, "--version", version, "--component", "rootfs=" + self.root(level), *options,
                    "--sign", key or self.keys[level], "--output", output)
        return output

    def trust(self, level, signers=None):
        return ["--allowed-signers", signers or self.signers, "--identity", team(level)]

    def digest(self, level):
        return support.Layout(self.bundles[level]).tagged("1.0")["digest"]

    def fingerprint(self, level):
        return support.command("ssh-keygen", "-l", "-f", self.keys[level] + ".pub").stdout.split()[1]

    def link(self, level, verified=True):
        return {"name": level, "templateVersion": "1.0", "digest": self.digest(level),
                "signer": team(level) if verified else None, "fingerprint": self.fingerprint(level) if verified else None}


@pytest.fixture(scope="module")
def chain(session_dir):
    folder = os.path.join(session_dir, "chain")
    os.mkdir(folder)
    yield Chain(folder, folder + "/store")
    shutil.rmtree(folder)


@pytest.fixture
def product(chain, tmp):
    """A copy of the product's bundle, to be damaged at will."""
    path = os.path.join(tmp, "product")
    shutil.copytree(chain.bundles["product"], path)
    return path


# -- what is good -------------------------------------------------------------------------------------------


def test_a_chain_of_three(chain, helper):
    trust, bundle = chain.trust("product"), chain.bundles["product"]
    expected = [chain.link("division"), chain.link("base")]
    assert helper.json("verify", *trust, bundle)["chain"] == expected
    assert helper.json("import", *trust, bundle)["chain"] == expected
    for words in (["inspect", *trust, bundle], ["inspect", "product"]):
        value = helper.json(*words)
        assert value["chain"] == expected
        assert value["manifest"]["parent"] == {"name": "division", "version": "1.0", "digest": chain.digest("division")}
    assert helper.json("inspect", bundle)["chain"] == [chain.link(level, False) for level in ("division", "base")]
    for words in (["verify", *trust, bundle], ["inspect", "product"], ["inspect", *trust, bundle]):
        text = helper(*words).stdout
        assert "base:1.0" in text and team("base") in text and chain.fingerprint("division") in text
    assert "NOT VERIFIED" in helper("inspect", bundle).stdout
    # ancestors are not in the store
    assert [row["name"] for row in helper.json("list")["templates"]] == ["product"]
    assert helper.json("inspect", chain.bundles["base"])["chain"] == []
    assert "parent" not in helper.json("inspect", chain.bundles["base"])["manifest"]


def test_ssh_keygen_verifies_what_is_carried(chain, tmp):
    layout = support.Layout(chain.bundles["product"])
    found = {}
    for descriptor in layout.index()["manifests"]:
        manifest = layout.document(descriptor["digest"])
        if descriptor.get("artifactType") == ANCESTOR:
            assert manifest["artifactType"] == ANCESTOR
            assert manifest["subject"]["digest"] == chain.digest("product")
            by_type = {layer["mediaType"]: layer["digest"] for layer in manifest["layers"]}
            found[by_type[INDEX]] = by_type[SIGNATURE]
    for level in ("base", "division"):
        signature = support.write(os.path.join(tmp, level), layout.read(found.pop(chain.digest(level))))
        support.command("ssh-keygen", "-Y", "verify", "-f", chain.signers, "-I", team(level), "-n", NAMESPACE, "-s", signature,
                        stdin=None, input=layout.read(chain.digest(level)), text=False)
    assert not found


@pytest.mark.parametrize("form", ["bundle", "tar", "digest", "version"])
def test_the_parent_may_be_stored_or_a_bundle(chain, tmp, form):
    parent = {"bundle": chain.bundles["division"], "tar": tmp + "/division.tar", "digest": chain.digest("division"),
              "version": "division:1.0"}[form]
    options = ["--parent", parent]
    if form in ("bundle", "tar"):
        options += [*chain.trust("division"), "--digest", chain.digest("division")]
        support.command("tar", "-C", chain.bundles["division"], "-c", "-f", tmp + "/division.tar", ".")
    bundle = chain.pack("product", *options, output=tmp + "/out")
    assert filetrees.files_of(bundle) == filetrees.files_of(chain.bundles["product"])
    assert support.Layout(bundle).tagged("1.0")["digest"] == chain.digest("product")


def test_the_report_of_pack_names_the_parent(chain, tmp):
    words = ["pack", "--name", "p", "--version", "2", "--component", "rootfs=" + chain.root("product")]
    value = chain.helper.json(*words, "--parent", "base", "--output", tmp + "/a")
    assert value["parent"] == {"name": "base", "templateVersion": "1.0", "digest": chain.digest("base")}
    assert chain.helper.json(*words, "--output", tmp + "/b")["parent"] is None
    assert "base:1.0" in chain.helper(*words, "--parent", "base", "--output", tmp + "/c").stdout


def test_a_derived_template_needs_nothing_of_its_ancestors(chain, helper, tmp):
    helper("import", *chain.trust("product"), chain.bundles["product"])
    helper("checkout", "--raw", "product", tmp + "/out")
    filetrees.assert_same_tree(chain.root("product"), tmp + "/out")
    # and can be a parent where no ancestor ever was
    root = support.make_tiny_root(tmp + "/more")
    helper("pack", "--name", "more", "--version", "1", "--component", "rootfs=" + root, "--parent", "product",
           "--sign", chain.keys["product"], "--output", tmp + "/more-bundle")
    value = helper.json("verify", *chain.trust("product"), tmp + "/more-bundle")
    assert value["chain"] == [chain.link("product"), chain.link("division"), chain.link("base")]


def test_later_signatures_keep_the_chain(chain, helper, tmp):
    for output in (tmp + "/late", tmp + "/late.tar"):
        chain.helper("pack", "--name", "late", "--version", "1.0", "--component", "rootfs=" + chain.root("product"),
                     "--parent", "division", "--output", output)
        helper("sign", "--key", chain.keys["product"], output)
        assert len(helper.json("verify", *chain.trust("product"), output)["chain"]) == 2


def test_a_signature_that_was_added_later_is_carried(chain, helper, tmp):
    """Importing again notes the signatures that the bundle has by then."""
    base = os.path.join(tmp, "base")
    shutil.copytree(chain.bundles["base"], base)
    helper("import", *chain.trust("base"), base)
    helper("sign", "--key", chain.keys["division"], base)
    helper("import", *chain.trust("base"), base)
    helper("pack", "--name", "x", "--version", "1", "--component", "rootfs=" + chain.root("product"), "--parent", "base",
           "--sign", chain.keys["product"], "--output", tmp + "/x")
    only = ["--parent-identity", team("division")]
    assert helper.json("verify", *chain.trust("product"), *only, tmp + "/x")["chain"][0]["signer"] == team("division")


def test_other_tools_read_a_derived_bundle(chain, tmp):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed: run scripts/setup test")
    bundle = chain.bundles["product"]
    value = json.loads(support.command("skopeo", "inspect", "oci:%s:1.0-rootfs" % bundle).stdout)
    assert value["Architecture"] == support.architecture()
    for tag, words in (("1.0-rootfs", []), ("1.0", ["--all"])):
        support.command("skopeo", "--insecure-policy", "copy", *words, "oci:%s:%s" % (bundle, tag), "oci:%s/%s:x" % (tmp, tag))
    layout = support.Layout(bundle)
    assert support.Layout(tmp + "/1.0-rootfs").tagged("x")["digest"] == layout.tagged("1.0-rootfs")["digest"]
    # what is not tagged keeps its place beside what is
    tags = [entry.get("annotations", {}).get(TAG) for entry in layout.index()["manifests"]]
    assert tags[:2] == ["1.0", "1.0-rootfs"] and set(tags[2:]) == {None}


def test_umoci_unpacks_a_derived_bundle(chain, tmp):
    if not shutil.which("umoci"):
        pytest.skip("umoci is not installed: run scripts/setup test")
    bundle = chain.pack("product", "--parent", "division", "--compression", "gzip", output=tmp + "/gzip")
    assert "1.0-rootfs" in support.command("umoci", "list", "--layout", bundle).stdout
    support.command("umoci", "unpack", "--image", bundle + ":1.0-rootfs", tmp + "/out")
    with open(tmp + "/out/rootfs/etc/level") as file:
        assert file.read() == "product"


# -- what is not --------------------------------------------------------------------------------------------


def change(bundle, digest, edit):
    """Change the manifest that carries the ancestor with this digest; edit takes it, and a layout to add blobs to."""
    layout = support.Layout(bundle)
    index = layout.index()
    for descriptor in index["manifests"]:
        manifest = layout.document(descriptor["digest"])
        if descriptor.get("artifactType") == ANCESTOR and digest in [layer["digest"] for layer in manifest["layers"]]:
            manifest = edit(manifest, layout)
            if manifest is None:
                index["manifests"].remove(descriptor)
            else:
                descriptor["digest"], descriptor["size"] = layout.add(json.dumps(manifest).encode())
            layout.write_index(index)
            return
    raise AssertionError("no ancestor %s" % digest)


def layers(manifest, media_type):
    return [layer for layer in manifest["layers"] if layer["mediaType"] == media_type]


def without_signatures(manifest, _):
    manifest["layers"] = [layer for layer in manifest["layers"] if layer["mediaType"] != SIGNATURE]
    return manifest


def signed_by(key, content=None, namespace=NAMESPACE):
    def edit(manifest, layout):
        text = layout.read(layers(manifest, INDEX)[0]["digest"]) if content is None else content
        layer = layers(manifest, SIGNATURE)[0]
        layer["digest"], layer["size"] = layout.add(support.ssh_sign(key, text, namespace))
        return manifest
    return edit


def overlong(media_type):
    def edit(manifest, layout):
        layer = layers(manifest, media_type)[0]
        layer["size"] = 100 << 20
        with open(layout.blob_path(layer["digest"]), "ab") as file:
            file.truncate(100 << 20)
        return manifest
    return edit


def refused(chain, helper, bundle, level, kind, *options, trust=None):
    """Everything that verifies refuses the product, with one reason that names the ancestor; the store stays empty."""
    for verb in ("verify", "import", "inspect"):
        error = helper.error(verb, *(trust or chain.trust("product")), *options, bundle, code=UNTRUSTED)
        assert error["kind"] == kind, error
        assert "%s:1.0" % level in error["message"] and chain.digest(level) in error["message"], error
        assert error["hint"], error
    assert helper.json("list")["templates"] == []


@pytest.mark.parametrize("level", ["division", "base"])
def test_a_missing_ancestor(chain, helper, product, level):
    change(product, chain.digest(level), lambda manifest, layout: None)
    refused(chain, helper, product, level, "blob-missing")
    # what is not verified is still shown
    assert helper.json("inspect", product)["verified"] is False


@pytest.mark.parametrize("media_type", [INDEX, MANIFEST, CONFIG, SIGNATURE])
@pytest.mark.parametrize("damage", ["missing", "changed", "overlong", "not listed"])
def test_a_damaged_document_of_an_ancestor(chain, helper, product, media_type, damage):
    def edit(manifest, layout):
        layer = layers(manifest, media_type)[0]
        path = layout.blob_path(layer["digest"])
        if damage == "missing":
            os.unlink(path)
        elif damage == "changed":
            content = bytearray(layout.read(layer["digest"]))
            content[len(content) // 2] ^= 1
            support.write(path, bytes(content))
        elif damage == "not listed":
            manifest["layers"].remove(layer)
        else:
            return overlong(media_type)(manifest, layout)
        return manifest
    change(product, chain.digest("base"), edit)
    kind = {"missing": "blob-missing", "changed": "digest-differs", "overlong": "damaged", "not listed": "blob-missing"}[damage]
    if (damage, media_type) == ("not listed", SIGNATURE):
        kind = "signature-missing"
    refused(chain, helper, product, "base", kind)


@pytest.mark.parametrize("which", ["artifact", "config"])
def test_documents_of_another_template(chain, helper, product, which):
    """Each document is reached from the one before it, so another one that is good in itself does not do."""
    other = support.Layout(chain.bundles["division"])
    index = other.document(chain.digest("division"))
    artifact = next(entry["digest"] for entry in index["manifests"] if entry.get("artifactType"))
    config = other.document(artifact)["config"]["digest"]
    good = {"artifact": artifact, "config": config}[which]

    def edit(manifest, layout):
        media_type = {"artifact": MANIFEST, "config": CONFIG}[which]
        layer = layers(manifest, media_type)[0]
        layer["digest"], layer["size"] = layout.add(other.read(good))
        return manifest
    change(product, chain.digest("base"), edit)
    refused(chain, helper, product, "base", "damaged")


@pytest.mark.parametrize("level", ["division", "base"])
def test_an_ancestor_without_a_good_signature(chain, helper, tmp, product, level):
    intact = support.Layout(product).index()
    stranger = support.make_key(tmp, "stranger")
    for edit, kind in ((without_signatures, "signature-missing"), (signed_by(stranger), "key-unknown"),
                       (signed_by(chain.keys[level], b"something else"), "signature-wrong"),
                       (signed_by(chain.keys[level], namespace="git"), "namespace-wrong")):
        support.Layout(product).write_index(intact)
        change(product, chain.digest(level), edit)
        refused(chain, helper, product, level, kind)
    support.Layout(product).write_index(intact)
    helper("verify", *chain.trust("product"), product)


def test_signatures_that_are_not_for_an_ancestor_do_not_harm(chain, helper, tmp, product):
    stranger = support.make_key(tmp, "stranger")

    def edit(manifest, layout):
        digest, size = layout.add(support.ssh_sign(stranger, b"x"))
        manifest["layers"].insert(3, {"mediaType": SIGNATURE, "digest": digest, "size": size})
        return manifest
    change(product, chain.digest("base"), edit)
    helper("verify", *chain.trust("product"), product)


@pytest.mark.parametrize("how", ["list", "krl"])
def test_a_revoked_ancestor(chain, helper, tmp, how):
    revoked = support.write(tmp + "/revoked", support.public_key(chain.keys["base"]) + "\n")
    if how == "krl":
        support.command("ssh-keygen", "-q", "-k", "-f", tmp + "/krl", chain.keys["base"] + ".pub")
        revoked = tmp + "/krl"
    refused(chain, helper, chain.bundles["product"], "base", "key-revoked", "--revocation", revoked)


def signers(chain, tmp, **options):
    """An allowed_signers file in which some lines have other options, or are not there at all."""
    lines = []
    for level in LEVELS:
        option = options.get(level, 'namespaces="%s"' % NAMESPACE)
        if option is not None:
            lines.append(" ".join([team(level), option, support.public_key(chain.keys[level])]).replace("  ", " "))
    return support.write(os.path.join(tmp, "signers"), "\n".join(lines) + "\n")


@pytest.mark.parametrize("option,kind", [
    (None, "key-unknown"), ('namespaces="git"', "namespace-wrong"), ('valid-before="20200101"', "key-expired"),
    ("", None), ('namespaces="isar-*"', None)])
def test_what_the_allowed_signers_say_holds_for_ancestors(chain, helper, tmp, option, kind):
    trust = chain.trust("product", signers(chain, tmp, base=option))
    if kind is None:
        helper("verify", *trust, chain.bundles["product"])
        return
    refused(chain, helper, chain.bundles["product"], "base", kind, trust=trust)
    if kind == "key-expired":
        helper("verify", *trust, "--verify-time", "20190101", chain.bundles["product"])


def test_identities_of_ancestors_can_be_named(chain, helper):
    bundle, trust = chain.bundles["product"], chain.trust("product")
    both = ["--parent-identity", team("base"), "--parent-identity", team("division")]
    assert helper.json("verify", *trust, *both, bundle)["chain"] == [chain.link("division"), chain.link("base")]
    refused(chain, helper, bundle, "division", "identity-wrong", "--parent-identity", team("base"))
    refused(chain, helper, bundle, "base", "identity-wrong", *both[2:])
    assert "--parent-identity" in helper.error("verify", *trust, *both[2:], bundle, code=UNTRUSTED)["hint"]
    # and are not those of the template itself
    helper("verify", *chain.trust("base"), *both, bundle, code=UNTRUSTED)
    helper("verify", *chain.trust("base"), "--parent-identity", "nobody@example.org", chain.bundles["base"])
    assert "--allowed-signers" in helper.error("verify", *both, bundle, code=USAGE)["message"]
    chain.helper.error("inspect", *both, "product", code=USAGE)


def test_a_parent_that_says_it_is_something_else(chain, helper, tmp, product):
    """A signer who names a parent wrongly is not believed, though everything is signed."""
    layout = support.Layout(product)
    top, tagged = layout.index(), layout.tagged("1.0")
    index = layout.document(tagged["digest"])
    artifact = next(entry for entry in index["manifests"] if entry.get("artifactType"))
    document = layout.document(artifact["digest"])
    manifest = layout.document(document["config"]["digest"])
    manifest["parent"]["name"] = "trusted-platform"
    document["config"]["digest"], document["config"]["size"] = layout.add(json.dumps(manifest).encode())
    artifact["digest"], artifact["size"] = layout.add(json.dumps(document).encode())
    digest, size = layout.add(json.dumps(index).encode())
    for entry in top["manifests"]:
        if entry["digest"] == tagged["digest"]:
            entry["digest"], entry["size"] = digest, size
        elif entry.get("artifactType") == ANCESTOR:
            carrying = layout.document(entry["digest"])
            carrying["subject"].update(digest=digest, size=size)
            entry["digest"], entry["size"] = layout.add(json.dumps(carrying).encode())
    layout.write_index(top)
    helper("sign", "--key", chain.keys["product"], product)
    error = helper.error("verify", *chain.trust("product"), product, code=UNTRUSTED)
    assert error["kind"] == "damaged" and "trusted-platform" in error["message"] and "division" in error["message"]


def test_ancestors_of_another_bundle_are_not_taken(chain, helper, product):
    def edit(manifest, _):
        manifest["subject"]["digest"] = "sha256:" + "0" * 64
        return manifest
    change(product, chain.digest("base"), edit)
    refused(chain, helper, product, "base", "blob-missing")


# -- packing ------------------------------------------------------------------------------------------------


def test_a_parent_that_is_a_bundle_is_verified(chain, helper, tmp):
    words = ["pack", "--name", "x", "--version", "1", "--component", "rootfs=" + chain.root("product"), "--output", tmp + "/x"]
    parent = ["--parent", chain.bundles["division"]]
    assert "--allowed-signers" in helper.error(*words, *parent, code=USAGE)["message"]
    assert "--parent" in helper.error(*words, *chain.trust("division"), code=USAGE)["message"]
    assert helper.error(*words, *parent, *chain.trust("base"), code=UNTRUSTED)["kind"] == "identity-wrong"
    wrong = signers(chain, tmp, base=None)
    error = helper.error(*words, *parent, *chain.trust("division", wrong), code=UNTRUSTED)
    assert error["kind"] == "key-unknown" and "base:1.0" in error["message"]
    assert "nothing" in chain.helper.error(*words, "--parent", "nothing", code=USAGE)["message"]
    chain.helper.error(*words, "--parent", "division", "--identity", team("base"), code=UNTRUSTED)
    assert not os.path.exists(tmp + "/x")


def test_a_store_of_an_older_helper(chain, helper, tmp):
    helper("import", *chain.trust("product"), chain.bundles["product"])
    folder = os.path.join(helper.store, "templates", chain.digest("product").split(":")[1])
    os.unlink(folder + "/evidence.json")
    with open(folder + "/record.json") as file:
        record = json.load(file)
    for unknown in ("ancestors", "seal"):
        del record[unknown]
    support.write(folder + "/record.json", json.dumps(record))
    helper("checkout", "product", tmp + "/out")
    words = ["pack", "--name", "x", "--version", "1", "--component", "rootfs=" + chain.root("product"), "--parent", "product",
             "--output", tmp + "/x"]
    error = helper.error(*words, code=USAGE)
    assert "product:1.0" in error["message"] and "import" in error["hint"]
    assert helper.json("import", *chain.trust("product"), chain.bundles["product"])["nothingToDo"] is False
    assert len(helper.json("inspect", "product")["chain"]) == 2
    helper(*words)
    support.write(folder + "/evidence.json", "{}")
    assert "import the bundle again" in helper.error(*words, code=UNTRUSTED)["hint"]


def test_there_is_a_limit_to_generations(helper, tmp, publisher):
    root = support.make_tiny_root(tmp + "/root")
    parent = []
    for generation in range(17):
        bundle = "%s/%d" % (tmp, generation)
        words = ["pack", "--name", "g%d" % generation, "--version", "1", "--component", "rootfs=" + root, *parent]
        helper(*words, "--sign", publisher.key, "--output", bundle)
        parent = ["--parent", bundle, *publisher.trust]
    assert len(helper.json("verify", *publisher.trust, bundle)["chain"]) == 16
    error = helper.error("pack", "--name", "last", "--version", "1", "--component", "rootfs=" + root, *parent,
                         "--output", tmp + "/last", code=REFUSED)
    assert "16" in error["message"]
    assert not os.path.exists(tmp + "/last")
