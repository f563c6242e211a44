# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Takes a bundle apart and puts it together again with whatever an attacker wants in it.

The result is signed by a key that is trusted: the attacker sits in the build, behind an honest signer. All digests
and sizes fit, unless an attack says otherwise. Nothing of the helper is used here.
"""

import hashlib
import json
import subprocess

import support

ARTIFACT = "application/vnd.isar.template.v1"
REF_NAME = "org.opencontainers.image.ref.name"
EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def zstd(content, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=content, stdout=subprocess.PIPE, check=True).stdout


def unzstd(content):
    return subprocess.run(["zstd", "-q", "-d", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


def gzip(content):
    return subprocess.run(["gzip", "-c", "-n"], input=content, stdout=subprocess.PIPE, check=True).stdout


def gunzip(content):
    return subprocess.run(["gzip", "-d", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


def to_json(value):
    # as bytes that are no UTF-8 would have to be
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")


class Tree:
    """An OCI layer and its table of contents. What is None is made from the rest."""

    def __init__(self, layout, description, unpack):
        self.description = description
        self.head, *self.entries = map(json.loads, unzstd(layout.read(description["tocDigest"])).splitlines())
        stream, self.frames, at = layout.read(description["digest"]), [], 0
        for length, _ in self.head["frames"]:
            self.frames.append(unpack(stream[at:at + length]))
            at += length
        self.packed = None      # the frames, compressed
        self.lengths = None     # what the table says of them
        self.count = None       # the number of entries that the table says
        self.lines = None       # the table as text
        self.table = None       # the table, compressed

    def entry(self, path):
        return next(entry for entry in self.entries if entry["path"] == path)

    def add(self, path, **fields):
        """A new entry, where it belongs."""
        entry = {"path": path, "mode": 0o644, "uid": 0, "gid": 0, "mtime": [1, 0], **fields}
        if entry.get("type") == "file":
            entry = {"size": 0, "digest": EMPTY, **entry}
        self.entries.append(entry)
        self.entries.sort(key=lambda entry: [name.encode("utf-8", "surrogateescape") for name in entry["path"].split("/")]
                          if entry["path"] else [])

    def stream(self, change):
        """Change the tar of a tree that has one frame."""
        [raw] = self.frames
        changed = change(raw)
        assert changed != raw
        self.frames = [changed]

    def insert(self, before, content):
        """Put something in front of the header of a member."""
        name = before.encode().ljust(100, b"\0")
        self.stream(lambda raw: raw.replace(name, content + name, 1))

    def seal(self, layout):
        packed = self.packed or [zstd(frame) for frame in self.frames]
        self.head["frames"] = self.lengths if self.lengths is not None else [[len(small), len(raw)] for small, raw in zip(packed, self.frames)]
        self.head["entries"] = len(self.entries) if self.count is None else self.count
        lines = self.lines or b"".join(to_json(line) + b"\n" for line in [self.head, *self.entries])
        table = self.table or zstd(lines)
        stream, raw = b"".join(packed), b"".join(self.frames)
        changed = {"entries": len(self.entries), "rawSize": len(raw), "diffId": digest_of(raw)}
        changed["digest"], changed["size"] = layout.add(stream)
        changed["tocDigest"], changed["tocSize"] = layout.add(table)
        self.description.update(changed)


class Forge:
    """A bundle, taken apart."""

    def __init__(self, bundle, unpack=unzstd):
        self.layout = support.Layout(bundle)
        self.index = self.layout.document(self.layout.tagged("1.0")["digest"])
        artifact, image = (entry["digest"] for entry in self.index["manifests"])
        self.artifact, self.image = self.layout.document(artifact), self.layout.document(image)
        self.manifest = self.layout.document(self.artifact["config"]["digest"])
        self.config = self.layout.document(self.image["config"]["digest"])
        [rootfs] = self.manifest["components"]
        self.tree, self.finish = (Tree(self.layout, rootfs[part], unpack) for part in ("tree", "finish"))
        self.as_changes = False  # the finish layer is one of changes
        self.overrides = {}     # of the description of a tree, in the template manifest
        self.texts = {}         # document to what becomes of its bytes

    def add(self, name, descriptor, document):
        text = self.texts.get(name, lambda text: text)(to_json(document))
        descriptor["digest"], descriptor["size"] = self.layout.add(text)
        return text

    def seal(self, key):
        """Write all documents anew, and sign."""
        layout = self.layout
        for tree in (self.tree, self.finish):
            tree.seal(layout)
        self.tree.description.update(self.overrides)
        if self.as_changes:
            [rootfs] = self.manifest["components"]
            rootfs.pop("finish")
            rootfs["changes"] = [self.finish.description]
        trees = [self.tree.description, self.finish.description]
        for place, tree in enumerate(trees):
            fields = [("digest", "size"), ("tocDigest", "tocSize")]
            for layer, (digest, size) in zip(self.artifact["layers"][2 * place:], fields):
                layer.update(digest=tree[digest], size=tree[size])
            self.image["layers"][place].update(digest=tree["digest"], size=tree["size"])
        self.config["rootfs"]["diff_ids"] = [tree["diffId"] for tree in trees]
        self.add("manifest", self.artifact["config"], self.manifest)
        self.add("config", self.image["config"], self.config)
        self.add("artifact", self.index["manifests"][0], self.artifact)
        self.add("image", self.index["manifests"][1], self.image)
        template = {"mediaType": self.index["mediaType"], "artifactType": ARTIFACT, "annotations": {REF_NAME: "1.0"}}
        text = self.add("index", template, self.index)
        runnable = {**self.index["manifests"][1], "annotations": {REF_NAME: "1.0-rootfs"}}
        top = {"schemaVersion": 2, "manifests": [template, runnable]}
        layout.write_index(top)
        add_referrer(layout, template, support.ssh_sign(key, text))


def add_referrer(layout, subject, *parts, kind="signature", media_type="application/vnd.isar.template.sshsig.v1"):
    """A manifest with the image index as its subject: a signature, or an ancestor."""
    artifact = "application/vnd.isar.template.%s.v1" % kind
    digest, size = layout.add(b"{}")
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": artifact,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": size},
        "layers": [dict(zip(("digest", "size"), layout.add(part)), mediaType=media_type) for part in parts],
        "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
    }
    digest, size = layout.add(to_json(manifest))
    index = layout.index()
    index["manifests"].append({"mediaType": manifest["mediaType"], "digest": digest, "size": size, "artifactType": artifact})
    layout.write_index(index)
    return manifest


# -- tars, as the helper writes them and as attackers would ---------------------------------------------------


def header(name, kind=b"0", size=0, mode=0o644, link=b"", uid=0, mtime=1, major=0, minor=0):
    """A ustar header."""
    block = bytearray(512)

    def put(at, field):
        block[at:at + len(field)] = field

    put(0, name)
    put(100, b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, 0, size, mtime))
    put(148, b" " * 8)
    put(156, kind + link)
    put(257, b"ustar\x0000")
    if kind in b"34":
        put(329, b"%07o\0%07o\0" % (major, minor))
    put(148, b"%07o\0" % sum(block))
    return bytes(block)


def member(name, content=b"", **fields):
    return header(name, size=len(content), **fields) + content + bytes(-len(content) % 512)


def pax(*records):
    """A member with extended headers."""
    text = b""
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = next(n for n in range(rest, rest + 20) if len(b"%d" % n) + rest == n)
        text += b"%d %s=%s\n" % (length, key, value)
    return member(b"././@PaxHeader", text, kind=b"x", mtime=0)


def reseal(block):
    """The right checksum for a header that was changed."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%07o\0" % sum(block) + block[156:]
