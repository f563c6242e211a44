# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What the tests of the command line share: the helper, trees, bundles, keys, packages, comparisons.

Comparisons use other tools than the helper (bsdtar, getfattr, getcap, the file system itself), so that
a mistake of ours cannot hide behind itself.
"""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
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


# names that are no UTF-8, or that a careless script breaks on
STRANGE_NAMES = [
    b"latin1-\xe4\xf6\xfc", b"bytes-\xff\xfe\x80", b"new\nline", b"tab\there", b" leading and trailing ", b"-dash",
    b"back\\slash", b"quote'\"", b"\xe2\x82\xac-euro", b"nfd-a\xcc\x88", b"nfc-\xc3\xa4", b"star*?[x]", b"control-\x01\x1b",
    b"percent%2F", b"n" * 255,
]


def make_torture(path):
    """Everything below one folder that a root file system may hold and a careless tool loses."""
    base = os.fsencode(path)
    os.makedirs(base)

    def at(*names):
        return os.path.join(base, *[os.fsencode(name) for name in names])

    write(at("empty-file"))
    os.mkdir(at("empty-dir"), 0o700)
    for mode in (0o000, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6755, 0o1755):
        write(at("mode-%04o" % mode), b"x", mode)
    for mode in (0o1777, 0o2775, 0o3000):
        os.mkdir(at("dir-%04o" % mode))
        os.chmod(at("dir-%04o" % mode), mode)

    for name in STRANGE_NAMES:
        write(at("names", name), name)
    os.symlink(b"target-\xff\n", at("names", "link-to-strange"))
    os.mkdir(at("names", b"dir-\xfe"))
    write(at("names", b"dir-\xfe", b"file-\xfd"), b"deep")

    # longer than a ustar header can hold, and than its prefix field can help
    deep = at("long")
    for index in range(12):
        deep = os.path.join(deep, b"%02d-" % index + b"d" * 40)
    os.makedirs(deep)
    write(os.path.join(deep, b"f" * 200), b"far down")
    os.symlink(b"../" * 30 + b"t" * 200, os.path.join(deep, b"long-link"))
    os.link(os.path.join(deep, b"f" * 200), at("hard-link-to-deep"))

    write(at("hard", "one"), b"shared content")
    os.link(at("hard", "one"), at("hard", "two"))
    os.mkdir(at("hard", "sub"))
    os.link(at("hard", "one"), at("hard", "sub", "three"))
    write(at("hard", "twin"), b"shared content")  # the same content, but no link
    os.symlink("one", at("hard", "symlink"))
    os.link(at("hard", "symlink"), at("hard", "symlink-linked"), follow_symlinks=False)
    os.mknod(at("hard", "device"), stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.link(at("hard", "device"), at("hard", "device-linked"))

    os.symlink("empty-file", at("link-relative"))
    os.symlink("/etc/passwd", at("link-absolute"))
    os.symlink("nowhere/at/all", at("link-dangling"))
    os.symlink("link-loop", at("link-loop"))
    os.symlink("..", at("link-up"))
    os.lchown(at("link-relative"), 1234, 5678)

    os.mknod(at("dev-null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(at("dev-null"), 0o666)
    os.mknod(at("dev-big"), stat.S_IFCHR | 0o640, os.makedev(259, 1048575))
    os.mknod(at("dev-block"), stat.S_IFBLK | 0o660, os.makedev(7, 0))
    os.mkfifo(at("fifo"), 0o622)

    write_sparse(at("sparse", "middle"), 64 << 20, [(0, b"start"), (20 << 20, b"m" * 5000), ((64 << 20) - 3, b"end")])
    write_sparse(at("sparse", "all-hole"), 8 << 20, [])
    write_sparse(at("sparse", "tail-hole"), 3 << 20, [(0, b"head")])
    write(at("sparse", "zeros-not-holes"), bytes(1 << 20))
    write(at("big"), big_content(24 << 20))
    write(at("odd-size"), big_content((1 << 20) + 13))
    write(at("many", "a"), b"a")
    for index in range(300):
        write(at("many", "%03d" % index), b"%d\n" % index * (index % 7))

    write(at("owner-small"), b"x")
    os.chown(at("owner-small"), 1, 65534)
    write(at("owner-big"), b"x")
    os.chown(at("owner-big"), (1 << 21) + 5, 3000000000)
    os.mkdir(at("owner-dir"))
    os.chown(at("owner-dir"), 100000, 200000)

    write(at("xattr", "user"), b"x")
    os.setxattr(at("xattr", "user"), "user.text", b"value")
    os.setxattr(at("xattr", "user"), "user.binary", bytes(range(256)))
    os.setxattr(at("xattr", "user"), "user.empty", b"")
    os.setxattr(at("xattr", "user"), "user.odd name-\u00e4%", b"odd name")
    os.setxattr(at("xattr"), "user.on-dir", b"dir")
    os.setxattr(at("xattr"), "trusted.isar-template-test", b"only root sees this")
    write(at("capable"), b"\x7fELF", 0o755)
    command("setcap", "cap_net_raw,cap_net_admin+ep", at("capable"))
    write(at("capable-setuid"), b"\x7fELF", 0o4755)
    command("setcap", "cap_sys_time+i", at("capable-setuid"))

    times = {
        "time-nanoseconds": 1234567890123456789, "time-zero": 0, "time-negative": -86400 * 10 ** 9,
        "time-negative-nanoseconds": -123456789, "time-2040": 2208988800 * 10 ** 9 + 1, "time-1ns": 1,
    }
    for name, value in times.items():
        write(at(name), name)
        os.utime(at(name), ns=(value, value))
    os.utime(at("link-dangling"), ns=(7, 987654321987654321), follow_symlinks=False)
    os.utime(at("fifo"), ns=(5, 5 * 10 ** 9 + 5))
    os.utime(at("dev-null"), ns=(5, 6 * 10 ** 9 + 5))
    # folders last, since what is put into them moves their time
    for name in ("empty-dir", "names", "hard", "hard/sub", "many", "sparse", "xattr", "long"):
        value = 1000000000 * 10 ** 9 + len(name)
        os.utime(at(name), ns=(value, value))
    os.utime(base, ns=(42, 42 * 10 ** 9 + 42))
    return path


def big_content(size):
    """Bytes that do not compress, the same every time."""
    block = b"".join(hashlib.sha512(b"%d" % index).digest() for index in range(1 + min(size, 1 << 20) // 64))
    return (block * (size // len(block) + 1))[:size]


def write_sparse(path, size, pieces):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)


# -- comparing trees ----------------------------------------------------------------------------------------


def walk(path):
    """All paths of a tree as bytes, relative to it."""
    base = os.fsencode(path)
    for folder, folders, files in os.walk(base):
        for name in folders + files:
            yield os.path.relpath(os.path.join(folder, name), base)


def mtree(path):
    """bsdtar's description of a tree with all keywords, sorted."""
    options = "!all,type,mode,uid,gid,size,time,link,sha256,device"
    environment = dict(os.environ, LC_ALL="C")
    output = command(
        "bsdtar", "-c", "-f", "-", "--format=mtree", "--options=" + options, "-C", path, ".", text=False, env=environment)
    lines = output.stdout.replace(b"\\\n", b"").splitlines()
    return sorted(line for line in lines if line.startswith(b"."))


