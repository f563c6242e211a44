# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What tasks know of the imported template, and what they say when it is gone."""

import json
import os

import pytest

from imagetemplate import consume, helper
from imagetemplate import locales as localepurge

DIGEST = "sha256:" + "1" * 64
SIGNED = {"signer": "platform@example.org", "fingerprint": "SHA256:abc", "chain": []}
COMPONENTS = [{"name": "rootfs"}, {"name": "isar-apt"}]
ISAR = (
    "rootfs_install_pkgs_update rootfs_install_resolvconf rootfs_import_package_cache "
    "rootfs_install_pkgs_download own rootfs_export_package_cache rootfs_install_pkgs_isar_download "
    "rootfs_install_clean_files rootfs_install_pkgs_install rootfs_restore_initrd_tooling"
).split()


@pytest.fixture
def imported(store, tmp_path):
    path = tmp_path / "template" / "imported.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"digest": DIGEST, "manifest": {"components": COMPONENTS}}))
    return store(
        {
            "TEMPLATE_IMPORTED": str(path),
            "TEMPLATE_VERIFIED": str(tmp_path / "nothing"),
            "TEMPLATE_PIN": DIGEST,
            "TEMPLATE_SOURCE": "/bundle.tar",
            "TEMPLATE_IDENTITY": "platform@example.org",
            "BB_CURRENT_MC": "own",
            "DISTRO": "debian-bookworm",
            "DISTRO_ARCH": "amd64",
            "BASE_DISTRO_CODENAME": "bookworm",
            "REPO_ISAR_DIR": str(tmp_path / "apt"),
            "REPO_BASE_DIR": "/base",
        }
    )


@pytest.fixture
def calls(monkeypatch):
    """What the helper is called with."""
    made = []
    monkeypatch.setattr(helper, "run", lambda d, *arguments, **_: made.append(arguments))
    return made


def fail_with(monkeypatch, message, kind, hint=None):
    def fail(*_, **__):
        raise helper.HelperError(message, hint, kind)

    monkeypatch.setattr(helper, "run", fail)


def test_a_task_before_the_import_says_how_to_import(store):
    with pytest.raises(consume.ConsumeError, match="bitbake -c clean template-import, then build as before$"):
        consume.read_record(store({"TEMPLATE_IMPORTED": "/no/record"}))


def test_the_record_of_another_template_is_not_taken(imported):
    imported.values["TEMPLATE_PIN"] = "sha256:" + "2" * 64
    with pytest.raises(consume.ConsumeError, match=f"another template than sha256:222.* has {DIGEST}\nto import it"):
        consume.read_record(imported)


def test_a_component_is_taken_by_digest(imported, calls):
    consume.checkout(imported, "rootfs", "/tree")
    assert calls == [("checkout", "--raw", "--component", "rootfs", DIGEST, "/tree")]


def test_a_component_that_nobody_packed_is_the_producers_business(imported, calls):
    with pytest.raises(consume.ConsumeError) as error:
        consume.checkout(imported, "buildchroot-target", "/tree")
    assert str(error.value) == (
        "the template has no component 'buildchroot-target', it has: rootfs isar-apt\n"
        'its producer has to add: TEMPLATE_COMPONENTS:append = " buildchroot-target"'
    )
    assert not calls


def test_what_a_killed_checkout_left_is_removed(imported, calls, tmp_path, monkeypatch):
    removed = []
    monkeypatch.setattr(consume, "as_root", lambda d, *argv: removed.append(argv))
    (tmp_path / ".rootfs.Ab12").mkdir()
    (tmp_path / ".rootfs2.Ab12").mkdir()
    consume.checkout(imported, "rootfs", str(tmp_path / "rootfs"))
    assert removed == [("rm", "-rf", "--one-file-system", str(tmp_path / ".rootfs.Ab12"))]


@pytest.mark.parametrize("value, shared", [("1", True), ("0", False)])
def test_build_chroots_have_their_files_in_common_unless_told_otherwise(imported, calls, value, shared):
    imported.values["TEMPLATE_SHARE_BUILDCHROOT"] = value
    consume.checkout_chroot(imported, "isar-apt", "/chroot")
    (words,) = calls
    assert ("--share" in words) is shared


