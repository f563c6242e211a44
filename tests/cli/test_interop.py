# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Other OCI tools read our bundles, and see the system that our checkout makes."""

import json
import os
import shutil

import pytest

import filetrees
import support

# files that container engines write into a root file system themselves
ENGINE_FILES = (b"./etc/resolv.conf", b"./etc/hosts", b"./etc/hostname", b"./run", b"./proc", b"./sys", b"./dev", b"./etc/mtab")


def need(tool):
    if not shutil.which(tool):
        pytest.skip("%s is not installed: run scripts/setup test" % tool)
    return tool


@pytest.fixture(scope="module")
def gzip_bundle(session_dir, platform, publisher):
    path = os.path.join(session_dir, "gzip-bundle")
    root = os.path.join(session_dir, "gzip-root")
    support.command("cp", "-a", platform, root)
    # umoci and the engines know none of user attributes on sockets and the like; what they know must arrive
    for folder, owner in (("srv/owner", (3000000, 3000001)),):
        os.makedirs(os.path.join(root, folder))
        os.chown(os.path.join(root, folder), *owner)
    support.write(root + "/srv/hard/one", "shared")
    os.link(root + "/srv/hard/one", root + "/srv/hard/two")
    support.write(root + "/srv/" + "d" * 90 + "/" + "f" * 180, "long")
    helper = support.Helper(os.path.join(session_dir, "gzip-store"))
    helper("pack", "--name", "platform", "--version", "1.0", "--component", "rootfs=" + root, "--compression", "gzip",
           "--sign", publisher.key, "--output", path)
    helper("import", *publisher.trust, path)
    finished = os.path.join(session_dir, "gzip-finished")
    helper("checkout", "platform", finished)
    yield path, finished
    for folder in (path, root, finished, helper.store):
        shutil.rmtree(folder)


def test_skopeo_inspects(platform_bundle):
    need("skopeo")
    value = json.loads(support.command("skopeo", "inspect", "oci:%s:1.0-rootfs" % platform_bundle).stdout)
    assert value["Architecture"] == support.architecture()
    assert value["Os"] == "linux"
    layout = support.Layout(platform_bundle)
    layers = layout.document(layout.tagged("1.0-rootfs")["digest"])["layers"]
    assert value["Layers"] == [layer["digest"] for layer in layers]
    config = json.loads(support.command("skopeo", "inspect", "--config", "oci:%s:1.0-rootfs" % platform_bundle).stdout)
    # the digests of the uncompressed layers are what others check after unpacking
    assert len(config["rootfs"]["diff_ids"]) == len(layers)


@pytest.mark.parametrize("which", ["zstd", "gzip"])
def test_skopeo_copies_bit_by_bit(platform_bundle, gzip_bundle, tmp, which):
    need("skopeo")
    bundle = platform_bundle if which == "zstd" else gzip_bundle[0]
    support.command("skopeo", "--insecure-policy", "copy", "oci:%s:1.0-rootfs" % bundle, "oci:%s/copy:x" % tmp)
    layout, copy = support.Layout(bundle), support.Layout(tmp + "/copy")
    assert layout.tagged("1.0-rootfs")["digest"] == copy.tagged("x")["digest"]
    if which == "gzip":
        # a form in which the tool must unpack every layer, and which knows no zstd
        support.command("skopeo", "--insecure-policy", "copy", "oci:%s:1.0-rootfs" % bundle, "docker-archive:%s/a.tar:platform:1" % tmp)
        assert os.path.getsize(tmp + "/a.tar") > 10 << 20


def test_nothing_of_the_index_is_left_to_add(platform_bundle, gzip_bundle):
    """Current skopeo notes images with zstd and writes the index anew, in its order: one that is another by that would have another digest than
    the signed one, and is not copied with --preserve-digests."""
    order = ["mediaType", "digest", "size", "annotations", "platform", "artifactType"]
    for bundle, annotations in ((platform_bundle, {"io.github.containers.compression.zstd": "true"}), (gzip_bundle[0], None)):
        layout = support.Layout(bundle)
        index = layout.document(layout.tagged("1.0")["digest"])
        assert list(index) == ["schemaVersion", "mediaType", "artifactType", "manifests", "annotations"]
        template, image = index["manifests"]
        for descriptor in (template, image):
            assert list(descriptor) == [key for key in order if key in descriptor]
        assert image.get("annotations") == annotations and "annotations" not in template


def test_skopeo_copies_the_whole_template(platform_bundle, tmp):
    need("skopeo")
    support.command("skopeo", "--insecure-policy", "copy", "--all", "oci:%s:1.0" % platform_bundle, "oci:%s/copy:1.0" % tmp)
    layout, copy = support.Layout(platform_bundle), support.Layout(tmp + "/copy")

    def manifests(layout_):
        index = layout_.document(layout_.tagged("1.0")["digest"])
        return [(entry["digest"], entry["platform"]) for entry in index["manifests"]]
    # the index itself is written anew by versions that do not know all of its fields
    assert manifests(layout) == manifests(copy)
    for digest, _ in manifests(layout):
        for entry in copy.document(digest)["layers"]:
            assert os.path.getsize(copy.blob_path(entry["digest"])) == entry["size"]


