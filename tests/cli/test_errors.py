# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Every error says what to do next: where it is made, or by its kind."""

import glob
import os
import re

import support

# what `usual_hint` in crates/isar-template/src/output.rs has words for, and what needs none
BY_KIND = ("damaged(", "Kind::Damaged", "Kind::BlobMissing", "Kind::DigestDiffers", "Kind::Internal", "Kind::Network", "Kind::Io", "Kind::Interrupted")
MADE = re.compile(r"(?<!io::)\bError::(?:new|usage|damaged)\(")


def end_of_call(text, at):
    """Behind the parenthesis that closes the one before `at`."""
    depth, quoted = 1, False
    while depth:
        char = text[at]
        if quoted:
            at += char == "\\"
            quoted = char != '"'
        else:
            quoted = char == '"'
            depth += (char == "(") - (char == ")")
        at += 1
    return at


def sites():
    for path in sorted(glob.glob(support.TOP + "/crates/*/src/**/*.rs", recursive=True)):
        if path.endswith("/tests.rs"):
            continue
        with open(path, encoding="utf-8") as file:
            text = file.read().split("\n#[cfg(test)]\nmod ")[0]
        for match in MADE.finditer(text):
            end = end_of_call(text, match.end())
            yield os.path.relpath(path, support.TOP), text[max(0, match.start() - 20):match.start()], text[match.start():end], text[end:end + 500]


def test_sites_of_errors_have_hints():
    lacking, count = [], 0
    for path, before, call, behind in sites():
        count += 1
        hinted = re.match(r"\s*\)?\s*(?:\.within\([^)]*\)\s*)?\.hint\(", behind) or (before.endswith("let error = ") and "error.hint(" in behind)
        if not hinted and not any(kind in call for kind in BY_KIND) and path != "crates/template-bundle/src/error.rs":
            lacking.append("%s: %s" % (path, " ".join(call.split())))
    assert count > 200
    assert not lacking, "errors without a word of what to do:\n" + "\n".join(lacking)


def test_verbs_in_hints_are_there():
    hints = []
    for path in glob.glob(support.TOP + "/crates/*/src/**/*.rs", recursive=True):
        with open(path, encoding="utf-8") as file:
            hints += re.findall(r'\.hint\(\s*(?:format!\(\s*)?"((?:[^"\\]|\\.)*)"', file.read())
    named = {verb for hint in hints for verb in re.findall(r"isar-template ([a-z]+)", hint)}
    assert len(hints) > 150 and named and named <= {*support.verbs(), "has"}, named


def test_kinds_have_words(helper, tmp, tiny_bundle, publisher):
    """Damage, and what the system refuses."""
    with open(max(glob.glob(tiny_bundle + "/blobs/sha256/*"), key=os.path.getsize), "r+b") as file:
        file.seek(100)
        file.write(b"rubbish")
    assert "publisher" in helper.error("verify", *publisher.trust, tiny_bundle, code=support.UNTRUSTED)["hint"]
    os.mkdir(tmp + "/copy")
    support.command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp + "/copy")
    try:
        root = support.make_tiny_root(tmp + "/root", extra={"usr/lib/big": os.urandom(1 << 20).hex()})
        error = helper.error("pack", "--name", "a", "--version", "1", "--component", "rootfs=" + root, "--output", tmp + "/copy/bundle", code=support.INTERNAL)
        assert "No space left on device" in error["message"] and "free some space" in error["hint"], error
        assert tmp + "/copy/bundle" in error["message"], error
        support.command("mount", "-o", "remount,ro", tmp + "/copy")
        error = helper.error("pack", "--name", "a", "--version", "1", "--component", "rootfs=" + root, "--output", tmp + "/copy/bundle", code=support.INTERNAL)
        assert "can be written to" in error["hint"], error
    finally:
        support.command("umount", tmp + "/copy")
