# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What the stages work on: a Debian system, and its next release with security updates and some other packages.

Both are made by mmdebstrap once, and kept as tars below build/bench-cache.
"""

import hashlib
import os
import subprocess

import support

CACHE = os.path.join(support.TOP, "build", "bench-cache")
COMMON = ["systemd-sysv", "build-essential", "llvm-14", "git", "openssh-server", "nginx-light", "postgresql", "network-manager",
          "python3-numpy", "vim", "curl", "sudo", "locales", "man-db", "tcpdump", "rsyslog", "dbus", "iproute2", "ca-certificates"]
VERSIONS = {
    # what the suite had when it was released
    "v1": ([*COMMON, "nano", "less", "lsof"], ['--aptopt=APT::Default-Release "%s"' % support.SUITE]),
    # what it has now
    "v2": ([*COMMON, "htop", "tmux", "strace", "rsync", "zip", "unzip", "tree"], []),
}
# where tools are from that are too old in the running Debian
NEWER = "trixie"


def tar(name, packages, options, suite=support.SUITE):
    """The tar of a system, made if need be."""
    source = [line.replace(" %s " % support.SUITE, " %s " % suite) for line in support.SOURCE]
    words = ["--variant=minbase", *(["--include=" + ",".join(packages)] if packages else []), *options, suite, *source]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    path = os.path.join(CACHE, "%s-%s-%s.tar" % (name, suite, key))
    if not os.path.exists(path):
        os.makedirs(CACHE, exist_ok=True)
        partial = path + ".partial"
        hook = '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/resolv.conf'
        subprocess.run(["mmdebstrap", "--mode=root", "--quiet", "--format=tar", "--dpkgopt=force-unsafe-io", hook, *words[:-1 - len(source)],
                        "--skip=cleanup/apt/lists", suite, partial, *source],
                       check=True, stdin=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        os.rename(partial, path)
    return path


def from_scratch():
    """How v2 is made without us, as variables of a script: what to call, to which more packages can be added, and where packages come from."""
    packages, _ = VERSIONS["v2"]
    return {"FROM_SCRATCH": "mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io %s --include=%s" % (support.SUITE, ",".join(packages)),
            "SOURCE": " ".join(support.SOURCE)}


def newer(place):
    """A system with a current mkosi, and the script that runs a command with it as its root, and the disk at /place."""
    root, script = os.path.join(place, "newer"), os.path.join(place, "in-newer")
    unpack(tar("newer", ["mkosi", "ca-certificates", "zstd"], [], NEWER), root)
    support.write(root + "/etc/apt/sources.list.d/mkosi.sources",
                  "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
                  % (support.MIRROR or "http://deb.debian.org/debian", support.SUITE))
    # a chroot would not do: mkosi makes namespaces of its own
    support.write(script, """#!/bin/sh
exec unshare --mount --propagation private sh -ec '
root=$1; shift
mkdir -p $root/place $root/old
mount --bind $root $root; mount --rbind ${root%/*} $root/place; cp -L /etc/resolv.conf $root/etc/
for dir in dev proc sys; do mount --rbind /$dir $root/$dir; done
for dir in run tmp; do mount -t tmpfs tmpfs $root/$dir; done
cd $root; pivot_root . old; umount -l /old; cd /place; exec "$@"
' sh "${0%/*}/newer" "$@"
""", 0o755)


def unpack(path, target):
    os.makedirs(target)
    subprocess.run(["tar", "-x", "-f", path, "-C", target, "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"], check=True)


def trees(place):
    """Both releases, unpacked: their folders by name."""
    out = {}
    for name, (packages, options) in VERSIONS.items():
        out[name] = os.path.join(place, name)
        unpack(tar(name, packages, options), out[name])
        # ostree takes no devices
        subprocess.run("rm -rf dev/*", shell=True, check=True, cwd=out[name])
    return out
