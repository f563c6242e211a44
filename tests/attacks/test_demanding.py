# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Debian packages whose scripts ask for much still install: what keeps hostile scripts in must not break honest ones."""

import os
import stat

import pytest

import support

ARCHITECTURE = support.architecture()

# together: each brings scripts that other packages have not got
TOGETHER = [
    "systemd", "systemd-timesyncd", "dbus", "udev", "libpam-systemd", "openssh-server", "nginx-light", "postgresql",
    "default-jre-headless", "initramfs-tools", "linux-image-cloud-" + ARCHITECTURE, "grub-efi-" + ARCHITECTURE, "apparmor",
    "tzdata", "locales", "python3", "man-db", "keyboard-configuration", "console-setup", "postfix", "cron", "sudo", "dmsetup",
    "fontconfig", "shared-mime-info", "dictionaries-common", "tcpdump", "uuid-runtime", "ssl-cert",
] + (["grub-pc-bin"] if ARCHITECTURE == "amd64" else [])

# in conflict with one of those
APART = ["exim4"]


def install(shared, folder, packages):
    out = os.path.join(folder, "demanding-" + packages[-1])
    adds = [word for package in packages for word in ("--add", package)]
    allowed = support.allow_upgrades(shared, "platform")
    shared("install", "platform", "--update", "all", "--no-reuse", *allowed, *adds, "--output", out, timeout=1200)
    assert set(packages) <= set(support.installed(out))
    assert support.audit(out) == ""
    return out


@pytest.fixture(scope="module")
def system(session_dir, shared):
    return install(shared, session_dir, TOGETHER)


def test_apart(shared, tmp):
    install(shared, tmp, APART)


def exists(system, path):
    return os.path.lexists(system + path)


def test_initrd_is_made(system):
    kernels = [name for name in os.listdir(system + "/boot") if name.startswith("vmlinuz-")]
    assert kernels
    for kernel in kernels:
        initrd = system + "/boot/initrd.img-" + kernel.split("-", 1)[1]
        assert os.path.getsize(initrd) > 1 << 20
        release = kernel.split("-", 1)[1]
        assert exists(system, "/lib/modules/%s/modules.dep" % release)


def test_keys_and_certificates_are_made(system):
    assert exists(system, "/etc/ssh/ssh_host_ed25519_key")
    assert exists(system, "/etc/ssl/certs/ssl-cert-snakeoil.pem")
    assert os.path.getsize(system + "/etc/ssl/certs/java/cacerts") > 10000
    assert os.path.getsize(system + "/etc/ssl/certs/ca-certificates.crt") > 10000


def test_database_is_made(system):
    """initdb runs as another user, with shared memory and semaphores."""
    versions = os.listdir(system + "/var/lib/postgresql")
    assert [version for version in versions if exists(system, "/var/lib/postgresql/%s/main/PG_VERSION" % version)]


def test_users_and_their_files(system):
    with open(system + "/etc/passwd") as file:
        users = {line.split(":")[0]: int(line.split(":")[2]) for line in file}
    assert {"sshd", "postgres", "postfix", "messagebus", "systemd-timesync"} <= set(users)
    for version in os.listdir(system + "/var/lib/postgresql"):
        assert os.stat(system + "/var/lib/postgresql/%s/main" % version).st_uid == users["postgres"]


def test_set_user_id_and_capabilities(system):
    assert os.stat(system + "/usr/bin/sudo").st_mode & stat.S_ISUID
    assert os.stat(system + "/usr/lib/dbus-1.0/dbus-daemon-launch-helper").st_mode & stat.S_ISUID
    assert os.stat(system + "/usr/bin/ssh-agent").st_mode & stat.S_ISGID


def test_services_are_enabled(system):
    for link in ("/etc/systemd/system/multi-user.target.wants/nginx.service", "/etc/systemd/system/multi-user.target.wants/ssh.service",
                 "/etc/systemd/system/multi-user.target.wants/postgresql.service"):
        assert exists(system, link), link


def test_answers_of_packages(system):
    assert exists(system, "/etc/default/keyboard")
    assert exists(system, "/etc/postfix/main.cf")
    assert exists(system, "/etc/localtime")


def test_nothing_was_started(system):
    for path in ("/run/sshd.pid", "/var/run/postgresql", "/run/nginx.pid"):
        assert not os.path.isfile(system + path) and not (os.path.isdir(system + path) and os.listdir(system + path)), path
    assert not support.processes(system)
