# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Web servers on this machine: lighttpd, which gives parts of files, and Python's, which does not."""

import http.server
import os
import socket
import subprocess
import threading

import registry
import support


class Lighttpd:
    """The one of Debian, with TLS by an authority of its own; what is below /private needs a login."""

    def __init__(self, folder, root, user="me", password="secret"):
        self.root, self.log = root, folder + "/access.log"
        self.host = "127.0.0.1:%d" % registry.free_port()
        self.url = "https://" + self.host
        os.makedirs(folder)
        self.authority, certificate, key = support.make_certificate(folder + "/tls")
        support.write(folder + "/htpasswd", support.command("htpasswd", "-nbm", user, password).stdout)
        config = support.write(folder + "/lighttpd.conf", """
            server.modules = ("mod_openssl", "mod_auth", "mod_authn_file", "mod_accesslog")
            server.document-root = "%s"
            server.bind = "127.0.0.1"
            server.port = %s
            server.errorlog = "%s/error.log"
            accesslog.filename = "%s"
            # status, bytes of the body, path
            accesslog.format = "%%s %%b %%U"
            ssl.engine = "enable"
            ssl.pemfile = "%s"
            ssl.privkey = "%s"
            auth.backend = "htpasswd"
            auth.backend.htpasswd.userfile = "%s/htpasswd"
            auth.require = ("/private/" => ("method" => "basic", "realm" => "bundles", "require" => "valid-user"))
            """ % (root, self.host.rsplit(":", 1)[1], folder, self.log, certificate, key, folder))
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["lighttpd", "-D", "-f", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        support.wait_for(self.answers)

    def answers(self):
        assert self.process.poll() is None, "lighttpd has ended"
        with socket.socket() as sock:
            address, port = self.host.split(":")
            return sock.connect_ex((address, int(port))) == 0

    def environment(self, **variables):
        return dict(os.environ, SSL_CERT_FILE=self.authority, **variables)

    def stop(self):
        """Ends it: what was asked for, as status, bytes and path."""
        self.process.terminate()
        self.process.wait(20)
        with open(self.log, encoding="utf-8") as file:
            return [(int(status), 0 if size == "-" else int(size), path) for status, size, path in map(str.split, file)]


class Simple:
    """Python's, without TLS."""

    def __init__(self, root):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=root)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
