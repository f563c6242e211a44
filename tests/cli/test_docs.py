# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The documentation is true: links lead somewhere, commands can be given, pages can be followed, errors are those of the sources.

A block that is to be run stands below a comment: `<!-- run -->`, or `<!-- run: exits with N -->`. What is in one with
`<!-- run: settings -->` is set by the test instead, and all of it has to be.
"""

import base64
import functools
import glob
import json
import os
import re
import shlex
import shutil

import pytest

import registry
import support

# written from the program's help and the layer's defaults, and compared with them elsewhere
GENERATED = ("docs/verbs.md", "docs/variables.md")
FENCE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"^ *<!-- run(?:: (settings|exits with (\d+)))? -->\n *```[a-z]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# where pages say that a registry is
HOST = "registry.example.com"


def read(path):
    with open(os.path.join(support.TOP, path), encoding="utf-8") as file:
        return file.read()


def pages():
    found = [*glob.glob("*.md", root_dir=support.TOP), *glob.glob("*/README.md", root_dir=support.TOP), *glob.glob("docs/*.md", root_dir=support.TOP)]
    return sorted(found)


WRITTEN = [page for page in pages() if page not in GENERATED]


def prose(text):
    return FENCE.sub("", text)


# -- links ----------------------------------------------------------------------------------------------------


def anchor(heading):
    """As forges make it of a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@functools.cache
def anchors(page):
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", prose(read(page)), re.MULTILINE)}


@pytest.mark.parametrize("page", pages())
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(page))):
        if re.match("[a-z]+:", target):
            continue
        path, _, name = target.partition("#")
        there = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        assert os.path.exists(os.path.join(support.TOP, there)), "%s: link to %s" % (page, target)
        assert not name or name in anchors(there), "%s: %s has no heading %s" % (page, there, name)


@pytest.mark.parametrize("page", WRITTEN)
def test_paths_and_variables_are_there(page):
    text = read(page)
    for path in re.findall(r"`((?:benches|crates|demo|docs|fuzz|kas|meta-template|scripts|tests)/[\w./-]+)`", text):
        # what builds and tests leave there
        assert path.startswith("fuzz/") or os.path.exists(os.path.join(support.TOP, path)), "%s: %s" % (page, path)
    known = layer_words()
    if page != "CHANGELOG.md":
        unknown = sorted({name for name in re.findall(r"\b(?<!ISAR_)TEMPLATE_[A-Z_]*[A-Z]\b", text) if name not in known})
        assert not unknown, "%s: %s" % (page, unknown)


@functools.cache
def layer_words():
    words = set()
    for folder in ("meta-template", "kas"):
        for path in glob.glob(os.path.join(support.TOP, folder, "**"), recursive=True):
            if os.path.isfile(path) and not path.endswith(".pyc"):
                words.update(re.findall(r"TEMPLATE_[A-Z_]*[A-Z]", read(path)))
    return words


def test_every_page_is_in_the_table():
    table = re.findall(r"^\| (\[.*?) \| ", read("README.md"), re.MULTILINE)
    listed = re.findall(r"\[([^]]+)\]\(", "".join(table))
    assert {page for page in pages() if page.startswith("docs/")} <= set(listed), listed


# -- commands -------------------------------------------------------------------------------------------------