def xattrs(path):
    """All extended attributes as getfattr tells them, by file."""
    output = command("getfattr", "-h", "-R", "-d", "-e", "hex", "-m", "-", ".", cwd=path, text=False)
    records = output.stdout.split(b"\n\n")
    return sorted(b"\n".join(sorted(record.splitlines())) for record in records if record.strip())


def capabilities(path):
    return sorted(command("getcap", "-r", ".", cwd=path, text=False).stdout.splitlines())


def hard_links(path):
    """The groups of paths that are one file."""
    groups = {}
    for name in walk(path):
        status = os.lstat(os.path.join(os.fsencode(path), name))
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            groups.setdefault((status.st_dev, status.st_ino), []).append(name)
    # a file may have further names elsewhere
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def data_ranges(path):
    """Where a file has data and not holes."""
    ranges, end = [], 0
    with open(path, "rb") as file:
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                return ranges
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            ranges.append((start, end))


def sparse_files(path):
    """The files with holes, and where their data is."""
    found = {}
    for name in walk(path):
        full = os.path.join(os.fsencode(path), name)
        status = os.lstat(full)
        if stat.S_ISREG(status.st_mode) and status.st_size > 0:
            ranges = data_ranges(full)
            if sum(end - start for start, end in ranges) < status.st_size:
                found[name] = ranges
    return found


def assert_same_tree(left, right, sparse=True, ignore=()):
    """Fail with what differs, as independent tools see it."""
    def chosen(lines):
        return [line for line in lines if not any(line.startswith(prefix) for prefix in ignore)]

    def differences(a, b):
        return "only left: %s\nonly right: %s" % (
            b"\n".join(sorted(set(a) - set(b))[:20]).decode(errors="backslashreplace"),
            b"\n".join(sorted(set(b) - set(a))[:20]).decode(errors="backslashreplace"))

    for tool in (mtree, xattrs, capabilities):
        a, b = chosen(tool(left)), chosen(tool(right))
        assert a == b, "%s differs\n%s" % (tool.__name__, differences(a, b))
    assert hard_links(left) == hard_links(right)
    if sparse:
        assert sparse_files(left) == sparse_files(right)


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


def files_of(path):
    """What a folder holds, by path and size, to see that nothing changed."""
    return sorted((name, os.lstat(os.path.join(os.fsencode(path), name)).st_size) for name in walk(path))
