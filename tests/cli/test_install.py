# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Plan and install: packages added to and removed from a real Debian template."""

import functools
import hashlib
import http.server
import os
import shutil
import threading

import pytest

import filetrees
import support
from support import NETWORK, PACKAGE, REFUSED, USAGE


@pytest.fixture
def out(tmp):
    return os.path.join(tmp, "out")


def test_add_from_repository_add_file_and_remove_in_one_run(shared, tmp, out):
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "from-repo", Depends="dependency (>= 1)"), support.make_deb(tmp, "dependency", "2.0")])
    deb = support.make_deb(tmp, "local-deb", files={"usr/share/local-deb/file": "local"})
    words = ["platform", "--repo", repository, "--add", "from-repo", "--add", deb, "--remove", "nano", "--no-reuse", "--output", out]
    before = filetrees.files_of(shared.store)
    value = shared.json("install", *words)
    assert value["command"] == "install"
    packages = support.installed(out)
    assert packages["from-repo"] == "1.0" and packages["dependency"] == "2.0" and packages["local-deb"] == "1.0"
    assert "nano" not in packages
    assert not os.path.exists(out + "/bin/nano") and not os.path.exists(out + "/usr/bin/nano")
    assert not os.path.exists(out + "/etc/nanorc"), "removal has to purge"
    assert open(out + "/usr/share/local-deb/file").read() == "local"
    assert support.audit(out) == ""
    # a transaction works on a copy
    assert filetrees.files_of(shared.store) == before
    text = str(value)
    for word in ("from-repo", "dependency", "local-deb", "nano"):
        assert word in text


def test_result_is_a_finished_system_without_traces(shared, tmp, out):
    deb = support.make_deb(tmp, "local-deb")
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "from-repo")])
    shared("install", "platform", "--add", deb, "--repo", repository, "--add", "from-repo", "--output", out)
    assert not os.path.exists(out + "/usr/sbin/policy-rc.d")
    assert [name for name in os.listdir(out + "/var/cache/apt/archives") if name.endswith(".deb")] == []
    for folder in ("proc", "sys", "dev/pts", "run", "tmp"):
        if os.path.isdir(os.path.join(out, folder)):
            assert os.listdir(os.path.join(out, folder)) in ([], ["lock"]), folder
    found = support.command("grep", "-rlF", "-e", tmp, "--", out + "/etc", out + "/var/lib/apt", out + "/var/lib/dpkg", check=False).stdout
    assert found == "", "the product tells where it was built"
    assert os.listdir(out + "/etc/apt/sources.list.d") == [] if os.path.isdir(out + "/etc/apt/sources.list.d") else True


def test_result_says_what_it_was_made_from(shared, tmp, out):
    shared("install", "platform", "--add", support.make_deb(tmp, "local-deb"), "--output", out)
    lines = open(out + "/etc/os-release").read().splitlines()
    digest = shared.json("inspect", "platform")["digest"]
    for line in ('ISAR_TEMPLATE_NAME="platform"', 'ISAR_TEMPLATE_VERSION="1.0"', 'ISAR_TEMPLATE_DIGEST="%s"' % digest):
        assert lines.count(line) == 1
    assert "ID=debian" in lines
    # a product of the product tells of the last one alone
    publisher = support.make_key(tmp)
    trust = ["--allowed-signers", support.allow(tmp, publisher), "--identity", support.IDENTITY]
    helper = support.Helper(tmp + "/store")
    helper("pack", "--name", "product", "--version", "2", "--component", "rootfs=" + out, "--sign", publisher, "--output", tmp + "/bundle")
    helper("install", *trust, tmp + "/bundle", "--output", tmp + "/next")
    lines = [line for line in open(tmp + "/next/etc/os-release").read().splitlines() if line.startswith("ISAR_TEMPLATE_")]
    assert lines[:2] == ['ISAR_TEMPLATE_NAME="product"', 'ISAR_TEMPLATE_VERSION="2"'] and len(lines) == 3


