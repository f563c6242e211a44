# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The next version of a template, where one is in the store already: only what is new is fetched, read and written."""

import os
import random
import shutil

import pytest

import support
from support import UNTRUSTED, USAGE

PLAIN = "--plain-http"
LARGE = "usr/lib/large"


def make_root(path, version):
    """Some megabytes that do not compress, in many directories; the second version has another file and two changed ones."""
    chance = random.Random(1)
    extra = {"usr/share/d%02d/f%02d" % (folder, number): chance.randbytes(30000).hex() for folder in range(20) for number in range(8)}
    extra[LARGE] = chance.randbytes(3 << 20).hex()
    extra["usr/lib/other-large"] = chance.randbytes(3 << 20).hex()
    if version == "2.0":
        extra["usr/share/d03/f03"] = "changed\n"
        extra[LARGE] = extra[LARGE][:4 << 20] + "changed" + extra[LARGE][(4 << 20) + 7:]
        extra["usr/share/new/file"] = "new\n"
    root = support.make_tiny_root(path, extra=extra)
    for folder, folders, names in os.walk(root):
        for name in [*names, "."]:
            os.utime(os.path.join(folder, name), (1, 1), follow_symlinks=False)
    return root


@pytest.fixture(scope="module")
def versions(session_dir, publisher):
    """Bundles of two versions."""
    folder = os.path.join(session_dir, "versions")
    os.mkdir(folder)
    helper = support.Helper(folder + "/no-store")
    out = {}
    for version in ("1.0", "2.0"):
        root = make_root(folder + "/root-" + version, version)
        out[version] = "%s/bundle-%s" % (folder, version)
        helper("pack", "--name", "tiny", "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", out[version])
        out["root " + version] = root
    return out


@pytest.fixture
def second(versions, tmp):
    """A copy of the second version, to be changed."""
    return shutil.copytree(versions["2.0"], tmp + "/second")


@pytest.fixture
def first_is_there(helper, publisher, versions):
    report = helper.json("import", *publisher.trust, versions["1.0"])
    size = layer(versions["1.0"])[1]
    assert report["bytesRead"] >= size
    return helper


def layer(bundle):
    """Path and size of the largest OCI layer."""
    folder = bundle + "/blobs/sha256"
    path = max((os.path.join(folder, name) for name in os.listdir(folder)), key=os.path.getsize)
    return path, os.path.getsize(path)


def assert_is(helper, reference, root, tmp):
    helper("checkout", "--raw", reference, tmp + "/tree")
    helper("diff", root, tmp + "/tree")
    assert helper.json("fsck")["findings"] == []


def test_only_frames_with_something_new_are_read(first_is_there, publisher, versions, tmp):
    helper = first_is_there
    report = helper.json("import", *publisher.trust, versions["2.0"])
    size = layer(versions["2.0"])[1]
    assert 0 < report["bytesRead"] < size / 2
    assert report["bytesShared"] > report["bytesWritten"] > len("changed")
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)
    assert os.stat(tmp + "/tree/" + LARGE).st_nlink == 1


def test_nothing_new_is_nothing_to_read(first_is_there, publisher, versions, tmp):
    helper = first_is_there
    helper("pack", "--name", "again", "--version", "1", "--component", "rootfs=" + versions["root 1.0"],
           "--component", "sdk=" + versions["root 1.0"] + "/usr/share", "--sign", publisher.key, "--output", tmp + "/again")
    report = helper.json("import", *publisher.trust, tmp + "/again")
    # the root filesystem is the tree that is there; the other component has its files
    assert report["bytesRead"] == report["bytesWritten"] == 0 and report["bytesShared"] > 1 << 20
    helper("checkout", "--component", "sdk", "again", tmp + "/sdk")
    helper("diff", versions["root 1.0"] + "/usr/share", tmp + "/sdk")


@pytest.fixture
def rebuilt(tmp, helper, publisher, versions):
    """The first version, with another time of every file."""
    root = support.command("cp", "-a", versions["root 1.0"], tmp + "/rebuilt") and tmp + "/rebuilt"
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(folder, name), (2, 2), follow_symlinks=False)
    helper("pack", "--name", "tiny", "--version", "1.1", "--component", "rootfs=" + root, "--sign", publisher.key, "--output", tmp + "/rebuilt-bundle")
    return tmp + "/rebuilt-bundle", root


def test_the_same_content_with_another_time_is_not_read(first_is_there, publisher, rebuilt, tmp):
    bundle, root = rebuilt
    report = first_is_there.json("import", *publisher.trust, bundle)
    assert report["bytesRead"] < 1000 and report["bytesWritten"] > 6 << 20
    assert_is(first_is_there, "tiny:1.1", root, tmp)


