# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The stages, and in each the tools that do the same work.

A tool is a bash script that runs in the folder of a disk. 'first' makes what it needs and is not measured; of what 'made' names,
bytes are counted. Scripts know the variables of Bench.variables.
"""

import dataclasses

HASHED = "tee >(openssl sha256 -r > raw.sha256)"
PODMAN = "podman --root $PWD/containers --runroot $PWD/run --storage-driver overlay --cgroup-manager cgroupfs"
BUILDAH = "buildah --root $PWD/containers --runroot $PWD/run --storage-driver overlay"
OSTREE = "ostree --repo=repo"

# the template in a store
STORED = """
    $T pack --name p --version 1 --component rootfs=v1 --sign $KEY --output b1
    $T --store store import $TRUST b1
"""


@dataclasses.dataclass
class Tool:
    """One way to do the work of a stage."""

    name: str
    command: str
    first: str = ""
    made: str = ""
    # a program that has to be there
    needs: str = ""
    # takes so long that once does
    once: bool = False


@dataclasses.dataclass
class Stage:
    """Ours comes first: the others are compared with it."""

    name: str
    about: str
    tools: list
    # done once before all tools
    prepare: str = ""


PACK = Stage("pack", "a root filesystem to what is distributed, zstd level 3", [
    Tool("isar-template pack", "$T pack --name p --version 1 --component rootfs=v1 --output out/bundle", made="out/bundle"),
    Tool("tar | zstd -T0", "tar -c --xattrs -C v1 . | zstd -q -3 -T0 -o out/v1.tar.zst", made="out/v1.tar.zst", needs="zstd"),
    Tool("tar | zstd -T0, both digests", "tar -c --xattrs -C v1 . | " + HASHED + " | zstd -q -3 -T0 | tee out/v1.tar.zst | openssl sha256 -r > zst.sha256",
         made="out/v1.tar.zst", needs="zstd"),
    Tool("mksquashfs zstd -3", "mksquashfs v1 out/v1.squashfs -quiet -no-progress -comp zstd -Xcompression-level 3", made="out/v1.squashfs",
         needs="mksquashfs"),
    Tool("umoci insert", "umoci init --layout out/l; umoci new --image out/l:a; umoci insert --image out/l:a v1 /", made="out/l", needs="umoci"),
    Tool("ostree commit", OSTREE + " commit -b v1 --tree=dir=v1", first="ostree --repo=repo init --mode=bare-user", made="repo", needs="ostree"),
    Tool("casync make", "casync make --store=out/store out/v1.caidx v1", made="out/store", needs="casync", once=True),
])

IMPORT = Stage("import", "what is distributed to trees on disk, verified; nothing is there", [
    Tool("isar-template import", "$T --store store import $TRUST b1"),
    Tool("zstd -d | tar -x", "mkdir out/t; zstd -q -d -c v1.tar.zst | tar -x --xattrs --xattrs-include='*' -C out/t", needs="zstd"),
    Tool("the same, both digests", "mkdir out/t; openssl sha256 -r v1.tar.zst > zst.sha256; zstd -q -d -c v1.tar.zst | " + HASHED +
         " | tar -x --xattrs --xattrs-include='*' -C out/t", needs="zstd"),
    Tool("ostree pull-local, checkout", OSTREE + " pull-local archive v1; " + OSTREE + " checkout -U v1 out/t",
         first="ostree --repo=repo init --mode=bare-user", needs="ostree"),
    Tool("casync extract", "casync extract --store=castore v1.caidx out/t", needs="casync", once=True),
    Tool("unsquashfs", "unsquashfs -q -no-progress -d out/t v1.squashfs", needs="unsquashfs"),
    Tool("umoci unpack", "umoci unpack --image layout:a out/t", needs="umoci"),
    Tool("podman pull", PODMAN + " pull -q oci:b1:1-rootfs", needs="podman"),
], prepare="""
    $T pack --name p --version 1 --component rootfs=v1 --sign $KEY --output b1
    tar -c --xattrs -C v1 . | zstd -q -3 -T0 -o v1.tar.zst
    ! command -v ostree || { ostree --repo=archive init --mode=archive; ostree --repo=archive commit -b v1 --tree=dir=v1; }
    ! command -v casync || casync make --store=castore v1.caidx v1 > /dev/null
    ! command -v mksquashfs || mksquashfs v1 v1.squashfs -quiet -no-progress -comp zstd -Xcompression-level 3
    ! command -v umoci || { umoci init --layout layout; umoci new --image layout:a; umoci insert --image layout:a v1 /; }
