# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The ways to install the helper, each in clean systems of the Debians that it is for."""

import glob
import os
import shutil

import pytest

import registry
import support
from conftest import CACHE

MIRROR = (support.MIRROR or "http://deb.debian.org/debian").rstrip("/")
SUITES = ["bookworm", "trixie"]


def made(pattern, how):
    """What scripts/package has made of the helper that is tested."""
    found = sorted(glob.glob(os.path.join(support.TOP, "build", "packages", pattern)), key=os.path.getmtime, reverse=True)
    if not found or os.path.getmtime(found[0]) < os.path.getmtime(support.HELPER):
        pytest.skip("run 'scripts/package %s' first, which 'make test' does" % how)
    return found[0]


@pytest.fixture(scope="module")
def deb(surroundings):
    return made("isar-template_*.deb", "deb")


@pytest.fixture(scope="module")
def static(surroundings):
    return made("isar-template-*-" + os.uname().machine, "static")


class Machine:
    """A clean Debian, in namespaces of its own, with the network of this machine."""

    def __init__(self, tree, shared):
        self.tree, self.shared = tree, shared
        shutil.copyfile("/etc/resolv.conf", tree + "/etc/resolv.conf")
        os.makedirs(tree + "/shared")

    def __call__(self, script, *words, user=None, code=0):
        become = ["setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--reset-env", "--"] if user else []
        # no plain chroot, in which there can be neither another root nor another user namespace
        outer = """
            mount --bind "$1" "$1"; cd "$1"; mount -t proc proc "$1/proc"; mount -t sysfs sysfs "$1/sys"; mount --rbind /dev "$1/dev"; mount --bind "$2" "$1/shared"
            mount -t tmpfs tmpfs "$1/run"
            cd "$1"; shift 2
            pivot_root . mnt; umount -l mnt
            exec "$@" < /dev/null
        """
        result = support.command(
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", outer, "sh", self.tree, self.shared,
            *become, "sh", "-ec", script, "sh", *words, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"})
        assert result.returncode == code, result.stdout + result.stderr
        return result

    def apt(self, *words):
        return self("DEBIAN_FRONTEND=noninteractive exec apt-get -q -y -o Dpkg::Options::=--force-unsafe-io \"$@\"", *words)


def clean(session_dir, suite):
    """A clean minimal system, as debootstrap and images of containers have it."""
    tar = os.path.join(CACHE, "clean-%s.tar" % suite)
    os.makedirs(CACHE, exist_ok=True)
    if not os.path.exists(tar):
        support.command("mmdebstrap", "--mode=root", "--quiet", "--format=tar", "--variant=minbase", "--skip=cleanup/apt/lists", "--dpkgopt=force-unsafe-io",
                        suite, tar + ".partial", "deb %s %s main" % (MIRROR, suite), env=dict(os.environ, TMPDIR=support.SCRATCH))
        os.rename(tar + ".partial", tar)
    tree = "%s/clean-%s-%d" % (session_dir, suite, len(glob.glob("%s/clean-%s-*" % (session_dir, suite))))
    os.makedirs(tree)
    support.command("tar", "-x", "-f", tar, "-C", tree, "--xattrs", "--xattrs-include=*", "--numeric-owner")
    return tree


@pytest.fixture(scope="module")
def shared_folder(session_dir, platform_bundle, publisher):
    """What is there in each of the systems, below /shared."""
    folder = session_dir + "/for-machines"
    os.makedirs(folder)
    support.command("cp", "-a", platform_bundle, folder + "/bundle")
    shutil.copyfile(publisher.allowed_signers, folder + "/allowed_signers")
    return folder


def put(path, folder):
    shutil.copy(path, folder)
    return "/shared/" + os.path.basename(path)


JOB = """
    cd "$1"; shift
    export ISAR_TEMPLATE_STORE=$PWD/store
    "$@" import --allowed-signers /shared/allowed_signers --identity %s /shared/bundle
    "$@" install platform --update all --add hello --remove nano --output product.tar
    tar -t -f product.tar > list
    grep -q bin/hello list
    if grep -q bin/nano list; then exit 1; fi
    "$@" exec platform -- dpkg --version
""" % support.IDENTITY


@pytest.mark.parametrize("suite", SUITES)
def test_the_debian_package(session_dir, shared_folder, deb, suite):
    machine = Machine(clean(session_dir, suite), shared_folder)
    machine.apt("install", put(deb, shared_folder))
    assert machine("isar-template --version").stdout.startswith("isar-template ")
    # what it recommends is there, too: root, and an ordinary user
    machine("mkdir /job; " + JOB, "/job", "isar-template")
    machine("useradd --create-home me; grep -q me /etc/subuid")
    machine(JOB, "/home/me", "isar-template", user="me")
    here = machine("dpkg -L isar-template").stdout.split()
    for path in ("/usr/share/man/man1/isar-template.1.gz", "/usr/share/man/man1/isar-template-install.1.gz",
                 "/usr/share/bash-completion/completions/isar-template", "/usr/share/zsh/vendor-completions/_isar-template",
                 "/usr/share/fish/vendor_completions.d/isar-template.fish", "/usr/share/doc/isar-template/copyright"):
        assert path in here
    machine.apt("purge", "isar-template")
    machine("if test -e /usr/bin/isar-template || test -e /usr/share/doc/isar-template || dpkg -s isar-template; then exit 1; fi")


def test_lintian_finds_no_errors(deb):
    registry.need("lintian")
    result = support.command("lintian", "--no-cfg", "--allow-root", "--fail-on", "error", deb, check=False)
    assert result.returncode == 0 and "E: " not in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("suite", SUITES)
def test_one_file(session_dir, shared_folder, static, suite):
    said = support.command("readelf", "--program-headers", "--wide", static).stdout
    assert "INTERP" not in said, said
    machine = Machine(clean(session_dir, suite), shared_folder)
    machine("mkdir /job; " + JOB, "/job", put(static, shared_folder))


def test_below_a_prefix_and_away_again(tmp):
    """The words behind 'make install' and 'make uninstall'."""
    def install(*words, check=True, **env):
        return support.command(support.TOP + "/scripts/install", *words, check=check, env=dict(os.environ, ISAR_TEMPLATE=support.HELPER, **env))

    def there():
        return {os.path.relpath(path, tmp) for path in glob.glob(tmp + "/**", recursive=True) if os.path.isfile(path)}

    foreign = support.write(tmp + "/opt/bin/isar-template-of-others", "x")
    install(DESTDIR=tmp, PREFIX="/opt")
    assert {"opt/bin/isar-template", "opt/share/man/man1/isar-template-install.1.gz", "opt/share/zsh/site-functions/_isar-template"} <= there()
    assert support.command(tmp + "/opt/bin/isar-template", "--version").stdout.startswith("isar-template ")
    install("--remove", DESTDIR=tmp, PREFIX="/opt")
    assert there() == {os.path.relpath(foreign, tmp)}
    result = install(PREFIX="relative", check=False)
    assert result.returncode == 2 and "PREFIX" in result.stderr


class Podman:
    """With a storage of its own. The path of its runroot must not be longer than 50 characters."""

    def __init__(self, folder, run):
        self.options = ["--root", folder, "--runroot", run, "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]

    def __call__(self, *words, check=True):
        return support.command("podman", *self.options, *words, check=check)

    def run_in(self, image, *words):
        """Runs something as kas-container does."""
        for runtime in RUNTIMES:
            started = self(*runtime, "--rm", *LIMITS, "--privileged", image, "true", check=False)
            if started.returncode == 0:
                return self(*runtime, "--rm", *LIMITS, "--privileged", "--network", "host", *words[:-1], image, *words[-1], check=False)
        return pytest.skip("podman starts no container here: " + started.stderr.strip())


# what works depends on the cgroups of the machine: crun refuses the hybrid kind, runc cannot do without
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
RUNTIMES = [["--runtime", "crun", "run", "--cgroups", "disabled"], ["--runtime", "runc", "run"]]


@pytest.mark.parametrize("suite", SUITES)
def test_an_image_for_kas_container(session_dir, tmp, shared_folder, deb, suite):
    """On what that image is, as far as it matters: Debian, a user who may use sudo, and a volume."""
    registry.need("podman")
    machine = Machine(clean(session_dir, suite), shared_folder)
    machine.apt("install", "--no-install-recommends", "sudo", "openssh-client")
    machine("echo 'builder ALL=NOPASSWD: ALL' > /etc/sudoers.d/builder; useradd --create-home builder")
    base, image = "localhost/isar-template-test-base-" + suite, "localhost/isar-template-test-" + suite
    tar = tmp + "/base.tar"
    support.command("tar", "-c", "-C", machine.tree, "--numeric-owner", "-f", tar, ".")
    work = tmp + "/work"
    os.makedirs(work)
    podman = Podman(tmp + "/containers", "/run/isar-template-kas.%d" % os.getpid())
    try:
        podman("import", "--quiet", "--change", "USER=builder", tar, base)
        # the words of docs/install.md
        podman("build", "--quiet", "--isolation", "chroot", "--network", "host", "--file", support.TOP + "/kas/Containerfile", "--build-arg", "KAS_ISAR_IMAGE=" + base,
               "--tag", image, support.TOP)
        volumes = ["-v", shared_folder + ":/shared:ro", "-v", work + ":/work"]
        result = podman.run_in(image, *volumes, ["sudo", "sh", "-ec", JOB, "sh", "/work", "isar-template"])
        assert result.returncode == 0 and "dpkg" in result.stdout, result.stdout + result.stderr
        # the overlay of the container is no place for a store
        command = ["sudo", "isar-template", "import", "--allowed-signers", "/shared/allowed_signers", "--identity", support.IDENTITY, "/shared/bundle"]
        result = podman.run_in(image, *volumes, command)
        assert result.returncode == 2 and "no store can be at" in result.stderr and "volume" in result.stderr, result.stderr
    finally:
        podman("rmi", "--all", "--force", check=False)
        support.command("umount", "--lazy", podman.options[1] + "/overlay", check=False)
        shutil.rmtree(podman.options[3], ignore_errors=True)


def test_a_plain_chroot_is_told_from_a_mistake(session_dir, shared_folder, static):
    """Where there is no mount that could be exchanged for another root."""
    tree = clean(session_dir, SUITES[0])
    os.makedirs(tree + "/shared")
    program = put(static, shared_folder)
    outer = 'mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; mount --bind "$2" "$1/shared"; tree=$1; shift 2; exec chroot "$tree" "$@"'
    script = JOB.replace("cd ", "mkdir /job; cd ", 1)
    result = support.command("unshare", "--mount", "sh", "-ec", outer, "sh", tree, shared_folder, "sh", "-ec", script, "sh", "/job", program, check=False)
    assert result.returncode == support.PRIVILEGE and "plain chroot" in result.stderr and "mount --bind" in result.stderr, result.stderr
