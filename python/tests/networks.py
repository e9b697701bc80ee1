"""What is between people and the Hub elsewhere: the Hub's real proxy, a browser that finds every name
on this machine, and a company's proxy."""

import fcntl
import http.client
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
from functools import partial
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import (
    HTTPCookieProcessor,
    HTTPHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from conftest import ROOT, missing
from hub import until

CACHE = Path(os.environ.get("ELASTICHUB_CACHE") or Path.home() / ".cache/elastichub")


def hub_proxy():
    """The command of configurable-http-proxy, that of images/hub, as test/hub/run.sh has it."""
    if not shutil.which("npm"):
        missing("npm")
    made, lock = CACHE / "hub-proxy", ROOT / "images/hub/package-lock.json"
    made.mkdir(parents=True, exist_ok=True)
    with open(f"{made}.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        of = made / "made-of"
        if not of.exists() or of.read_bytes() != lock.read_bytes():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(lock.with_name(name), made)
            npm = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(npm, cwd=made, check=True)
            shutil.copy(lock, of)
    return str(made / "node_modules/.bin/configurable-http-proxy")


class HubProxy:
    """The Hub's proxy, in a process of its own, as where it is a Pod of its own."""

    def __init__(self, directory, ip, port, hub, errors, *options):
        """hub is where the Hub will be, and its error pages; more options are those of the command."""
        self.token, self.port = secrets.token_hex(16), free_port(ip)
        self.api_url = f"http://{literal(ip)}:{self.port}"
        command = [hub_proxy(), "--ip", ip, "--port", str(port), "--api-ip", ip, "--api-port", str(self.port)]
        command += ["--default-target", hub, "--error-target", errors, *options]
        with open(directory / "proxy.log", "wb") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": self.token}, stdout=log, stderr=log
            )
        until(self._answers, 120, (directory / "proxy.log").read_text)

    def _answers(self):
        asked = Request(f"{self.api_url}/api/routes", headers={"Authorization": f"token {self.token}"})
        try:
            with build_opener(ProxyHandler({})).open(asked, timeout=60) as answer:
                return answer.status == 200
        except OSError:
            return False

    def close(self):
        self._process.kill()
        self._process.wait()


def literal(ip):
    return f"[{ip}]" if ":" in ip else ip


def free_port(ip):
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as s:
        s.bind((ip, 0))
        return s.getsockname()[1]


def certificate(directory, *names):
    """One for the names, by a CA of its own: files of CA, certificate and key."""
    ca, crt, key = (str(directory / name) for name in ("ca.crt", "tls.crt", "tls.key"))
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run = partial(subprocess.run, check=True, capture_output=True)
    run([*new, "-subj", "/CN=test CA", "-keyout", f"{ca}.key", "-out", ca])
    run(
        [*new, "-subj", f"/CN={names[0]}", "-keyout", key, "-out", crt, "-CA", ca, "-CAkey", f"{ca}.key"]
        + ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
        + ["-addext", "basicConstraints=critical,CA:FALSE"]
    )
    return ca, crt, key


class Browser:
    """Keeps cookies, follows redirects, and finds every name at one address."""

    def __init__(self, address, ca=None):
        self.cookies = CookieJar()
        context = ssl.create_default_context(cafile=ca)

        def connect(_, *args, **kwargs):
            return socket.create_connection(address, *args, **kwargs)

        class Plain(http.client.HTTPConnection):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self._create_connection = connect

        class Secure(http.client.HTTPSConnection):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, context=context, **kwargs)
                self._create_connection = connect

        class OpenPlain(HTTPHandler):
            def http_open(self, request):
                return self.do_open(Plain, request)

        class OpenSecure(HTTPSHandler):
            def https_open(self, request):
                return self.do_open(Secure, request)

        self._opener = build_opener(ProxyHandler({}), OpenPlain, OpenSecure, HTTPCookieProcessor(self.cookies))

    def open(self, url, form=None):
        """(the address it ends at, headers, text)"""
        data = urlencode(form, doseq=True).encode() if form else None
        with self._opener.open(url, data, timeout=60) as answer:
            return answer.url, answer.headers, answer.read().decode()

    def cookie(self, name, path):
        return next(c for c in self.cookies if c.name == name and c.path == path)


class CompanyProxy:
    """Answers everything itself, and notes what was asked for."""

    def __init__(self):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                asked.append(f"{self.command} {self.path}")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_CONNECT = answer

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
