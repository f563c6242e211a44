# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Fixtures of the tests of the command line.

Debian trees are made once by mmdebstrap and kept as tars below build/test-cache, or in
$ISAR_TEMPLATE_TEST_CACHE. $ISAR_TEMPLATE_TEST_MIRROR and $ISAR_TEMPLATE_TEST_SUITE choose the Debian,
$ISAR_TEMPLATE another helper than target/release/isar-template.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile

import pytest

import archive as archives
import registry
import support

CACHE = os.environ.get("ISAR_TEMPLATE_TEST_CACHE") or os.path.join(support.TOP, "build", "test-cache")


def pytest_collection_modifyitems(items):
    if os.getuid() != 0:
        skip = pytest.mark.skip(reason="needs root: run 'make test-cli', which asks sudo")
        for item in items:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def surroundings():
    """An environment that does not depend on who runs the tests."""
    assert os.access(support.HELPER, os.X_OK), "%s is not there: run 'make build'" % support.HELPER
    for name in list(os.environ):
        if name.startswith(("ISAR_TEMPLATE_STORE", "RUST_LOG", "SOURCE_DATE_EPOCH", "XDG_", "LC_", "LANG")):
            del os.environ[name]
    os.environ["LC_ALL"] = "C.UTF-8"
    os.umask(0o022)
    os.makedirs(support.SCRATCH, exist_ok=True)
    # helpers run as nobody have to get here
    os.chmod(support.SCRATCH, 0o755)


@pytest.fixture(scope="session")
def session_dir(surroundings):
    path = tempfile.mkdtemp(prefix="session-", dir=support.SCRATCH)
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tmp(surroundings):
    """A folder of the test alone, on a real file system."""
    path = tempfile.mkdtemp(prefix="test-", dir=support.SCRATCH)
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def helper(tmp):
    """The helper with an empty store."""
    return support.Helper(os.path.join(tmp, "store"))


