# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Registries on this machine: Debian's docker-registry, and a small one that knows referrers, and fails as it is told to."""

import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest

import support

INDEX = "application/vnd.oci.image.index.v1+json"


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(program + " is not installed")


def pack(tmp, publisher, version="1.0", name="tiny", sign=True, extra=()):
    """A bundle that takes a while to transfer."""
    helper = support.Helper(tmp + "/no-store")
    root = support.make_tiny_root(os.path.join(tmp, "root-" + version),
                                  extra={"usr/lib/version": version, "usr/lib/big": os.urandom(3 << 20).hex()})
    out = os.path.join(tmp, "%s-%s" % (name, version))
    helper("pack", "--name", name, "--version", version, "--component", "rootfs=" + root, *extra,
           *(["--sign", publisher.key] if sign else []), "--output", out)
    return out


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class DockerRegistry:
    """The real one, of Debian. With a user and a password it has TLS by an authority of its own as well."""

    def __init__(self, folder, user=None, password=None):
        self.folder = folder
        self.host = "127.0.0.1:%d" % free_port()
        config = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": folder + "/data"}, "delete": {"enabled": True}},
                  "http": {"addr": self.host, "secret": "x"}}
        os.makedirs(folder, exist_ok=True)
        if user:
            self.authority, certificate, key = support.make_certificate(folder + "/tls")
            config["http"]["tls"] = {"certificate": certificate, "key": key}
            line = support.command("htpasswd", "-nbB", user, password).stdout
            support.write(folder + "/htpasswd", line)
            config["auth"] = {"htpasswd": {"realm": "registry", "path": folder + "/htpasswd"}}
        path = support.write(folder + "/config.yml", json.dumps(config))
        self.log = open(folder + "/log", "w", encoding="utf-8")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["docker-registry", "serve", path], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        support.wait_for(self.answers)

    def answers(self):
        assert self.process.poll() is None, open(self.folder + "/log").read()
        with socket.socket() as sock:
            address, port = self.host.split(":")
            return sock.connect_ex((address, int(port))) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


class SmallRegistry:
    """One that answers for referrers, with faults: what `fault(method, path)` returns is done instead of answering."""

    def __init__(self, referrers=True, ranges=True, token=None):
        self.blobs, self.manifests, self.requests = {}, {}, []
        self.referrers, self.ranges, self.token = referrers, ranges, token
        self.fault = lambda method, path: None
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                registry.handle(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.host = "127.0.0.1:%d" % self.server.server_address[1]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        url = urllib.parse.urlsplit(request.path)
        self.requests.append((request.command, url.path, request.headers.get("Range"), request.headers.get("Authorization")))
        fault = self.fault(request.command, url.path)
        if fault:
            return fault(self, request)
        if url.path == "/token":
            return self.give_token(request, urllib.parse.parse_qs(url.query))
        if self.token and request.headers.get("Authorization") != "Bearer " + self.token:
            return self.answer(request, 401, b"{}", {
                "WWW-Authenticate": 'Bearer realm="http://%s/token",service="small",scope="repository:x:pull"' % self.host})
        match = re.match(r"/v2/(.+)/(manifests|blobs/uploads|blobs|referrers)/(.*)$", url.path)
        if not match:
            return self.answer(request, 404, b"{}")
        repository, kind, name = match.groups()
        act = {"manifests": self.do_manifests, "blobs/uploads": self.do_uploads, "blobs": self.do_blobs, "referrers": self.do_referrers}[kind]
        return act(request, repository, name, body, url)

    def give_token(self, request, query):
        self.asked = query
        if request.headers.get("Authorization") not in (None, "Basic " + "bWU6c2VjcmV0"):
            return self.answer(request, 401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}')
        return self.answer(request, 200, json.dumps({"token": self.token}).encode())

    def answer(self, request, status, body=b"", headers=None):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def do_uploads(self, request, repository, name, body, url):
        if request.command == "POST":
            return self.answer(request, 202, b"", {"Location": "/v2/%s/blobs/uploads/1?state=x" % repository})
        digest = urllib.parse.parse_qs(url.query)["digest"][0]
        if "sha256:" + hashlib.sha256(body).hexdigest() != digest:
            return self.answer(request, 400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
        self.blobs[repository, digest] = body
        return self.answer(request, 201)

    def do_blobs(self, request, repository, name, body, url):
        found = self.blobs.get((repository, name))
        if found is None:
            return self.answer(request, 404, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}')
        wanted = re.match(r"bytes=(\d+)-(\d*)$", request.headers.get("Range") or "")
        if wanted and self.ranges:
            begin = int(wanted.group(1))
            end = int(wanted.group(2) or len(found) - 1)
            return self.answer(request, 206, found[begin:end + 1], {"Content-Range": "bytes %d-%d/%d" % (begin, end, len(found))})
        return self.answer(request, 200, found)

    def do_manifests(self, request, repository, name, body, url):
        if request.command == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            self.manifests[repository, digest] = self.manifests[repository, name] = body
            return self.answer(request, 201)
        found = self.manifests.get((repository, name))
        if found is None:
            return self.answer(request, 404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        # not parsed: tests may have changed it
        kind = re.search(rb'"mediaType": ?"([^"]*)"', found)
        return self.answer(request, 200, found, {"Content-Type": kind.group(1).decode() if kind else "text/plain"})

    def do_referrers(self, request, repository, name, body, url):
        if not self.referrers:
            return self.answer(request, 404, b"404 page not found")
        listed = {}
        for (where, key), manifest in self.manifests.items():
            document = json.loads(manifest)
            if where == repository and key.startswith("sha256:") and document.get("subject", {}).get("digest") == name:
                listed[key] = {"mediaType": document["mediaType"], "digest": key, "size": len(manifest), "artifactType": document.get("artifactType")}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(listed.values())}
        return self.answer(request, 200, json.dumps(index).encode(), {"Content-Type": INDEX})
