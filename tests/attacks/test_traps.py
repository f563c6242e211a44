# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Package scripts leave traps in the tree for the helper, which looks at it from outside afterwards."""

import os

import pytest

import support

# what the helper, or an image build, reads or writes after the scripts
PLACES = ["/etc/os-release", "/usr/lib/os-release", "/etc/machine-id", "/etc/hostname", "/etc/resolv.conf", "/etc/debian_version",
          "/usr/sbin/policy-rc.d", "/var/lib/dpkg/status", "/var/lib/dpkg/info", "/var/lib/dpkg/diversions", "/var/lib/apt/extended_states",
          "/var/lib/apt/lists", "/var/cache/apt/archives", "/var/log/apt", "/var/log/dpkg.log", "/etc/apt/sources.list.d"]


# what dpkg and apt of the tree itself open again, and would wait for: that is no more than a script that sleeps
THEIRS = ("/var/lib/dpkg", "/var/lib/apt/extended_states", "/var/log")


def plant(folder, command, places=PLACES):
    """A package that puts something else in all these places, as the last thing that its transaction does."""
    script = "for place in %s; do rm -rf $place; %s; done 2>/dev/null || true\n" % (" ".join(places), command)
    return support.make_deb(folder, "planter", scripts={"postinst": script})


@pytest.fixture
def host(tmp):
    """Files of the host that links may point to."""
    folder = tmp + "/host"
    support.write(folder + "/file", "the host's\n")
    os.mkdir(folder + "/folder")
    yield folder
    assert open(folder + "/file").read() == "the host's\n"
    assert sorted(os.listdir(folder)) == ["file", "folder"]
    assert os.listdir(folder + "/folder") == []


def install(shared, deb, out):
    """The package breaks its own system, which may be noticed or not; it must not hang, crash or reach the host."""
    result = support.command(*shared.argv("install", "platform", "--add", deb, "--no-reuse", "--output", out), check=False, timeout=60)
    assert result.returncode in (support.DONE, support.INTERNAL, support.USAGE, support.REFUSED, support.PACKAGE), result.stderr
    assert "panicked" not in result.stderr
    assert "the host's" not in result.stdout + result.stderr
    return result


@pytest.mark.parametrize("target", ["file", "folder", "missing"])
@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_links_to_the_host(shared, tmp, host, target, kind):
    path = host + "/" + target
    if kind == "relative":
        path = "../../../../../../../../../../.." + path
    deb = plant(tmp, "ln -s %s $place" % path)
    install(shared, deb, tmp + "/out")
    assert not os.path.lexists(host + "/missing")


def test_links_on_the_way_to_the_host(shared, tmp, host):
    deb = support.make_deb(tmp, "mover", scripts={"postinst":
        "for place in /etc/apt /var/lib/apt /var/lib/dpkg /usr/lib/os-release /var/cache /var/log; do\n"
        "mv $place $place.old; ln -s %s $place; done\n" % (host + "/folder")})
    install(shared, deb, tmp + "/out")


def test_pipes(shared, tmp):
    """Opened by a careless program, they never answer."""
    install(shared, plant(tmp, "mkfifo $place", [place for place in PLACES if not place.startswith(THEIRS)]), tmp + "/out")


@pytest.mark.parametrize("command", ["mknod $place c 5 0", "mkdir $place", "ln -s $place $place"])
def test_no_file_at_all(shared, tmp, command):
    install(shared, plant(tmp, command), tmp + "/out")


def test_tree_of_a_build(shared, tmp, host, platform):
    """The same where a tree is written in place."""
    tree = tmp + "/tree"
    support.command("cp", "-a", platform, tree)
    deb = plant(tmp, "ln -s %s $place" % (host + "/file"))
    result = support.command(*shared.argv("install", "platform", "--add", deb, "--root", tree), check=False, timeout=60)
    assert "panicked" not in result.stderr


def test_words_of_a_script_are_shown_as_text(shared, tmp):
    """What it prints may be shown on a terminal, which obeys escape sequences."""
    words = r"printf '\033]0;title\007\033[2J\033[31mred\r\bhidden\n' >&2; printf '\302\23331mtoo\n'; exit 1"
    deb = support.make_deb(tmp, "painter", scripts={"postinst": words + "\n"})
    plain = shared("-v", "install", "platform", "--add", deb, "--output", tmp + "/out", code=support.PACKAGE)
    for text in (plain.stdout, plain.stderr):
        assert not [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160], text
    assert "red" in plain.stderr
