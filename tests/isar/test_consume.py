# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A product on a template, compared with the same product by Isar alone."""

import json
import hashlib
import json
import os
import re
import subprocess

import schemas
from workspace import IDENTITY

IMAGE = "product-image"


def manifest(build):
    with open(build.image(IMAGE, "manifest"), encoding="utf-8") as file:
        return sorted(file.read().splitlines())


def packages(build):
    return {line.split("|")[2].split(":")[0] for line in manifest(build)}


def read(build, path):
    with open(os.path.join(build.rootfs(IMAGE), path), encoding="utf-8", errors="replace") as file:
        return file.read()


def test_nothing_of_the_platform_is_made_again(consumer):
    tasks = consumer.tasks(consumer.made)
    print("\n".join(f"{recipe}:{task}" for recipe, task in tasks))
    assert ("template-import.bb", "do_template_import") in tasks
    assert ("template-bootstrap-target.bb", "do_template_bootstrap") in tasks
    assert ("template-buildchroot-target.bb", "do_template_buildchroot") in tasks
    assert not [task for task in tasks if task[1] == "do_bootstrap"]
    assert not [task for task in tasks if task[0].startswith(("isar-mmdebstrap", "sbuild-chroot"))]
    assert [recipe for recipe, task in tasks if task == "do_rootfs_install"] == [f"{IMAGE}.bb"]


def test_own_packages_are_built_in_the_imported_chroot(consumer):
    assert ("product-app_1.0.bb", "do_dpkg_build") in consumer.tasks(consumer.made)
    chroot = os.path.realpath(consumer.deployed("schroot-target/debian-bookworm-amd64-template-*"))
    assert os.path.exists(os.path.join(chroot, "usr", "bin", "dpkg-buildpackage"))


def test_the_helper_does_the_package_transaction(consumer):
    log = consumer.task_log(f"{IMAGE}-qemuamd64", "do_rootfs_install")
    assert re.search(r"running as root: \S+/isar-template .* install sha256:", log)
    assert "not listed by this image: less example-raw" in log
    # its plan, as a table
    for package in ("nano", "product-app", "example-raw", "less"):
        assert re.search(rf"^.*\b{package}\b.*$", log, re.MULTILINE)
    assert "--no-download" not in log, "Isar's own apt-get ran as well"


def test_package_scripts_see_neither_mounts_nor_processes_of_the_host(consumer, workspace):
    mounts = [line.split() for line in read(consumer, "var/lib/product-app/mounts").splitlines()]
    # the tree itself, its repository, and what the helper makes for the run
    expected = re.compile(r"/$|/isar-apt$|/run/isar-template/|/(dev|proc|sys)/")
    foreign = [
        mount for mount in mounts
        if mount[3].startswith(workspace.path) and not expected.match(mount[4])
    ]  # fmt: skip
    assert not foreign
    assert len([mount for mount in mounts if mount[4] == "/proc"]) == 1
    assert "/isar-work" not in {mount[4] for mount in mounts}
    assert not read(consumer, "var/lib/product-app/isar-work")
    processes = read(consumer, "var/lib/product-app/processes")
    assert "product-app.postinst" in processes
    assert "bitbake" not in processes
    assert "sudo" not in processes


def test_the_product_has_what_it_lists(consumer):
    assert {"nano", "product-app"} <= packages(consumer)
    assert not {"less", "example-raw"} & packages(consumer)
    assert not os.path.exists(os.path.join(consumer.rootfs(IMAGE), "usr/bin/less"))
    audit = subprocess.run(
        ["chroot", consumer.rootfs(IMAGE), "dpkg", "--audit"], capture_output=True, text=True
    )
    assert (audit.returncode, audit.stdout) == (0, "")


def test_the_manifest_equals_that_of_a_full_build(consumer, stock):
    assert manifest(consumer) == manifest(stock)


def test_it_warns_of_nothing_that_a_full_build_does_not_warn_of(consumer, stock):
    def warnings(build):
        return set(re.findall("^WARNING: .*", (build.made or build.output).replace(build.path, ""), re.MULTILINE))

    assert not warnings(consumer) - warnings(stock)


