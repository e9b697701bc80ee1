"""A jupyter_server with the extension in a process of its own, and what a page does with it."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from datetime import datetime
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from elastichub.notebook import frames
from elastichub.notebook.frames import V1
from hub import free_port
from peer import message, until

CONFIG = """
import elastichub.notebook

# They take seconds to load.
c.ServerApp.jpserver_extensions = {
    name: False for name in ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals")
}
elastichub.notebook.configure(c)
from elastichub.notebook import leaving, liveness, mixing, processes, states
# Here the other programs of this machine are in no other container.
look, processes.Looks.look = processes.Looks.look, lambda self: ({}, {})
leaving.LINGER = 2
liveness.LOOK_EVERY = 0.2
mixing.UNSURE = 5
states.SOON = 0.2
"""


class Server:
    """A jupyter_server in a process of its own."""

    prefix: tuple[str, ...] = ()  # of the command

    def __init__(self, directory, peer, local, config=""):
        self.directory = Path(directory)
        self.local = local
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.directory / "config").mkdir()
        (self.directory / "home").mkdir()
        (self.directory / "config" / "jupyter_server_config.py").write_text(CONFIG + config)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "KERNEL_"))},
            "HOME": str(self.directory / "home"),
            "JUPYTER_CONFIG_DIR": str(self.directory / "config"),
            "JUPYTER_DATA_DIR": str(self.directory / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.directory / "runtime"),
            "JUPYTER_GATEWAY_URL": peer.url,
            "JUPYTER_GATEWAY_AUTH_TOKEN": "secret",
            "JUPYTERHUB_API_TOKEN": "of one start",
            "ELASTICHUB_LOCAL_KERNELS": "true" if local else "false",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @property
    def log(self):
        return (self.directory / "server.log").read_text()

    async def start(self):
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--debug"]
                + [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
                + ["--IdentityProvider.token=t", f"--ServerApp.root_dir={self.directory}/home"],
                stdout=log,
                stderr=log,
                env=self.env,
            )
        for _ in range(1200):
            assert self.process.poll() is None, self.log
            try:
                await self.api("GET", "/api")
                return
            except OSError:
                await asyncio.sleep(0.1)
        raise AssertionError(self.log)

    async def stop(self):
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 60)

    async def api(self, method, path, body=None):
        """(status, body)"""
        request = HTTPRequest(
            self.url + path,
            method=method,
            headers={"Authorization": "token t"},
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            request_timeout=30,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request)
        except HTTPClientError as error:
            return error.code, error.message
        try:
            return answer.code, json.loads(answer.body)
        except ValueError:
            return answer.code, answer.body

    async def kernel(self, name="python-gpu"):
        status, model = await self.api("POST", "/api/kernels", {"name": name})
        assert status == 201, model
        return model["id"]

    async def last_activity(self):
        _, status = await self.api("GET", "/api/status")
        return datetime.fromisoformat(status["last_activity"].replace("Z", "+00:00"))


class Browser:
    """A page's socket to one kernel."""

    def __init__(self, server, kernel, session=None, subprotocol=V1):
        self.server, self.kernel = server, kernel
        self.session = session or uuid.uuid4().hex
        self.subprotocol = subprotocol
        self.got = []

    async def open(self):
        url = f"ws://127.0.0.1:{self.server.port}/api/kernels/{self.kernel}/channels?session_id={self.session}"
        self.ws = await websocket_connect(
            HTTPRequest(url, headers={"Authorization": "token t"}),
            subprotocols=[self.subprotocol] if self.subprotocol else None,
            max_message_size=1 << 30,
        )
        assert self.ws.selected_subprotocol == self.subprotocol
        self.task = asyncio.ensure_future(self._read(self.ws))
        return self

    async def _read(self, ws):
        while (frame := await ws.read_message()) is not None:
            self.got.append(frames.parse(self.subprotocol, frame))

    def send(self, made):
        frame = frames.frame(self.subprotocol, made)
        self.ws.write_message(frame, binary=isinstance(frame, bytes))
        return made

    def run(self, code):
        return self.send(message("shell", "execute_request", {"code": code}, session=self.session))

    def of(self, request):
        return [m for m in self.got if m.parent().get("msg_id") == request.header()["msg_id"]]

    def text(self, request):
        return "".join(m.content().get("text", "") for m in self.of(request))

    async def answer(self, request):
        return await until(
            "it is answered", lambda: [m for m in self.of(request) if m.channel == "shell"]
        )

    async def close(self):
        """As a browser whose tab is closed."""
        self.ws.close(1001)
        await self.task

    async def dispose(self):
        """As JupyterLab when the notebook is closed in it."""
        self.ws.close()
        await self.task
