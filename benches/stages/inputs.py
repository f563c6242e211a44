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


def tar(name, packages, options):
    """The tar of a system, made if need be."""
    words = ["--variant=minbase", *(["--include=" + ",".join(packages)] if packages else []), *options, support.SUITE, *support.SOURCE]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    path = os.path.join(CACHE, "%s-%s-%s.tar" % (name, support.SUITE, key))
    if not os.path.exists(path):
        os.makedirs(CACHE, exist_ok=True)
        partial = path + ".partial"
        hook = '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/resolv.conf'
        subprocess.run(["mmdebstrap", "--mode=root", "--quiet", "--format=tar", "--dpkgopt=force-unsafe-io", hook, *words[:-1 - len(support.SOURCE)],
                        "--skip=cleanup/apt/lists", support.SUITE, partial, *support.SOURCE],
                       check=True, stdin=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        os.rename(partial, path)
    return path


def from_scratch():
    """How v2 is made without us, as variables of a script: what to call, to which more packages can be added, and where packages come from."""
    packages, _ = VERSIONS["v2"]
    return {"FROM_SCRATCH": "mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io %s --include=%s" % (support.SUITE, ",".join(packages)),
            "SOURCE": " ".join(support.SOURCE)}


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
