# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""The page that diff writes: complete in itself, and nothing of the two systems becomes markup in it."""

import html.parser
import os
import re
import stat

import pytest

import support
from support import DIFFERS

VOID = {"meta", "br"}
ELEMENTS = VOID | set(
    "html head style title body main header p h1 h2 h3 dl div dt dd b bdi span code section ul li table thead tbody tr th td small del ins "
    "details summary footer".split())
EVIL = "</bdi><script>alert(1)</script>"


class Page(html.parser.HTMLParser):
    """What is in a page, as a browser's parser sees it."""

    def __init__(self, path):
        super().__init__()
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.open, self.elements, self.attributes, self.ids, self.text, self.style = [], [], [], [], "", ""
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def bundles(session_dir, publisher):
    """Two small releases with names that want to be more than names."""
    folder = os.path.join(session_dir, "diff-page")
    helper = support.Helper(folder + "/store")
    out = []
    for version, content in (("1.0", "a"), ("1.1", "b")):
        extra = {"srv/" + EVIL.replace("/", "\\"): content, "srv/new\nline": content, "srv/quote\"'": content, "srv/right\u202eleft": content,
                 "etc/group": "video:x:44:%s\n" % content, "etc/passwd": "%s:x:0:0:<b>&amp;%s:/:/bin/sh\n" % (EVIL.replace("/", "\\"), content)}
        extra.update({"opt/many/%04d" % number: content for number in range(600)})
        root = support.make_tiny_root(folder + "/root-" + version, extra=extra)
        os.symlink(EVIL, root + "/srv/link" + content)
        os.makedirs(root + "/etc/systemd/system/multi-user.target.wants")
        os.symlink("/lib/x", root + "/etc/systemd/system/multi-user.target.wants/<i>%s.service" % content)
        with open(root + "/var/lib/dpkg/status", "a") as file:
            file.write("Package: <img src=x onerror=alert(1)>\nStatus: install ok installed\nArchitecture: all\nVersion: <u>%s\n\n" % content)
        out.append(folder + "/bundle-" + version)
        helper("pack", "--name", "platform", "--version", version, "--component", "rootfs=" + root, "--sign", publisher.key, "--output", out[-1])
    return out


@pytest.fixture
def page(helper, bundles, tmp):
    path = os.path.join(tmp, "notes.html")
    helper("diff", "--html", path, *bundles, code=DIFFERS)
    return Page(path)


def test_nothing_of_the_systems_becomes_markup(page):
    assert set(page.elements) <= ELEMENTS, set(page.elements) - ELEMENTS
    assert "script" not in page.elements
    # attributes are those of the program's own markup
    names = {(tag, name) for tag, name, _ in page.attributes}
    assert {name for _, name in names} <= {"class", "id", "lang", "charset", "name", "content", "http-equiv"}
    for text in ("<img src=x onerror=alert(1)>", "<u>b", "<i>b.service", EVIL, "<b>&amp;b", "quote\"'", "new\\nline", "right\\u{202e}left"):
        assert text in page.text, text
    assert "\u202e" not in page.source


def test_it_needs_nothing_else(page):
    assert not re.search(r"url\(|@import|https?:|//", page.style)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes
    assert "prefers-color-scheme: dark" in page.style and "max-width: 36rem" in page.style


def test_it_has_all_that_release_notes_need(page, bundles):
    assert page.ids == ["summary", "packages", "users", "units", "files"]
    for path, version in zip(bundles, ("1.0", "1.1")):
        assert support.Layout(path).tagged(version)["digest"] in page.text
    assert "platform 1.0 \u2192 1.1" in page.text
    assert "without verifying its signature" in page.text
    assert page.elements.count("details") >= 3
    assert "and 100 more" in page.text and "0499" in page.text and "0500" not in page.text


def test_the_same_systems_give_the_same_page(helper, bundles, tmp):
    for name in ("one", "two"):
        helper("diff", "--html", tmp + "/" + name, *bundles, code=DIFFERS)
    assert open(tmp + "/one").read() == open(tmp + "/two").read()
    assert stat.S_IMODE(os.stat(tmp + "/one").st_mode) == 0o644
    # one that is there is replaced, and the result on standard output stays the same
    value = helper.json("diff", "--html", tmp + "/one", bundles[0], bundles[0])
    assert value["differs"] is False
    page = Page(tmp + "/one")
    assert "Nothing differs" in page.text and page.ids == ["summary"]
    assert sorted(os.listdir(tmp)) == ["one", "two"]
