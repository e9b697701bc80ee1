"""A real JupyterHub in a process of its own, and its REST API as a test calls it."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

API_TOKEN = "f" * 64

CONFIG = """
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    '''Tests speak to the Hub itself; routes are kept and go nowhere.'''
    should_start = False
    routes = {{}}
    async def get_all_routes(self):
        return dict(self.routes)
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {{"routespec": routespec, "target": target, "data": data}}
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = "elastichub"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.db_url = "sqlite:///{directory}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{directory}/cookie_secret"
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": {slow_spawn_timeout}}}
c.JupyterHub.services = [{{"name": "test", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "test", "services": ["test"], "scopes": [
    "admin:users", "admin:servers", "tokens", "access:servers", "read:hub"]}}]
c.ElasticSpawner.api_url = "{api_url}"
c.ElasticSpawner.service_token_file = "{directory}/token"
c.ElasticSpawner.http_timeout = 60
c.ElasticSpawner.poll_interval = 1
c.ElasticSpawner.consecutive_failure_limit = 3
c.ElasticSpawner.args = ["--allow-root"]
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Hub:
    def __init__(self, directory, api_url, token, slow_spawn_timeout=10, more=""):
        """more is appended to the configuration."""
        self.directory = Path(directory)
        self.port = free_port()
        (self.directory / "token").write_text(token + "\n")
        (self.directory / "jupyterhub_config.py").write_text(
            CONFIG.format(
                directory=directory,
                api_url=api_url,
                port=self.port,
                public=free_port(),
                token=API_TOKEN,
                slow_spawn_timeout=slow_spawn_timeout,
            )
            + more
        )
        self.url = f"http://127.0.0.1:{self.port}/hub"
        self.process = None
        self._begun = []

    @property
    def log(self):
        return (self.directory / "hub.log").read_text()

    def start(self):
        with open(self.directory / "hub.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", "jupyterhub_config.py"],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                # jupyterhub-singleuser is beside this Python.
                env={
                    **os.environ,
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                },
            )
        until(self._up, 120, lambda: self.log)

    def _up(self):
        if self.process.poll() is not None:
            raise AssertionError(self.log)
        try:
            return self.api("GET", "/info")[0] == 200
        except OSError:
            return False

    def kill(self):
        """As a lost node: nothing is stopped, nothing is written."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=20)

    def _tls(self):
        """The Hub's own certificate, of one with internal_ssl; None for others."""
        own = self.directory / "internal-ssl" / "hub-internal" / "hub-internal"
        if not own.with_suffix(".crt").exists():
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(own.with_suffix(".crt"), own.with_suffix(".key"))
        return context

    def api(self, method, path, body=None, token=API_TOKEN, timeout=60):
        """(status, parsed JSON or text)"""
        tls = self._tls()
        request = Request(
            f"{self.url.replace('http', 'https', 1) if tls else self.url}/api{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {token}"},
        )
        try:
            with urlopen(request, timeout=timeout, context=tls) as answer:
                return answer.status, _parse(answer.read())
        except HTTPError as error:
            return error.code, _parse(error.read())

    def begin(self, method, path, body=None):
        """Send a request and do not wait for the answer."""
        connection = HTTPConnection("127.0.0.1", self.port)
        headers = {"Authorization": f"token {API_TOKEN}", "Content-Type": "application/json"}
        connection.request(
            method, f"/hub/api{path}", None if body is None else json.dumps(body), headers
        )
        self._begun.append(connection)

    def user(self, name):
        self.api("POST", f"/users/{name}")

    def server(self, user, name=""):
        """The server's model, None when the Hub knows of none."""
        return self.api("GET", f"/users/{user}")[1]["servers"].get(name)

    def options(self, options):
        """A body of POST …/server, in the shape of this Hub's version."""
        import jupyterhub

        return {"user_options": options} if jupyterhub.version_info[0] >= 6 else options

    def progress(self, user):
        """Events until the Hub ends the stream."""
        request = Request(
            f"{self.url}/api/users/{user}/server/progress",
            headers={"Authorization": f"token {API_TOKEN}"},
        )
        with urlopen(request, timeout=60) as answer:
            return [
                json.loads(line.removeprefix(b"data:"))
                for line in answer
                if line.startswith(b"data:")
            ]


def _parse(text):
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()


def until(condition, seconds, explain=lambda: ""):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s\n{explain()}")