@pytest.mark.parametrize("name,tool", [("out.tar", "cat"), ("out.tar.zst", "zstd -dcq"), ("out.tar.gz", "gzip -dc")])
def test_tar_output_equals_tree_output(shared, tmp, out, name, tool):
    deb = support.make_deb(tmp, "local-deb")
    shared("install", "platform", "--add", deb, "--remove", "nano", "--output", out)
    tar = os.path.join(tmp, name)
    shared("install", "platform", "--add", deb, "--remove", "nano", "--output", tar)
    unpacked = os.path.join(tmp, "unpacked")
    os.mkdir(unpacked)
    support.command("sh", "-c", "%s '%s' | tar -x -C '%s' --xattrs --xattrs-include='*' --numeric-owner" % (tool, tar, unpacked))

    def lines(tree):
        # two runs: times of what changed differ, and so does the content of logs
        return [line for line in (b" ".join(word for word in line.split(b" ") if not word.startswith((b"time=", b"sha256digest=", b"size=")))
                                  for line in filetrees.mtree(tree))]
    assert lines(out) == lines(unpacked)
    assert filetrees.xattrs(out) == filetrees.xattrs(unpacked)
    assert support.installed(out) == support.installed(unpacked)


def test_template_with_nothing_changed(shared, tmp, out):
    shared("install", "platform", "--output", out)
    finished = os.path.join(tmp, "finished")
    shared("checkout", "platform", finished)
    assert support.installed(out) == support.installed(finished)


def test_specific_version_from_a_repository(shared, tmp, out):
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "tool-x", version) for version in ("1.0", "2.0")])
    shared("install", "platform", "--repo", repository, "--add", "tool-x=1.0", "--output", out)
    assert support.installed(out)["tool-x"] == "1.0"


def test_two_repositories_and_dists_layout(shared, tmp, out):
    flat = support.make_repository(tmp + "/flat", [support.make_deb(tmp, "in-flat")])
    deb = support.make_deb(tmp, "in-dists")
    pool = support.make_repository(tmp + "/dists-repo", [deb])
    packages = open(pool + "/Packages").read()
    folder = "dists/isar/main/binary-%s" % support.architecture()
    support.write(pool + "/" + folder + "/Packages", packages)
    os.unlink(pool + "/Packages")
    content = packages.encode()
    support.write(pool + "/dists/isar/Release", "Suite: isar\nCodename: isar\nComponents: main\nArchitectures: %s\nSHA256:\n %s %d main/binary-%s/Packages\n" % (
        support.architecture(), hashlib.sha256(content).hexdigest(), len(content), support.architecture()))
    shared("install", "platform", "--repo", flat, "--repo", pool, "--add", "in-flat", "--add", "in-dists", "--output", out)
    assert {"in-flat", "in-dists"} <= set(support.installed(out))


def test_from_the_debian_repository(shared, tmp, out):
    """Reaches the mirror: lists and package come from the sources that the template names."""
    shared("install", "platform", "--add", "tree", "--output", out)
    assert "tree" in support.installed(out)
    assert os.access(out + "/usr/bin/tree", os.X_OK)
    # refreshed lists are not left behind in the product
    lists = out + "/var/lib/apt/lists"
    assert not [name for name in os.listdir(lists) if name.endswith("Packages")]


# -- plan ---------------------------------------------------------------------------------------------------


def test_plan_shows_and_touches_nothing(shared, tmp):
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "from-repo", Depends="dependency"), support.make_deb(tmp, "dependency", "2.0")])
    before = filetrees.files_of(shared.store)
    words = ["plan", "platform", "--repo", repository, "--add", "from-repo", "--remove", "nano"]
    result = shared(*words)
    for word in ("from-repo", "dependency", "2.0", "nano"):
        assert word in result.stdout + result.stderr
    text = str(shared.json(*words)["plan"])
    for word in ("from-repo", "dependency", "2.0", "nano"):
        assert word in text
    assert filetrees.files_of(shared.store) == before


def test_plan_is_saved_as_json(shared, tmp):
    saved = os.path.join(tmp, "plan.json")
    value = shared.json("plan", "platform", "--remove", "nano", "--save", saved)
    import json
    with open(saved) as file:
        plan = json.load(file)
    assert plan["version"] in (0, 1)
    assert "nano" in str(plan)
    assert "nano" in str(value)


def test_same_request_gives_the_same_plan(shared, tmp):
    one = shared.json("plan", "platform", "--remove", "nano")
    two = shared.json("plan", "platform", "--remove", "nano")
    assert one == two


def test_install_prints_the_plan_before_it_acts(shared, tmp, out):
    deb = support.make_deb(tmp, "loud", scripts={"postinst": "echo POSTINST-RUNS\n"})
    text = shared("install", "platform", "--add", deb, "--output", out).stderr
    assert "loud" in text
    if "POSTINST-RUNS" in text:
        assert text.index("loud") < text.index("POSTINST-RUNS")


