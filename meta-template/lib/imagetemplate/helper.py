# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Find and run the isar-template program; the one place of the layer that gains privilege."""

import json
import os
import re
import shutil
import subprocess
import tempfile

NAME = "isar-template"
ADVICE = f'add to local.conf: TEMPLATE_HELPER = "/path/to/{NAME}"'
# tasks run with whatever environment bitbake filtered; root gets this one, and the proxies
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED = (
    "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG",
)  # fmt: skip
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
# Isar's, so that whatever tries the network nevertheless fails at once
DEAD_PROXY = "http://this.should.fail:4242"
SUDO = (
    "Isar and this layer run programs as root by sudo, without a password: have an administrator allow that to who builds, "
    "as Isar's user manual says ('USER ALL=NOPASSWD: ALL' in a file of /etc/sudoers.d)"
)
TRUE = ("1", "y", "yes", "true")
PROGRESS = re.compile(r"(\d{1,3})%$")


class HelperError(Exception):
    """The helper is missing, or failed: its message, with its hint on a line of its own."""

    def __init__(self, message, hint=None, kind=None, verb=None):
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.verb = verb
        self.hint = hint
        self.kind = kind


def is_true(value):
    """What bitbake takes for true, as bb.utils.to_boolean does."""
    return (value or "").strip().lower() in TRUE


def original_environment(d):
    """The environment of whoever started bitbake, as a function of a variable's name."""
    origin = d.getVar("BB_ORIGENV", False)
    return (lambda name: origin.getVar(name, False)) if origin else os.environ.get


def find_helper(d):
    """The absolute path of the helper, or a HelperError that says what to add."""
    configured = d.getVar("TEMPLATE_HELPER")
    if configured:
        if _is_program(configured):
            return configured
        raise HelperError(
            f"TEMPLATE_HELPER is not a program's absolute path: '{configured}'", f"install it, or {ADVICE}"
        )
    in_path = shutil.which(NAME, path=original_environment(d)("PATH") or os.defpath)
    if in_path:
        return os.path.abspath(in_path)
    layer = d.getVar("LAYERDIR_template")
    built = os.path.normpath(os.path.join(layer, "..", "target", "release", NAME))
    if _is_program(built):
        return built
    raise HelperError(
        f"the program {NAME} is neither in PATH nor at '{built}'",
        f"install it, or {ADVICE}",
    )


def _is_program(path):
    return os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK)


def target(d, recipe):
    """A recipe of the current multiconfig, as bitbake's command line names it."""
    multiconfig = d.getVar("BB_CURRENT_MC")
    return f"mc:{multiconfig}:{recipe}" if multiconfig and multiconfig != "default" else recipe


def proxies(d):
    """The proxies as bitbake's fetcher sees them: those of the configuration, then of its caller."""
    names = [*PROXIES, *(name.upper() for name in PROXIES)]
    if is_true(d.getVar("BB_NO_NETWORK")):
        return {name: "" if name.lower() == "no_proxy" else DEAD_PROXY for name in names}
    original = original_environment(d)
    found = {name: d.getVar(name) or original(name) for name in names}
    return {name: value for name, value in found.items() if value}


def _environment(d, home):
    """What the helper is to know: proxies, certificates, and where the logins to registries are of who builds."""
    original = original_environment(d)
    user = original("HOME")
    defaults = {"XDG_CONFIG_HOME": f"{user}/.config", "DOCKER_CONFIG": f"{user}/.docker"} if user else {}
    environment = {"PATH": PATH, "HOME": home, "LC_ALL": "C.UTF-8"}
    for name in PASSED:
        value = d.getVar(name) or original(name) or defaults.get(name)
        if value:
            environment[name] = value
    environment.update(proxies(d))
    return environment


def run_privileged(d, argv, **options):
    """Start `argv` as root in a known environment; returns the Popen object."""
    environment = _environment(d, "/root")
    settings = [f"{name}={value}" for name, value in environment.items()]
    try:
        return subprocess.Popen(["sudo", "-n", "--", "/usr/bin/env", "-i", *settings, *argv], **options)
    except FileNotFoundError:
        raise HelperError("sudo is not installed", SUDO) from None


def run_plain(d, argv, **options):
    """Start `argv` as who builds, in an environment as known as root's; returns the Popen object."""
    return subprocess.Popen(argv, env=_environment(d, os.environ.get("HOME", "/")), **options)


def as_root(d, *argv, text=""):
    """Run a plain command as root and return its output; a HelperError has what it said."""
    process = run_privileged(
        d, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = process.communicate(text.encode(errors="surrogateescape"))
    if process.returncode:
        said = (errors or output).decode(errors="replace").strip()
        raise HelperError(f"running {' '.join(argv)}: {said or process.returncode}", _hint(said))
    return output.decode(errors="surrogateescape")


def version(d):
    """What the helper calls itself, with its version."""
    program = find_helper(d)
    try:
        done = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HelperError(f"running {program} --version: {error}") from None
    return done.stdout.strip()


def run(d, verb, *arguments, progress=None, privileged=True, found=0):
    """Run a verb of the helper, as root or as who builds, and return its JSON result.

    What it reports goes to the task's log; `progress` is called with each percentage. `found` is an exit code that
    is a result as well.
    """
    start = run_privileged if privileged else run_plain
    argv = [
        find_helper(d),
        "--store", d.getVar("TEMPLATE_STORE_DIR"),
        "--format", "json",
        "--progress", "bitbake",
        verb, *arguments,
    ]  # fmt: skip
    if privileged:
        print(f"running as root: {' '.join(argv)}", flush=True)
    last = ""
    with tempfile.TemporaryFile() as output:
        process = start(d, argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE)
        with process.stderr as messages:
            for raw in messages:
                line = raw.decode(errors="replace").rstrip()
                percent = PROGRESS.search(line)
                if percent and progress:
                    progress(int(percent.group(1)))
                    continue
                if privileged:
                    print(line, flush=True)
                last = line or last
        status = process.wait()
        output.seek(0)
        return parse_result(verb, 0 if status == found else status, output.read(), last)


def parse_result(verb, status, output, last=""):
    """The helper's JSON result, or a HelperError made from it."""
    try:
        result = json.loads(output)
    except ValueError:
        result = {}
    if not isinstance(result, dict):
        result = {}
    if status == 0 and result.get("ok"):
        return result
    error = result.get("error") or {}
    message = error.get("message") or last or f"exit code {status}"
    raise HelperError(f"{NAME} {verb}: {message}", error.get("hint") or _hint(message), error.get("kind"), verb)


def _hint(message):
    """What to do when it was not our program that spoke."""
    return SUDO if message.startswith("sudo: ") else None
