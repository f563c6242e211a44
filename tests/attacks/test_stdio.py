# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A command gets at no file or terminal of the caller by way of its standard input, output and error."""

import os
import pty
import subprocess

import pytest

import support

# what /proc/self/fd opens, it opens anew, whatever the file was opened for
MEDDLE = """
    dd if=/proc/self/fd/1 iflag=nonblock of=/tmp/stolen 2>/dev/null
    truncate -s 0 /proc/self/fd/1 2>/dev/null
    test ! -s /tmp/stolen && echo out
"""


def run(shared, *words, **streams):
    streams.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(shared.argv("exec", "platform", "--", *words), timeout=60, **streams).returncode


def test_output_file_is_not_read_or_cut(shared, tmp):
    log = support.write(tmp + "/log", "earlier\n")
    with open(log, "a") as file:
        assert run(shared, "sh", "-c", MEDDLE, stdout=file, stderr=subprocess.DEVNULL) == 0
    assert open(log).read() == "earlier\nout\n"


def test_input_file_is_not_written(shared, tmp):
    secret = support.write(tmp + "/input", "the host's\n")
    with open(secret) as file:
        assert run(shared, "sh", "-c", "( echo changed > /proc/self/fd/0 ) 2>/dev/null; true", stdin=file) == 0
    assert open(secret).read() == "the host's\n"


def test_input_directory_leads_nowhere(shared, tmp):
    secret = support.write(tmp + "/secret", "the host's\n")
    leak = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        result = subprocess.run(shared.argv("exec", "platform", "--", "sh", "-c", "cat /proc/self/fd/0%s; ls /proc/self/fd/0/" % secret),
                                stdin=leak, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    finally:
        os.close(leak)
    assert "the host's" not in result.stdout
    assert "etc" not in result.stdout


def test_input_that_is_not_read_is_left(shared, tmp):
    """As without a sandbox: a loop over the lines of a file may call it."""
    lines = support.write(tmp + "/lines", "one\ntwo\nthree\n")
    with open(lines) as file:
        first = subprocess.run(shared.argv("exec", "platform", "--", "sh", "-c", "read line; echo $line"), stdin=file, stdout=subprocess.PIPE, timeout=60)
        second = subprocess.run(["cat"], stdin=file, stdout=subprocess.PIPE)
    assert (first.stdout, second.stdout) == (b"one\n", b"two\nthree\n")


def test_large_input_and_output(shared, tmp):
    content = os.urandom(5 << 20)
    support.write(tmp + "/in", content)
    with open(tmp + "/in", "rb") as source, open(tmp + "/out", "wb") as target:
        assert run(shared, "cat", stdin=source, stdout=target) == 0
    assert open(tmp + "/out", "rb").read() == content


def test_output_and_errors_in_one_file_keep_their_order(shared, tmp):
    script = "for n in 1 2 3 4 5 6 7 8; do echo out $n; echo error $n >&2; done"
    with open(tmp + "/log", "wb") as file:
        assert run(shared, "sh", "-c", script, stdout=file, stderr=file) == 0
    assert open(tmp + "/log").read() == "".join("out %d\nerror %d\n" % (n, n) for n in range(1, 9))


def test_output_that_cannot_be_written(shared):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(shared.argv("exec", "platform", "--", "sh", "-c", "yes | head -c 1000000"),
                                stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == support.INTERNAL
    assert "no space left" in result.stderr.lower()


# types a command for whoever reads the terminal next
TYPE = "foreach (split //, 'echo typed') { ioctl(STDIN, 0x5412, $_) or (print \"denied: $!\\n\"), exit 0 } print \"typed\\n\""


def on_terminal(*argv):
    """The output of a program that has a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    output = b""
    try:
        while chunk := os.read(terminal, 4096):
            output += chunk
    except OSError:
        pass  # how a terminal ends
    os.waitpid(pid, 0)
    os.close(terminal)
    return output.decode(errors="replace")


def test_nothing_is_typed_into_the_terminal(shared):
    output = on_terminal(*shared.argv("exec", "platform", "--", "perl", "-e", TYPE))
    assert "denied: Operation not permitted" in output
    assert "typed" not in output


def test_would_be_typed_without_the_sandbox():
    output = on_terminal("perl", "-e", TYPE)
    if "denied" in output:
        pytest.skip("the kernel of this machine lets nobody type into a terminal")
    assert "typed" in output


def test_terminal_is_still_one(shared):
    output = on_terminal(*shared.argv("exec", "platform", "--", "sh", "-c", "test -t 0 && test -t 1 && stty size >/dev/null && echo terminal; : > /dev/tty && echo controlling"))
    assert "terminal" in output
    assert "controlling" in output
