# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""An ordinary user with sub-ids does what root does, and its tars are those of root."""

import hashlib
import os
import re
import signal
import stat
import struct
import subprocess
import tarfile
import time

import pytest

import filetrees
import support
from support import PRIVILEGE, UNTRUSTED, OrdinaryUser

LOGS = ("var/log/", "var/cache/ldconfig/")

# user::rw-, user:33:r--, group::r--, group:42:rw-, mask::rw-, other::r--, as the kernel takes it
ENTRIES = [(1, 6, -1), (2, 4, 33), (4, 4, -1), (8, 6, 42), (16, 6, -1), (32, 4, -1)]
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in ENTRIES)


@pytest.fixture(scope="module")
def bundle(session_dir, platform, publisher):
    """The platform, with what a user namespace cannot make, or makes in another way."""
    tree = os.path.join(session_dir, "special")
    support.command("cp", "-a", platform, tree)
    folder = tree + "/srv/special"
    os.makedirs(folder)
    os.mknod(folder + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(folder + "/null", 0o666)
    os.link(folder + "/null", folder + "/null-linked")
    os.mknod(folder + "/block", stat.S_IFBLK | 0o660, os.makedev(7, 12))
    os.chown(folder + "/block", 0, 6)
    os.mkfifo(folder + "/fifo")
    support.write(folder + "/setuid", "x", 0o644)
    os.chown(folder + "/setuid", 33, 65534)
    os.chmod(folder + "/setuid", 0o6755)
    support.write(folder + "/last-user", "x", 0o600)
    os.chown(folder + "/last-user", 65535, 65535)
    support.write(folder + "/capable", "x", 0o755)
    support.command("setcap", "cap_net_raw+ep", folder + "/capable")
    os.setxattr(support.write(folder + "/attribute", "x"), "user.test", b"value")
    filetrees.write_sparse(folder + "/sparse", 8 << 20, [(4 << 20, b"middle")])
    os.setxattr(folder + "/attribute", "system.posix_acl_access", ACL)
    os.symlink("nowhere", folder + "/link")
    os.lchown(folder + "/link", 2, 3)
    out = os.path.join(session_dir, "special-bundle")
    support.Helper(os.path.join(session_dir, "no-store"))(
        "pack", "--name", "special", "--version", "1.0", "--component", "rootfs=" + tree, "--sign", publisher.key, "--output", out)
    return out


@pytest.fixture(scope="module")
def reachable(session_dir):
    """A copy of the helper where an ordinary user may run it."""
    if OrdinaryUser.missing():
        pytest.skip(OrdinaryUser.missing())
    path = os.path.join(session_dir, "isar-template")
    support.command("cp", support.HELPER, path)
    return path


@pytest.fixture(scope="module")
def stored(session_dir, bundle, publisher, reachable):
    """A user whose store holds 'special:1.0'. Tests must not take it from there."""
    user = OrdinaryUser(os.path.join(session_dir, "ordinary"), reachable)
    user("import", *publisher.trust, bundle)
    return user


@pytest.fixture(scope="module")
def roots(session_dir, bundle, publisher):
    """Root's store with the same."""
    helper = support.Helper(os.path.join(session_dir, "special-store"))
    helper("import", *publisher.trust, bundle)
    return helper


@pytest.fixture
def user(tmp, reachable):
    """A user with an empty store."""
    return OrdinaryUser(os.path.join(tmp, "user"), reachable)


@pytest.fixture
def out(stored, tmp):
    """A folder that the user may write to."""
    folder = os.path.join(tmp, "out")
    os.mkdir(folder)
    os.chown(folder, OrdinaryUser.UID, OrdinaryUser.GID)
    return folder


def members(path, before, least=1000):
    """What a tar holds, read by Python; times only of what was there before, and no contents of logs."""
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(content.read()).hexdigest() if content and not member.name.startswith(LOGS) else None
            pax = {name: value for name, value in member.pax_headers.items() if name != "mtime"}
            found.append((
                member.name, member.type, member.mode, member.uid, member.gid, member.linkname, member.devmajor, member.devminor,
                member.size if digest else None, digest, pax, member.mtime if member.mtime < before else None))
    assert len(found) > least
    return found


def assert_same(left, right):
    # not by ==, of which pytest would make a long story
    differences = sorted(set(map(repr, left)) ^ set(map(repr, right)))[:20]
    assert differences == []


def test_fsck_and_list(stored):
    assert "all is as it was verified" in stored("fsck").stdout
    assert [(t["name"], t["templateVersion"]) for t in stored.json("list")["templates"]] == [("special", "1.0")]
    status = os.stat(stored.store)
    assert status.st_uid == OrdinaryUser.UID and stat.S_IMODE(status.st_mode) == 0o700


def test_import_again_has_nothing_to_do(stored, bundle, publisher):
    assert stored.json("import", *publisher.trust, bundle)["nothingToDo"] is True


def test_damaged_devices_and_owners_are_found(user, bundle, publisher):
    user("import", *publisher.trust, bundle)
    special = support.command("find", user.store, "-path", "*/root/srv/special").stdout.strip()
    os.setxattr(special + "/block", "user.isar-template.device", b"block 7 13")
    support.write(special + "/null", "no device", 0o666)
    os.removexattr(special + "/null", "user.isar-template.device")
    os.chown(special + "/fifo", OrdinaryUser.SUB_IDS, -1)
    findings = user.json("fsck", code=UNTRUSTED)["findings"]
    found = {os.path.basename(finding["path"]): finding["detail"] for finding in findings}
    assert "another kind" in found["block"] and "another kind" in found["null"] and "owner" in found["fifo"]
    user("fsck", "--repair")
    assert user.json("list")["templates"] == []


def test_nothing_to_do_gives_the_tar_of_root(stored, roots, out):
    before = time.time() - 1
    words = ["install", "special", "--allow-upgrade", "nano", "--output"]
    assert stored.json(*words, out + "/user.tar")["nothingToDo"] is True
    roots(*words, out + "/root.tar")
    left, right = members(out + "/user.tar", before), members(out + "/root.tar", before)
    assert_same(left, right)
    named = {name: entry for name, *entry in left}
    assert named["srv/special/null"][0] == tarfile.CHRTYPE and named["srv/special/null"][5:7] == [1, 3]
    assert named["srv/special/null-linked"][0] == tarfile.LNKTYPE
    assert named["srv/special/block"][2:4] == [0, 6] and named["srv/special/last-user"][2:4] == [65535, 65535]
    assert any("security.capability" in name for name in named["srv/special/capable"][9])


def test_a_transaction_gives_the_tar_of_root(stored, roots, out, tmp):
    """With accounts, owners, setuid programs and capabilities that package scripts make, and folders that they replace."""
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "from-repo", files={"usr/bin/as-other": ("x", 0o4755)})])
    deb = support.make_deb(tmp, "local-deb", files={"etc/local.conf": "x", "usr/share/local-deb/file": "x", "usr/bin/local": ("x", 0o755)},
                           conffiles="/etc/local.conf\n", scripts={"postinst": """
        useradd --system --uid 321 local-user
        chown local-user:42 /usr/share/local-deb/file
        chmod 2750 /usr/share/local-deb/file
        chown 0:8 /srv/special/null
        mv /srv/special/block /srv/special/moved
        rm -rf /usr/share/doc
        mkdir /usr/share/doc
        mkfifo /usr/share/doc/fifo
    """})
    before = time.time() - 1
    words = ["install", "special", "--repo", repository, "--add", "from-repo", "--add", deb, "--remove", "nano", "--output"]
    stored(*words, out + "/user.tar")
    roots(*words, out + "/root.tar")
    left, right = members(out + "/user.tar", before), members(out + "/root.tar", before)
    assert_same(left, right)
    named = {name: entry for name, *entry in left}
    assert named["srv/special/null"][2:4] == [0, 8] and named["srv/special/moved"][0] == tarfile.BLKTYPE
    assert named["usr/share/local-deb/file"][1:4] == [0o2750, 321, 42]
    assert "usr/share/doc/bash" not in named and "usr/bin/nano" not in named
    again = stored.json(*words, out + "/again.tar")
    assert again["report"]["reused"] is True
    assert_same(members(out + "/again.tar", before), left)
    assert "all is as it was verified" in stored("fsck").stdout


