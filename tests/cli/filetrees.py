# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Trees that have everything a root filesystem can have, and whether two of them are the same.

Comparisons use other tools than the helper (bsdtar, getfattr, getcap, the file system itself), so that
a mistake of ours cannot hide behind itself.
"""

import errno
import hashlib
import os
import stat

from support import command, write

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


def files_of(path):
    """What a folder holds, by path and size, to see that nothing changed."""
    return sorted((name, os.lstat(os.path.join(os.fsencode(path), name)).st_size) for name in walk(path))
