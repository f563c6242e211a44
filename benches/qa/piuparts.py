# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Runs piuparts, and tells what it says in the words of 'isar-template qa'."""

import re
import subprocess
import time

# what begins a message of piuparts: '0m1.2s ERROR: ...'
MESSAGE = re.compile(r"^\d+m[\d.]+s (ERROR|INFO|DEBUG|DUMP|WARNING): ?(.*)$")

# the beginning of a message, and which findings of ours would be the same; what has an empty set has no like
MEANINGS = [
    ("FAIL: Package purging left files", "file-left", {
        "file-left", "service-left-enabled", "alternative-left", "dangling-symlink"}),
    ("FAIL: After purging files have disappeared", "file-removed", {"foreign-file-removed", "package-broken"}),
    ("FAIL: After purging files have been modified", "file-changed", {"foreign-file-changed"}),
    ("FAIL: Installed diversions", "diversion-left", {"diversion-left"}),
    ("FAIL: Existing diversions", "diversion-changed", {"diversion-left"}),
    ("FAIL: debsums", "sum-differs", {
        "foreign-file-changed", "foreign-file-removed", "own-file-changed", "package-broken"}),
    ("FAIL: silently overwrites", "through-symlink", {"through-symlink"}),
    ("installs objects over", "through-symlink", {"through-symlink"}),
    ("FAIL: Processes are running", "process-left", {"process-left"}),
    ("WARN: Broken symlinks", "broken-symlink", {"dangling-symlink", "service-left-enabled"}),
    ("FAIL: Cron file", "cron-output", {"job-fails"}),
    ("FAIL: Logrotate file", "logrotate-output", {"job-fails"}),
    ("Command failed", "command-failed", {
        "script-failed", "script-needs-network", "not-installable", "not-idempotent", "package-broken", "prompts",
        "job-fails"}),
]
# said after what was said in full
SUMMARIES = ("piuparts run ends", "FAIL: Installation and purging test", "FAIL: Installation, upgrade and purging tests")


def run(deb, base, tmp, options):
    """One run: its seconds and what it printed."""
    argv = ["piuparts", "--distribution", "stable", "--existing-chroot", base, "--keep-sources-list",
            "--tmpdir", tmp, "--no-upgrade-test", "--no-adequate", *options, deb]
    begin = time.monotonic()
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="backslashreplace", check=False)
    seconds = time.monotonic() - begin
    if result.returncode != 0 and not findings(result.stdout):
        raise SystemExit("error: piuparts failed without a finding:\n%s" % result.stdout[-3000:])
    return seconds, result.stdout


def messages(text):
    """(level, first line, further lines) of all messages."""
    found = []
    for line in text.splitlines():
        match = MESSAGE.match(line)
        if match:
            found.append((match.group(1), match.group(2), []))
        elif found:
            found[-1][2].append(line.strip())
    return found


def paths(lines):
    """The files that a message lists, and who owns them: '/path -> target<tab>owned by: name'."""
    for line in lines:
        name = re.split(r"\t| -> ", line)[0]
        if name.startswith("/"):
            owner = re.search(r"owned by: (.*)", line)
            yield name.rstrip("/") or "/", owner.group(1) if owner else None


def findings(text):
    """What it complains of: dicts with kind, path (or None), owner and text, each once."""
    found, broken_before = {}, None
    for level, first, more in messages(text):
        if broken_before is None and first.startswith("No broken symlinks"):
            broken_before = set()
        if level != "ERROR" or first.startswith(SUMMARIES):
            continue
        kind = next((kind for begin, kind, _ in MEANINGS if first.startswith(begin)), "other")
        listed = list(paths(more)) if kind.startswith(("file-", "broken-")) else []
        if kind == "broken-symlink" and broken_before is None:
            # the first look is at the system without the package
            broken_before = {path for path, _ in listed}
            continue
        if kind == "command-failed":
            first = next((line for line in more if re.match(r"(E|dpkg): |dpkg.*error", line)), first)
        for path, owner in listed or [(None, None)]:
            if kind != "broken-symlink" or path not in (broken_before or ()):
                found.setdefault((kind, path), {"kind": kind, "path": path, "owner": owner, "text": first[:200]})
    return list(found.values())


def like(kind):
    """The kinds of ours that say the same."""
    return set().union(*(ours for _, name, ours in MEANINGS if name == kind))


def is_found(finding, ours):
    """Do we have it too? What has a path must have been found there, above or below."""
    for other in ours:
        path = other.get("path")
        if finding["path"] and path:
            if any((a + "/").startswith(b + "/") for a, b in ((finding["path"], path), (path, finding["path"]))):
                return True
            # an alternative has a link, and one to that link
            if other["kind"] == "alternative-left" and finding["path"] == "/etc/alternatives/" + path.rsplit("/", 1)[-1]:
                return True
        elif other["kind"] in like(finding["kind"]):
            return True
    return False