@pytest.mark.parametrize("use", [lambda d: consume.checkout(d, "rootfs", "/tree"), lambda d: consume.install(d, "/tree")])
def test_a_cleared_store_says_how_to_import_again(imported, monkeypatch, use):
    fail_with(monkeypatch, "isar-template: template is not in store", "not-found", "import it")
    with pytest.raises(consume.ConsumeError) as error:
        use(imported)
    assert str(error.value) == (
        "isar-template: template is not in store\n"
        "to import it again: bitbake -c clean mc:own:template-import, then build as before"
    )


def test_a_refused_plan_names_variables(imported, monkeypatch):
    fail_with(monkeypatch, "refused", "policy-refused", "allow it with --allow-upgrade libc6")
    with pytest.raises(consume.ConsumeError, match='^refused\n.* TEMPLATE_ALLOW_UPGRADE \\+= "libc6"$'):
        consume.install(imported, "/tree")


@pytest.mark.parametrize("value, bound", [("1", True), ("yes", True), ("0", False), (None, False)])
def test_the_cached_repository_is_shown_when_isar_uses_it(imported, calls, value, bound):
    imported.values["ISAR_USE_CACHED_BASE_REPO"] = value
    consume.install(imported, "/tree")
    assert ("/base:/base-apt" in calls[0]) is bound


def test_without_network_only_local_lists_are_refreshed(imported, calls):
    consume.install(imported, "/tree")
    assert "--update" not in calls[0]
    imported.values["BB_NO_NETWORK"] = "1"
    consume.install(imported, "/tree")
    assert calls[1][calls[1].index("--update") + 1] == "local"


def import_template(d, monkeypatch, **manifest):
    results = {
        "import": {"name": "platform", "templateVersion": "1.0", "digest": DIGEST, **SIGNED},
        "inspect": {"manifest": {"components": COMPONENTS, **manifest}},
    }
    monkeypatch.setattr(helper, "run", lambda d, verb, *_, **__: results[verb])
    return consume.import_bundle(d, "/bundle")


@pytest.mark.parametrize(
    "manifest, message",
    [
        ({"anchors": {"distro": "debian-bookworm", "architecture": "arm64"}}, "DISTRO_ARCH = 'arm64', this build has 'amd64'"),
        ({"anchors": {"distro": "debian-trixie"}}, "DISTRO = 'debian-trixie'"),
        ({"architecture": "arm64"}, "DISTRO_ARCH = 'arm64'"),
        ({"codename": "trixie"}, "BASE_DISTRO_CODENAME = 'trixie'"),
    ],
)
def test_a_template_for_something_else_is_refused(imported, monkeypatch, manifest, message):
    with pytest.raises(consume.ConsumeError, match=f"made for {message}"):
        import_template(imported, monkeypatch, **manifest)


def test_what_was_imported_is_recorded_whole(imported, monkeypatch):
    os.unlink(imported.getVar("TEMPLATE_IMPORTED"))
    told, warnings = import_template(imported, monkeypatch, architecture="amd64", distro="debian")
    assert told == "building on the template platform:1.0, signed by platform@example.org"
    assert warnings == []
    record = consume.read_record(imported)
    assert record["manifest"]["architecture"] == "amd64"
    assert {key: record[key] for key in SIGNED} == SIGNED


def test_a_mirror_without_effect_is_told(imported, monkeypatch):
    settings = {"DISTRO_APT_PREMIRRORS": "a b"}
    _, (warning,) = import_template(imported, monkeypatch, anchors={"settings": settings})
    assert warning.startswith("DISTRO_APT_PREMIRRORS has no effect here")
    assert "made with 'a b'" in warning
    imported.values["DISTRO_APT_PREMIRRORS"] = " a  b"
    assert import_template(imported, monkeypatch, anchors={"settings": settings})[1] == []


def test_one_command_replaces_those_that_install(imported):
    assert consume.install_commands(imported, ISAR) == (
        "rootfs_install_pkgs_update rootfs_import_package_cache template_install_packages own "
        "rootfs_export_package_cache rootfs_restore_initrd_tooling"
    ).split()


@pytest.mark.parametrize("commands", [ISAR[1:], ISAR[::-1], [*ISAR, "rootfs_install_pkgs_more"], []])
def test_an_isar_that_installs_otherwise_is_refused(imported, commands):
    with pytest.raises(consume.ConsumeError, match="does not fit this Isar"):
        consume.install_commands(imported, commands)


LOCALES = ["image_install_localepurge_download", "image_install_localepurge_install"]


