# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Progress on a real terminal: of any width, with and without colours, and when somebody presses Ctrl-C."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

import support

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def tree(session_dir):
    """Something that takes a second to pack."""
    extra = {"usr/lib/file-%d" % number: os.urandom(4 << 20).hex() for number in range(10)}
    return support.make_tiny_root(session_dir + "/for-progress", extra=extra)


class Terminal:
    """A program that runs in a terminal of so many columns."""

    def __init__(self, columns, argv, **variables):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            time.sleep(0.2)  # the size comes first
            os.execve(argv[0], argv, {**os.environ, "TERM": "xterm-256color", **variables})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        # a character may come in two parts
        self.decoder, self.text = codecs.getincrementaldecoder("utf-8")(), ""

    def read(self, until=None, seconds=60):
        """Reads until something is seen, or to the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and re.search(until, self.text)):
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.text += self.decoder.decode(os.read(self.fd, 1 << 16))
                except OSError:
                    break
        return self.text

    def press(self, key):
        os.write(self.fd, key)

    def end(self):
        """All that was shown in lines, and the exit code."""
        self.read()
        # nobody reads any more: a program that goes on would wait for that
        os.kill(self.pid, signal.SIGHUP)
        os.close(self.fd)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return [ESCAPE.sub("", line) for line in re.split("[\r\n]+", self.text)], code


def pack(helper, tree, out):
    return helper.argv("pack", "--name", "a", "--version", "1", "--component", "rootfs=" + tree, "--output", out)


@pytest.mark.parametrize("columns", [200, 80, 40, 20])
def test_a_line_of_progress_fits_into_the_terminal(helper, tmp, tree, columns):
    lines, code = Terminal(columns, pack(helper, tree, tmp + "/bundle")).end()
    shown = [line for line in lines if "%" in line]
    assert code == 0 and len(shown) > 1, lines
    assert max(map(len, shown)) <= columns, shown
    if columns >= 80:
        # the step, a rate, and the time left
        assert any(re.search(r"pack rootfs [█░].*\d+% [\d.]+ [kM]B/s \d+s", line) for line in shown), shown


def test_colours_are_left_out_when_nobody_wants_them(helper, tmp, tree):
    coloured = re.compile("\x1b\\[[0-9;]*[1-9][0-9;]*m")
    terminal = Terminal(80, pack(helper, tree, tmp + "/bundle"), NO_COLOR="1")
    terminal.end()
    assert not coloured.search(terminal.text)
    terminal = Terminal(80, helper.argv("pack"), NO_COLOR="1")
    terminal.end()
    assert not coloured.search(terminal.text) and "error:" in terminal.text


@pytest.fixture
def silent():
    """A server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "127.0.0.1:%d" % server.getsockname()[1]


@pytest.mark.parametrize("verb, address", [("import", "oci://%s/a:1"), ("import", "http://%s/a.tar"), ("pull", "oci://%s/a:1"), ("pull", "http://%s/a")])
def test_ctrl_c_ends_it(helper, tmp, publisher, silent, verb, address):
    """At once, even while it waits for somebody who does not answer."""
    out = [tmp + "/bundle"] if verb == "pull" else []
    terminal = Terminal(80, helper.argv(verb, "--plain-http", *publisher.trust, address % silent, *out))
    assert "fetching" in terminal.read(until="fetching")
    pressed = time.monotonic()
    terminal.press(b"\x03")
    lines, code = terminal.end()
    assert code == 130 and "error: interrupted: SIGINT" in "\n".join(lines), lines
    assert time.monotonic() - pressed < 10
    # the cursor is there again, and nothing else is left
    assert terminal.text.rfind("\x1b[?25h") >= terminal.text.rfind("\x1b[?25l")
    assert sorted(os.listdir(tmp)) == (["store"] if verb == "import" else [])
    # an empty file that the next import removes
    assert verb == "pull" or all(name.endswith(".lock") for name in os.listdir(helper.store + "/tmp"))


@pytest.mark.parametrize("verb", ["import", "pull"])
def test_what_came_before_it_waited_ends_it_as_well(helper, tmp, publisher, silent, verb):
    fifo, out = tmp + "/allowed_signers", [tmp + "/bundle"] if verb == "pull" else []
    os.mkfifo(fifo)
    words = ["--plain-http", "--allowed-signers", fifo, "--identity", support.IDENTITY, "oci://%s/a:1" % silent, *out]
    process = subprocess.Popen(helper.argv(verb, *words), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        with open(fifo, "w") as file:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None
            with open(publisher.allowed_signers) as real:
                file.write(real.read())
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and "error: interrupted: SIGTERM" in said, said
