# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Small bundles that would take all memory or all disk, where not every reader has a limit.

The helper runs with too little memory for any of them. Nothing here is timed: a test that hangs fails by its timeout.
"""

import os
import resource
import subprocess
import threading

import pytest

import forge
import support
from refusals import assert_refused

MEMORY = 2 << 30
TIMEOUT = 120


def little_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def refused(helper, tmp, publisher, bundle, kind, *words, **options):
    assert_refused(helper, tmp, publisher, bundle, kind, *words, preexec_fn=little_memory, timeout=TIMEOUT, **options)


def zstd_of(parts, *options):
    """Compress what is never all in memory."""
    process = subprocess.Popen(["zstd", "-q", "-c", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    def feed():
        with process.stdin as pipe:
            for part in parts:
                pipe.write(part)

    thread = threading.Thread(target=feed)
    thread.start()
    content = process.stdout.read()
    thread.join()
    assert process.wait() == 0
    return content


def table(forged, lines, *options, entries=1):
    """A table of contents of these further lines."""
    head = {**forged.tree.head, "entries": entries}
    root = forged.tree.entry("")

    def parts():
        yield forge.to_json(head) + b"\n" + forge.to_json(root) + b"\n"
        yield from lines

    forged.tree.table = zstd_of(parts(), *options)
    forged.overrides["entries"] = entries


def fifo(name, **fields):
    return forge.to_json({"path": name, "type": "fifo", "mtime": [0, 0], **fields}) + b"\n"


def test_enough_memory_for_what_is_good(helper, tmp, publisher, forged):
    """Or all of the others would show nothing."""
    forged.seal(publisher.key)
    helper("import", *publisher.trust, forged.layout.path, preexec_fn=little_memory)


def attributes(forged):
    """60 kB of attributes on each of many files."""
    value = "y" * 60000
    table(forged, (fifo("%08d" % n, type="file", size=0, digest=forge.EMPTY, xattrs=[["trusted.x", value]]) for n in range(10000)),
          "-1", entries=10001)


def names(forged):
    """4 KiB of link target on each of many."""
    target = "y" * 4000
    table(forged, (fifo("%08d" % n, type="symlink", target=target) for n in range(140000)), "-1", entries=140001)


def holes(forged):
    line = fifo("%", type="file", size=1 << 30, digest=forge.EMPTY, holes=[[2 * at, 1] for at in range(20000)])
    table(forged, (line.replace(b"%", b"%08d" % n, 1) for n in range(1700)), "-1", entries=1701)


def one_line(forged):
    """A line without an end."""
    table(forged, (b" " * (1 << 20) for _ in range(64)), "-1")


def many_entries(forged):
    table(forged, [], entries=10000001)


def frame_list(forged):
    forged.tree.table = zstd_of(iter([b'{"version":0,"entries":1,"frames":[[1,1]', *[b",[1,1]" * (1 << 20)] * 20]), "-1")


def window(forged):
    """A decoder would have to keep 2 GiB."""
    forged.tree.table = zstd_of((forge.to_json(forged.tree.head) + b"\n" for _ in range(1)), "--ultra", "--long=31")


TABLES = {
    "attributes": (attributes, "MiB"),
    "names": (names, "MiB"),
    "holes": (holes, "MiB"),
    "line": (one_line, "line"),
    "entries": (many_entries, "entries"),
    "frames": (frame_list, "line"),
    "window": (window, "table of contents"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_a_bomb(helper, tmp, publisher, forged, name):
    attack, *words = TABLES[name]
    attack(forged)
    forged.seal(publisher.key)
    refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'", *words, verbs=["verify", "import"])


def test_a_table_that_is_a_bomb_and_signed_by_nobody(helper, tmp, publisher, forged):
    """These look into bundles whose signature they do not know."""
    attributes(forged)
    forged.seal(publisher.key)
    forged.layout.drop_signatures()
    result = support.command(*helper.argv("diff", forged.layout.path, forged.layout.path), check=False, preexec_fn=little_memory)
    assert result.returncode == support.UNTRUSTED, result.stderr
    assert "MiB" in result.stderr


def frame(content):
    def attack(forged):
        [raw] = forged.tree.frames
        forged.tree.packed = [content(raw)]
        forged.tree.lengths = [[len(forged.tree.packed[0]), len(raw)]]
    return attack


FRAMES = {
    "zeros": frame(lambda raw: zstd_of((bytes(1 << 20) for _ in range(256)), "-1")),
    "window": frame(lambda raw: zstd_of([raw, bytes(1 << 20)], "--ultra", "--long=31")),
    "says-that-it-is-huge": frame(lambda raw: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x7f" + forge.zstd(raw)[6:]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_a_bomb(helper, tmp, publisher, forged, name):
    FRAMES[name](forged)
    forged.seal(publisher.key)
    refused(helper, tmp, publisher, forged.layout.path, "damaged", "component 'rootfs'", "frame")


def test_a_gzip_member_that_is_a_bomb(helper, tmp, publisher, small_bundle):
    bundle = os.path.join(tmp, "gzip")
    helper("pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + os.path.dirname(small_bundle) + "/small",
           "--compression", "gzip", "--output", bundle)
    forged = forge.Forge(bundle, unpack=forge.gunzip)
    [raw] = forged.tree.frames
    bomb = subprocess.run("head -c 256M /dev/zero | gzip -1", shell=True, stdout=subprocess.PIPE, check=True).stdout
    forged.tree.packed = [bomb]
    forged.finish.packed = [forge.gzip(forged.finish.frames[0])]
    forged.tree.lengths = [[len(bomb), len(raw)]]
    forged.seal(publisher.key)
    refused(helper, tmp, publisher, bundle, "damaged", "component 'rootfs'", "frame")
    # one that is short enough
    forged.tree.packed = [forge.gzip(bytes(8 << 20))]
    forged.tree.lengths = [[len(forged.tree.packed[0]), len(raw)]]
    forged.seal(publisher.key)
    refused(helper, tmp, publisher, bundle, "damaged", "component 'rootfs'", "frame")


def nested(depth):
    return b'{"anchors":' + b"[" * depth + b"]" * depth + b","


DOCUMENTS = {
    "deep": (lambda text: nested(100000) + text[1:], "nested"),
    "deep-objects": (lambda text: b'{"anchors":' + b'{"a":' * 100000 + b"1" + b"}" * 100000 + b"," + text[1:], "nested"),
    "many-values": (lambda text: b'{"anchors":[' + b"0," * (15 << 20) + b"0]," + text[1:], "values"),
    "many-keys": (lambda text: b'{"anchors":{' + b"".join(b'"%x":0,' % n for n in range(2500000)) + b'"x":0},' + text[1:], "values"),
    "many-packages": (lambda text: text.replace(
        b'"packages":[', b'"packages":[' + b'{"package":"","packageVersion":"","architecture":""},' * 600000, 1), "values"),
    "long": (lambda text: text + b" " * (64 << 20), "larger"),
    "long-string": (lambda text: b'{"anchors":"' + b"x" * (40 << 20) + b'",' + text[1:], "larger"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_a_bomb(helper, tmp, publisher, forged, name):
    change, *words = DOCUMENTS[name]
    forged.texts["manifest"] = change
    forged.seal(publisher.key)
    refused(helper, tmp, publisher, forged.layout.path, "damaged", "template manifest", *words)


def test_an_index_that_is_a_bomb(helper, tmp, publisher, forged):
    forged.seal(publisher.key)
    path = forged.layout.path + "/index.json"
    with open(path, "rb") as file:
        text = file.read()
    for bomb, word in ((b'{"x":' + b"[" * 100000, "nested"), (text + b" " * (2 << 20), "larger"), (None, "larger")):
        if bomb is None:
            os.truncate(path, 1 << 40)
        else:
            support.write(path, bomb)
        refused(helper, tmp, publisher, forged.layout.path, "damaged", "index.json", word)


def test_more_signatures_than_memory(helper, tmp, publisher, forged):
    """One manifest that names one large signature again and again: nobody has to sign that."""
    forged.seal(publisher.key)
    layout = forged.layout
    layout.drop_signatures()
    forge.add_referrer(layout, layout.tagged("1.0"), *[b"x" * 65000] * 4000)
    refused(helper, tmp, publisher, layout.path, "signature-wrong", "does not parse")
    layout.drop_signatures()
    forge.add_referrer(layout, layout.tagged("1.0"), *[b"x"] * 10000)
    refused(helper, tmp, publisher, layout.path, "damaged", "signature manifest", "larger")
    layout.drop_signatures()
    forge.add_referrer(layout, layout.tagged("1.0"), b"x" * (1 << 20))
    refused(helper, tmp, publisher, layout.path, "damaged", "signature", "larger")


def test_a_tar_whose_names_are_a_bomb(helper, tmp, publisher):
    """A hole of a terabyte takes no disk, but would be read as a name."""
    for kind in (b"L", b"x"):
        path = os.path.join(tmp, "bundle.tar")
        with open(path, "wb") as file:
            block = forge.header(b"././@LongLink", kind)
            size = b"\x80" + (1 << 40).to_bytes(11, "big")
            file.write(forge.reseal(block[:124] + size + block[136:]))
            file.truncate((1 << 40) + 4096)
        refused(helper, tmp, publisher, path, "damaged", "'%s'" % path)
        os.unlink(path)


def test_a_tar_of_very_many_members(helper, tmp, publisher):
    path = os.path.join(tmp, "bundle.tar")
    with open(path, "wb") as file:
        for number in range(100002):
            file.write(forge.header(b"%d" % number))
        file.write(bytes(1024))
    refused(helper, tmp, publisher, path, "damaged", "'%s'" % path, "members")