def test_a_derived_template_is_that_of_root(stored, roots, out, tmp):
    deb = support.make_deb(tmp, "local-deb", scripts={"postinst": """
        chown 0:8 /srv/special/null
        mv /srv/special/block /srv/special/moved
        rm -rf /usr/share/doc/less
        mkdir /usr/share/doc/less
        chown 65535:42 /usr/share/local-deb/file
    """})
    before = time.time() - 1
    words = ["install", "special", "--add", deb, "--remove", "nano", "--name", "product", "--version", "1.0", "--output"]
    layers = {}
    for who, helper in (("user", stored), ("root", roots)):
        bundle = os.path.join(out, "derived-" + who)
        helper(*words, "oci:" + bundle)
        layout = support.Layout(bundle)
        changes = layout.document(layout.tagged("1.0-rootfs")["digest"])["layers"][1]
        with open(out + "/layer.tar", "wb") as file:
            support.command("zstd", "-dcq", layout.blob_path(changes["digest"]), stdout=file, text=False)
        layers[who] = members(out + "/layer.tar", before, least=100)
    assert_same(layers["user"], layers["root"])
    named = {name: entry for name, *entry in layers["user"]}
    assert {"srv/special/.wh.block", "usr/share/doc/less/.wh.copyright"} <= set(named) and "usr/bin/bash" not in named
    assert named["srv/special/moved"][0] == tarfile.BLKTYPE and named["usr/share/local-deb/file"][2:4] == [65535, 42]


