# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Removal is complete: the files are gone, and what is left otherwise is told."""

import os

import pytest

import support
from support import PACKAGE

UNIT = "[Unit]\nDescription=A daemon\n[Service]\nExecStart=/usr/bin/messy\n[Install]\nWantedBy=multi-user.target\n"

# uses all that a package can register, and cleans up none of it
POSTINST = """\
useradd --system --user-group --home-dir /var/lib/messy --shell /usr/sbin/nologin messy-daemon
mkdir -p /var/lib/messy /etc/systemd/system/multi-user.target.wants
echo state > /var/lib/messy/state
echo generated > /etc/messy/generated.conf
cp /etc/messy/messy.conf /etc/messy.conf.ucf-dist
ln -s /lib/systemd/system/messy.service /etc/systemd/system/multi-user.target.wants/messy.service
ln -s messy /usr/bin/messyctl
echo /usr/bin/messy >> /etc/shells
dpkg-divert --package messy --no-rename --divert /usr/bin/other.real --add /usr/bin/other
dpkg-statoverride --force-all --add root root 0755 /usr/bin/messy
update-alternatives --install /usr/bin/messy-server messy-server /usr/bin/messy 50
"""


@pytest.fixture
def root(shared, tmp):
    """A raw checkout to install and remove in."""
    path = os.path.join(tmp, "root")
    shared("checkout", "--raw", "platform", path)
    return path


def remove(shared, root, *packages, **options):
    words = [word for package in packages for word in ("--remove", package)]
    return shared.json("install", "platform", "--root", root, "--update", "none", *words, **options)


def left(value):
    return {(entry["kind"], entry["path"]) for entry in value["report"]["leftovers"]}


def test_what_a_package_leaves_is_told(shared, tmp, root):
    deb = support.make_deb(
        tmp, "messy", files={
            "usr/bin/messy": "#!/bin/sh\n", "lib/systemd/system/messy.service": UNIT, "etc/messy/messy.conf": "x\n",
            "etc/messy.conf": "x\n", "usr/share/messy/data": "x\n",
            "DEBIAN/conffiles": "/etc/messy/messy.conf\n/etc/messy.conf\n"},
        scripts={"postinst": POSTINST})
    value = shared.json("install", "platform", "--root", root, "--update", "none", "--add", deb)
    assert value["report"]["leftovers"] == []
    value = remove(shared, root, "messy")
    assert {entry["package"] for entry in value["report"]["leftovers"]} == {"messy"}
    assert left(value) == {
        ("directory", "/var/lib/messy"), ("file", "/var/lib/messy/state"),
        ("directory", "/etc/messy"), ("configuration", "/etc/messy/generated.conf"),
        ("configuration", "/etc/messy.conf.ucf-dist"),
        ("user", "messy-daemon"), ("group", "messy-daemon"),
        ("enablement", "/etc/systemd/system/multi-user.target.wants/messy.service"),
        ("alternative", "/etc/alternatives/messy-server"), ("diversion", "/usr/bin/other"),
        ("stat-override", "/usr/bin/messy"), ("shell", "/usr/bin/messy"), ("symlink", "/usr/bin/messyctl")}
    # told, not touched
    assert os.path.exists(root + "/var/lib/messy/state") and not os.path.exists(root + "/usr/bin/messy")
    assert not os.path.exists(root + "/usr/share/messy")


def test_what_debian_packages_leave(shared, tmp, root):
    """Users, groups, enabled services and state of real packages, made by their own scripts."""
    names = ["uuid-runtime", "tcpdump"]
    allowed = support.allow_upgrades(shared, "platform")
    shared("install", "platform", "--root", root, "--update", "all", *allowed, *[word for name in names for word in ("--add", name)])
    wants = root + "/etc/systemd/system/sockets.target.wants"
    assert os.path.islink(wants + "/uuidd.socket")
    value = remove(shared, root, *names)
    assert not set(names) & set(support.installed(root))
    found = {(entry["package"], entry["kind"], entry["path"]) for entry in value["report"]["leftovers"]}
    with open(root + "/etc/passwd") as passwd, open(root + "/etc/group") as group:
        users, groups = ({line.split(":")[0] for line in file} for file in (passwd, group))
    for package, kind, name, there in [
            ("uuid-runtime", "user", "uuidd", users), ("uuid-runtime", "group", "uuidd", groups),
            ("tcpdump", "user", "tcpdump", users), ("tcpdump", "group", "tcpdump", groups)]:
        assert ((package, kind, name) in found) == (name in there), (name, found)
    assert ("uuid-runtime", "user", "uuidd") in found
    # what is everybody's is nobody's leftover, and all that is told is there
    for package, kind, path in found:
        assert path not in ("root", "daemon", "nogroup", "adm")
        if kind in ("file", "directory", "configuration", "symlink", "enablement"):
            assert os.path.lexists(root + path), (package, kind, path)
    # by other means: no symlink of the services is left that was not told
    if os.path.islink(wants + "/uuidd.socket"):
        assert ("uuid-runtime", "enablement", "/etc/systemd/system/sockets.target.wants/uuidd.socket") in found


