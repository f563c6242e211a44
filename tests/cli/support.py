# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What the tests of the command line share: the helper, small trees, bundles, keys, packages, processes."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests"))

import schemas  # noqa: E402

HELPER = os.environ.get("ISAR_TEMPLATE") or os.path.join(TOP, "target", "release", "isar-template")
# not /tmp: it may be a tmpfs, without user attributes or room; of their own for those who run at the same time
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
SCRATCHES = os.environ.get("ISAR_TEMPLATE_TEST_SCRATCH") or os.path.join(TOP, "build", "test-tmp")
SCRATCH = os.path.join(SCRATCHES, WORKER)
# mmdebstrap knows one when none is named
MIRROR = os.environ.get("ISAR_TEMPLATE_TEST_MIRROR")
IDENTITY = "platform-team@example.org"
NAMESPACE = "isar-template"

# exit codes, as documented
DONE, INTERNAL, USAGE, UNTRUSTED, REFUSED, PRIVILEGE, PACKAGE, DIFFERS, NETWORK = range(9)


SUITE = os.environ.get("ISAR_TEMPLATE_TEST_SUITE") or platform.freedesktop_os_release().get("VERSION_CODENAME", "")
# what mmdebstrap is told after the suite and the target
SOURCE = ["deb %s %s main" % (MIRROR, SUITE)] if MIRROR else []


def architecture():
    return command("dpkg", "--print-architecture").stdout.strip()


def command(*argv, check=True, **options):
    """Run another tool; its output is text unless told otherwise, and is shown when it fails."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("text", True)
    options.setdefault("errors", "surrogateescape" if options["text"] else None)
    options.setdefault("timeout", 600)
    result = subprocess.run([os.fspath(word) if not isinstance(word, bytes) else word for word in argv], **options)
    if check:
        assert result.returncode == 0, "%s: exit %d\n%s\n%s" % (
            " ".join(map(str, argv)), result.returncode, result.stdout, result.stderr)
    return result


class Helper:
    """The helper with a store of its own."""

    def __init__(self, store):
        self.store = str(store)

    def argv(self, *words):
        return [HELPER, "--store", self.store] + [os.fspath(word) for word in words]

    def __call__(self, *words, code=0, **options):
        """Run a verb, expect its exit code, and give the finished process."""
        result = command(*self.argv(*words), check=False, **options)
        assert result.returncode == code, "isar-template %s: exit %d, not %d\nstdout: %s\nstderr: %s" % (
            " ".join(map(str, words)), result.returncode, code, result.stdout, result.stderr)
        return result

    def json(self, *words, code=0, **options):
        """Run a verb with JSON output and give the object, after checking the shape all of them have."""
        result = self("--format", "json", *words, code=code, **options)
        value = json.loads(result.stdout)
        schemas.check("report-v1", value)
        assert value["ok"] is (code in (DONE, DIFFERS))
        assert value["ok"] or value["error"]["exitCode"] == code
        return value

    def error(self, *words, code, **options):
        """Run a verb that has to fail: its JSON error, which the message for people agrees with."""
        error = self.json(*words, code=code, **options)["error"]
        plain = self(*words, code=code, **options)
        # times and temporary names differ between two runs, and which of several blobs is missed first
        same = [re.sub(r"[0-9]+", "0", re.sub(r"\.isar-template-\w+|\b[0-9a-f]{64}\b", "", text)) for text in (error["message"], plain.stderr)]
        assert same[0] in same[1], "JSON says %r, stderr says %r" % (error["message"], plain.stderr)
        message = error["message"]
        assert not message.endswith("."), message
        return error


def verbs():
    """What the helper can be told to do."""
    text = command(HELPER, "--help").stdout.split("Commands:")[1].split("Options:")[0]
    return re.findall(r"^  ([a-z]+) ", text, re.MULTILINE)


def said(error):
    """All that an error tells people."""
    return error["message"] + (error["hint"] or "")


# -- trees --------------------------------------------------------------------------------------------------


def write(path, content=b"", mode=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    if mode is not None:
        os.chmod(path, mode)
    return path


TINY_PACKAGES = {"base-files": "12.4", "dpkg": "1.21.22"}


def make_tiny_root(path, release="12", codename="bookworm", extra=None):
    """The least that passes as a Debian root: os-release, a package database, a few files."""
    path = str(path)
    write(path + "/etc/os-release", 'ID=debian\nVERSION_ID="%s"\nVERSION_CODENAME=%s\n' % (release, codename))
    write(path + "/etc/hostname", "tiny\n")
    write(path + "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    write(path + "/var/lib/dpkg/status", "".join("""\
Package: %s
Status: install ok installed
Priority: required
Essential: yes
Section: admin
Maintainer: Nobody <nobody@example.org>
Architecture: %s
Version: %s
Description: part of a very small system