def commands(text):
    """Calls of the program in blocks and in the text, as words."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").split("\n"):
            yield from calls(line)
    for span in re.findall(r"`([^`]+)`", prose(text)):
        yield from calls(span.replace("\n", " "))


def calls(line):
    if "isar-template [" in line:
        return
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        return
    command = []
    for word in [*words, ";"]:
        if not set(word) <= set("();<>|&"):
            command.append(word)
            continue
        while command and (command[0] in ("sudo", "time") or re.match(r"\w+=|--preserve-env", command[0])):
            command.pop(0)
        if command and command[0] == "isar-template" and len(command) > 1:
            yield command[1:]
        command = []


@functools.cache
def options_of(verb):
    """The options of a verb, and which of them have a value; None when there is no such verb."""
    result = support.command(support.HELPER, verb, "--help", check=False)
    if result.returncode:
        return None
    return {name: bool(value) for name, value in re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)(?:\.\.\.)?( <)?", result.stdout, re.MULTILINE)}


def mistake(words):
    """What is wrong with a call, or None."""
    common = options_of("list")
    words = list(words)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option.startswith("--") and option not in common:
            return "no option '%s'" % option
        if common.get(option):
            words.pop(0)
    if not words or words[0] in ("VERB", "…"):
        return None
    verb = words.pop(0)
    if verb.endswith(":"):
        # an error that it has printed
        return None
    known = options_of(verb)
    if known is None:
        return "no verb '%s'" % verb
    for word in words[:words.index("--")] if "--" in words else words:
        if word.startswith("--") and word.partition("=")[0] not in known:
            return "no option '%s' of %s" % (word, verb)
    return None


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_can_be_given(page):
    for words in commands(read(page)):
        assert mistake(words) is None, "%s: isar-template %s: %s" % (page, " ".join(words), mistake(words))


# options of podman, skopeo and mmdebstrap
OTHERS = {"--privileged", "--preserve-digests", "--mode"}


def test_options_are_there():
    verbs = re.findall(r"^## (\w+)$", read("docs/verbs.md"), re.MULTILINE)
    known = OTHERS.union(*(options_of(verb) for verb in verbs))
    for page in WRITTEN:
        if page in ("CHANGELOG.md", "benches/README.md"):
            continue
        for span in re.findall(r"`(--[a-z][^`]*)`", prose(read(page))):
            unknown = set(re.findall(r"(?:^| )(--[a-z-]+)", span)) - known
            assert not unknown, "%s: %s" % (page, span)


def test_mistakes_are_seen():
    text = "```\nsudo isar-template --store x import --identity a b && isar-template gc --keeep 3 | less\n```\nand `isar-template grow x`"
    found = [mistake(words) for words in commands(text)]
    assert found == [None, "no option '--keeep' of gc", "no verb 'grow'"]


# -- pages that are followed ----------------------------------------------------------------------------------


class Follower:
    """A folder with what a page begins with, in which its blocks are run one after the other."""

    def __init__(self, folder, **environment):
        self.folder = folder
        home = os.path.join(folder, "home")
        programs = os.path.join(home, "bin")
        os.makedirs(programs)
        os.symlink(support.HELPER, programs + "/isar-template")
        path = programs + ":" + os.environ["PATH"]
        self.environment = dict(os.environ, HOME=home, PATH=path, ISAR_TEMPLATE_STORE=folder + "/store", **environment)

    def follow(self, text, settings=None, host=HOST):
        blocks = RUN.findall(text)
        assert blocks
        script = ["set -eu"]
        for what, code, block in blocks:
            if what == "settings":
                names = re.findall(r"^(\w+)=", block, re.MULTILINE)
                assert set(names) == set(settings or {}), names
                script += ["%s=%s" % (name, shlex.quote(settings[name])) for name in names]
                continue
            block = block.replace("amd64", support.architecture()).replace(HOST, host)
            script.append("set -x\n%s" % block if not code else "set +e\n%scode=$?\nset -e\ntest $code -eq %s" % (block, code))
        support.command("bash", "-c", "\n".join(script), cwd=self.folder, env=self.environment, timeout=1200)


def section(text, heading):
    return re.search(r"^## %s\n(.*?)(?=^## )" % re.escape(heading), text, re.MULTILINE | re.DOTALL).group(1)


def copy_tree(source, target):
    support.command("cp", "-a", source, target)


def copy_app(folder):
    shutil.copytree(os.path.join(support.TOP, "demo/hello-service"), folder + "/hello-service")


def test_readme_without_isar(tmp, platform, build_chroot, publisher):
    follower = Follower(tmp)
    copy_tree(platform, tmp + "/rootfs")
    copy_tree(build_chroot, tmp + "/buildchroot")
    copy_app(tmp)
    follower.follow(section(read("README.md"), "Use without Isar"))
    assert os.path.exists(tmp + "/product.tar.zst")


def test_verifying_by_hand(tmp, tiny_bundle, publisher):
    registry.need("jq")
    os.rename(tiny_bundle, tmp + "/bundle")
    shutil.copy(publisher.allowed_signers, tmp)
    Follower(tmp).follow(read("docs/signing.md"))


def logged_in(folder, private):
    """What finds the login, and knows the registry's authority beside those of the machine."""
    login = {"auths": {private.host: {"auth": base64.b64encode(b"me:secret").decode()}}}
    authorities = b"".join(open(path, "rb").read() for path in (os.environ.get("SSL_CERT_FILE"), private.authority) if path)
    return Follower(folder, REGISTRY_AUTH_FILE=support.write(folder + "/home/auth.json", json.dumps(login)),
                    SSL_CERT_FILE=support.write(folder + "/home/authorities.pem", authorities))


