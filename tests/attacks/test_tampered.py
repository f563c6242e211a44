# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Good bundles that somebody without a key has tampered with, and layouts that are traps.

What tests/cli/test_signatures.py has is not repeated here.
"""

import json
import os
import shutil
import threading

import pytest

import filetrees
import forge
import support
from refusals import VERBS, assert_nothing_stored, assert_refused, words_for
from support import UNTRUSTED


@pytest.fixture
def signed(forged, publisher):
    """The layout of a small bundle that is signed."""
    forged.seal(publisher.key)
    return forged.layout


def blobs_of(layout):
    """The blobs by what they are."""
    index = layout.document(layout.tagged("1.0")["digest"])
    artifact = layout.document(index["manifests"][0]["digest"])
    descriptors = {"index": layout.tagged("1.0"), "artifact": index["manifests"][0], "manifest": artifact["config"],
                   "layer": artifact["layers"][0], "table": artifact["layers"][1]}
    return {name: layout.blob_path(descriptor["digest"]) for name, descriptor in descriptors.items()}


# -- signatures and versions --------------------------------------------------------------------------------


def pack(helper, tmp, publisher, version, key=None):
    root = support.make_tiny_root(os.path.join(tmp, "root-" + version), extra={"etc/version": version})
    bundle = os.path.join(tmp, "bundle-" + version)
    helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root,
           "--sign", key or publisher.key, "--output", bundle)
    return support.Layout(bundle)


def test_a_signature_is_no_good_for_another_bundle(helper, tmp, publisher, signed):
    """Nor when everything around it that is not signed is made to fit."""
    evil = pack(helper, tmp, publisher, "1.0", support.make_key(tmp, "stranger"))
    evil.replace_signature(signed.signature_texts()[0])
    assert_refused(helper, tmp, publisher, evil.path, "signature-wrong", "does not match the image index")


def test_a_signature_that_says_that_it_is_for_another_bundle(helper, tmp, publisher, signed):
    evil = pack(helper, tmp, publisher, "1.0", support.make_key(tmp, "stranger"))
    evil.drop_signatures()
    forge.add_referrer(evil, signed.tagged("1.0"), signed.signature_texts()[0])
    assert_refused(helper, tmp, publisher, evil.path, "signature-wrong", "for another image index")


def relabel(layout, old, new):
    index = layout.index()
    for descriptor in index["manifests"]:
        annotations = descriptor.get("annotations", {})
        if forge.REF_NAME in annotations:
            annotations[forge.REF_NAME] = annotations[forge.REF_NAME].replace(old, new)
    layout.write_index(index)


@pytest.mark.parametrize("as_new", [False, True], ids=["as-it-was", "relabelled"])
def test_an_older_version_for_the_one_that_is_pinned(helper, tmp, publisher, as_new):
    """Its signature is as good as it ever was."""
    old, new = pack(helper, tmp, publisher, "1.0"), pack(helper, tmp, publisher, "2.0")
    pin = new.tagged("2.0")["digest"]
    if as_new:
        relabel(old, "1.0", "2.0")
    options = ["--digest", pin]
    assert_refused(helper, tmp, publisher, old.path, "digest-differs", pin, "was asked for", options=options)
    helper("import", *publisher.trust, *options, new.path)


def test_an_older_version_under_a_newer_name(helper, tmp, publisher):
    """Without a pin, the version that was signed counts."""
    old = pack(helper, tmp, publisher, "1.0")
    relabel(old, "1.0", "2.0")
    assert_refused(helper, tmp, publisher, old.path, "tag-differs", "'2.0", "version '1.0'")


# -- index.json, which nobody signed ------------------------------------------------------------------------


def second_template(layout, index):
    index["manifests"].append({key: value for key, value in index["manifests"][0].items() if key != "annotations"})


def extra_tag(layout, index):
    digest, size = layout.add(b'{"evil":true}')
    index["manifests"].append({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                               "annotations": {forge.REF_NAME: "latest"}})


def other_template_first(layout, index):
    """Under the right tag, a template that nobody signed; the signed one follows without a tag."""
    document = layout.document(index["manifests"][0]["digest"])
    document["annotations"]["evil"] = "yes"
    digest, size = layout.add(forge.to_json(document))
    index["manifests"].insert(0, {**index["manifests"][0], "digest": digest, "size": size})
    del index["manifests"][1]["annotations"]


def huge_size(layout, index):
    index["manifests"][0]["size"] = 1 << 62


def negative_size(layout, index):
    index["manifests"][0]["size"] = -1


def other_algorithm(layout, index):
    index["manifests"][0]["digest"] = "sha512:" + "0" * 128


def path_for_a_digest(layout, index):
    index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd"


def no_text(layout, index):
    index["manifests"][0]["annotations"][forge.REF_NAME] = 7


INDEXES = {
    "second-template": ("damaged", second_template, "several templates"),
    "extra-tag": ("tag-differs", extra_tag, "'latest'"),
    "other-template-first": ("damaged", other_template_first, "several templates"),
    "huge-size": ("damaged", huge_size, "image index is larger"),
    "negative-size": ("damaged", negative_size, "index.json", "-"),
    "other-algorithm": ("damaged", other_algorithm, "index.json", "sha512"),
    "path-for-a-digest": ("damaged", path_for_a_digest, "index.json", "digest"),
    "no-text": ("damaged", no_text, "index.json"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_names_something_else(helper, tmp, publisher, signed, name):
    kind, attack, *words = INDEXES[name]
    index = signed.index()
    attack(signed, index)
    signed.write_index(index)
    assert_refused(helper, tmp, publisher, signed.path, kind, *words)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe{}", b"{}", b'{"a":1,"a":2}', b"[" * 100000, b'{"a":' * 100000], ids=range(8))
def test_a_layout_of_rubbish(helper, tmp, publisher, signed, name, content):
    support.write(os.path.join(signed.path, name), content)
    assert_refused(helper, tmp, publisher, signed.path, "damaged", name)


def test_a_key_that_stands_twice_in_the_index(helper, tmp, publisher, signed):
    """Engines that take the other one would run something else."""
    path = signed.path + "/index.json"
    with open(path, "rb") as file:
        text = file.read()
    support.write(path, text.replace(b'{"schemaVersion"', b'{"manifests": [], "schemaVersion"', 1))
    assert_refused(helper, tmp, publisher, signed.path, "damaged", "index.json", "duplicate")


# -- the files of a layout ----------------------------------------------------------------------------------


def as_symlink(path):
    os.rename(path, path + ".real")
    os.symlink(path + ".real", path)


def as_fifo(path):
    os.unlink(path)
    os.mkfifo(path)


def as_device(path):
    os.unlink(path)
    os.mknod(path, 0o020600, os.makedev(1, 5))


def as_directory(path):
    os.unlink(path)
    os.mkdir(path)


@pytest.mark.parametrize("name", ["oci-layout", "index.json", "index", "artifact", "manifest", "layer", "table"])
@pytest.mark.parametrize("make", [as_symlink, as_fifo, as_device, as_directory])
def test_a_layout_whose_files_are_none(helper, tmp, publisher, signed, name, make):
    """Neither followed, nor waited for, nor read without end."""
    path = blobs_of(signed).get(name) or os.path.join(signed.path, name)
    make(path)
    word = "symlink" if make is as_symlink else "regular file"
    assert_refused(helper, tmp, publisher, signed.path, "damaged", path, word, timeout=60)


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_a_layout_whose_folders_are_symlinks(helper, tmp, publisher, signed, name):
    as_symlink(os.path.join(signed.path, name))
    assert_refused(helper, tmp, publisher, signed.path, "damaged", "symlink")


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_signing_writes_nothing_through_a_symlink(helper, tmp, publisher, signed, name):
    """A layout from elsewhere may point anywhere."""
    path, elsewhere = os.path.join(signed.path, name), os.path.join(tmp, "elsewhere")
    os.rename(path, elsewhere)
    os.symlink(elsewhere, path)
    before = filetrees.files_of(elsewhere)
    error = helper.error("sign", "--key", support.make_key(tmp, "other"), signed.path, code=UNTRUSTED)
    assert error["kind"] == "damaged" and "symlink" in error["message"]
    assert filetrees.files_of(elsewhere) == before


@pytest.mark.parametrize("path", ["fifo", "device", "/dev/zero"])
def test_what_is_no_bundle_at_all(helper, tmp, publisher, path):
    if path == "fifo":
        os.mkfifo(tmp + "/fifo")
    if path == "device":
        os.mknod(tmp + "/device", 0o060600, os.makedev(7, 250))
    full = os.path.join(tmp, path)
    assert_refused(helper, tmp, publisher, full, "damaged", full, timeout=60)


# -- a bundle that is a tar ---------------------------------------------------------------------------------


def tar_of(layout, *extra):
    """A tar of the layout, with further members in front."""
    members = list(extra)
    for folder, _, files in os.walk(layout.path):
        for name in sorted(files):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                members.append(forge.member(os.path.relpath(path, layout.path).encode(), file.read()))
    return b"".join(members) + bytes(1024)


TARS = {
    "symlink": [forge.member(b"blobs", kind=b"2", link=b"/etc")],
    "hard-link": [forge.member(b"blobs/sha256/x", kind=b"1", link=b"/etc/shadow")],
    "device": [forge.member(b"zero", kind=b"3", major=1, minor=5)],
    "fifo": [forge.member(b"pipe", kind=b"6")],
    "index-twice": [forge.member(b"index.json", b"{}")],
    "index-twice-in-disguise": [forge.member(b"././index.json", b"{}")],
    "sparse": [forge.pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"index.json"),
                         (b"GNU.sparse.realsize", b"99999999999")), forge.member(b"x", b"0\n".ljust(512, b"\0"))],
    "old-sparse": [forge.member(b"x", kind=b"S")],
    "pax-size": [forge.pax((b"size", b"9999999999999")), forge.member(b"x", b"y")],
    "pax-negative-size": [forge.pax((b"size", b"-1")), forge.member(b"x", b"y")],
    "pax-rubbish": [forge.member(b"x", b"99999999999 path=x\n", kind=b"x"), forge.member(b"x", b"y")],
    "pax-path-to-the-index": [forge.pax((b"path", b"index.json")), forge.member(b"x", b"{}")],
    "huge-long-name": [forge.header(b"././@LongLink", b"L", size=1 << 32)],
    "huge-member": [forge.header(b"x", size=0o77777777777)],
    "negative-member": [forge.reseal(forge.header(b"x")[:124] + b"\xff" * 12 + forge.header(b"x")[136:])],
    "wrong-checksum": [b"evil" + forge.header(b"x")[4:]],
}


@pytest.mark.parametrize("name", TARS)
def test_a_tar_that_is_a_trap(helper, tmp, publisher, signed, name):
    tar = support.write(os.path.join(tmp, "bundle.tar"), tar_of(signed, *TARS[name]))
    assert_refused(helper, tmp, publisher, tar, "damaged", "'%s'" % tar)


def test_names_in_a_tar_are_never_paths(helper, tmp, publisher, signed):
    """Members that lead out are not looked at, since nothing asks for them."""
    extra = [forge.member(b"../../evil", b"x"), forge.member(b"/evil", b"x"), forge.pax((b"path", b"../evil")), forge.member(b"y", b"x")]
    tar = support.write(os.path.join(tmp, "bundle.tar"), tar_of(signed, *extra))
    before = sorted(os.listdir(tmp))
    helper("import", *publisher.trust, tar)
    assert sorted(os.listdir(tmp)) == sorted([*before, "store"])


def test_a_tar_that_ends_early(helper, tmp, publisher, signed):
    whole = tar_of(signed)
    for size in (100, 512, 700, len(whole) // 2, len(whole) - 1024 - 600):
        tar = support.write(os.path.join(tmp, "bundle.tar"), whole[:size])
        for verb in VERBS:
            error = helper.json(*words_for(verb, publisher, tar, tmp + "/out"), code=UNTRUSTED)["error"]
            assert error["kind"] in ("damaged", "blob-missing"), error
        assert_nothing_stored(helper)


# -- a layout that changes while it is read -----------------------------------------------------------------


def test_a_layout_that_changes_while_it_is_read(helper, tmp, publisher):
    """Whatever is read when: what comes out is what was signed, or nothing."""
    root = support.make_tiny_root(os.path.join(tmp, "root"))
    support.write(root + "/big", filetrees.big_content(6 << 20))
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
    layout = support.Layout(bundle)
    helper("checkout", "--no-store", "--raw", *publisher.trust, bundle, tmp + "/good")
    contents = {path: open(path, "rb").read() for path in blobs_of(layout).values()}
    stop = threading.Event()

    def flip():
        step = 0
        while not stop.is_set():
            step += 1
            path = sorted(contents)[step % len(contents)]
            good = contents[path]
            at = (step * 7919) % len(good)
            if step % 3:
                with open(path, "r+b") as file:
                    file.seek(at)
                    file.write(bytes([good[at] ^ 0xff]))
                    file.flush()
                    stop.wait(0.0005)
                    file.seek(at)
                    file.write(good[at:at + 1])
            else:
                # another file of the same name
                support.write(path + ".new", good[:at] + b"evil" + good[at + 4:])
                os.rename(path + ".new", path)
                stop.wait(0.0005)
                support.write(path + ".new", good)
                os.rename(path + ".new", path)

    thread = threading.Thread(target=flip)
    thread.start()
    codes = []
    try:
        for number in range(40):
            out = "%s/out-%d" % (tmp, number)
            result = support.command(*helper.argv("checkout", "--no-store", "--raw", *publisher.trust, bundle, out), check=False)
            codes.append(result.returncode)
            assert result.returncode in (0, UNTRUSTED), result.stderr
            if result.returncode == 0:
                filetrees.assert_same_tree(tmp + "/good", out)
                shutil.rmtree(out)
            assert not os.path.exists(out)
    finally:
        stop.set()
        thread.join()
    assert UNTRUSTED in codes, "nothing was hit"


# -- what is shown ------------------------------------------------------------------------------------------


def test_nothing_in_a_bundle_moves_the_cursor(helper, tmp, publisher, forged):
    """Not even of one that nobody signed, nor in warnings."""
    evil = "\x1b[2J\x1b]0;evil\x07\u009b31m"
    forged.manifest.update(packedBy=evil, distro=evil, codename=evil, architecture=evil, machine=evil)
    forged.manifest["packages"][0].update(package=evil, packageVersion=evil)
    parent = {"name": "platform", "version": "1.0", "digest": forge.EMPTY}
    forged.manifest.update(parent=parent, anchors={"layers": [{"name": evil, "commit": evil}]})
    forged.seal(publisher.key)
    layout = forged.layout
    evidence = {"index": b"{}", "manifest": forge.to_json({"version": 0, "components": [{"tree": {"compression": evil}}]})}
    forge.add_referrer(layout, layout.tagged("1.0"), evidence["index"], kind="ancestor",
                       media_type="application/vnd.isar.template.ancestor.index.v1+json")
    for words in (["inspect", layout.path], ["-v", "inspect", layout.path], ["verify", *publisher.trust, layout.path],
                  ["diff", layout.path, layout.path]):
        result = support.command(*helper.argv(*words), check=False, env={**os.environ, "RUST_LOG": "debug"})
        shown = result.stdout + result.stderr
        assert not [c for c in shown if c != "\n" and c != "\t" and (ord(c) < 32 or 127 <= ord(c) < 160)], (words, shown)
    json.loads(helper("--format", "json", "inspect", layout.path).stdout)
