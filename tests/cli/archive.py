# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""A Debian archive on a real server: signed, with suites, and with all that can go wrong with it.

Made by apt-ftparchive, gpg and openssl; served on the loopback interface only.
"""

import base64
import email.utils
import functools
import http.server
import os
import shutil
import ssl
import tempfile
import threading
import time

import support

# a name that no resolver knows: only through the proxy
BEHIND_PROXY = "http://archive.invalid"
USER, PASSWORD = "reader", "s3cret-w0rd"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, as a proxy too, unless a fault is set for what a path ends in."""

    archive = None
    timeout = 30

    def log_message(self, *_):
        pass

    def do_GET(self):
        archive = self.archive
        if self.path.startswith(BEHIND_PROXY):
            archive.proxied.append(self.path)
            if not self.knows("Proxy-Authorization"):
                return self.send_error(407)
            self.path = self.path[len(BEHIND_PROXY):]
        archive.asked.append(self.path)
        fault = next((fault for end, fault in archive.faults.items() if self.path.endswith(end)), None)
        if fault is None:
            return super().do_GET()
        if fault == "login" and self.knows("Authorization"):
            return super().do_GET()
        if fault == "login":
            return self.send_error(401)
        if isinstance(fault, int):
            return self.send_error(fault)
        if fault == "hang":
            # until the client has had enough
            self.connection.recv(1)
            return None
        with open(self.translate_path(self.path), "rb") as file:
            content = file.read()
        body = {"short": content[:-100], "break": content[:-100], "garble": bytes(byte ^ 1 for byte in content)}[fault]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content if fault == "break" else body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def knows(self, header):
        expected = base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()
        return self.headers.get(header) == "Basic " + expected


class Archive:
    """The archive, its keys (by name, as keyring files) and its servers."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "served")
        self.keys = os.path.join(folder, "keys")
        self.faults, self.proxied, self.asked = {}, [], []
        self.debs = os.path.join(folder, "debs")
        for path in (self.folder, self.keys, self.debs):
            os.makedirs(path)
        # sockets of gpg-agent may not have long paths
        self.gpg_home = tempfile.mkdtemp(prefix="gpg-")
        self.servers = []
        self.url = self.serve("http", None)
        self.published = 0
        for name in ("archive", "next"):
            self.make_key(name)

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        support.command("gpgconf", "--homedir", self.gpg_home, "--kill", "all", check=False)
        shutil.rmtree(self.gpg_home, ignore_errors=True)

    def gpg(self, *words, **options):
        return support.command("gpg", "--homedir", self.gpg_home, "--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback",
                               "--passphrase", "", *words, **options)

    def make_key(self, name, *options):
        address = name + "@example.org"
        self.gpg(*options, "--quick-gen-key", address, "ed25519", "sign", "0")
        self.export(name)

    def export(self, name):
        self.gpg("--output", self.keyring(name), "--export", name + "@example.org")

    def revoke(self, name):
        """Have the key's owner say that it is not to be used any more."""
        with open(os.path.join(self.gpg_home, "openpgp-revocs.d", self.fingerprint(name) + ".rev")) as file:
            # the colon is there so that nobody does this by mistake
            certificate = file.read().replace(":-----BEGIN", "-----BEGIN")
        self.gpg("--import", support.write(os.path.join(self.keys, name + ".rev"), certificate))
        self.export(name)

    def expire(self, name):
        """Have a key of 2020 be good for a year, whatever it has signed since."""
        self.gpg("--faked-system-time", "20200601T000000", "--quick-set-expire", self.fingerprint(name), "1y")
        self.export(name)

    def keyring(self, name):
        return os.path.join(self.keys, name + ".gpg")

    def fingerprint(self, name):
        lines = self.gpg("--with-colons", "--list-keys", name + "@example.org").stdout.splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def key_id(self, name):
        """What is in every way to name the key."""
        return self.fingerprint(name)[-16:]

    def serve(self, scheme, context):
        handler = functools.partial(type("Handler", (Handler,), {"archive": self}), directory=self.folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.servers.append(server)
        return "%s://127.0.0.1:%d" % (scheme, server.server_address[1])

    def serve_https(self):
        """Serve with a certificate that only an authority of ours vouches for: the address, the authority's file."""
        authority, certificate, key = support.make_certificate(os.path.join(self.keys, "tls"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return self.serve("https", context), authority

    def publish(self, place, debs, key="archive", sign=(), fields=None):
        """Put packages, and no others, into a repository of its own at `place`, suite 'stable'."""
        root = os.path.join(self.folder, place)
        shutil.rmtree(root, ignore_errors=True)
        suite = root + "/dists/stable"
        packages = suite + "/main/binary-%s/Packages" % support.architecture()
        os.makedirs(root + "/pool")
        for deb in debs:
            shutil.copy(deb, root + "/pool")
        support.write(packages, support.command("apt-ftparchive", "packages", "pool", cwd=root).stdout)
        values = {"Origin": "Example", "Label": "Example", "Suite": "stable", "Codename": "one", "Components": "main",
                  "Architectures": support.architecture(), "Date": date(0), **(fields or {})}
        sums = support.command("apt-ftparchive", "release", suite).stdout.split("MD5Sum:")[1]
        head = "".join("%s: %s\n" % item for item in values.items())
        support.write(suite + "/Release", head + "MD5Sum:" + sums)
        if key:
            self.gpg("--local-user", key + "@example.org", *sign, "--clearsign", "--output", suite + "/InRelease", suite + "/Release")
            os.unlink(suite + "/Release")
            # a server tells times in seconds, and this one is changed more often
            self.published += 1
            moment = 1_600_000_000 + self.published
            os.utime(suite + "/InRelease", (moment, moment))
        return root

    def source(self, place, key="archive", url=None, options=""):
        """The line for sources.list; keyrings are at /etc/apt/keyrings."""
        return "deb [signed-by=/etc/apt/keyrings/%s.gpg %s] %s/%s stable main\n" % (key, options, url or self.url, place)


def date(seconds):
    """A time as Release files have it, so many seconds from now."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True).replace("GMT", "UTC")