def test_plan_is_that_of_root(stored, roots, tmp):
    deb = support.make_deb(tmp, "local-deb")
    words = ["plan", "special", "--add", deb, "--remove", "nano"]
    assert stored.json(*words)["plan"]["digest"] == roots.json(*words)["plan"]["digest"]


def test_qa(stored, tmp):
    deb = support.make_deb(tmp, "untidy", scripts={"postinst": "rm -rf /usr/share/doc/less\nmkdir /usr/share/doc/less\ntouch /etc/left\n"})
    report = stored.json("qa", "special", deb, code=support.DIFFERS)["qa"]
    text = str(report)
    assert "/etc/left" in text and "/usr/share/doc/less" in text


def test_diff(stored, out):
    """Contents that only their owners may read are compared, too."""
    stored("checkout", "special", out + "/tree")
    inside = stored.run_by("unshare", "--map-root-user", "--map-auto", "sh", "-c", "echo x >> " + out + "/tree/etc/shadow")
    support.command(*inside)
    report = stored.json("diff", "special", out + "/tree", code=support.DIFFERS)
    assert [file["path"] for file in report["files"]] == ["etc/shadow"], report["files"]


def test_exec(stored, tmp):
    script = "id -u; stat -c '%u:%g' /srv/special/last-user; touch /usr/written; chown 65535 /usr/written; cat /sys/class/net/lo/mtu; exit 7"
    result = stored("exec", "special", "--", "sh", "-c", script, code=7)
    assert result.stdout.splitlines()[:2] == ["0", "65535:65535"]
    assert stored("exec", "special", "--", "ls", "/usr/written", code=2).stdout == ""