def test_the_top_folder_is_the_templates(shared, tmp, out, platform):
    """Not made by the umask of who installs."""
    words = shared.argv("install", "platform", "--add", support.make_deb(tmp, "local-deb"), "--output", out)
    support.command("sh", "-c", 'umask 077; exec "$@"', "sh", *words)
    found, expected = os.stat(out), os.stat(platform)
    assert (found.st_mode, found.st_uid, found.st_gid) == (expected.st_mode, expected.st_uid, expected.st_gid)
    assert shared("exec", "platform", "--", "stat", "-c", "%a %Y", "/").stdout.split() == [
        "%o" % (expected.st_mode & 0o7777), "%d" % expected.st_mtime]


def test_a_file_is_what_is_installed_or_nothing(shared, tmp, out):
    """apt takes two files of the same version and dependencies for one, and chooses."""
    os.mkdir(tmp + "/other")
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp + "/other", "twin", files={"usr/share/twin": "repository"})])
    mine = support.make_deb(tmp, "twin", files={"usr/share/twin": "mine"})
    error = refused(shared, tmp, "--repo", repository, "--add", mine)
    assert "twin" in error["message"] and "same version" in error["message"]
    # the same file in both is no conflict
    same = support.make_repository(tmp + "/same", [mine])
    shared("install", "platform", "--repo", same, "--add", mine, "--output", out)
    assert open(out + "/usr/share/twin").read() == "mine"


def test_settings_of_the_template_hold_for_the_plan(helper, tmp, publisher, platform):
    """Isar's snapshot does without recommended packages; its file goes when the system is finished, and not before."""
    root = os.path.join(tmp, "root")
    support.command("cp", "-a", platform, root)
    support.write(root + "/etc/apt/apt.conf.d/50isar", 'APT::Install-Recommends "0";\n')
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "main-package", Recommends="recommended"), support.make_deb(tmp, "recommended")])
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "p", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    words = ["p", "--update", "none", "--repo", repository, "--add", "main-package"]
    plan = helper.json("plan", *words)["plan"]
    assert [action["package"] for action in plan["actions"]] == ["main-package"]
    assert helper.json("plan", *words, "--root", root)["plan"]["digest"] == plan["digest"]
    helper("install", *words, "--output", tmp + "/out")
    assert "recommended" not in support.installed(tmp + "/out")
    assert not os.path.exists(tmp + "/out/etc/apt/apt.conf.d/50isar")


def test_plan_for_a_tree_leaves_the_tree_alone(shared, tmp, root):
    support.write(root + "/etc/apt/apt.conf.d/hook", 'APT::Update::Post-Invoke-Success { "touch /var/lib/hooked"; };\n')
    before = filetrees.mtree(root)
    shared("plan", "platform", "--add", support.make_deb(tmp, "local-deb"), "--remove", "nano", "--root", root)
    assert filetrees.mtree(root) == before


def test_held_packages_are_changed_when_named(shared, tmp, root):
    support.command("chroot", root, "apt-mark", "hold", "less", "nano")
    newer = support.make_deb(tmp, "less", "999.0", arch=support.architecture())
    helper = shared
    assert "less" in helper.error("plan", "platform", "--add", newer, "--root", root, code=REFUSED)["message"]
    helper("install", "platform", "--add", newer, "--allow-upgrade", "less", "--remove", "nano", "--root", root)
    assert support.installed(root)["less"] == "999.0" and "nano" not in support.installed(root)


def test_the_trees_configuration_does_not_weaken_what_is_trusted(shared, tmp, root):
    repository = support.make_repository(root + "/srv/repo", [support.make_deb(tmp, "unsigned-package")])
    assert repository
    support.write(root + "/etc/apt/sources.list.d/x.list", "deb file:///srv/repo ./\n")
    support.write(root + "/etc/apt/apt.conf.d/lax", 'APT::Get::AllowUnauthenticated "1";\nAcquire::AllowInsecureRepositories "1";\n')
    shared.error("install", "platform", "--add", "unsigned-package", "--root", root, code=REFUSED)
    assert "unsigned-package" not in support.installed(root)