def test_nor_is_it_fetched(small, first_is_there, publisher, rebuilt, tmp):
    bundle, root = rebuilt
    first_is_there("push", PLAIN, bundle, "oci://%s/a" % small.host)
    report = first_is_there.json("import", PLAIN, *publisher.trust, "oci://%s/a:1.1" % small.host)
    assert report["bytesFetched"] < 100_000 < report["bytesWritten"]
    assert_is(first_is_there, "tiny:1.1", root, tmp)


def test_a_content_that_is_damaged_in_the_store_is_read(first_is_there, publisher, rebuilt, tmp):
    helper, (bundle, root) = first_is_there, rebuilt
    (tree,) = [os.path.join(helper.store, "trees", name, "root", LARGE) for name in os.listdir(helper.store + "/trees")
               if os.path.exists(os.path.join(helper.store, "trees", name, "root", LARGE))]
    flip(tree, 1000)
    os.utime(tree, (1, 1))
    result = helper("import", *publisher.trust, bundle)
    assert "damaged" in result.stderr and LARGE in result.stderr
    helper("checkout", "--raw", "tiny:1.1", tmp + "/tree")
    helper("diff", root, tmp + "/tree")


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def test_damage_is_found_in_all_that_is_read(first_is_there, publisher, second, tmp):
    """What is not read does no harm, and 'verify' reads everything."""
    path, size = layer(second)
    codes = set()
    for number in range(16):
        offset = size * (2 * number + 1) // 32
        flip(path, offset)
        first_is_there("verify", *publisher.trust, second, code=UNTRUSTED)
        support.command("cp", "-a", first_is_there.store, tmp + "/copy")
        helper = support.Helper(tmp + "/copy")
        code = support.command(*helper.argv("import", *publisher.trust, second), check=False).returncode
        assert code in (0, UNTRUSTED)
        codes.add(code)
        assert helper.json("fsck")["findings"] == []
        assert len(helper.json("list")["templates"]) == (1 if code else 2)
        support.command("rm", "-rf", helper.store)
        flip(path, offset)
    assert codes == {0, UNTRUSTED}


# -- pack --base ----------------------------------------------------------------------------------------------------------


def pack_base(helper, versions, base, out):
    return helper.json("pack", "--name", "tiny", "--version", "2.0", "--component", "rootfs=" + versions["root 2.0"], "--base", base, "--output", out)


def test_updates_from_a_base_are_smaller(first_is_there, publisher, versions, tmp):
    helper = first_is_there
    packed = pack_base(helper, versions, versions["1.0"], tmp + "/based")
    assert pack_base(helper, versions, versions["1.0"], tmp + "/again")["digest"] == packed["digest"]
    helper("sign", "--key", publisher.key, tmp + "/based")
    helper("verify", *publisher.trust, tmp + "/based")
    support.command("cp", "-a", helper.store, tmp + "/copy")
    plain = support.Helper(tmp + "/copy").json("import", *publisher.trust, versions["2.0"])
    based = helper.json("import", *publisher.trust, tmp + "/based")
    assert based["bytesRead"] < plain["bytesRead"]
    assert based["bytesWritten"] == plain["bytesWritten"]
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)
    # alone it is as good, and hardly larger
    other = support.Helper(tmp + "/other")
    other("import", *publisher.trust, tmp + "/based")
    assert_is(other, "tiny:2.0", versions["root 2.0"], tmp + "/based")
    assert layer(tmp + "/based")[1] < layer(versions["2.0"])[1] * 1.01


def test_a_base_is_nothing_but_a_hint(helper, versions, platform_bundle, tmp):
    """Another system, and one without the component, change nothing; what is no bundle is an error."""
    usual = support.Layout(versions["2.0"]).tagged("2.0")["digest"]
    helper("pack", "--name", "tiny", "--version", "2.0", "--component", "rootfs=" + versions["root 2.0"], "--output", tmp + "/plain")
    assert support.Layout(tmp + "/plain").tagged("2.0")["digest"] == usual
    packed = helper.json("pack", "--name", "tiny", "--version", "2.0", "--component", "rootfs=" + versions["root 2.0"],
                         "--component", "sdk=" + versions["root 1.0"] + "/usr/share", "--base", platform_bundle, "--output", tmp + "/other")
    assert packed["ok"]
    error = helper.error("pack", "--name", "tiny", "--version", "2.0", "--component", "rootfs=" + versions["root 2.0"], "--base", tmp + "/none",
                         "--output", tmp + "/out", code=USAGE)
    assert "--base" in error["message"] and not os.path.exists(tmp + "/out")