def test_a_file_that_stays_is_an_error(shared, tmp, root):
    deb = support.make_deb(tmp, "clinging", files={"usr/bin/clinging": "x\n"},
                           scripts={"postrm": 'if [ "$1" = purge ]; then echo y > /usr/bin/clinging; fi\n'})
    shared("install", "platform", "--root", root, "--update", "none", "--add", deb)
    value = remove(shared, root, "clinging", code=PACKAGE)
    assert value["error"]["kind"] == "package-failed"
    assert "/usr/bin/clinging" in value["error"]["message"] and "'clinging'" in value["error"]["message"]


def test_a_system_that_is_not_merged(shared, tmp, root):
    """With a /bin of its own, as before usr-merge: files are looked for where they are."""
    os.unlink(root + "/bin")
    os.mkdir(root + "/bin")
    for name in os.listdir(root + "/usr/bin"):
        os.symlink("../usr/bin/" + name, root + "/bin/" + name)
    deb = support.make_deb(tmp, "clinging", files={"bin/clinging": "x\n"}, scripts={
        "prerm": "ln -s clinging /bin/clingingctl\n", "postrm": 'if [ "$1" = purge ] && [ -e /cling ]; then echo y > /bin/clinging; fi\n'})
    shared("install", "platform", "--root", root, "--update", "none", "--add", deb)
    assert os.path.exists(root + "/bin/clinging") and not os.path.lexists(root + "/usr/bin/clinging")
    assert left(remove(shared, root, "clinging")) == {("symlink", "/bin/clingingctl")}
    os.unlink(root + "/bin/clingingctl")
    shared("install", "platform", "--root", root, "--update", "none", "--add", deb)
    support.write(root + "/cling", "")
    error = remove(shared, root, "clinging", code=PACKAGE)["error"]
    assert "'/bin/clinging'" in error["message"] and "'clinging'" in error["message"]


def test_a_file_that_moves_to_another_package_is_no_error(shared, tmp, root):
    """By its other name, too: /bin and /usr/bin are one."""
    old = support.make_deb(tmp, "old-owner", files={"bin/moving": "x\n"})
    new = support.make_deb(tmp, "new-owner", files={"usr/bin/moving": "y\n"}, Replaces="old-owner")
    shared("install", "platform", "--root", root, "--update", "none", "--add", old)
    value = shared.json("install", "platform", "--root", root, "--update", "none", "--add", new, "--remove", "old-owner")
    assert value["report"]["leftovers"] == []
    assert os.path.exists(root + "/usr/bin/moving")


def test_people_read_it_too(shared, tmp):
    deb = support.make_deb(tmp, "logging", scripts={"postinst": "echo x > /var/log/logging.log\n"})
    root = os.path.join(tmp, "root")
    shared("checkout", "--raw", "platform", root)
    shared("install", "platform", "--root", root, "--update", "none", "--add", deb)
    text = shared("install", "platform", "--root", root, "--update", "none", "--remove", "logging").stdout
    assert "left by removed packages:\n  logging: file /var/log/logging.log\n" in text


def test_nothing_goes_that_is_not_in_the_plan(shared, tmp, root):
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "tool", Depends="tool-data"), support.make_deb(tmp, "tool-data")])
    shared("install", "platform", "--root", root, "--repo", repository, "--add", "tool")
    value = shared.json("plan", "platform", "--root", root, "--update", "none", "--remove", "tool")
    assert [(action["operation"], action["package"]) for action in value["plan"]["actions"]] == [("remove", "tool")]
    value = remove(shared, root, "tool")
    assert [action["package"] for action in value["report"]["actions"]] == ["tool"]
    assert "tool-data" in support.installed(root)
    # asked for, it is in the plan, and says why
    words = ["platform", "--root", root, "--update", "none", "--auto-remove"]
    planned = shared.json("plan", *words)["plan"]["actions"]
    assert ("tool-data", "auto-remove") in [(action["package"], action["askedBy"]) for action in planned]
    done = shared.json("install", *words)["report"]["actions"]
    assert done == planned
    assert not {action["package"] for action in planned} & set(support.installed(root))