def debian_tree(name, target, *options):
    """A Debian tree made by mmdebstrap, or restored from the tar that an earlier run made of it."""
    words = [*options, support.SUITE, *support.SOURCE]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    tar = os.path.join(CACHE, "%s-%s-%s.tar" % (name, support.SUITE, key))
    os.makedirs(CACHE, exist_ok=True)
    # other tests may run at the same time, and need the same
    with open(tar + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(tar):
            partial = tar + ".partial"
            # its mounts are in a place of this test's own: others compare what is mounted before and after
            result = support.command(
                "mmdebstrap", "--mode=root", "--quiet", "--format=tar", *options, support.SUITE, partial, *support.SOURCE, check=False,
                env=dict(os.environ, TMPDIR=support.SCRATCH))
            if result.returncode != 0:
                pytest.fail("making a Debian tree failed, is the mirror reachable?\n%s" % result.stderr)
            os.rename(partial, tar)
    os.makedirs(target)
    support.command("tar", "-x", "-f", tar, "-C", target, "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner")
    return target


@pytest.fixture(scope="session")
def platform(session_dir):
    """A small real Debian system: with an init, file capabilities, and packages to remove. Not to be changed."""
    return debian_tree(
        "platform", os.path.join(session_dir, "platform"), "--variant=minbase",
        "--include=systemd-sysv,iputils-ping,nano,less", "--dpkgopt=force-unsafe-io",
        '--customize-hook=rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/resolv.conf; echo platform > "$1"/etc/hostname')


@pytest.fixture(scope="session")
def build_chroot(session_dir):
    """A real build chroot. Not to be changed."""
    return debian_tree(
        "buildchroot", os.path.join(session_dir, "buildchroot"), "--variant=buildd", "--include=debhelper",
        "--dpkgopt=force-unsafe-io")


class Publisher:
    """A platform team: a key, and the file that tells others to trust it."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.key = support.make_key(folder)
        self.allowed_signers = support.allow(folder, self.key)
        self.trust = ["--allowed-signers", self.allowed_signers, "--identity", support.IDENTITY]


@pytest.fixture(scope="session")
def publisher(session_dir):
    return Publisher(os.path.join(session_dir, "publisher"))


@pytest.fixture(scope="session")
def platform_bundle(session_dir, platform, publisher):
    """The platform as a signed bundle. Not to be changed."""
    bundle = os.path.join(session_dir, "platform-bundle")
    support.Helper(os.path.join(session_dir, "no-store"))(
        "pack", "--name", "platform", "--version", "1.0", "--component", "rootfs=" + platform,
        "--sign", publisher.key, "--output", bundle)
    return bundle


@pytest.fixture(scope="session")
def shared(session_dir, platform_bundle, publisher):
    """A helper whose store holds 'platform:1.0'. Tests must not add to or take from this store."""
    helper = support.Helper(os.path.join(session_dir, "store"))
    helper("import", *publisher.trust, platform_bundle)
    return helper


@pytest.fixture
def tiny_bundle(tmp, helper, publisher):
    """A signed bundle of two very small trees, to be damaged at will."""
    root = support.make_tiny_root(os.path.join(tmp, "tiny"))
    chroot = support.make_tiny_root(os.path.join(tmp, "tiny-chroot"), extra={"usr/bin/cc": "compiler"})
    bundle = os.path.join(tmp, "tiny-bundle")
    helper("pack", "--name", "tiny", "--version", "1.0", "--component", "rootfs=" + root,
           "--component", "buildchroot-target=" + chroot, "--sign", publisher.key, "--output", bundle)
    return bundle


@pytest.fixture(scope="session")
def archive_servers(session_dir):
    archive = archives.Archive(os.path.join(session_dir, "archive"))
    yield archive
    archive.close()


@pytest.fixture
def archive(archive_servers):
    """A Debian archive without faults; what was published before is there still."""
    for remembered in (archive_servers.faults, archive_servers.proxied, archive_servers.asked):
        remembered.clear()
    return archive_servers


@pytest.fixture
def reachable_helper(tmp):
    """A copy of the helper where an ordinary user may run it."""
    path = os.path.join(tmp, "isar-template")
    support.command("cp", support.HELPER, path)
    for folder in (support.TOP, tmp):
        while folder != "/":
            if not os.stat(folder).st_mode & 0o001:
                pytest.skip("%s cannot be entered by an ordinary user" % folder)
            folder = os.path.dirname(folder)
    return path


@pytest.fixture(scope="session")
def server(session_dir, publisher):
    """A helper whose store holds 'server:1.0': with a mail server, a time service, and package lists."""
    tree = debian_tree(
        "server", os.path.join(session_dir, "server"), "--variant=minbase", "--skip=cleanup/apt/lists",
        "--include=systemd-sysv,systemd-timesyncd,exim4-daemon-light,openssl,nano", "--dpkgopt=force-unsafe-io",
        '--customize-hook=rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/resolv.conf; echo server > "$1"/etc/hostname')
    with open(tree + "/etc/ssl/openssl.cnf", "a") as file:
        file.write("# the platform's own\n")
    bundle = os.path.join(session_dir, "server-bundle")
    helper = support.Helper(os.path.join(session_dir, "server-store"))
    helper("pack", "--name", "server", "--version", "1.0", "--component", "rootfs=" + tree, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    shutil.rmtree(bundle)
    helper.tree = tree
    return helper


@pytest.fixture(scope="session")
def docker(session_dir):
    """Debian's registry."""
    registry.need("docker-registry")
    server = registry.DockerRegistry(session_dir + "/docker-registry")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def private(session_dir):
    """One with TLS by an authority of its own, and a login, as teams have them."""
    registry.need("docker-registry", "htpasswd", "openssl")
    server = registry.DockerRegistry(tempfile.mkdtemp(prefix="private-registry-", dir=session_dir), "me", "secret")
    yield server
    server.stop()


@pytest.fixture
def small():
    """A registry that does as it is told."""
    server = registry.SmallRegistry()
    yield server
    server.stop()
