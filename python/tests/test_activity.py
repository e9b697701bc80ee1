"""What a Hub's culler goes by: the last activity that a real jupyterhub-singleuser reports to a
real JupyterHub."""

import asyncio
import json
import sys
from datetime import datetime
from urllib.request import Request, urlopen

import pytest

from hub import API_TOKEN, Hub, free_port
from notebookserver import CONFIG
from peer import Peer

SPAWNER = """
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{directory}/home"
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser", "--allow-root", "--config={server}"]
c.Spawner.port = {port}
c.Spawner.http_timeout = 60
c.Spawner.environment = {{
    "JUPYTERHUB_ACTIVITY_INTERVAL": "1",
    "JUPYTER_CONFIG_DIR": "{directory}/config",
    "JUPYTER_GATEWAY_URL": "{gateway}",
    "JUPYTER_GATEWAY_AUTH_TOKEN": "secret",
    "ELASTICHUB_LOCAL_KERNELS": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}}
"""


@pytest.fixture
async def peer():
    peer = Peer()
    peer.start()
    yield peer
    peer.kill()


async def test_a_hub_sees_that_a_remote_kernel_is_busy(tmp_path, peer):
    port = free_port()
    hub = Hub(tmp_path, "http://127.0.0.1:1", "token")
    server = tmp_path / "jupyter_server_config.py"
    server.write_text(CONFIG)
    with (tmp_path / "jupyterhub_config.py").open("a") as config:
        config.write(
            SPAWNER.format(
                directory=tmp_path,
                python=sys.executable,
                server=server,
                port=port,
                gateway=peer.url,
            )
        )

    def kernel():
        request = Request(
            f"http://127.0.0.1:{port}/user/alice/api/kernels",
            method="POST",
            data=json.dumps({"name": "python-gpu"}).encode(),
            headers={"Authorization": f"token {API_TOKEN}"},
        )
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["id"]

    async def last_activity():
        return datetime.fromisoformat(
            (await asyncio.to_thread(hub.server, "alice"))["last_activity"].replace("Z", "+00:00")
        )

    async def comes(moves, what):
        for _ in range(10):  # what was reported may be on its way
            before = await last_activity()
            await asyncio.sleep(3)
            if moves == (await last_activity() > before):
                return
        raise AssertionError(f"{what}\n{hub.log}")

    try:
        await asyncio.to_thread(hub.start)
        await asyncio.to_thread(hub.user, "alice")
        status, said = await asyncio.to_thread(hub.api, "POST", "/users/alice/server")
        assert status in (201, 202), said
        for _ in range(60):
            if (await asyncio.to_thread(hub.server, "alice") or {}).get("ready"):
                break
            await asyncio.sleep(1)
        ran = peer.kernels[await asyncio.to_thread(kernel)]
        await comes(False, "an idle kernel keeps no server")
        ran.state = "busy"
        await comes(True, "a busy one does")
        ran.state = "idle"
        await comes(False, "it is idle again")
        await asyncio.to_thread(hub.api, "DELETE", "/users/alice/server")
    finally:
        hub.kill()