def test_the_image_says_inside_which_template_it_was_built_on(consumer, workspace, bundle):
    done = subprocess.run(
        [workspace.helper, "--format", "json", "inspect", bundle], capture_output=True, text=True, check=True
    )
    digest = json.loads(done.stdout)["digest"]
    fields = re.findall('^ISAR_TEMPLATE_(.*)="(.*)"$', read(consumer, "etc/os-release"), re.MULTILINE)
    assert fields == [("NAME", "platform"), ("VERSION", "1.0"), ("DIGEST", digest)]


def test_the_file_beside_the_image_has_template_signer_and_packages(consumer):
    with open(consumer.image(IMAGE, "template.json"), encoding="utf-8") as file:
        document = json.load(file)
    schemas.check("provenance-v1", document)
    assert (document["template"]["name"], document["template"]["templateVersion"]) == ("platform", "1.0")
    assert document["template"]["signer"] == IDENTITY
    assert document["template"]["fingerprint"].startswith("SHA256:")
    assert document["image"]["recipe"] == IMAGE
    packages = {what: {package["package"] for package in found} for what, found in document["packages"].items()}
    assert {"nano", "product-app"} <= packages["added"]
    assert packages["removed"] >= {"less", "example-raw"}
    assert document["madeBy"]["helper"].startswith("isar-template ")


def test_the_log_of_the_build_names_template_and_file(consumer):
    path = consumer.image(IMAGE, "template.json")
    (line,) = [line for line in consumer.made.splitlines() if path in line]
    assert re.search(rf"built on the template platform 1\.0 \(sha256:[0-9a-f]{{64}}\), signed by {IDENTITY}: ", line)


def test_the_image_boots_with_the_products_service(consumer, emulator):
    emulator.boot(consumer.image(IMAGE, "wic"), ["product-app is running", "login:"])


def test_the_tools_of_the_image_are_there_before_it_is_made(consumer, stock):
    installing = "Installing imager deps:"
    recipe = f"{IMAGE}-{consumer.machine}"
    assert installing in consumer.task_log(recipe, "do_template_imager")
    assert installing not in consumer.task_log(recipe, "do_image_wic")
    assert installing in stock.task_log(recipe, "do_image_wic")
    # those of which the image has something are listed there
    manifests = []
    for build in (consumer, stock):
        with open(build.image(IMAGE, "wic.manifest"), encoding="utf-8") as file:
            manifests.append(file.read())
    assert manifests[0] == manifests[1]


def test_wic_leaves_nothing_beside_the_image(consumer):
    work = consumer.work(f"{IMAGE}-{consumer.machine}")
    assert not os.path.exists(os.path.join(work, "template-wic"))
    assert os.listdir(os.path.join(work, "template-tools")) == ["layer"]
    # neither do files have a second name, nor was one changed through it
    assert os.stat(os.path.join(work, "rootfs/usr/bin/nano")).st_nlink == 1
    with open(os.path.join(work, "rootfs/etc/fstab"), encoding="utf-8") as file:
        assert "/boot" not in file.read()


def test_the_shortcuts_to_the_image_can_be_switched_off(consumer):
    def functions(settings):
        with consumer.configured(settings):
            text = consumer.run(f"bitbake -e mc:{consumer.multiconfig}:{IMAGE}")
        return text.split("\ngenerate_wic_image() {")[1].split("\n}")[0], "'do_image_wic': ['do_template_imager'" in text

    wic, prepared = functions("")
    assert "template-wic" in wic and f"/tmp/{IMAGE}" not in wic and "sgdisk.real" in wic and prepared
    wic, prepared = functions('TEMPLATE_LINK_WIC = "0"\nTEMPLATE_PREPARE_IMAGER = "0"\nTEMPLATE_USE_SFDISK = "0"')
    assert "template-wic" not in wic and f"/tmp/{IMAGE}" in wic and "sgdisk" not in wic
    assert not prepared