def test_exec_leaves_files_of_the_user_in_bound_folders(stored, out):
    stored("exec", "--bind", out + ":/out:rw", "special", "--", "sh", "-c", "id -G > /out/groups; cp /out/groups /out/copy")
    status = os.stat(out + "/copy")
    assert (status.st_uid, status.st_gid) == (OrdinaryUser.UID, OrdinaryUser.GID)
    assert open(out + "/groups").read() == "0\n"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_sandbox_ends_with_the_helper(stored, number, code):
    needle = "sleep 98%d" % number
    process = subprocess.Popen(stored.argv("exec", "special", "--", *needle.split()), stdin=subprocess.DEVNULL)
    try:
        support.wait_for(lambda: [pid for pid in support.processes(needle) if is_inside(pid)])
        # the shell and setpriv have become the helper
        process.send_signal(number)
        assert process.wait(20) == code
        support.wait_for(lambda: not support.processes(needle))
    finally:
        process.kill()
        process.wait()


def is_inside(pid):
    try:
        return os.readlink("/proc/%d/exe" % pid).endswith("/sleep")
    except OSError:
        return False


def test_checkout_says_what_it_cannot_make(stored, out):
    result = stored("checkout", "--raw", "special", out + "/tree")
    assert re.search("[0-9]+ devices are empty files", result.stderr)
    assert str(OrdinaryUser.SUB_IDS) in result.stderr
    special = out + "/tree/srv/special"
    assert os.stat(special + "/null").st_size == 0 and os.stat(special + "/null").st_nlink == 2
    assert os.getxattr(special + "/null", "user.isar-template.device") == b"char 1 3"
    assert os.stat(special + "/last-user").st_uid == OrdinaryUser.SUB_IDS + 65534
    assert os.stat(special).st_uid == OrdinaryUser.UID


def test_a_checkout_packed_by_its_maker_is_the_template(stored, bundle, out, roots):
    stored("checkout", "--raw", "special", out + "/tree")
    words = ["pack", "--name", "special", "--version", "1.0", "--component", "rootfs=" + out + "/tree", "--output", out + "/bundle"]
    as_root_of_namespace = stored.run_by("unshare", "--map-root-user", "--map-auto", stored.program, *words)
    support.command(*as_root_of_namespace)
    trees = []
    for path in (out + "/bundle", bundle):
        layout = support.Layout(path)
        trees.append([layer["digest"] for layer in layout.document(layout.tagged("1.0-rootfs")["digest"])["layers"]])
    assert trees[0] == trees[1]
    # for others, what stands for a device is none
    error = roots.error(*words[:-1], out + "/again", code=support.REFUSED)
    assert "stands for a device" in error["message"] and "unshare" in error["hint"]


