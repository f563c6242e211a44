# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Users of the layer are told about variables, not about options of a program they do not run."""

import pytest

from imagetemplate import hints
from imagetemplate.helper import HelperError

UPGRADE = "allow it with --allow-upgrade {}"
REMOVE = "name it too, with --remove {}, or give --auto-remove"


@pytest.mark.parametrize(
    "ways, lines",
    [
        ([UPGRADE.format("libc6")], ['if that is wanted, add: TEMPLATE_ALLOW_UPGRADE += "libc6"']),
        (
            [UPGRADE.format("a"), REMOVE.format("b"), UPGRADE.format("c"), UPGRADE.format("a")],
            [
                'if that is wanted, add: TEMPLATE_ALLOW_UPGRADE += "a c"',
                'if that is wanted, add: TEMPLATE_REMOVE += "b"',
            ],
        ),
        (["name them too, with --remove a --remove b, or give --auto-remove", "use another, or allow it with --allow-suite sid"],
         ['if that is wanted, add: TEMPLATE_ALLOW_SUITE += "sid"', 'if that is wanted, add: TEMPLATE_REMOVE += "a b"']),
        (["remove the modules too, with --remove foo (or a newer one), or allow it with --allow-orphaned-modules linux-x"],
         ['if that is wanted, add: TEMPLATE_ALLOW_ORPHANED_MODULES += "linux-x"', 'if that is wanted, add: TEMPLATE_REMOVE += "foo"']),
        (["make a new template", UPGRADE.format("a"), "make a new template"],
         ['if that is wanted, add: TEMPLATE_ALLOW_UPGRADE += "a"', "make a new template"]),
    ],
)  # fmt: skip
def test_ways_out_of_a_refusal(ways, lines):
    assert hints.translate("policy-refused", "; ".join(ways)) == lines


@pytest.mark.parametrize("kind", ["not-solvable", "network", "lists-outdated"])
def test_lists_are_the_templates(kind):
    (line,) = hints.translate(kind, "refresh the package lists with --update all, or use --repo")
    assert "--" not in line
    assert "package lists are the template's" in line


def test_sources_without_a_signature():
    (line,) = hints.translate("repository-unsigned", "a folder of this machine is trusted with --repo")
    assert "--" not in line


@pytest.mark.parametrize("kind", ["network", "lists-outdated"])
@pytest.mark.parametrize("hint", [None, "try again"])
def test_without_a_network_the_downloads_are_what_matters(kind, hint):
    (line,) = hints.translate(kind, hint, offline=True)
    assert line.endswith('TEMPLATE_COMPONENTS:append = " base-apt"')


def test_other_hints_name_the_variable():
    error = HelperError(
        "isar-template import: digest differs", "the pin (--digest, TEMPLATE_DIGEST) must be updated", "digest-differs"
    )
    assert hints.explain(error) == (
        "isar-template import: digest differs\nthe pin (TEMPLATE_DIGEST) must be updated"
    )


def test_an_error_without_a_hint_is_its_message():
    assert hints.explain(HelperError("it failed", None, "network")) == "it failed"