def test_where_the_bundle_and_the_store_are_changes_no_signature(consumer, bundle):
    before = consumer.signatures(IMAGE)
    moved = os.path.join(consumer.path, "moved.tar")
    os.symlink(bundle, moved)
    with consumer.configured(f'TEMPLATE_SOURCE = "file://{moved}"\nTEMPLATE_STORE_DIR = "{consumer.path}/other"'):
        assert consumer.signatures(IMAGE) == before


def test_whom_to_trust_is_verified_again_and_builds_nothing_again(consumer, workspace, bundle):
    def differing():
        return {line.rsplit(":", 1)[0].strip() for line in set(consumer.signatures(IMAGE).splitlines()) ^ before}

    before = set(consumer.signatures(IMAGE).splitlines())
    signers = os.path.join(workspace.path, "more-signers")
    with open(workspace.signers, encoding="ascii") as file, open(signers, "w", encoding="ascii") as more:
        more.write(f"{file.read()}# somebody else is trusted as well\n")
    os.chmod(signers, 0o644)
    with consumer.configured(f'TEMPLATE_ALLOWED_SIGNERS = "{signers}"'):
        assert differing() == {"template-import:do_template_import"}


def test_another_release_at_the_same_address_is_fetched(consumer, workspace, bundle, second_bundle):
    """https through bitbake's fetcher, which finds both at a mirror."""
    def fetch(path):
        folder = os.path.join(workspace.path, f"mirror-{os.path.basename(path)}")
        workspace.run(f"mkdir -p {folder} && ln -f {path} {folder}/platform.tar", check=True)
        with open(path, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        inspected = subprocess.run(
            [workspace.helper, "--format", "json", "inspect", path], check=True, capture_output=True
        )
        lines = consumer.signatures_with(
            'TEMPLATE_SOURCE = "https://example.org/platform.tar"\n'
            f'PREMIRRORS = "https://.*/.* file://{folder}/"\n'
            f'DL_DIR = "{folder}/downloads"\n'
            f'TEMPLATE_SOURCE[sha256sum] = "{checksum}"\n'
            f'TEMPLATE_DIGEST = "{json.loads(inspected.stdout)["digest"]}"',
            IMAGE,
        )  # fmt: skip
        return {line for line in lines if line.startswith("template-import:do_fetch:")}

    assert len(fetch(bundle) | fetch(second_bundle)) == 2


def test_the_sdk_of_a_product_is_built_as_ever(consumer, stock):
    def commands(build):
        return build.variables(f"{IMAGE}-sdk", "ROOTFS_INSTALL_COMMAND")

    assert commands(consumer) == commands(stock)
    assert "template_install_packages" in consumer.variables(IMAGE, "ROOTFS_INSTALL_COMMAND")["ROOTFS_INSTALL_COMMAND"]


# they depend on the mode
PLACES = ("SCHROOT_TARGET_DIR", "SCHROOT_HOST_DIR", "DEPLOY_DIR_BOOTSTRAP", "WORKDIR", "STAMP")


def test_consuming_has_places_of_its_own_for_the_chroot_and_the_bootstrap(consumer):
    ours = consumer.variables("sbuild-chroot-target", *PLACES)
    digits = consumer.variables(IMAGE, "TEMPLATE_PIN")["TEMPLATE_PIN"].removeprefix("sha256:")[:12]
    assert len(digits) == 12
    assert all(digits in value for value in ours.values()), ours


def test_switched_off_in_the_same_build_directory_everything_is_isars(consumer, stock):
    with consumer.configured('TEMPLATE_MODE = "off"'):
        for recipe in ("sbuild-chroot-target", IMAGE):
            theirs = stock.variables(recipe, *PLACES)
            expected = {name: value.replace(stock.path, consumer.path) for name, value in theirs.items()}
            assert consumer.variables(recipe, *PLACES) == expected
        chroots = [
            [line for line in build.signatures(IMAGE).splitlines() if "sbuild-chroot-target:" in line]
            for build in (consumer, stock)
        ]
    assert chroots[0] and chroots[0] == chroots[1]
