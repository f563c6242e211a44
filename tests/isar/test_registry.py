# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A product on a template that is in a registry: Debian's docker-registry, with TLS by a private CA and a login."""

import base64
import json
import os
import sys

import pytest

from bitbake_build import Build
from workspace import IDENTITY, TOP

sys.path.append(os.path.join(TOP, "tests", "cli"))

import registry  # noqa: E402

IMAGE = "product-image"


@pytest.fixture(scope="module")
def server(workspace):
    registry.need("docker-registry", "htpasswd", "openssl")
    server = registry.DockerRegistry(os.path.join(workspace.path, "registry"), "me", "secret")
    os.chmod(server.folder, 0o755)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def logins(workspace, server):
    """Variables of whoever may use it."""
    path = os.path.join(workspace.path, "auth.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump({"auths": {server.host: {"auth": base64.b64encode(b"me:secret").decode()}}}, file)
    os.chmod(path, 0o644)
    return {"REGISTRY_AUTH_FILE": path, "SSL_CERT_FILE": server.authority}


@pytest.fixture(scope="module")
def settings(workspace, server, logins, bundle, consume_settings):
    """The template is pushed by the platform's team, and named by who builds on it."""
    variables = " ".join(f"{name}={value}" for name, value in logins.items())
    place = f"oci://{server.host}/team/platform"
    workspace.run(f"{variables} {workspace.helper} push {bundle} {place}", check=True)
    store = os.path.join(workspace.path, "registry-store")
    lines = {**logins, "TEMPLATE_DIGEST": workspace.inspect(bundle)["digest"], "TEMPLATE_STORE_DIR": store}
    return consume_settings(f"{place}:1.0") + "".join(f'{name} = "{value}"\n' for name, value in lines.items())


@pytest.fixture(scope="module")
def build(workspace, settings):
    with Build(workspace, "from-registry", settings, workspace.product_layers) as build:
        build.bitbake(f"-c rootfs_install mc:{build.multiconfig}:{IMAGE}")
        build.made = build.output
        yield build
    workspace.clear(os.path.join(workspace.path, "registry-store"))


def test_the_product_is_built_on_it(build):
    assert f"building on the template platform:1.0, signed by {IDENTITY}" in build.made
    assert os.path.exists(os.path.join(build.rootfs(IMAGE), "usr/share/platform-lib/word"))
    built = {file for file, task in build.tasks(build.made) if task == "do_dpkg_build"}
    assert built == {"product-app_1.0.bb"}


def test_without_the_login_it_says_how_to_get_one(build, workspace):
    nobody = os.path.join(workspace.path, "nobody.json")
    workspace.run(f"echo '{{}}' > {nobody}", check=True)
    again = f'REGISTRY_AUTH_FILE = "{nobody}"\nTEMPLATE_STORE_DIR = "{build.path}/other"\nTMPDIR = "{build.path}/other-tmp"\n'
    with build.configured(again):
        assert not build.build(IMAGE, check=False)
    assert "podman login" in build.errors()
    assert "secret" not in build.output


def test_another_folder_needs_no_registry_when_the_store_has_it(build, workspace, settings, server):
    server.stop()
    offline = f'{settings}BB_NO_NETWORK = "1"\n'
    with Build(workspace, "registry-is-away", offline, workspace.product_layers) as other:
        other.network = False
        other.bitbake(f"mc:{other.multiconfig}:template-import")
        assert f"building on the template platform:1.0, signed by {IDENTITY}" in other.output
        # shared state came from the store, as files of who builds
        shared = os.path.join(other.path, "tmp", "template")
        (folder,) = (name for name in os.listdir(shared) if name.startswith("sstate"))
        for root, _, names in os.walk(os.path.join(shared, folder)):
            assert os.stat(root).st_uid == os.stat(other.path).st_uid and all(
                os.stat(os.path.join(root, name)).st_uid == os.stat(other.path).st_uid for name in names
            )
        assert os.path.isdir(os.path.join(shared, folder, "sigdata"))
        empty = f'TEMPLATE_STORE_DIR = "{other.path}/empty"\nTMPDIR = "{other.path}/empty-tmp"\n'
        with other.configured(empty):
            assert not other.bitbake(f"mc:{other.multiconfig}:template-import", check=False)
        assert "is not in the store" in other.errors() and "BB_NO_NETWORK forbids" in other.errors()
