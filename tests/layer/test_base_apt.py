# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Downloaded packages go into a template and come out of it, and nothing else does."""

import errno
import os

import pytest

from imagetemplate import base_apt, verified

MANIFEST = {"components": [{"name": "base-apt"}]}
FOLDER = "debian-bookworm"


@pytest.fixture
def d(store, tmp_path):
    return store(
        {
            "DEBDIR": str(tmp_path / "deb"), "WORKDIR": str(tmp_path / "work"),
            "BASE_DISTRO": "debian", "HOST_BASE_DISTRO": "debian", "BASE_DISTRO_CODENAME": "bookworm",
            "DISTRO_ARCH": "arm64", "HOST_ARCH": "amd64", "COMPAT_DISTRO_ARCH": "armhf",
            "TEMPLATE_ALLOWED_SIGNERS": "/signers", "TEMPLATE_IDENTITY": "platform@example.org",
            "TEMPLATE_PIN": "sha256:1", "TEMPLATE_SOURCE": "/bundle.tar",
        }
    )  # fmt: skip


def fill(folder, *names, text="theirs"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def component(monkeypatch, tmp_path):
    """What the component holds, once it is filled; the arguments of the helper are kept."""
    kept = tmp_path / "component"
    kept.mkdir()
    calls = []

    def run(d, *arguments):
        calls.append(arguments)
        os.makedirs(os.path.dirname(arguments[-1]), exist_ok=True)
        os.rename(kept, arguments[-1])

    monkeypatch.setattr(verified, "run", run)
    return kept, calls


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_packages_of_this_distribution_and_its_architectures_are_packed(d, tmp_path):
    fill(
        tmp_path / "deb",
        f"{FOLDER}/nano_7.2-1+deb12u1_arm64.deb", f"{FOLDER}/tar_1%3a1.34~rc1_all.deb", f"{FOLDER}/gcc_4_amd64.deb",
        f"{FOLDER}/libc6_2_armhf.deb", f"{FOLDER}/libc6_2_riscv64.deb", f"{FOLDER}/lock", f"{FOLDER}/nano_7_arm64.deb.part",
        "debian-trixie/nano_8_arm64.deb",
    )  # fmt: skip
    assert base_apt.stage(d, str(tmp_path / "staged")) is None
    assert names(tmp_path / "staged") == [FOLDER]
    assert names(tmp_path / "staged" / FOLDER) == [
        "gcc_4_amd64.deb", "libc6_2_armhf.deb", "nano_7.2-1+deb12u1_arm64.deb", "tar_1%3a1.34~rc1_all.deb",
    ]  # fmt: skip


def test_downloads_of_the_host_of_a_cross_build_are_packed_as_well(d, tmp_path):
    d.values["BASE_DISTRO"] = "raspios"
    fill(tmp_path / "deb", "raspios-bookworm/nano_7_arm64.deb", f"{FOLDER}/gcc_4_amd64.deb")
    assert base_apt.stage(d, str(tmp_path / "staged")) is None
    assert names(tmp_path / "staged") == [FOLDER, "raspios-bookworm"]


def test_nothing_downloaded_is_told(d, tmp_path):
    assert base_apt.stage(d, str(tmp_path / "staged")) == f"nothing was downloaded to {tmp_path}/deb"


@pytest.mark.parametrize("other_file_system", [False, True])
def test_missing_packages_are_added_and_those_that_are_there_are_left_alone(
    d, tmp_path, component, monkeypatch, other_file_system
):
    def refuse(source, target):
        if os.path.exists(target):
            raise FileExistsError(errno.EEXIST, "File exists")
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if other_file_system:
        monkeypatch.setattr(os, "link", refuse)
    kept, calls = component
    fill(kept, f"{FOLDER}/nano_7_arm64.deb", f"{FOLDER}/less_1_arm64.deb")
    fill(tmp_path / "deb", f"{FOLDER}/less_1_arm64.deb", text="ours")
    assert base_apt.take(d, MANIFEST, "/bundle.tar") == 1
    assert names(tmp_path / "deb" / FOLDER) == ["less_1_arm64.deb", "nano_7_arm64.deb"]
    assert (tmp_path / "deb" / FOLDER / "less_1_arm64.deb").read_text() == "ours"
    assert (tmp_path / "deb" / FOLDER / "nano_7_arm64.deb").read_text() == "theirs"
    assert not os.listdir(tmp_path / "work")
    # from the release that was verified, and nobody else's
    assert calls[0][:4] == ("checkout", "--no-store", "--component", "base-apt")
    assert {"--digest", "sha256:1", "/bundle.tar"} <= set(calls[0])


def test_a_template_without_packages_changes_nothing(d, tmp_path):
    assert base_apt.take(d, {"components": [{"name": "rootfs"}]}, "/bundle.tar") == 0
    assert not (tmp_path / "deb").exists()


@pytest.mark.parametrize(
    "name", [f"{FOLDER}/nano.deb", f"{FOLDER}/.nano_1_arm64.deb", f"{FOLDER}/deeper/nano_1_arm64.deb", "nano_1_arm64.deb"]
)
def test_anything_but_packages_is_refused_before_anything_is_added(d, tmp_path, component, name):
    fill(component[0], f"{FOLDER}/less_1_arm64.deb", name)
    with pytest.raises(base_apt.BaseAptError, match="which is no "):
        base_apt.take(d, MANIFEST, "/bundle.tar")
    assert not (tmp_path / "deb").exists()


def test_a_link_is_refused(d, tmp_path, component):
    fill(component[0], f"{FOLDER}/less_1_arm64.deb")
    (component[0] / FOLDER / "nano_1_arm64.deb").symlink_to("/etc/passwd")
    with pytest.raises(base_apt.BaseAptError, match="nano_1_arm64.deb', which is no package"):
        base_apt.take(d, MANIFEST, "/bundle.tar")