def test_layers_are_plain_compressed_tars(platform_bundle, gzip_bundle, tmp):
    """Any tar reads them, and their uncompressed digests are what the configuration says."""
    for bundle, tool in ((platform_bundle, ["zstd", "-dcq"]), (gzip_bundle[0], ["gzip", "-dc"])):
        layout = support.Layout(bundle)
        manifest = layout.document(layout.tagged("1.0-rootfs")["digest"])
        config = layout.document(manifest["config"]["digest"])
        for descriptor, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
            tar = os.path.join(tmp, "layer.tar")
            with open(tar, "wb") as file:
                support.command(*tool, layout.blob_path(descriptor["digest"]), stdout=file, text=False)
            assert "sha256:" + support.command("sha256sum", tar).stdout.split()[0] == diff_id
            names = support.command("tar", "-t", "-f", tar).stdout
            assert names
            support.command("bsdtar", "-t", "-f", tar)


def test_umoci_unpacks_what_our_checkout_makes(gzip_bundle, tmp):
    need("umoci")
    bundle, finished = gzip_bundle
    out = os.path.join(tmp, "out")
    support.command("umoci", "unpack", "--image", bundle + ":1.0-rootfs", out)
    filetrees.assert_same_tree(finished, out + "/rootfs", sparse=False)


# not every machine may raise its limits
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
# its path must not be longer than 50 characters
RUNROOT = "/run/isar-template-tests.%d" % os.getpid()


@pytest.fixture(scope="module")
def storage(session_dir):
    """Where podman and buildah keep images and containers, apart from those of the machine."""
    folder = os.path.join(session_dir, "containers")
    # only layouts on disk are read, and their trust is not the engine's matter here
    support.write(folder + "/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')
    yield folder
    engine = Engine("buildah", folder)
    engine("rm", "--all", check=False)
    engine("rmi", "--all", "--force", check=False)
    for path in (folder, RUNROOT):
        shutil.rmtree(path, ignore_errors=True)


class Engine:
    """A container engine without a daemon."""

    def __init__(self, tool, folder):
        self.tool = need(tool)
        self.options = ["--root", folder + "/root", "--runroot", RUNROOT, "--storage-driver", "vfs"]
        self.policy = ["--signature-policy", folder + "/policy.json"]

    def __call__(self, *words, **options):
        return support.command(self.tool, *self.options, *words, **options)

    def container(self, bundle):
        return self("from", *self.policy, *LIMITS, "oci:%s:1.0-rootfs" % bundle).stdout.split()[-1]


@pytest.mark.parametrize("which", ["zstd", "gzip"])
def test_buildah_sees_and_runs_what_our_checkout_makes(storage, platform_bundle, shared, gzip_bundle, tmp, which):
    buildah = Engine("buildah", storage)
    if which == "zstd":
        bundle, finished = platform_bundle, os.path.join(tmp, "finished")
        shared("checkout", "platform", finished)
    else:
        bundle, finished = gzip_bundle
    name = buildah.container(bundle)
    mounted = buildah("mount", name).stdout.strip()
    try:
        filetrees.assert_same_tree(finished, mounted, sparse=False, ignore=(b". ",))
    finally:
        buildah("umount", name)
    result = buildah("run", "--isolation", "chroot", name, "--", "/bin/sh", "-c", ". /etc/os-release; echo $ID; dpkg --audit; id -u")
    assert result.stdout.split() == ["debian", "0"]
    buildah("rm", name)


# what works depends on the cgroups of the machine: crun refuses the hybrid kind, runc cannot do without
RUNTIMES = [["--runtime", "crun", "run", "--cgroups", "disabled"], ["--runtime", "runc", "run"]]


def test_podman_runs_a_command(storage, platform_bundle):
    podman = Engine("podman", storage)
    script = ". /etc/os-release; echo $ID $VERSION_CODENAME; dpkg --audit"
    results = []
    for runtime in RUNTIMES:
        results.append(podman(
            "--cgroup-manager", "cgroupfs", *runtime, "--rm", "--network", "none", *LIMITS, *podman.policy,
            "oci:%s:1.0-rootfs" % platform_bundle, "/bin/sh", "-c", script, check=False))
        if results[-1].returncode == 0:
            break
    assert results[-1].returncode == 0, [result.stderr for result in results]
    assert results[-1].stdout.split() == ["debian", support.SUITE]


def test_finished_image_has_nothing_of_the_build(platform_bundle, shared, tmp):
    """No package cache, no lists of the build host, no identity shared by all machines."""
    out = os.path.join(tmp, "out")
    shared("checkout", "platform", out)
    assert not [name for name in os.listdir(out + "/var/cache/apt/archives") if name.endswith(".deb")]
    assert not os.path.exists(out + "/usr/sbin/policy-rc.d")
    assert os.path.lexists(out + "/etc/machine-id") is False or os.path.getsize(out + "/etc/machine-id") in (0, 14)