""" % (name, architecture(), version) for name, version in sorted(TINY_PACKAGES.items())))
    write(path + "/var/lib/dpkg/info/base-files.list", "/.\n/etc\n/etc/os-release\n")
    write(path + "/usr/bin/tool", b"#!/bin/sh\nexit 0\n", 0o755)
    for name in ("dev", "proc", "sys", "run", "tmp"):
        os.makedirs(os.path.join(path, name), exist_ok=True)
    os.chmod(path + "/tmp", 0o1777)
    for name, content in (extra or {}).items():
        write(path + "/" + name, content)
    return path


# -- keys, signatures and the OCI layout --------------------------------------------------------------------


def make_key(folder, name="key", kind="ed25519", bits=None):
    path = os.path.join(folder, name)
    command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", path, *(["-b", str(bits)] if bits else []))
    return path


def public_key(key):
    with open(key + ".pub") as file:
        return " ".join(file.read().split()[:2])


def allow(folder, key, identity=IDENTITY, options='namespaces="isar-template"', name="allowed_signers"):
    """Write an allowed_signers file with one key."""
    line = " ".join(word for word in (identity, options, public_key(key)) if word)
    return write(os.path.join(folder, name), line + "\n")


class Layout:
    """An OCI image layout folder, read and changed without the helper."""

    def __init__(self, path):
        self.path = str(path)

    def index(self):
        with open(self.path + "/index.json") as file:
            return json.load(file)

    def write_index(self, index):
        with open(self.path + "/index.json", "w") as file:
            json.dump(index, file)

    def tagged(self, tag):
        for descriptor in self.index()["manifests"]:
            if descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
                return descriptor
        raise AssertionError("no tag '%s' in %s" % (tag, self.index()))

    def blob_path(self, digest):
        return os.path.join(self.path, "blobs", *digest.split(":"))

    def read(self, digest):
        with open(self.blob_path(digest), "rb") as file:
            return file.read()

    def document(self, digest):
        return json.loads(self.read(digest))

    def add(self, content):
        """Add a blob; its digest and size."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        write(self.blob_path(digest), content)
        return digest, len(content)

    def signatures(self):
        """The referrers that are signatures: (descriptor in index.json, manifest)."""
        found = []
        for descriptor in self.index()["manifests"]:
            manifest = self.document(descriptor["digest"])
            if manifest.get("artifactType") == "application/vnd.isar.template.signature.v1":
                found.append((descriptor, manifest))
        return found

    def signature_texts(self):
        return [self.read(manifest["layers"][0]["digest"]) for _, manifest in self.signatures()]

    def replace_signature(self, text):
        """Put another signature where the first one is."""
        index = self.index()
        descriptor, manifest = self.signatures()[0]
        position = [entry["digest"] for entry in index["manifests"]].index(descriptor["digest"])
        digest, size = self.add(text)
        manifest["layers"][0].update(digest=digest, size=size)
        content = json.dumps(manifest).encode()
        digest, size = self.add(content)
        index["manifests"][position].update(digest=digest, size=size)
        self.write_index(index)

    def drop_signatures(self):
        index = self.index()
        signed = {descriptor["digest"] for descriptor, _ in self.signatures()}
        index["manifests"] = [entry for entry in index["manifests"] if entry["digest"] not in signed]
        self.write_index(index)


def ssh_sign(key, content, namespace=NAMESPACE):
    """The signature that the real ssh-keygen makes of some bytes."""
    return command("ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", namespace, text=False,
                   stdin=None, input=content).stdout


# -- packages -----------------------------------------------------------------------------------------------