def test_the_digest_of_a_plan_knows_what_counts_as_asked_for(shared, tmp):
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "needs", Depends="needed"), support.make_deb(tmp, "needed")])
    plans = [shared.json("plan", "platform", "--repo", repository, *words)["plan"]
             for words in (["--add", "needs"], ["--add", "needs", "--add", "needed"])]
    assert [len(plan["actions"]) for plan in plans] == [2, 2]
    assert plans[0]["digest"] != plans[1]["digest"]


def test_package_file_that_is_a_pipe(shared, tmp):
    os.mkfifo(tmp + "/pipe.deb")
    shared.error("plan", "platform", "--add", tmp + "/pipe.deb", code=USAGE)


def test_output_of_an_unknown_form(shared, tmp):
    error = shared.error("install", "platform", "--output", tmp + "/product.tgz", code=USAGE)
    assert ".tar.gz" in error["hint"]


# -- refusals -----------------------------------------------------------------------------------------------


def refused(helper, tmp, *words, code=REFUSED):
    """Plan and install refuse alike, and nothing is left where the result would have been."""
    out = os.path.join(tmp, "refused")
    error = helper.error("plan", "platform", *words, code=code)
    result = helper("install", "platform", *words, "--output", out, code=code)
    assert error["message"].splitlines()[0] in result.stderr
    assert not [name for name in os.listdir(tmp) if name.startswith(("refused", ".refused"))]
    return error


@pytest.mark.parametrize("package", ["base-files", "dpkg", "apt", "bash", "libc6", "coreutils"])
def test_essential_packages_stay(shared, tmp, package):
    assert package in refused(shared, tmp, "--remove", package)["message"]


def test_removal_that_takes_others_along_is_refused_by_name(shared, tmp, out):
    # nano needs it, and nobody named nano
    error = refused(shared, tmp, "--remove", "libncursesw6")
    assert "'nano'" in error["message"]
    shared("install", "platform", "--remove", "libncursesw6", "--remove", "nano", "--output", out)
    assert not {"libncursesw6", "nano"} & set(support.installed(out))


def test_upgrade_of_a_template_package_needs_a_name(shared, tmp, out):
    newer = support.make_deb(tmp, "less", "999.0", arch=support.architecture())
    error = refused(shared, tmp, "--add", newer)
    assert "less" in error["message"]
    assert "allow-upgrade" in support.said(error)
    shared("install", "platform", "--add", newer, "--allow-upgrade", "less", "--output", out)
    assert support.installed(out)["less"] == "999.0"


def test_upgrade_by_way_of_a_dependency_is_refused_too(shared, tmp):
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "less", "999.0", arch=support.architecture()),
        support.make_deb(tmp, "wants-new-less", Depends="less (>= 999)")])
    assert "less" in refused(shared, tmp, "--repo", repository, "--add", "wants-new-less")["message"]


def test_downgrade_needs_a_name(shared, tmp, out):
    # older than any release of Debian has, but not so old that others conflict with it
    older = support.make_deb(tmp, "less", "589", arch=support.architecture())
    refused(shared, tmp, "--add", older)
    shared("install", "platform", "--add", older, "--allow-upgrade", "less", "--output", out)
    assert support.installed(out)["less"] == "589"


def test_other_architecture_is_refused(shared, tmp):
    foreign = "armhf" if support.architecture() != "armhf" else "arm64"
    for needs in ("", "libc6"):
        error = refused(shared, tmp, "--add", support.make_deb(tmp, "foreign", arch=foreign, **({"Depends": needs} if needs else {})))
        assert "is of architecture " + foreign in error["message"] and support.architecture() in error["hint"], error


def test_unknown_package_and_unmet_dependency_are_not_solvable(shared, tmp):
    assert "no-such-package" in refused(shared, tmp, "--update", "none", "--add", "no-such-package")["message"]
    unmet = support.make_deb(tmp, "unmet", Depends="not-to-be-had")
    error = refused(shared, tmp, "--update", "none", "--add", unmet)
    assert "not-to-be-had" in support.said(error)


def test_conflicting_requests_are_not_solvable(shared, tmp):
    one = support.make_deb(tmp, "one", Conflicts="two")
    two = support.make_deb(tmp, "two")
    refused(shared, tmp, "--add", one, "--add", two)


def test_a_package_that_would_replace_one_of_the_template_is_refused(shared, tmp):
    other = support.make_deb(tmp, "other-editor", Conflicts="nano")
    error = refused(shared, tmp, "--add", other)
    assert "nano" in support.said(error)


