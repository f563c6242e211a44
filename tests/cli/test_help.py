# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What tells how the program is used: man pages and completions, as they are installed."""

import gzip
import os
import re
import shutil
import subprocess

import pytest

import support


@pytest.fixture(scope="module")
def installed(session_dir):
    folder = os.path.join(session_dir, "installed")
    support.command(os.path.join(support.TOP, "scripts", "install"), env={**os.environ, "DESTDIR": folder, "ISAR_TEMPLATE": support.HELPER})
    return folder + "/usr/local"


def test_every_verb_has_a_page_that_can_be_formatted(installed):
    folder = installed + "/share/man/man1"
    pages = sorted(os.listdir(folder))
    assert pages == sorted(["isar-template.1.gz"] + ["isar-template-%s.1.gz" % verb for verb in support.verbs() if verb != "help"])
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    for page in pages:
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-K", "utf8", "-z"], input=gzip.open(os.path.join(folder, page)).read(),
                              capture_output=True, check=True)
        assert not [line for line in done.stderr.decode().splitlines() if "can't break line" not in line and "cannot adjust line" not in line], page
        assert b"exit code" in gzip.open(os.path.join(folder, page)).read().lower() or page != "isar-template.1.gz"


def test_pages_have_the_sections_of_the_help(installed):
    page = gzip.open(installed + "/share/man/man1/isar-template-install.1.gz").read().decode()
    headings = re.findall(r'^\.SH "?(.*?)"?$', page, re.MULTILINE)
    assert headings[:4] == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] and headings[-3:] == ["EXAMPLES", "EXIT CODES", "VERSION"], headings
    assert {"PACKAGES", "PACKAGE SOURCES", "TRUST", "SERVERS", "OPTIONS OF EVERY VERB"} <= set(headings)
    synopsis = page.split(".SH SYNOPSIS")[1].split(".SH")[0].replace("\\-", "-")
    assert "--root <DIR>" in synopsis and "<TEMPLATE>" in synopsis


def test_pages_that_cannot_be_written_are_no_mistake_of_the_program():
    done = support.command(support.HELPER, "man", "/proc/no/such", check=False)
    assert done.returncode == support.INTERNAL and "/proc/no" in done.stderr and "check the path" in done.stderr, done.stderr


def test_what_a_verb_is_for_comes_first():
    """Its own options, then groups of those that others have as well, and at last what all have."""
    text = support.command(support.HELPER, "install", "--help").stdout
    places = [text.index(words) for words in (
        "\n  <TEMPLATE>", "\nOptions:", "\n      --output ", "\nPackages:", "\n      --add ", "\nPackage sources:", "\n      --sources ",
        "\nTrust:", "\n      --identity ", "\nServers:", "\n      --offline", "\nOptions of every verb:", "\n      --store ", "\nExamples:")]
    assert places == sorted(places)


def complete(installed, line):
    """What bash offers at the end of a line."""
    script = """
        source %s/share/bash-completion/completions/isar-template
        COMP_LINE=$1 COMP_POINT=${#1}
        read -ra COMP_WORDS <<< "$1"
        [[ $1 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
        $(complete -p isar-template | sed 's/.*-F \\([^ ]*\\) .*/\\1/') isar-template "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%%s\\n' "${COMPREPLY[@]}"
    """ % installed
    return support.command("bash", "-c", script, "bash", line).stdout.split()


def test_bash_completes_verbs_and_options(installed):
    assert set(support.verbs()) <= set(complete(installed, "isar-template "))
    assert complete(installed, "isar-template ins") == ["inspect", "install"]
    assert "--allow-upgrade" in complete(installed, "isar-template install --allow-")
    assert complete(installed, "isar-template --format ") == ["human", "json"]


@pytest.mark.parametrize("shell, path", [("zsh", "zsh/site-functions/_isar-template"), ("fish", "fish/vendor_completions.d/isar-template.fish")])
def test_others_read_theirs(installed, shell, path):
    path = os.path.join(installed, "share", path)
    assert "allow-upgrade" in open(path).read()
    if not shutil.which(shell):
        pytest.skip(shell + " is not installed")
    support.command(shell, "-n", path)


def test_a_reader_that_has_enough_is_no_failure():
    done = support.command("bash", "-c", 'set -o pipefail; "$0" completion zsh | head -1', support.HELPER)
    assert done.stdout.startswith("#compdef") and not done.stderr


@pytest.mark.parametrize("verb", [verb for verb in support.verbs() if verb != "help"])
def test_the_help_of_every_verb_is_whole(verb):
    """What it does, which privilege it needs, examples, and how it ends."""
    text = support.command(support.HELPER, verb, "--help").stdout
    about = text.split("Usage:")[0]
    assert len(about.split()) > 15
    assert re.search(r"\broot\b|privilege|you may write", about), about
    assert re.search(r"^Examples?:\n  (sudo )?isar-template " + verb, text, re.MULTILINE), text
    assert re.search(r"^Exit codes:\n    0  done", text, re.MULTILINE), text
    # a line that is wrapped cannot be pasted
    examples = re.search(r"^Examples?:\n(.*?)^Exit codes", text, re.MULTILINE | re.DOTALL).group(1)
    lines = examples.replace("\\\n", " ").splitlines()
    assert all(re.match("  (sudo )?isar-template " + verb, line) for line in lines if line), examples
