# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What it means that a bundle is refused."""

import os

import filetrees
import support
from support import UNTRUSTED

VERBS = ["verify", "checkout", "import"]


def words_for(verb, publisher, bundle, out):
    if verb == "checkout":
        return ["checkout", "--no-store", *publisher.trust, bundle, out]
    return [verb, *publisher.trust, bundle]


def assert_refused(helper, tmp, publisher, bundle, kind, *words, verbs=VERBS, options=(), **process):
    """Exit code 3, this kind, a message with these words, and nothing anywhere."""
    before = sorted(os.listdir(tmp))
    for verb in verbs:
        argv = [*words_for(verb, publisher, bundle, os.path.join(tmp, "out")), *options]
        if verb == "import":
            error = helper.error(*argv, code=UNTRUSTED, **process)
        else:
            error = helper.json(*argv, code=UNTRUSTED, **process)["error"]
        assert error["kind"] == kind, (verb, error)
        missing = [word for word in words if word not in support.said(error)]
        assert not missing, (verb, missing, error)
    assert [name for name in sorted(os.listdir(tmp)) if name != "store"] == [name for name in before if name != "store"]
    assert_nothing_stored(helper)


def assert_nothing_stored(helper):
    """No content is left in the store, under a final name or another."""
    if not os.path.isdir(helper.store):
        return
    assert helper.json("list")["templates"] == []
    left = []
    for name in filetrees.walk(helper.store):
        path = os.path.join(os.fsencode(helper.store), name)
        if os.path.islink(path) or not os.path.isdir(path) and os.path.getsize(path) > 0:
            left.append(name)
    assert [name for name in left if name != b"format"] == []