def test_replacing_in_one_transaction_is_allowed_when_named(shared, tmp, out):
    other = support.make_deb(tmp, "other-editor", Conflicts="nano", Provides="nano", Replaces="nano")
    shared("install", "platform", "--add", other, "--remove", "nano", "--output", out)
    assert "other-editor" in support.installed(out) and "nano" not in support.installed(out)


def test_removing_what_is_not_there(shared, tmp, out):
    """A name that nobody knows is a mistake; a package that is merely not installed is gone already."""
    error = refused(shared, tmp, "--remove", "no-such-package", "--remove", "nano")
    assert "no-such-package" in error["message"] and "nano" not in error["message"]
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "not-installed-here")])
    value = shared.json("install", "platform", "--repo", repository, "--remove", "not-installed-here", "--output", out)
    assert value["nothingToDo"]
    assert "not-installed-here" in value["plan"]["notes"][0]


def test_file_that_is_no_package(shared, tmp):
    rubbish = support.write(os.path.join(tmp, "rubbish.deb"), "no package")
    for path in (rubbish, tmp + "/missing.deb"):
        assert path in shared.error("plan", "platform", "--add", path, code=USAGE)["message"]


def test_unauthenticated_repository_is_refused(helper, tmp, publisher, platform):
    """A source of the template without a valid signature is not used, --repo is the way for local ones."""
    root = os.path.join(tmp, "root")
    support.command("cp", "-a", platform, root)
    repository = support.make_repository(root + "/srv/repo", [support.make_deb(tmp, "unsigned-package")])
    assert repository
    support.write(root + "/etc/apt/sources.list", "deb file:///srv/repo ./\n")
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "platform", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    out = os.path.join(tmp, "out")
    error = helper.error("install", "platform", "--add", "unsigned-package", "--output", out, code=REFUSED)
    assert "not signed" in error["message"] and "--repo" in error["hint"]
    assert not os.path.exists(out)


# -- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_failing_package_script(shared, tmp, out, script):
    deb = support.make_deb(tmp, "failing", scripts={script: "echo THIS IS WHY >&2\nexit 3\n"})
    result = shared("install", "platform", "--add", deb, "--output", out, code=PACKAGE)
    assert "failing" in result.stderr
    assert "THIS IS WHY" in result.stderr
    assert sorted(name for name in os.listdir(tmp) if "out" in name) == []


def test_file_conflict_between_packages(shared, tmp, out):
    deb = support.make_deb(tmp, "clash", files={"etc/nanorc": "mine"})
    shared("install", "platform", "--add", deb, "--output", out, code=PACKAGE)
    assert not os.path.exists(out)


def test_unreachable_repository_is_a_network_failure(helper, tmp, publisher, platform):
    root = os.path.join(tmp, "root")
    support.command("cp", "-a", platform, root)
    support.write(root + "/etc/apt/sources.list", "deb http://127.0.0.1:9/debian %s main\n" % support.SUITE)
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "platform", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    error = helper.error("plan", "platform", "--add", "tree", code=NETWORK)
    assert "127.0.0.1" in support.said(error)
    assert "--update local" in error["hint"]
    # what needs no network still works
    helper("install", "platform", "--remove", "nano", "--output", os.path.join(tmp, "out"))
    helper("install", "platform", "--update", "local", "--add", support.make_deb(tmp, "alone"), "--output", os.path.join(tmp, "with"))
    assert "alone" in support.installed(tmp + "/with")


def test_a_damaged_package_file_is_named_as_it_was_given(shared, tmp):
    support.write(tmp + "/damaged.deb", "no package")
    error = shared.error("plan", "platform", "--add", tmp + "/damaged.deb", code=USAGE)
    assert tmp + "/damaged.deb" in error["message"] and "/run/" not in error["message"], error