""")

UPDATE = Stage("update", "the next release, where the one before is", [
    Tool("isar-template import", "$T --store store import $TRUST b2", first="$T --store store import $TRUST b1"),
    Tool("isar-template import oci://", "$T --format json --store store import $TRUST --plain-http oci://$REGISTRY/p:2 > out/report",
         first="$T --store store import $TRUST b1", made="fetched"),
    Tool("ostree pull-local, checkout", OSTREE + " pull-local archive v2; " + OSTREE + " checkout -U v2 out/t",
         first="ostree --repo=repo init --mode=bare-user; ostree --repo=repo pull-local archive v1", needs="ostree"),
    Tool("rsync", "rsync -aHAX --delete v2/ out/t/", first="cp -a v1 out/t", needs="rsync"),
    Tool("podman pull", PODMAN + " pull -q oci:b2:2-rootfs", first=PODMAN + " pull -q oci:b1:1-rootfs", needs="podman"),
], prepare="""
    $T pack --name p --version 1 --component rootfs=v1 --sign $KEY --output b1
    $T pack --name p --version 2 --component rootfs=v2 --base b1 --sign $KEY --output b2
    ! command -v ostree || { ostree --repo=archive init --mode=archive; for v in v1 v2; do ostree --repo=archive commit -b $v --tree=dir=$v; done; }
    for v in 1 2; do $T push --plain-http b$v oci://$REGISTRY/p; done
""")

INSTANCE = Stage("instance", "/bin/true in a throw-away instance", [
    Tool("isar-template exec", "$T --store store exec p -- /bin/true"),
    Tool("buildah from, run", "c=$(" + BUILDAH + " from p); " + BUILDAH + " run --isolation chroot $c /bin/true; " + BUILDAH + " rm $c", needs="buildah"),
    Tool("podman run", PODMAN + " run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 p /bin/true", needs="podman"),
    Tool("systemd-nspawn --volatile=overlay", "systemd-nspawn -q --register=no --keep-unit --volatile=overlay -D v1 /bin/true", needs="systemd-nspawn"),
], prepare=STORED + """
    ! command -v podman || { PULLED=$(PODMAN pull -q oci:b1:1-rootfs); PODMAN tag $PULLED p; }
""".replace("PODMAN ", PODMAN + " "))

TREE = Stage("tree", "a writable tree of what is there", [
    Tool("isar-template checkout", "$T --store store checkout --raw p out/t"),
    Tool("cp -a", "cp -a v1 out/t"),
    Tool("tar -x", "mkdir out/t; tar -x --xattrs --xattrs-include='*' -C out/t -f v1.tar"),
    Tool("ostree checkout", OSTREE + " checkout --force-copy v1 out/t", needs="ostree"),
], prepare=STORED + """
    tar -c --xattrs -C v1 -f v1.tar .
    ! command -v ostree || { ostree --repo=repo init --mode=bare-user; ostree --repo=repo commit -b v1 --tree=dir=v1; }
