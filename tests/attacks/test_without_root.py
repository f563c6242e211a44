# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What hostile package scripts try where an ordinary user has started the helper, and that it fails, too."""

import os

import pytest

import attacker
import support


@pytest.fixture(scope="module")
def user(session_dir, platform_bundle, publisher):
    if support.OrdinaryUser.missing():
        pytest.skip(support.OrdinaryUser.missing())
    program = os.path.join(session_dir, "isar-template-of-all")
    support.command("cp", support.HELPER, program)
    user = support.OrdinaryUser(os.path.join(session_dir, "ordinary"), program)
    user("import", *publisher.trust, platform_bundle)
    return user


@pytest.fixture(scope="module")
def by_exec(user, attack, victim):
    result = user("exec", "--bind", os.path.dirname(attack) + ":/hostile", "platform", "--", "/hostile/attack", *victim.words)
    return attacker.parse(result.stdout)


@pytest.mark.parametrize("name", attacker.ATTACKS)
def test_command(by_exec, name):
    assert not by_exec[name][0]


# as root of the sandbox, which is the user outside
ON_THE_HOST = """
    set +e
    cat %(shadow)s
    touch %(others)s/written
    chown 0:0 /hostile/file
    chmod 4755 /hostile/file
    mknod /hostile/device c 1 3
    setfattr -n trusted.x -v y /hostile/file
    unshare --user --map-root-user true && echo unshared
    true
"""


def test_bound_folders_give_nothing_of_root(user, tmp):
    """What the sandbox makes in a folder of the host is the user's, and a device is none."""
    folder = os.path.join(tmp, "bound")
    os.mkdir(folder)
    os.chown(folder, user.UID, user.GID)
    os.chown(support.write(folder + "/file", "x"), user.UID, user.GID)
    others = os.path.join(tmp, "others")
    os.mkdir(others)
    secret = support.write(others + "/secret", "secret of root\n", 0o600)
    words = ["exec", "--bind", folder + ":/hostile:rw", "--bind", others + ":/others:rw", "platform", "--", "sh", "-c",
             ON_THE_HOST % {"shadow": "/others/secret", "others": "/others"}]
    result = user(*words)
    assert "secret of root" not in result.stdout and "unshared" not in result.stdout
    status = os.stat(folder + "/file")
    assert (status.st_uid, status.st_gid) == (user.UID, user.GID)
    assert sorted(os.listdir(folder)) == ["file"] and os.listdir(others) == [os.path.basename(secret)]
