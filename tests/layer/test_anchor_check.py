# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Whether a build is what its template was made from."""

import pytest

from imagetemplate import anchor_check


def layer(name="core", tree="t1", commit="c" * 40, dirty=False):
    return {"name": name, "tree": tree, "commit": commit, "dirty": dirty}


def origin(*layers, **configuration):
    return {"layers": list(layers), "configuration": configuration}


def advice(recorded, here):
    return [entry.advice for entry in anchor_check.compare(recorded, here)]


def test_the_same_is_no_difference_and_more_layers_are_none():
    here = origin(layer(), layer("product", "t9"), DISTRO="debian", THIRD_PARTY_APT_KEYS="")
    assert not anchor_check.compare(origin(layer(), DISTRO="debian", THIRD_PARTY_APT_KEYS=None), here)


def test_the_same_files_at_another_commit_are_the_same():
    assert not anchor_check.compare(origin(layer(commit="a" * 40)), origin(layer(commit="b" * 40, dirty=True)))


@pytest.mark.parametrize(
    "theirs, ours, expected",
    [
        (layer(), [], "add the layer to BBLAYERS, at cccccccccccc"),
        (layer(), [layer(tree="t2", commit="d" * 40)], f"check out {'c' * 40}"),
        (layer(), [layer(tree="t2", dirty=True)], "undo the local changes"),
        (layer(dirty=True), [layer(tree="t2")], "uncommitted changes: ask who made it"),
        (layer(commit=None, tree="content:1"), [layer(commit=None, tree="content:2")], "use the layer's files of then"),
    ],
)
def test_a_layer_that_differs_comes_with_what_to_do(theirs, ours, expected):
    found = advice(origin(theirs), origin(*ours))
    assert len(found) == 1 and expected in found[0]


def test_a_setting_that_differs_comes_with_the_line_to_set():
    recorded = origin(DISTRO_APT_SOURCES="a.list", DISTRO_GCC=None)
    assert advice(recorded, origin(DISTRO_APT_SOURCES="b.list", DISTRO_GCC="12")) == [
        'set DISTRO_APT_SOURCES = "a.list"',
        "do not set DISTRO_GCC",
    ]


def test_what_the_template_did_not_record_is_not_compared():
    assert not anchor_check.compare({}, origin(layer(), DISTRO="debian"))


def test_the_refusal_is_a_table_and_says_how_to_go_on():
    found = anchor_check.compare(origin(layer(), MACHINE="a"), origin(layer(tree="t2", dirty=True), MACHINE="longer"))
    text = str(anchor_check.refusal({"name": "platform", "templateVersion": "1.0"}, found))
    assert "platform:1.0" in text
    assert 'TEMPLATE_ANCHOR = "warn"' in text
    rows = [line for line in text.splitlines() if line.startswith("    ")]
    assert len(rows) == 3
    assert len({line.index(word) for line, word in zip(rows, ("this build", "cccccccccccc with", "longer"))}) == 1


def test_another_distribution_is_no_matter_of_a_warning():
    theirs, ours = origin(BASE_DISTRO_CODENAME="bookworm", DISTRO_GCC="12"), origin(BASE_DISTRO_CODENAME="trixie", DISTRO_GCC="14")
    text = str(anchor_check.refusal({"name": "platform", "templateVersion": "1.0"}, anchor_check.compare(theirs, ours)))
    assert text.endswith("or build on a template that was made for BASE_DISTRO_CODENAME = trixie")
    assert "TEMPLATE_ANCHOR" not in text
