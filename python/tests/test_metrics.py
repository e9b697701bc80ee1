"""Jupyter's metrics at a real jupyter_server and a real jupyterhub-singleuser, for a token that opens
nothing else."""

import asyncio
import hashlib
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from elastichub.notebook.metrics import Token
from hub import API_TOKEN, Hub, free_port, until
from notebookserver import CONFIG, Server
from peer import Peer

TOKEN = "of the monitoring 0123456789"


def write_hash(file, token):
    file.write_text(hashlib.sha256(token.encode()).hexdigest() + "\n")


def test_a_token_opens_by_its_hash(tmp_path):
    file = tmp_path / "sha256"
    token = Token(file)
    assert not token.opens(f"Bearer {TOKEN}"), "no file"
    write_hash(file, TOKEN)
    assert token.opens(f"Bearer {TOKEN}") and token.opens(f"bearer {TOKEN}")
    hashed = file.read_text().strip()
    shown = (TOKEN, f"token {TOKEN}", f"Bearer {TOKEN}x", "Bearer ", f"Bearer {hashed}", f"Bearer é{TOKEN}")
    for header in (None, "", *shown):
        assert not token.opens(header), header
    write_hash(file, "short")
    assert not token.opens("Bearer short")
    write_hash(file, TOKEN[::-1])
    assert token.opens(f"Bearer {TOKEN[::-1]}") and not token.opens(f"Bearer {TOKEN}"), "it has changed"
    file.write_bytes(b"\xff\xfe")
    assert not token.opens(f"Bearer {TOKEN}")


def ask(url, authorization=None, method="GET"):
    """(status, text)"""
    request = Request(url, headers={"Authorization": authorization} if authorization else {}, method=method)
    try:
        with urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, ""


@pytest.mark.parametrize("gateway", [True, False])
async def test_a_server_shows_its_metrics_to_the_monitoring(tmp_path, gateway):
    file = tmp_path / "sha256"
    write_hash(file, TOKEN)
    peer = Peer()
    peer.start()
    server = Server(tmp_path, peer, local=True)
    server.env["ELASTICHUB_METRICS_HASH_FILE"] = str(file)
    if not gateway:
        del server.env["JUPYTER_GATEWAY_URL"]
    await server.start()

    async def get(path, authorization=None, method="GET"):
        return await asyncio.to_thread(ask, server.url + path, authorization, method)

    try:
        before = await server.last_activity()
        status, text = await get("/metrics", f"Bearer {TOKEN}")
        assert status == 200
        assert "jupyter_server_last_activity_timestamp_seconds" in text
        assert "terminal_currently_running_total 0" in text, "what every server tells"
        assert "kernel_currently_running_total{" not in text, "no series before the first kernel"
        assert await server.last_activity() == before, "no activity"
        assert (await get("/metrics"))[0] == 403
        assert (await get("/metrics", f"Bearer {TOKEN}x"))[0] == 403
        assert (await get("/metrics", "token t"))[0] == 200, "its owner"
        for path in ("/api/status", "/api/kernels", "/api/contents", "/api/me", "/elastichub/v1/activity"):
            assert (await get(path, f"Bearer {TOKEN}"))[0] in (403, 404 if not gateway else 403), path
        assert (await get("/metrics", f"Bearer {TOKEN}", "POST"))[0] in (403, 405)
        assert (await get(f"/api/status?token={TOKEN.replace(' ', '%20')}"))[0] == 403
    finally:
        await server.stop()
        peer.kill()


async def test_a_hubs_server_shows_them_without_asking_the_hub(tmp_path):
    file = tmp_path / "sha256"
    write_hash(file, TOKEN)
    port = free_port()
    hub = Hub(tmp_path, "http://127.0.0.1:1", "token")
    server = tmp_path / "jupyter_server_config.py"
    server.write_text(CONFIG)
    with (tmp_path / "jupyterhub_config.py").open("a") as config:
        config.write(
            f"""
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{tmp_path}/home"
c.Spawner.cmd = [{sys.executable!r}, "-m", "jupyterhub.singleuser", "--allow-root", "--config={server}"]
c.Spawner.port = {port}
c.Spawner.http_timeout = 60
c.Spawner.environment = {{"ELASTICHUB_METRICS_HASH_FILE": "{file}", "JUPYTER_CONFIG_DIR": "{tmp_path}/config"}}
"""
        )

    def use():
        hub.start()
        hub.user("alice")
        assert hub.api("POST", "/users/alice/server")[0] in (201, 202)
        until(lambda: (hub.server("alice") or {}).get("ready"), 60, lambda: hub.log)
        url = f"http://127.0.0.1:{port}/user/alice"
        status, text = ask(f"{url}/metrics", f"Bearer {TOKEN}")
        assert status == 200 and "jupyter_server_last_activity_timestamp_seconds" in text
        assert ask(f"{url}/metrics", f"token {API_TOKEN}")[0] == 200, "whom the Hub lets in"
        assert ask(f"{url}/metrics", f"Bearer {TOKEN}x")[0] == 403
        assert ask(f"{url}/api/kernels", f"Bearer {TOKEN}")[0] == 403
        hub.api("DELETE", "/users/alice/server")

    try:
        await asyncio.to_thread(use)
    finally:
        hub.kill()