def make_deb(folder, name, version="1.0", files=None, scripts=None, arch="all", links=None, conffiles=None, **fields):
    """Build a small .deb with dpkg-deb; fields are control fields with '_' for '-', links are path and target.
    The content of a file may be a text with its mode."""
    tree = os.path.join(str(folder), "tree-%s-%s" % (name, version))
    control = "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Nobody <nobody@example.org>\n" % (name, version, arch)
    control += "Section: misc\nPriority: optional\n"
    for key, value in fields.items():
        control += "%s: %s\n" % (key.replace("_", "-"), value)
    control += "Description: package of a test\n"
    write(tree + "/DEBIAN/control", control)
    for script, text in (scripts or {}).items():
        write(tree + "/DEBIAN/" + script, "#!/bin/sh\nset -e\n" + text, 0o755)
    for path, content in (files or {"usr/share/%s/file" % name: name + "\n"}).items():
        write(tree + "/" + path, *(content if isinstance(content, tuple) else (content,)))
    for path, target in (links or {}).items():
        os.makedirs(os.path.dirname(tree + "/" + path), exist_ok=True)
        os.symlink(target, tree + "/" + path)
    if conffiles:
        write(tree + "/DEBIAN/conffiles", conffiles)
    deb = os.path.join(str(folder), "%s_%s_%s.deb" % (name, version.replace(":", "%3a"), arch))
    command("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb)
    shutil.rmtree(tree)
    return deb


def make_certificate(folder):
    """A certificate of 127.0.0.1 that only an authority of ours vouches for: files of the authority, the certificate, its key."""
    os.makedirs(folder)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command("openssl", "req", "-x509", *key, "-days", "9999", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", cwd=folder)
    command("openssl", "req", *key, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr", cwd=folder)
    write(folder + "/extensions", "subjectAltName=IP:127.0.0.1\n")
    command("openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "9999", "-extfile", "extensions", "-out", "server.pem", cwd=folder)
    return folder + "/ca.pem", folder + "/server.pem", folder + "/server.key"


def allow_upgrades(helper, template):
    """Options for tests with packages of the archive, which may have got newer versions since the template was made."""
    packages = helper.json("inspect", template)["manifest"]["packages"]
    return [word for package in packages for word in ("--allow-upgrade", package["package"])]


def make_repository(folder, debs):
    """A flat apt repository of some .debs."""
    folder = str(folder)
    os.makedirs(folder, exist_ok=True)
    stanzas = []
    for deb in debs:
        shutil.copy(deb, folder)
        with open(deb, "rb") as file:
            content = file.read()
        control = command("dpkg-deb", "--field", deb).stdout.rstrip("\n")
        stanzas.append("%s\nFilename: ./%s\nSize: %d\nSHA256: %s\n" % (
            control, os.path.basename(deb), len(content), hashlib.sha256(content).hexdigest()))
    write(folder + "/Packages", "\n".join(stanzas))
    return folder


def installed(tree):
    """The installed packages of a tree and their versions, read by dpkg-query."""
    output = command("dpkg-query", "--admindir=%s/var/lib/dpkg" % tree, "--show",
                     "--showformat=${Package} ${Version} ${db:Status-Status}\n").stdout
    return {line.split()[0]: line.split()[1] for line in output.splitlines() if line.endswith(" installed")}


def audit(tree):
    return command("dpkg", "--root=%s" % tree, "--audit").stdout


def as_nobody(*argv, tmp):
    """Run a command as an ordinary user."""
    environment = {"PATH": os.environ["PATH"], "HOME": tmp, "LC_ALL": "C.UTF-8"}
    return command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv, check=False, env=environment)


class OrdinaryUser(Helper):
    """The helper run by an ordinary user with sub-ids. The user is none of the machine's: the files that say so are mounted in
    a mount namespace of each run. Changes to `files` hold from then on."""

    UID, GID, SUB_IDS = 61234, 61235, 1700000000

    # the last words are setpriv's options, and the command
    RUN = """
        set -e
        folder=$1
        shift
        for name in passwd subuid subgid; do mount --bind "$folder/$name" "/etc/$name"; done
        %s
        exec setpriv --reuid=%d --regid=%d --clear-groups "$@"
    """

    def __init__(self, folder, program=HELPER):
        self.folder = str(folder)
        self.home = os.path.join(self.folder, "home")
        super().__init__(os.path.join(self.home, ".local/share/isar-template"))
        self.program = program
        # done as root, before the user is
        self.before = ""
        self.options = []
        os.makedirs(self.home)
        os.chown(self.home, self.UID, self.GID)
        with open("/etc/passwd") as file:
            self.set("passwd", file.read() + "ordinary:x:%d:%d::%s:/bin/sh\n" % (self.UID, self.GID, self.home))
        for name in ("subuid", "subgid"):
            self.set(name, "ordinary:%d:65536\n" % self.SUB_IDS)

    @staticmethod
    def missing():
        """Why there is no such user on this machine."""
        for program in ("newuidmap", "newgidmap"):
            if not shutil.which(program):
                return program + " is not installed"
        made = command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "true", check=False)
        return "ordinary users get no user namespaces here: " + made.stderr if made.returncode else None

    def set(self, name, text):
        write(os.path.join(self.folder, name), text)

    def run_by(self, *words):
        """How the user runs something."""
        run = self.RUN % (self.before, self.UID, self.GID)
        environment = ["env", "HOME=" + self.home]
        return ["unshare", "-m", "sh", "-c", run, "sh", self.folder, *self.options, *environment, *map(os.fspath, words)]

    def argv(self, *words):
        # by its default, the store is in the user's home
        return self.run_by(self.program, *words)


# -- the machine --------------------------------------------------------------------------------------------


def mounts():
    """Where something is mounted, but for places of tests that run at the same time."""
    with open("/proc/self/mountinfo") as file:
        points = sorted(line.split(" ", 1)[1].split(" - ")[0].split(" ")[3] for line in file)
    return [point for point in points if point.startswith(SCRATCH) or not point.startswith(SCRATCHES)]


def processes(needle):
    """The processes whose command line holds a text."""
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/cmdline" % pid, "rb") as file:
                if needle.encode() in file.read().replace(b"\0", b" "):
                    found.append(int(pid))
    return found


@contextlib.contextmanager
def command_lines():
    """The command lines of all processes that are seen meanwhile."""
    seen, end = set(), threading.Event()

    def look():
        while not end.wait(0.01):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError), open("/proc/%s/cmdline" % pid, "rb") as file:
                    seen.add(file.read().replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def wait_for(condition, seconds=20):
    """Wait until a condition holds; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited %d s in vain" % seconds)