@pytest.fixture
def locales(imported, tmp_path):
    """A product with the locales of its template."""
    settings = {"LOCALE_GEN": "en", "LOCALE_DEFAULT": "en", "ROOTFS_PACKAGES": "init"}
    verified = tmp_path / "verified.json"
    verified.write_text(json.dumps({"manifest": {"anchors": {"settings": settings}}}))
    imported.values.update(
        TEMPLATE_VERIFIED=str(verified), TEMPLATE_REUSE_LOCALES="1", ROOTFS_PACKAGES="init",
        LOCALE_GEN="en", LOCALE_DEFAULT="en",
    )  # fmt: skip
    return imported


def test_locales_of_the_template_are_left_as_they_are(locales):
    commands = consume.install_commands(locales, [*ISAR[:4], LOCALES[0], *ISAR[4:], LOCALES[1]])
    assert LOCALES[0] not in commands
    assert commands[-1] == "template_purge_locales"


@pytest.mark.parametrize(
    "name, value",
    [
        ("LOCALE_GEN", "de"),
        ("LOCALE_DEFAULT", None),
        ("TEMPLATE_REUSE_LOCALES", "0"),
        ("TEMPLATE_KEEP", "1"),
        ("ROOTFS_PACKAGES", "init localepurge"),
    ],
)
def test_other_locales_are_made_by_isar(locales, name, value):
    assert localepurge.are_kept(locales, LOCALES)
    locales.values[name] = value
    assert not localepurge.are_kept(locales, LOCALES)


def install_with_localepurge(locales, monkeypatch, *others):
    """The packages that are told to have been installed, and the arguments of the helper."""
    made = []
    actions = [{"package": "localepurge", "operation": "install", "askedBy": "request"}, *others]

    def run(d, *arguments, **_):
        made.extend(arguments)
        return {"report": {"actions": list(actions)}}

    monkeypatch.setattr(helper, "run", run)
    locales.values["ROOTFS_INSTALL_COMMAND"] = "template_install_packages template_purge_locales"
    return consume.install(locales, "/root")["report"]["actions"], made


def test_localepurge_comes_with_the_packages_and_is_no_change(locales, monkeypatch):
    nano = {"package": "nano", "operation": "install", "askedBy": "request"}
    told, made = install_with_localepurge(locales, monkeypatch, nano)
    assert made[made.index("localepurge") - 1] == "--add"
    assert told == [nano]


def test_a_prepared_tree_is_taken_once(imported, calls, monkeypatch, tmp_path):
    roots = []
    monkeypatch.setattr(helper, "as_root", lambda d, *argv: roots.append(argv))
    prepared = tmp_path / "prepared"
    (prepared / "etc").mkdir(parents=True)
    consume.take_rootfs(imported, str(prepared), "/root")
    assert roots[-1] == ("mv", "-T", str(prepared), "/root") and not calls
    (prepared / "etc").rmdir()
    consume.take_rootfs(imported, str(prepared), "/root")
    assert calls[0][0] == "checkout"


NOTHING_CAME_WITH_IT = [
    {"package": "nano", "operation": "install", "askedBy": "request"},
    {"package": "unneeded", "operation": "remove", "askedBy": "auto-remove"},
]
SOMETHING_MAY_HAVE = {"package": "ucf", "operation": "install", "askedBy": "dependency"}


@pytest.mark.parametrize(
    "others, commands",
    [
        (NOTHING_CAME_WITH_IT, ["dpkg --purge localepurge", "dpkg --configure --pending"]),
        ([*NOTHING_CAME_WITH_IT, SOMETHING_MAY_HAVE], ["apt-get purge --yes --auto-remove"]),
    ],
)
def test_localepurge_runs_and_goes_with_what_came_for_it(locales, monkeypatch, others, commands):
    install_with_localepurge(locales, monkeypatch, *others)
    made = []
    monkeypatch.setattr(helper, "as_root", lambda d, *argv, text="": made.append((argv, text)) or "")
    localepurge.purge(locales, "/root", "en\nen_US")
    (configure, text), (run, _), *purge = made
    assert configure == ("tee", "/root/etc/locale.nopurge") and text.endswith("#VERBOSE\nen\nen_US\n")
    assert run[:2] == ("chroot", "/root") and run[-1] == "localepurge"
    assert len(purge) == len(commands)
    for (argv, _), command in zip(purge, commands):
        assert command in " ".join(argv)