""")

APT = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"


def download(packages):
    """Has the archives of these and of what they need on v1 in a folder."""
    return """
        cp -L /etc/resolv.conf v1/etc/
        chroot v1 apt-get -qq update
        chroot v1 apt-get -qq -y --no-install-recommends --download-only install %s
        mkdir debs; mv v1/var/cache/apt/archives/*.deb debs; rm v1/etc/resolv.conf
    """ % " ".join(packages)


MKOSI = ("mkosi --directory= --force --distribution=debian --release=$SUITE --format=directory --base-tree=/place/v1 --sandbox-tree=/place/sandbox"
         " --package-cache-dir=/place/cache --workspace-dir=/place/work --output-dir=/place/out --output=t")


def install(name, packages):
    """One on v1, whose archives are there."""
    ours = "$T --store store install p --update none --no-reuse $(printf -- '--add %s ' debs/*.deb)"
    return Stage(name, "%d packages and what they need on a template, with their archives at hand" % len(packages), [
        Tool("isar-template install, derived", ours + " --name q --version 1 --sign $KEY --output oci:out/q", made="out/q"),
        Tool("isar-template install, tree", ours + " --output out/t"),
        Tool("the derived one again", ours.replace("--no-reuse ", "") + " --name q --version 1 --sign $KEY --output oci:out/q", made="out/q"),
        Tool("buildah from, run, commit",
             "c=$(%s from p); %s run --isolation chroot -v $PWD/debs:/debs:ro $c sh -c '%s /debs/*.deb'; %s commit -q $c q; %s rm $c"
             % (BUILDAH, BUILDAH, APT, BUILDAH, BUILDAH), first=BUILDAH + " rmi q || true", needs="buildah"),
        Tool("cp -a, apt", "cp -a v1 out/t; cp -r debs out/t/; chroot out/t sh -c '%s /debs/*.deb'; rm -r out/t/debs" % APT),
        Tool("mkosi, base tree", "./in-newer " + MKOSI + "".join(" --package=" + name for name in packages) + " --cache-only=metadata build",
             once=True),
        Tool("mmdebstrap from scratch", "$FROM_SCRATCH,%s out/t.tar ${SOURCE:+\"$SOURCE\"}" % ",".join(packages), needs="mmdebstrap", once=True),
    ], prepare=STORED + """
        DOWNLOAD
        mkdir -p sandbox/etc/apt/sources.list.d cache work; cp newer/etc/apt/sources.list.d/mkosi.sources sandbox/etc/apt/sources.list.d/
        mkdir -p out; ./in-newer MKOSI build || true; rm -r out
        ! command -v podman || { PULLED=$(PODMAN pull -q oci:b1:1-rootfs); PODMAN tag $PULLED p; }
    """.replace("PODMAN ", PODMAN + " ").replace("DOWNLOAD", download(packages))
                 .replace("MKOSI", MKOSI + "".join(" --package=" + name for name in packages)))


ONE = install("install-1", ["tree"])
TEN = install("install-10", ["htop", "tmux", "strace", "zip", "unzip", "tree", "jq", "rsync", "socat", "ncdu"])

SIZES = {"0.1": "", "0.3": "cp -r v1/usr/bin v1/usr/include s/srv/", "1": "cp -r v1/usr s/srv/", "3": "for n in 1 2 3; do cp -r v1/usr s/srv/$n; done"}
COST = Stage("cost", "three packages, and /bin/true, on templates of 0.1, 0.3, 1 and 3 GB", [
    Tool("%s, %s GB" % (what, size), command % {"size": size})
    for what, command in (
        ("install", "$T --store store install p%(size)s --update none --no-reuse --add debs/tree_*.deb --add debs/zip_*.deb --add debs/unzip_*.deb"
                    " --name q --version 1 --sign $KEY --output oci:out/q"),
        ("exec", "$T --store store exec p%(size)s -- /bin/true"))
    for size in SIZES
], prepare="".join("""
    mkdir s; tar -x -C s -f $MINBASE; mkdir -p s/srv; %s
    $T pack --name p%s --version 1 --component rootfs=s --sign $KEY --output b; $T --store store import $TRUST b; rm -r s b
""" % (more, size) for size, more in SIZES.items()) + download(["tree", "zip", "unzip"]))

STAGES = [PACK, IMPORT, UPDATE, INSTANCE, TREE, ONE, TEN, COST]