@pytest.fixture
def moving_repository(tmp):
    """A repository on a real server, and a function that puts a version of a package there, and no other."""
    folder = os.path.join(tmp, "served")
    os.mkdir(folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def publish(version):
        shutil.rmtree(folder)
        support.make_repository(folder, [support.make_deb(tmp, "moving", version)])
        release = support.command("apt-ftparchive", "release", folder).stdout
        support.write(folder + "/Release", release)
    publish.url = "http://127.0.0.1:%d" % server.server_address[1]
    yield publish
    server.shutdown()


def test_lists_older_than_the_repository_are_refreshed_once(helper, tmp, publisher, platform, moving_repository, out):
    """As after a point release: what the template's lists name is not there any more."""
    root = os.path.join(tmp, "root")
    support.command("cp", "-a", platform, root)
    support.write(root + "/etc/apt/sources.list", "deb [trusted=yes] %s ./\n" % moving_repository.url)
    moving_repository("1.0")
    support.command("chroot", root, "apt-get", "-o", "APT::Sandbox::User=root", "update")
    bundle = os.path.join(tmp, "bundle")
    helper("pack", "--name", "platform", "--version", "1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", bundle)
    helper("import", *publisher.trust, bundle)
    assert helper.json("plan", "platform", "--add", "moving")["plan"]["actions"][0]["newVersion"] == "1.0"
    moving_repository("1.1")
    result = helper("install", "platform", "--add", "moving", "--output", out)
    assert support.installed(out)["moving"] == "1.1"
    # it says so, and shows what it does instead
    assert "404" in result.stderr and result.stderr.index(" 1.0") < result.stderr.index(" 1.1")
    moving_repository("1.2")
    error = helper.error("install", "platform", "--update", "local", "--add", "moving", "--output", out + "2", code=NETWORK)
    assert error["kind"] == "lists-outdated" and "--update all" in error["hint"]
    assert not os.path.exists(out + "2")


def test_output_that_exists_is_left_alone(shared, tmp):
    full = os.path.join(tmp, "full")
    support.write(full + "/precious", "x")
    shared.error("install", "platform", "--output", full, code=USAGE)
    assert os.listdir(full) == ["precious"]


# -- a tree that bitbake owns -------------------------------------------------------------------------------


@pytest.fixture
def root(shared, tmp):
    path = os.path.join(tmp, "root")
    shared("checkout", "--raw", "platform", path)
    return path


def test_root_install_happens_in_place(shared, tmp, root):
    repository = support.make_repository(tmp + "/repo", [support.make_deb(tmp, "from-repo")])
    shared("plan", "platform", "--root", root, "--repo", repository, "--add", "from-repo", "--remove", "nano")
    assert "nano" in support.installed(root)
    shared("install", "platform", "--root", root, "--repo", repository, "--add", "from-repo", "--remove", "nano")
    packages = support.installed(root)
    assert "from-repo" in packages and "nano" not in packages
    assert support.audit(root) == ""


def test_root_keeps_fetched_packages_for_the_caller(shared, root):
    shared("install", "platform", "--root", root, "--add", "tree")
    assert [name for name in os.listdir(root + "/var/cache/apt/archives") if name.startswith("tree_")]


def test_binds_serve_sources_of_the_tree(shared, tmp, root):
    """As Isar does: the tree's own sources name a folder that is there only during the run."""
    support.make_repository(tmp + "/isar-apt", [support.make_deb(tmp, "self-built")])
    support.write(root + "/etc/apt/sources.list.d/isar.list", "deb [trusted=yes] file:///isar-apt ./\n")
    shared("install", "platform", "--root", root, "--bind", tmp + "/isar-apt:/isar-apt", "--add", "self-built")
    assert "self-built" in support.installed(root)
    if os.path.isdir(root + "/isar-apt"):
        assert os.listdir(root + "/isar-apt") == []


def test_binds_are_read_only(shared, tmp, root):
    folder = os.path.join(tmp, "bound")
    support.write(folder + "/file", "x")
    deb = support.make_deb(tmp, "writer", scripts={"postinst": "! touch /bound/new 2>/dev/null\n! echo y > /bound/file 2>/dev/null\ntest \"$(cat /bound/file)\" = x\n"})
    shared("install", "platform", "--root", root, "--bind", folder + ":/bound", "--add", deb)
    assert os.listdir(folder) == ["file"]


def test_mark_auto_and_auto_remove(shared, tmp, root):
    repository = support.make_repository(tmp + "/repo", [
        support.make_deb(tmp, "app", Depends="only-for-app"), support.make_deb(tmp, "only-for-app")])
    shared("install", "platform", "--root", root, "--repo", repository, "--add", "app")
    shared("install", "platform", "--root", root, "--mark-auto", "app", "--mark-auto", "nano", "--auto-remove")
    packages = support.installed(root)
    assert not {"app", "only-for-app", "nano"} & set(packages)
    assert "less" in packages and "systemd" in packages
    assert support.audit(root) == ""
