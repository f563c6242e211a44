# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Bundles that somebody made to do harm, by whoever could have made them.

Most of them are signed by the trusted key, as those of a build that was broken into. What only tampers with a good
bundle is in test_tampered.py, what is to exhaust the machine in test_bombs.py, and the usual ways not to be trusted in
tests/cli/test_signatures.py.
"""

import os

import pytest

import filetrees
import forge
import support
from forge import EMPTY
from refusals import VERBS, assert_refused, words_for



@pytest.fixture
def prey(tmp):
    """What an attacker would like to write to; it stays as it is."""
    path = os.path.join(tmp, "prey")
    support.write(path + "/precious", "mine", 0o644)
    return path


# -- the table of contents ----------------------------------------------------------------------------------

LINE = {"path": "usr/evil", "type": "file", "size": 0, "digest": EMPTY, "mode": 0o644, "uid": 0, "gid": 0, "mtime": [1, 0]}


def entry(path, **fields):
    """An attack that adds an entry where it belongs."""
    return lambda forged: forged.tree.add(path, **{"type": "file", **fields})


def changed(where, **fields):
    return lambda forged: forged.tree.entry(where).update(fields)


def last(path, **fields):
    """An attack that adds an entry behind all others."""
    return lambda forged: forged.tree.entries.append({**LINE, "path": path, **fields})


def after_link(forged):
    """Below a symlink that the table itself has made."""
    forged.tree.add("usr/way", type="symlink", target="/tmp")
    forged.tree.add("usr/way/evil", type="file")


def replaced_directory(forged):
    """A directory, then a symlink in its place, then a file in it."""
    at = forged.tree.entries.index(forged.tree.entry("tmp"))
    forged.tree.entries[at + 1:at + 1] = [{**LINE, "path": "tmp", "type": "symlink", "target": "/etc"}, {**LINE, "path": "tmp/evil"}]


def duplicate(forged):
    at = forged.tree.entries.index(forged.tree.entry("etc/hostname"))
    forged.tree.entries.insert(at, dict(forged.tree.entries[at]))


def attributed(name, value):
    """A value that the kernel refuses, in the table and in the tar."""
    def attack(forged):
        changed("usr/bin/tool", xattrs=[[name, value]])(forged)
        forged.tree.insert("usr/bin/tool", forge.pax((b"SCHILY.xattr." + name.encode(), value.encode())))
    return attack


def without_root(forged):
    del forged.tree.entries[0]


def raw_line(line):
    """A line as it stands in JSON, at the end of the table."""
    def attack(forged):
        head = {**forged.tree.head, "entries": len(forged.tree.entries) + 1}
        lines = [forge.to_json(value) for value in [head, *forged.tree.entries]]
        forged.tree.lines = b"\n".join([*lines, line]) + b"\n"
        forged.overrides["entries"] = head["entries"]
    return attack


def head(**fields):
    def attack(forged):
        forged.tree.head = {**forged.tree.head, **fields}
        if "version" not in fields:
            forged.tree.count = forged.tree.head["entries"]
    return attack


TABLES = {
    "dot-dot": (entry("usr/../../evil"), "'usr/../../evil'", "'..'"),
    "dot-dot-alone": (last(".."), "'..'"),
    "dot": (entry("usr/./evil"), "'usr/./evil'"),
    "absolute": (last("/zzz"), "'/zzz'"),
    "empty-name": (entry("usr//evil"), "'usr//evil'"),
    "trailing-slash": (entry("usr/evil/"), "'usr/evil/'"),
    "nul": (entry("usr/evil\0"), "NUL"),
    "overlong-name": (entry("usr/" + "n" * 256), "overlong"),
    "overlong-path": (entry("usr/" + "/".join(["n" * 200] * 21)), "4095"),
    "through-a-symlink": (after_link, "'usr/way/evil'", "parent"),
    "through-a-symlink-to-a-file": (entry("usr/bin/link/evil"), "'usr/bin/link/evil'", "parent"),
    "through-a-file": (entry("usr/bin/tool/evil"), "'usr/bin/tool/evil'", "parent"),
    "through-a-device": (lambda f: (f.tree.add("dev/sda", type="block-device", major=8, minor=0), f.tree.add("dev/sda/x", type="file")),
                         "'dev/sda/x'", "parent"),
    "directory-becomes-a-symlink": (replaced_directory, "'tmp'", "twice"),
    "no-parent": (entry("usr/nowhere/evil"), "'usr/nowhere/evil'", "parent"),
    "no-root": (without_root, "'dev'", "root directory"),
    "duplicate": (duplicate, "'etc/hostname'", "twice"),
    "out-of-order": (last("aaa"), "'aaa'", "order"),
    "hard-link-outside": (entry("usr/evil", type="hardlink", target="../../etc/shadow"), "'usr/evil'", "no earlier file"),
    "hard-link-absolute": (entry("usr/evil", type="hardlink", target="/etc/shadow"), "'usr/evil'", "no earlier file"),
    "hard-link-through-a-symlink": (entry("usr/evil", type="hardlink", target="usr/bin/link/x"), "'usr/evil'", "no earlier file"),
    "hard-link-to-a-later-file": (entry("usr/aaa", type="hardlink", target="usr/bin/tool"), "'usr/aaa'", "no earlier file"),
    "hard-link-to-itself": (entry("usr/evil", type="hardlink", target="usr/evil"), "'usr/evil'", "no earlier file"),
    "hard-link-to-a-directory": (entry("usr/evil", type="hardlink", target="usr/bin"), "'usr/evil'", "no earlier file"),
    "hard-link-that-adds-setuid": (entry("usr/evil", type="hardlink", target="etc/hostname", mode=0o4755), "'usr/evil'", "other metadata"),
    "empty-symlink": (entry("usr/evil", type="symlink", target=""), "'usr/evil'", "empty"),
    "overlayfs-deletion": (entry("usr/evil", type="char-device", major=0, minor=0), "'usr/evil'", "overlayfs"),
    "overlayfs-opaque": (changed("etc", xattrs=[["trusted.overlay.opaque", "y"]]), "'etc'", "trusted.overlay.opaque"),
    "overlayfs-redirect": (changed("etc", xattrs=[["trusted.overlay.redirect", "/usr"]]), "'etc'", "trusted.overlay.redirect"),
    "overlayfs-of-users": (changed("etc", xattrs=[["user.overlay.opaque", "y"]]), "'etc'", "user.overlay.opaque"),
    "whiteout": (entry("usr/.wh.bin"), "'usr/.wh.bin'", "whiteout"),
    "opaque-directory": (entry("usr/.wh..wh..opq"), "'usr/.wh..wh..opq'", "whiteout"),
    "whiteout-directory": (entry("usr/.wh.x", type="directory"), "'usr/.wh.x'", "whiteout"),
    "impossible-device": (entry("dev/evil", type="block-device", major=1 << 40, minor=0), "'dev/evil'", "range"),
    "impossible-mode": (changed("usr/bin/tool", mode=0o100755), "'usr/bin/tool'", "mode"),
    "impossible-time": (changed("usr/bin/tool", mtime=[0, 1000000000]), "'usr/bin/tool'", "time"),
    "nobody-at-all": (changed("usr/bin/su", uid=0xffffffff), "'usr/bin/su'", "owner"),
    "no-group-at-all": (changed("usr/bin/su", gid=0xffffffff), "'usr/bin/su'", "owner"),
    "attributes-of-a-symlink": (changed("usr/bin/link", xattrs=[["user.x", "y"]]), "'usr/bin/link'", "user.x"),
    "attributes-twice": (changed("etc", xattrs=[["user.x", "y"], ["user.x", "z"]]), "'etc'", "order"),
    "attributes-without-end": (changed("etc", xattrs=[["user.x", "y" * 70000]]), "'etc'", "65536"),
    "impossible-capability": (attributed("security.capability", "rubbish"), "usr/bin/tool", "security.capability"),
    "impossible-acl": (attributed("system.posix_acl_access", "\2\0\0\0rubbish!"), "usr/bin/tool", "system.posix_acl_access"),
    "holes-beyond-the-end": (changed("etc/hostname", holes=[[0, 1 << 40]]), "'etc/hostname'", "holes"),
    "holes-that-overlap": (changed("etc/hostname", holes=[[0, 3], [2, 1]]), "'etc/hostname'", "holes"),
    "holes-that-wrap-around": (changed("etc/hostname", holes=[[(1 << 64) - 1, 2]]), "'etc/hostname'", "holes"),
    "hole-over-data": (changed("etc/hostname", holes=[[0, 4]]), "'etc/hostname'", "hole"),
    "huge-file": (changed("etc/hostname", size=1 << 60), "'etc/hostname'", "frames"),
    "impossible-file": (changed("etc/hostname", size=(1 << 64) - 1), "'etc/hostname'", "range"),
    "negative-size": (changed("etc/hostname", size=-1), "line", "-1"),
    "negative-owner": (changed("etc/hostname", uid=-1), "line", "-1"),
    "number-beyond-64-bits": (raw_line(b'{"path":"zzz","type":"file","size":18446744073709551616,"digest":"%s"}' % EMPTY.encode()), "line"),
    "number-with-exponent": (raw_line(b'{"path":"zzz","type":"file","size":1e3,"digest":"%s"}' % EMPTY.encode()), "line"),
    "unknown-type": (entry("usr/evil", type="portal"), "line", "portal"),
    "base64-for-text": (changed("etc/hostname", path={"base64": "Li4vZXZpbA=="}), "line"),
    "path-twice-in-a-line": (raw_line(b'{"path":"zzz","path":"../evil","type":"fifo"}'), "line", "duplicate"),
    "type-twice-in-a-line": (raw_line(b'{"path":"zzz","type":"fifo","type":"directory"}'), "line", "duplicate"),
    "size-twice-in-a-line": (raw_line(b'{"path":"zzz","type":"file","size":1,"size":0,"digest":"%s"}' % EMPTY.encode()), "line", "duplicate"),
    "other-digest-of-nothing": (entry("usr/evil", digest="sha256:" + "0" * 64), "'usr/evil'", "empty file"),
    "no-line-end": (lambda f: setattr(f.tree, "lines", b"{}"), "without end"),
    "empty-table": (lambda f: setattr(f.tree, "table", forge.zstd(b"")), "empty"),
    "rubbish-for-a-table": (lambda f: setattr(f.tree, "table", b"rubbish" * 10), "table of contents"),
    "more-entries-than-declared": (head(entries=3), "more entries"),
    "fewer-entries-than-declared": (head(entries=3000), "fewer entries"),
    "millions-of-entries-declared": (head(entries=1 << 60), "entries"),
    "negative-entries": (head(entries=-1), "-1"),
    "more-keys-in-the-head": (head(evil=1), "evil"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_describes_harm(helper, tmp, publisher, forged, name):
    attack, *words = TABLES[name]
    attack(forged)
    forged.seal(publisher.key)
    # what the kernel thinks of an attribute is known when the file is made
    verbs = VERBS[1:] if name in ("impossible-capability", "impossible-acl") else VERBS
    assert_refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'", *words, verbs=verbs)


def test_versions_of_tomorrow(helper, tmp, publisher, forged):
    head(version=1)(forged)
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, "unsupported", "component 'rootfs'", "version 1")


# -- layers over a tree -------------------------------------------------------------------------------------


def finish(path, **fields):
    return lambda forged: forged.finish.add(path, **{"type": "file", **fields})


def hard_linked(forged):
    forged.finish.add("usr", type="directory", mode=0o755)
    forged.finish.add("usr/.wh.bin", type="hardlink", target="etc/machine-id")


FINISHES = {
    "opaque": (finish(".wh..wh..opq"), "'.wh..wh..opq'"),
    "opaque-inside": (finish("etc/.wh..wh..opq"), "'etc/.wh..wh..opq'"),
    "of-nothing": (finish("etc/.wh."), "'etc/.wh.'"),
    "of-the-directory-itself": (finish("etc/.wh.."), "'etc/.wh..'"),
    "of-the-directory-above": (finish("etc/.wh..."), "'etc/.wh...'"),
    "and-what-it-removes": (finish("etc/.wh.machine-id"), "'etc/.wh.machine-id'"),
    "and-the-directory-it-removes": (finish(".wh.etc"), "'.wh.etc'"),
    "directory": (finish("etc/.wh.hostname", type="directory"), "'etc/.wh.hostname'"),
    "symlink": (finish("etc/.wh.hostname", type="symlink", target="/"), "'etc/.wh.hostname'"),
    "hard-link": (hard_linked, "'usr/.wh.bin'"),
}


LAYERS = pytest.mark.parametrize("layer", ["finish", "changes"])


@LAYERS
@pytest.mark.parametrize("name", FINISHES)
def test_a_whiteout_that_is_none(helper, tmp, publisher, forged, name, layer):
    """Other tools would see another system than our checkout makes."""
    attack, *words = FINISHES[name]
    forged.as_changes = layer == "changes"
    attack(forged)
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'", "whiteout", *words)


def stream_of(entries):
    """The tar of entries without contents."""
    kinds = {"directory": b"5", "symlink": b"2", "file": b"0"}
    members = []
    for value in entries:
        path = (value["path"] or ".") + ("/" if value["type"] == "directory" else "")
        link = value.get("target", "").encode()
        seconds, nanos = value["mtime"]
        assert nanos == 0 and value.get("size", 0) == 0
        members.append(forge.header(path.encode(), kinds[value["type"]], mode=value["mode"], mtime=seconds, link=link))
    return b"".join(members) + bytes(1024)


@LAYERS
def test_a_directory_that_a_layer_makes_a_symlink(helper, tmp, publisher, forged, prey, layer):
    """What the base has in that directory must not follow."""
    forged.as_changes = layer == "changes"
    root, etc = forged.finish.entry(""), forged.finish.entry("etc")
    root["mtime"] = [1, 0]
    etc.update(type="symlink", target=prey, mode=0o777, mtime=[1, 0])
    forged.finish.entries = [root, etc]
    forged.finish.frames = [stream_of(forged.finish.entries)]
    forged.seal(publisher.key)
    before = filetrees.mtree(prey)
    out = os.path.join(tmp, "out")
    helper("checkout", "--no-store", *publisher.trust, forged.layout.path, out)
    assert os.readlink(out + "/etc") == prey
    helper("import", *publisher.trust, forged.layout.path)
    helper("checkout", "tiny", out + "2")
    assert os.readlink(out + "2/etc") == prey
    assert filetrees.mtree(prey) == before


def test_more_layers_than_there_may_be(helper, tmp, publisher, forged):
    rootfs = forged.manifest["components"][0]
    rootfs["changes"] = [rootfs["finish"]] * 17
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'", "more than 16 layers")


# -- the tar, which must be that of the table ---------------------------------------------------------------


def renamed(old, new):
    """Another name in the header of a member."""
    def change(raw):
        at = raw.index(old + bytes(100 - len(old)))
        return raw[:at] + forge.reseal(new + bytes(100 - len(new)) + raw[at + 100:at + 512]) + raw[at + 512:]
    return change


def field(name, at, value):
    """Another value in a field of a header."""
    def change(raw):
        start = raw.index(name + bytes(100 - len(name)))
        block = raw[start:start + 512]
        return raw[:start] + forge.reseal(block[:at] + value + block[at + len(value):]) + raw[start + 512:]
    return change


def appended(*members):
    return lambda raw: raw[:-1024] + b"".join(members) + bytes(1024)


def in_front(*members):
    return lambda raw: b"".join(members) + raw


def in_padding(raw):
    at = raw.index(b"tiny\n") + 5
    return raw[:at] + b"evil" + raw[at + 4:]


STREAMS = {
    "other-name": renamed(b"etc/hostname", b"../evil-file"),
    "absolute-name": renamed(b"etc/hostname", b"/etc/hostnam"),
    "other-mode": field(b"usr/bin/tool", 100, b"0004755"),
    "other-owner": field(b"usr/bin/su", 108, b"0001750"),
    "other-type": field(b"usr/bin/tool", 156, b"2/etc/shadow"),
    "hard-link": field(b"usr/bin/tool", 156, b"1etc/shadow"),
    "sparse": field(b"usr/bin/tool", 156, b"S"),
    "device": field(b"usr/bin/tool", 156, b"4"),
    "negative-size": field(b"usr/bin/tool", 124, b"\xff" * 12),
    "huge-size": field(b"usr/bin/tool", 124, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7),
    "bytes-between-files": in_padding,
    "bytes-in-the-end": lambda raw: raw[:-4] + b"evil",
}

LONGER = {
    "traversal": appended(forge.member(b"../../evil", b"x")),
    "through-a-symlink": appended(forge.member(b"evil", kind=b"2", link=b"/tmp"), forge.member(b"evil/file", b"x")),
    "hard-link-outside": appended(forge.member(b"evil", kind=b"1", link=b"/etc/shadow")),
    "device": appended(forge.member(b"dev/evil", kind=b"4", major=8)),
    "setuid": appended(forge.member(b"evil", b"x", mode=0o4755)),
    "duplicate": appended(forge.member(b"etc/hostname", b"evil\n")),
    "whiteout": appended(forge.member(b"usr/.wh.bin")),
    "opaque": appended(forge.member(b"usr/.wh..wh..opq")),
    "pax-path": in_front(forge.pax((b"path", b"../../evil"))),
    "pax-size": in_front(forge.pax((b"size", b"1"))),
    "pax-global": in_front(forge.member(b"pax", b"19 path=../../evil\n", kind=b"g")),
    "pax-sparse": in_front(forge.pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"99999999999"))),
    "gnu-long-name": in_front(forge.member(b"././@LongLink", b"../../evil\0", kind=b"L")),
    "after-the-end": lambda raw: raw + forge.member(b"../../evil", b"x"),
    "shorter": lambda raw: raw[:-1024],
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_tar_that_says_something_else(helper, tmp, publisher, forged, name):
    forged.tree.stream(STREAMS[name])
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'", "OCI layer")


@pytest.mark.parametrize("honest", [False, True], ids=["table-unchanged", "table-counts-it"])
@pytest.mark.parametrize("name", LONGER)
def test_a_tar_that_says_more(helper, tmp, publisher, forged, name, honest):
    """Whether or not the table says that the frame is longer."""
    [raw] = forged.tree.frames
    forged.tree.stream(LONGER[name])
    if not honest:
        forged.tree.lengths = [[len(forge.zstd(forged.tree.frames[0])), len(raw)]]
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'")


# -- frames -------------------------------------------------------------------------------------------------


def packed(change):
    """Change the compressed frame, with everything that says how long it is."""
    def attack(forged):
        [raw] = forged.tree.frames
        forged.tree.packed = [change(raw)]
        forged.tree.lengths = [[len(forged.tree.packed[0]), len(raw)]]
    return attack


def lengths(change):
    def attack(forged):
        [raw] = forged.tree.frames
        forged.tree.lengths = change(len(forge.zstd(raw)), len(raw))
    return attack


FRAMES = {
    "two-for-one": packed(lambda raw: forge.zstd(raw[:1024]) + forge.zstd(raw[1024:])),
    "skippable-frame": packed(lambda raw: b"\x50\x2a\x4d\x18\x04\0\0\0evil" + forge.zstd(raw)),
    "bytes-behind": packed(lambda raw: forge.zstd(raw) + b"evil"),
    "cut-off": packed(lambda raw: forge.zstd(raw)[:-1]),
    "not-compressed": packed(lambda raw: raw[:4000]),
    "gzip-for-zstd": packed(lambda raw: b"\x1f\x8b\x08\0" + bytes(400)),
    "shorter-inside": packed(lambda raw: forge.zstd(raw[:-512])),
    "longer-inside": packed(lambda raw: forge.zstd(raw + bytes(512))),
    "endless-inside": packed(lambda raw: forge.zstd(bytes(256 << 20))),
    "wrong-checksum": packed(lambda raw: forge.zstd(raw)[:-4] + b"evil"),
    "dictionary": packed(lambda raw: b"\x28\xb5\x2f\xfd\x23\x01\0\0\0" + forge.zstd(raw)[5:]),
    "no-frame": lengths(lambda small, raw: []),
    "one-more": lengths(lambda small, raw: [[small, raw], [1, 512]]),
    "cut-elsewhere": lengths(lambda small, raw: [[small - 100, raw - 512], [100, 512]]),
    "empty-frame": lengths(lambda small, raw: [[0, raw]]),
    "huge-frame": lengths(lambda small, raw: [[small, 1 << 40]]),
    "huge-compressed": lengths(lambda small, raw: [[1 << 40, raw]]),
    "padded-without-end": packed(lambda raw: forge.zstd(raw) + b"\x50\x2a\x4d\x18\0\0\x7f\0" + bytes(0x7f0000)),
    "negative": lengths(lambda small, raw: [[-1, raw]]),
    "compressed-longer-than-the-layer": lengths(lambda small, raw: [[small + 1, raw]]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_lie(helper, tmp, publisher, forged, name):
    FRAMES[name](forged)
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'")


# -- documents ----------------------------------------------------------------------------------------------


def override(**fields):
    return lambda forged: forged.overrides.update(fields)


def document(name, change):
    """Change the value of a document before its digest is made."""
    return lambda forged: change(getattr(forged, name))


def text(name, old, new):
    """Change the bytes of a document before its digest is made."""
    def change(content):
        assert content.count(old) >= 1, content
        return content.replace(old, new, 1)
    return lambda forged: forged.texts.update({name: change})


def smuggled(forged):
    """A second template beside the one that is meant."""
    forged.index["manifests"].insert(1, dict(forged.index["manifests"][0]))


def third(forged):
    """Something that is neither the template nor its image."""
    forged.index["manifests"].append({**forged.index["manifests"][1], "artifactType": "application/vnd.example.evil"})


def second_image(forged):
    forged.index["manifests"].append(dict(forged.index["manifests"][1], platform={"architecture": "arm64", "os": "linux"}))


def foreign_layer(forged):
    forged.image["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar"


def other_image(forged):
    """What container engines run is another system than the template."""
    forged.image["layers"].append(dict(forged.image["layers"][0]))


def component(**fields):
    return document("manifest", lambda manifest: manifest["components"][0].update(fields))


ZEROS = "sha256:" + "0" * 64
DOCUMENTS = {
    "second-template": ("damaged", smuggled, "exactly one template"),
    "third-manifest": ("damaged", third, "image index"),
    "second-image": ("damaged", second_image, "runnable image"),
    "layer-of-another-type": ("damaged", foreign_layer, "runnable image"),
    "other-image": ("damaged", other_image, "runnable image"),
    "other-name": ("damaged", document("manifest", lambda m: m.update(name="other")), "disagree on name"),
    "name-with-slash": ("damaged", document("manifest", lambda m: m.update(name="../../evil")), "'../../evil'"),
    "name-with-escape": ("damaged", document("manifest", lambda m: m.update(name="\x1b[2J")), "name"),
    "version-with-slash": ("damaged", document("manifest", lambda m: m.update(templateVersion="../1")), "'../1'"),
    "component-with-slash": ("damaged", component(name="../rootfs"), "'../rootfs'"),
    "component-twice": ("damaged", document("manifest", lambda m: m["components"].append(m["components"][0])), "'rootfs' occurs twice"),
    "no-components": ("damaged", document("manifest", lambda m: m["components"].clear()), "rootfs"),
    "components-without-end": ("damaged", document("manifest", lambda m: m["components"].extend(
        {**m["components"][0], "name": "c%d" % n} for n in range(1000))), "components"),
    "component-that-is-not-listed": ("damaged", document("manifest", lambda m: m["components"].append(
        {**m["components"][0], "name": "more"})), "disagree on the components"),
    "layer-that-is-not-declared": ("damaged", document("artifact", lambda a: a["layers"].append(a["layers"][0])), "disagree on the components"),
    "unknown-compression": ("damaged", override(compression="lz4"), "lz4"),
    "sha512": ("damaged", text("index", b'"digest":"sha256:', b'"digest":"sha512:'), "sha512"),
    "md5-in-the-table": ("damaged", lambda f: f.tree.entry("etc/hostname").update(digest="md5:" + "0" * 32), "md5"),
    "upper-case-digest": ("damaged", text("artifact", b'"sha256:', b'"SHA256:'), "SHA256"),
    "digest-that-is-a-path": ("damaged", text("artifact", b'"sha256:', b'"sha256:../'), "digest"),
    "version-1": ("unsupported", document("manifest", lambda m: m.update(version=1)), "version 1"),
    "negative-size": ("damaged", text("artifact", b'"size":', b'"size":-'), "artifact manifest"),
    "more-raw-bytes-than-there-are": ("damaged", override(rawSize=1 << 40), "component 'rootfs'", "size"),
    "raw-size-beyond-reason": ("damaged", override(rawSize=(1 << 64) - 1), "component 'rootfs'", "size"),
    "other-count": ("damaged", override(entries=7), "component 'rootfs'", "length"),
    "missing-table": ("damaged", override(tocSize=1), "component 'rootfs'", "declared"),
    "huge-table": ("damaged", override(tocSize=1 << 50), "component 'rootfs'"),
    "duplicate-key": ("damaged", text("manifest", b'"name":', b'"name":"evil","name":'), "duplicate", "name"),
    "duplicate-annotation": ("damaged", text("index", b'"annotations":{', b'"annotations":{"a":"1","a":"2",'), "duplicate", "'a'"),
    "duplicate-unknown-key": ("damaged", text("image", b'{', b'{"evil":1,"evil":2,'), "duplicate", "'evil'"),
    "duplicate-in-anchors": ("damaged", text("manifest", b'{', b'{"anchors":{"x":{"y":1,"y":2}},'), "duplicate", "'y'"),
    "two-documents-in-one": ("damaged", text("artifact", b'{', b'{}{'), "artifact manifest"),
    "not-json": ("damaged", text("artifact", b'{', b'['), "artifact manifest"),
    "not-utf8": ("damaged", text("manifest", b'"name":"', b'"name":"\xff'), "template manifest"),
    "byte-order-mark": ("damaged", text("manifest", b'{', b'\xef\xbb\xbf{'), "template manifest"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_that_do_not_agree(helper, tmp, publisher, forged, name):
    kind, attack, *words = DOCUMENTS[name]
    attack(forged)
    forged.seal(publisher.key)
    assert_refused(helper, tmp, publisher, forged.layout.path, kind, *words)


def test_what_was_forged_without_an_attack_is_accepted(helper, tmp, publisher, forged):
    """Or all of the above would show nothing."""
    forged.seal(publisher.key)
    for verb in VERBS:
        helper(*words_for(verb, publisher, forged.layout.path, os.path.join(tmp, "out")))


def test_devices_and_setuid_programs_are_those_of_the_table(helper, tmp, publisher, forged):
    """They are allowed, and made where and as the signed table says."""
    forged.tree.add("usr/zero", type="char-device", major=1, minor=5, mode=0o600)
    forged.tree.insert("var/", forge.header(b"usr/zero", b"3", mode=0o600, major=1, minor=5))
    forged.seal(publisher.key)
    out = os.path.join(tmp, "out")
    helper("import", *publisher.trust, forged.layout.path)
    helper("checkout", "tiny", out)
    assert os.lstat(out + "/usr/zero").st_rdev == os.makedev(1, 5)
    special = [name for name in filetrees.walk(out) if os.lstat(os.path.join(os.fsencode(out), name)).st_mode & 0o6000]
    assert special == [b"usr/bin/su"]
