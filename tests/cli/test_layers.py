# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What install makes of a template as a template of its own: a layer over those of the one that it was made from."""

import json
import os
import shutil

import pytest

import filetrees
import registry
import support
from support import DIFFERS, UNTRUSTED, USAGE

# a package whose script does to the system below what layers have to tell: a directory that is another one now, one that
# became a file, a file that became a directory, one of the names of a file changed, a device
SCRIPT = """
rm -rf /usr/share/doc/nano; mkdir /usr/share/doc/nano; echo mine > /usr/share/doc/nano/mine
rm -rf /usr/share/doc/less; echo file > /usr/share/doc/less
rm /etc/debian_version; mkdir /etc/debian_version; echo 12 > /etc/debian_version/it
chmod 700 /opt/hard/two; ln /opt/hard/kept /opt/hard/new; ln -s nowhere /opt/link; mkfifo /opt/fifo
chown 12:34 /opt; rm /opt/hard/gone
setfattr -n user.from -v script /opt/hard 2> /dev/null || true
"""
# written anew each time, with the same content
NOW = (b"./usr/lib/os-release ", b"./etc/machine-id ")


class Team:
    """A platform in a store, and a product that is made of it."""

    def __init__(self, folder, platform, publisher):
        self.folder, self.publisher = folder, publisher
        os.makedirs(folder)
        root = os.path.join(folder, "root")
        support.command("cp", "-a", platform, root)
        # which a finished system has not
        support.write(root + "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        for name in ("one", "kept", "gone"):
            support.write(root + "/opt/hard/" + name, name * 100)
        os.link(root + "/opt/hard/one", root + "/opt/hard/two")
        os.link(root + "/opt/hard/one", root + "/opt/hard/three")
        self.platform = os.path.join(folder, "platform-1.0")
        self.helper = support.Helper(os.path.join(folder, "store"))
        self.helper("pack", "--name", "platform", "--version", "1.0", "--component", "rootfs=" + root, "--compression", "gzip",
                    "--sign", publisher.key, "--output", self.platform)
        self.helper("import", *publisher.trust, self.platform)
        self.deb = support.make_deb(folder, "product-app", scripts={"postinst": SCRIPT})
        self.words = ["--update", "none", "--add", self.deb, "--remove", "nano"]
        self.tree = os.path.join(folder, "product")
        self.helper("install", "platform", *self.words, "--output", self.tree)
        self.bundle = os.path.join(folder, "product-1.0")
        self.made = self.derive("platform", self.bundle, "1.0", *self.words)

    def derive(self, parent, bundle, version, *words):
        return self.helper.json("install", parent, *words, "--name", "product", "--version", version,
                                "--sign", self.publisher.key, "--output", "oci:" + bundle)


@pytest.fixture(scope="module")
def team(session_dir, platform, publisher):
    team = Team(os.path.join(session_dir, "layers"), platform, publisher)
    yield team
    shutil.rmtree(team.folder)


def layers(bundle, version="1.0"):
    layout = support.Layout(bundle)
    return [layer["digest"] for layer in layout.document(layout.tagged(version + "-rootfs")["digest"])["layers"]]


def test_the_bundle_holds_what_changed(team):
    assert team.made["derived"]["name"] == "product" and team.made["derived"]["signed"]
    # the result of the first time is taken again
    assert team.made["report"]["reused"]
    size = int(support.command("du", "-sb", team.bundle).stdout.split()[0])
    whole = int(support.command("du", "-sb", team.platform).stdout.split()[0])
    assert size * 20 < whole
    assert layers(team.platform)[0] == layers(team.bundle)[0]
    value = team.helper.json("inspect", *team.publisher.trust, team.bundle)
    assert value["manifest"]["parent"]["name"] == "platform" and [link["name"] for link in value["chain"]] == ["platform"]
    (component,) = value["manifest"]["components"]
    assert len(component["changes"]) == 1 and component["finish"]
    packages = {package["package"]: package for package in value["manifest"]["packages"]}
    assert "nano" not in packages
    digest = support.command("sha256sum", team.deb).stdout.split()[0]
    assert packages["product-app"]["sha256"] == digest


def test_it_is_the_product_where_the_parent_is(team, tmp):
    value = team.helper.json("verify", *team.publisher.trust, team.bundle)
    assert value["layersOfParent"] >= 1 and value["signer"] == support.IDENTITY
    assert "not in this bundle" in team.helper("verify", *team.publisher.trust, team.bundle).stdout
    imported = team.helper.json("import", *team.publisher.trust, team.bundle)
    assert imported["digest"] == team.made["derived"]["digest"]
    out = os.path.join(tmp, "out")
    team.helper("checkout", "product:1.0", out)
    filetrees.assert_same_tree(team.tree, out, ignore=NOW)
    assert os.path.isfile(out + "/usr/share/doc/less") and os.listdir(out + "/usr/share/doc/nano") == ["mine"]
    # the same by overlayfs
    seen = team.helper("exec", "product:1.0", "--", "sh", "-c", "ls /usr/share/doc/nano; cat /etc/debian_version/it; test /opt/hard/kept -ef /opt/hard/new")
    assert seen.stdout.split() == ["mine", "12"]
    assert not os.path.exists(out + "/opt/hard/gone")
    team.helper("fsck")
    raw = os.path.join(tmp, "raw")
    team.helper("checkout", "--raw", "product:1.0", raw)
    assert os.path.exists(raw + "/etc/debian_version/it")


def test_without_the_parent_it_is_refused_with_the_way_out(team, helper, tmp):
    error = helper.error("import", *team.publisher.trust, team.bundle, code=UNTRUSTED)
    assert error["kind"] == "blob-missing" and "'platform:1.0'" in error["message"] and "import the parent" in error["hint"]
    assert helper.json("list")["templates"] == []
    error = helper.error("checkout", "--no-store", *team.publisher.trust, team.bundle, tmp + "/out", code=UNTRUSTED)
    assert "import the parent" in error["hint"] and not os.path.exists(tmp + "/out")
    helper("import", *team.publisher.trust, team.platform)
    helper("import", *team.publisher.trust, team.bundle)


def test_a_bundle_that_lacks_what_no_parent_has_is_damaged(team, tmp):
    bundle = os.path.join(tmp, "bundle")
    shutil.copytree(team.bundle, bundle)
    layout = support.Layout(bundle)
    os.unlink(layout.blob_path(layers(bundle)[1]))
    for verb in ("verify", "import"):
        helper = support.Helper(tmp + "/store")
        helper("import", *team.publisher.trust, team.platform)
        error = helper.error(verb, *team.publisher.trust, bundle, code=UNTRUSTED)
        assert "lacks blob" in error["message"]


def test_products_of_products(team, tmp):
    team.helper("import", *team.publisher.trust, team.bundle)
    words = ["--update", "none", "--remove", "product-app", "--remove", "iputils-ping"]
    tree, bundle = os.path.join(tmp, "tree"), os.path.join(tmp, "product-1.1.tar")
    team.helper("install", "product:1.0", *words, "--output", tree)
    team.derive("product:1.0", bundle, "1.1", *words)
    value = team.helper.json("import", *team.publisher.trust, bundle)
    assert value["templateVersion"] == "1.1"
    out = os.path.join(tmp, "out")
    team.helper("checkout", "product:1.1", out)
    filetrees.assert_same_tree(tree, out, ignore=NOW)
    assert not os.path.exists(out + "/usr/bin/ping")
    manifest = team.helper.json("inspect", "product:1.1")["manifest"]
    assert len(manifest["components"][0]["changes"]) == 2 and manifest["parent"]["version"] == "1.0"
    kinds = team.helper.json("diff", "product:1.0", "product:1.1", code=DIFFERS)
    assert "iputils-ping" in json.dumps(kinds)


def test_through_a_registry(team, docker, helper, tmp):
    plain = ["--plain-http"]
    place = "oci://%s/%s" % (docker.host, "teams/product")
    parent = "oci://%s/%s" % (docker.host, "teams/platform")
    team.helper("push", *plain, team.platform, parent)
    error = team.helper.error("push", *plain, team.bundle, place, code=UNTRUSTED)
    assert error["kind"] == "blob-missing" and "--parent oci://" in error["hint"]
    pushed = team.helper.json("push", *plain, "--parent", parent, team.bundle, place)
    whole = os.path.getsize(support.Layout(team.platform).blob_path(layers(team.platform)[0]))
    assert pushed["bytesPushed"] < whole / 20 and pushed["bytesPresent"] >= whole
    # who has nothing gets all of it, who has the parent only what is new
    fetched = helper.json("import", *plain, *team.publisher.trust, place + ":1.0")
    assert fetched["bytesFetched"] > whole
    helper("checkout", "product", tmp + "/out")
    filetrees.assert_same_tree(team.tree, tmp + "/out", ignore=NOW)
    other = support.Helper(tmp + "/other")
    other("import", *team.publisher.trust, team.platform)
    assert other.json("import", *plain, *team.publisher.trust, place + ":1.0")["bytesFetched"] < whole / 20
    helper("pull", *plain, *team.publisher.trust, place + ":1.0", tmp + "/pulled")
    assert helper.json("verify", *team.publisher.trust, tmp + "/pulled")["layersOfParent"] == 0


def test_into_another_registry(team, docker, small, helper):
    """One that cannot take a layer over gets it nevertheless."""
    plain = ["--plain-http"]
    parent = "oci://%s/teams/platform" % docker.host
    team.helper("push", *plain, team.platform, parent)
    place = "oci://%s/product" % small.host
    whole = os.path.getsize(support.Layout(team.platform).blob_path(layers(team.platform)[0]))
    assert team.helper.json("push", *plain, "--parent", parent, team.bundle, place)["bytesPushed"] > whole
    helper("import", *plain, *team.publisher.trust, place + ":1.0")


def test_other_tools_see_the_product(team, docker, tmp):
    registry.need("skopeo", "umoci")
    parent, place = "oci://%s/other/platform" % docker.host, "oci://%s/other/product" % docker.host
    team.helper("push", "--plain-http", team.platform, parent)
    team.helper("push", "--plain-http", "--parent", parent, team.bundle, place)
    support.command("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
                    "docker://%s/other/product:1.0-rootfs" % docker.host, "oci:%s/copy:x" % tmp)
    support.command("umoci", "unpack", "--image", tmp + "/copy:x", tmp + "/out")
    team.helper("import", *team.publisher.trust, team.bundle)
    team.helper("checkout", "product:1.0", tmp + "/checkout")
    filetrees.assert_same_tree(tmp + "/checkout", tmp + "/out/rootfs", sparse=False)


@pytest.mark.parametrize("options, words", [
    (["--output", "oci:out"], "needs a name and a version"),
    (["--output", "oci:out", "--name", "product"], "needs a name and a version"),
    (["--output", "out", "--name", "product", "--version", "1"], "for derived templates"),
    (["--output", "oci:out", "--name", "platform", "--version", "1.0"], "is the template that it is made from"),
    (["--output", "oci:out", "--name", "pro/duct", "--version", "1.0"], "pro/duct"),
    (["--output", "oci://host/product", "--name", "product", "--version", "1.0"], "is remote"),
    (["--output", "oci:/nowhere/out", "--name", "product", "--version", "1.0"], "does not exist"),
])
def test_wrong_requests(team, tmp, options, words):
    error = team.helper.error("install", "platform", *team.words, *options, code=USAGE, cwd=tmp)
    assert words in error["message"] and os.listdir(tmp) == []