def test_page_for_platform_teams(tmp, private, publisher):
    """A signature by a machine that gets the bytes alone, another one afterwards, and the end of a release."""
    registry.need("skopeo", "jq")
    follower = logged_in(tmp, private)
    place = "oci://%s/team/platform" % private.host
    helper = support.Helper(tmp + "/store")
    for version in ("1.0", "1.1"):
        root = support.make_tiny_root(tmp + "/root-" + version, extra={"usr/lib/big": os.urandom(1 << 20)})
        helper("pack", "--name", "platform", "--version", version, "--component", "rootfs=" + root,
               "--output", "%s/platform-%s.tar" % (tmp, version))
    for name in ("platform-key", "new-key"):
        support.make_key(tmp, name)
    trusted = support.allow(tmp, tmp + "/platform-key")
    text = read("docs/getting-started-platform.md")
    follower.follow(section(text, "Keys"))
    for version in ("1.0", "1.1"):
        bundle = "%s/platform-%s.tar" % (tmp, version)
        helper("sign", "--key", publisher.key, bundle)
        helper("push", bundle, place, env=follower.environment)
    assert helper.json("verify", "--allowed-signers", trusted, "--identity", support.IDENTITY, tmp + "/platform-1.0.tar")["signer"]
    follower.follow(section(text, "Change the key"), host=private.host)
    both = support.allow(tmp, tmp + "/new-key", name="new_signers")
    assert helper.json("verify", "--allowed-signers", both, "--identity", support.IDENTITY, tmp + "/platform-1.0")["signer"]

    def blobs():
        return len(glob.glob(private.folder + "/data/docker/registry/v2/blobs/sha256/*/*"))

    before = blobs()
    follower.follow(text[text.index("## How long to keep releases"):], host=private.host)
    support.command("docker-registry", "garbage-collect", private.folder + "/config.yml")
    # trees, tables of contents and documents of the one release, shared with nothing
    assert blobs() <= before - 8
    helper("import", *publisher.trust, place + ":1.0", env=follower.environment, code=support.USAGE)
    helper("import", *publisher.trust, place + ":1.1", env=follower.environment)


def test_page_for_application_teams(tmp, private, platform, build_chroot, publisher):
    follower = logged_in(tmp, private)
    place = private.host + "/team"
    helper = support.Helper(tmp + "/no-store")
    helper("pack", "--name", "platform", "--version", "1.0", "--component", "rootfs=" + platform,
           "--component", "buildchroot-target=" + build_chroot, "--sign", publisher.key, "--output", tmp + "/platform-1.0")
    helper("push", tmp + "/platform-1.0", "oci://%s/platform" % place, env=follower.environment)
    shutil.rmtree(tmp + "/platform-1.0")
    shutil.copy(publisher.allowed_signers, tmp)
    copy_app(tmp)
    follower.follow(read("docs/getting-started-apps.md"), {"REGISTRY": place, "IDENTITY": support.IDENTITY})
    for name in ("product.tar.zst", "changes.html", "plan.json", "product-1.0/index.json"):
        assert os.path.exists(os.path.join(tmp, name)), name


# -- errors ---------------------------------------------------------------------------------------------------


@functools.cache
def sources():
    """Texts of the program and the layer, with strings that go over several lines made whole."""
    texts = {}
    for pattern in ("crates/*/src/**/*.rs", "meta-template/**/*.py", "meta-template/**/*.bb*"):
        for path in glob.glob(pattern, root_dir=support.TOP, recursive=True):
            text = re.sub(r"\\\n\s*", "", read(path))
            text = re.sub(r"(?<!\\)\"\s*\n\s*f?\"", "", text)
            texts[path] = re.sub(r"\s+", " ", text.replace('\\"', '"'))
    return texts


def pattern(quoted):
    """Finds the text in sources, where '…' is what is put in."""
    parts = [re.escape(part) for part in quoted.strip("… ").split("…")]
    return re.compile(".{1,70}?".join(parts))


def quoted_errors(page):
    return [quoted for line in read(page).split("\n") if line.startswith("**`") for quoted in re.findall(r"\*\*`([^`]+)`\*\*", line)]


def test_quoted_errors_are_those_of_the_sources():
    quoted = quoted_errors("docs/troubleshooting.md")
    assert len(quoted) > 40
    for text in quoted:
        assert len(re.findall(r"\w{2,}", text)) > 1, "says too little to be looked for: " + text
        assert any(pattern(text).search(source) for source in sources().values()), text