# -- registries ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pushed(small, helper, versions):
    for version in ("1.0", "2.0"):
        helper("push", PLAIN, versions[version], "oci://%s/a" % small.host)
    return "oci://%s/a:" % small.host


def parts(small):
    return [asked for method, path, asked, _ in small.requests if asked and "/blobs/" in path]


def test_only_parts_with_something_new_are_fetched(small, helper, publisher, versions, pushed, tmp):
    first = helper.json("import", PLAIN, *publisher.trust, pushed + "1.0")
    assert not parts(small)
    second = helper.json("import", PLAIN, *publisher.trust, pushed + "2.0")
    assert parts(small)
    assert 0 < second["bytesFetched"] < first["bytesFetched"] / 2
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)


def test_the_same_with_the_registry_of_debian(docker, helper, publisher, versions, tmp):
    place = "oci://%s/team/delta" % docker.host
    for version in ("1.0", "2.0"):
        helper("push", PLAIN, versions[version], place)
    first = helper.json("import", PLAIN, *publisher.trust, place + ":1.0")
    second = helper.json("import", PLAIN, *publisher.trust, place + ":2.0")
    assert 0 < second["bytesFetched"] < first["bytesFetched"] / 2
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)


def test_a_registry_without_parts_gives_all(small, helper, publisher, versions, pushed, tmp):
    helper("import", PLAIN, *publisher.trust, pushed + "1.0")
    small.ranges = False
    report = helper.json("import", PLAIN, *publisher.trust, pushed + "2.0")
    assert report["bytesFetched"] > layer(versions["2.0"])[1]
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)


def test_parts_that_are_something_else(small, helper, publisher, versions, pushed):
    helper("import", PLAIN, *publisher.trust, pushed + "1.0")
    name = "sha256:" + os.path.basename(layer(versions["2.0"])[0])
    body = small.blobs["a", name]
    small.blobs["a", name] = bytes(byte ^ 1 for byte in body)
    helper("import", PLAIN, *publisher.trust, pushed + "2.0", code=UNTRUSTED)
    assert [row["templateVersion"] for row in helper.json("list")["templates"]] == ["1.0"]
    small.blobs["a", name] = body
    helper("import", PLAIN, *publisher.trust, pushed + "2.0")


@pytest.mark.parametrize("how", ["another", "longer", "shorter", "whole"])
def test_answers_that_are_not_what_was_asked_for(small, helper, publisher, versions, pushed, tmp, how):
    """Whatever comes, it ends, and what is imported is right."""
    helper("import", PLAIN, *publisher.trust, pushed + "1.0")
    name = "sha256:" + os.path.basename(layer(versions["2.0"])[0])
    body = small.blobs["a", name]

    def answer(server, request):
        asked = request.headers.get("Range")
        if not asked:
            return server.answer(request, 200, body)
        begin, end = (int(number) for number in asked[6:].split("-"))
        where = "bytes %d-%d/%d" % (begin + 1 if how == "another" else begin, end, len(body))
        content = {"longer": body[begin:], "shorter": body[begin:begin + (end + 2 - begin) // 2]}.get(how, body[begin:end + 1])
        if how == "whole":
            return server.answer(request, 206, body, {"Content-Range": "bytes 0-%d/%d" % (len(body) - 1, len(body))})
        return server.answer(request, 206, content, {"Content-Range": where})

    small.fault = lambda method, path: answer if method == "GET" and path.endswith(name) else None
    code = 0 if how in ("longer", "shorter") else 8
    helper("import", PLAIN, *publisher.trust, pushed + "2.0", code=code)
    small.fault = lambda method, path: None
    helper("import", PLAIN, *publisher.trust, pushed + "2.0")
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)


def test_a_part_that_breaks_off_goes_on(small, helper, publisher, versions, pushed, tmp):
    helper("import", PLAIN, *publisher.trust, pushed + "1.0")
    name = "sha256:" + os.path.basename(layer(versions["2.0"])[0])
    left = [3]

    def break_off(server, request):
        begin, end = (int(number) for number in request.headers["Range"][6:].split("-"))
        request.send_response(206)
        request.send_header("Content-Range", "bytes %d-%d/%d" % (begin, end, len(server.blobs["a", name])))
        request.send_header("Content-Length", str(end + 1 - begin))
        request.end_headers()
        request.wfile.write(server.blobs["a", name][begin:begin + (end - begin) // 2])
        request.wfile.flush()
        request.close_connection = True

    def fault(method, path):
        if method != "GET" or not path.endswith(name) or not left[0]:
            return None
        left[0] -= 1
        return break_off

    small.fault = fault
    helper("import", PLAIN, *publisher.trust, pushed + "2.0")
    assert left == [0]
    assert_is(helper, "tiny:2.0", versions["root 2.0"], tmp)