def test_gc(user, tmp, publisher):
    def change(root):
        os.mknod(root + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chown(support.write(root + "/srv/file", os.urandom(9), 0o600), 5, 5)
    for version in ("1.0", "2.0"):
        user("import", *publisher.trust, special_bundle(tmp + "/" + version, publisher, change, version))
    objects = len(filetrees.files_of(user.store + "/objects"))
    assert [removed["templateVersion"] for removed in user.json("gc", "--keep", "1")["removed"]] == ["1.0"]
    assert len(filetrees.files_of(user.store + "/objects")) < objects
    user("fsck")


def test_roots_store_is_not_for_users(roots, stored):
    error = stored.error("--store", roots.store, "exec", "special", "--", "true", code=PRIVILEGE)
    assert "made by root" in error["message"] and "sudo" in error["hint"]


def test_a_users_store_is_not_for_root(stored):
    helper = support.Helper(stored.store)
    for words in (["list"], ["exec", "special", "--", "true"], ["fsck"]):
        error = helper.error(*words, code=PRIVILEGE)
        assert "without root" in error["message"] and "without sudo" in error["hint"]


def test_changed_sub_ids_are_noticed(stored):
    try:
        stored.set("subuid", "ordinary:%d:65536\n" % (stored.SUB_IDS + 100000))
        error = stored.error("fsck", code=PRIVILEGE)
    finally:
        stored.set("subuid", "ordinary:%d:65536\n" % stored.SUB_IDS)
    assert "other ids" in error["message"] and "/etc/subuid" in error["hint"]
    stored("fsck")


def special_bundle(tmp, publisher, change, version="1.0"):
    os.makedirs(tmp, exist_ok=True)
    root = support.make_tiny_root(os.path.join(tmp, "tiny"))
    change(root)
    out = os.path.join(tmp, "tiny-bundle")
    support.Helper(os.path.join(tmp, "no-store"))(
        "pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", out)
    return out


@pytest.mark.parametrize("change, said", [
    (lambda root: os.chown(root + "/etc/hostname", 70000, 0), ["'etc/hostname'", "user 70000", "65537 ids"]),
    (lambda root: os.chown(root + "/etc/hostname", 0, 3000000000), ["'etc/hostname'", "group 3000000000", "65537 ids"]),
    (lambda root: os.setxattr(root + "/etc/hostname", "trusted.test", b"x"), ["'etc/hostname'", "trusted.test", "only root"]),
])
def test_what_only_root_can_keep_is_refused(user, tmp, publisher, change, said):
    error = user.error("import", *publisher.trust, special_bundle(tmp, publisher, change), code=PRIVILEGE)
    assert all(word in error["message"] for word in said), error
    assert user.json("list")["templates"] == []


@pytest.mark.parametrize("subuid, said", [
    ("", "no ids in /etc/subuid"), ("someone:1:65536\n", "no ids in /etc/subuid"), ("ordinary:1700000000:1000\n", "1000 ids in /etc/subuid"),
])
def test_no_sub_ids(user, subuid, said):
    user.set("subuid", subuid)
    error = user.error("gc", code=PRIVILEGE)
    assert "gc without root" in error["message"] and "user 'ordinary' has " + said in error["message"]
    assert "sudo usermod --add-subuids" in error["hint"]


def test_sub_ids_of_others_are_not_proposed(user):
    """usermod would give them a second time without a word."""
    user.set("subuid", "someone:100000:65536\n")
    user.set("subgid", "someone:165536:65536\n")
    error = user.error("gc", code=PRIVILEGE)
    assert "usermod --add-subuids 231072-296607 --add-subgids 231072-296607 ordinary" in error["hint"]


def test_no_sub_ids_of_groups(user):
    user.set("subgid", "")
    error = user.error("gc", code=PRIVILEGE)
    assert "/etc/subgid" in error["message"] and "--add-subgids" in error["hint"]


@pytest.mark.parametrize("program", ["newuidmap", "newgidmap"])
def test_no_uidmap(user, program):
    user.before = "mount --bind /dev/null $(command -v %s)" % program
    error = user.error("gc", code=PRIVILEGE)
    assert program + " is not there" in error["message"] and "uidmap" in error["hint"]


def test_no_new_privileges(user):
    user.options = ["--no-new-privs"]
    error = user.error("gc", code=PRIVILEGE)
    assert "newuidmap" in error["message"] and "no_new_privs" in error["hint"]


SWITCHED_OFF = """
    mount --bind "$1" /etc/subuid
    mount --bind "$1" /etc/subgid
    shift
    exec unshare --user --map-users=0,0,1800000000 --map-groups=0,0,1800000000 \\
        sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"' sh "$@"
"""


def test_user_namespaces_switched_off(user, tmp):
    """The limit of a namespace holds for those below it; the machine's own is not touched."""
    ids = support.write(tmp + "/ids", "root:0:1800000000\n")
    inner = user.argv
    user.argv = lambda *words: ["unshare", "-m", "sh", "-c", SWITCHED_OFF, "sh", ids, *inner(*words)]
    error = user.error("gc", code=PRIVILEGE)
    assert "max_user_namespaces is 0" in error["message"] and "sysctl" in error["hint"]


def test_a_container_that_masks_proc(stored):
    before = stored.before
    # any whole one would do
    others = """awk '$3 == "proc" && $2 != "/proc" { print $2 }' /proc/mounts | xargs -r -n 1 umount -l"""
    stored.before = others + "; mount -t tmpfs none /proc/fs"
    try:
        error = stored.error("exec", "special", "--", "true", code=PRIVILEGE)
    finally:
        stored.before = before
    assert "/proc" in error["hint"] and "unmask" in error["hint"]
