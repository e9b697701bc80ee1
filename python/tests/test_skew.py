"""The Hub's class of one release beside the service of another, and what people read where they do
not work together."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from conftest import ROOT, TOKEN, TestService, missing
from elastichub import __version__, skew
from elastichub.notebook import configure
from hub import Hub, until
from notebookserver import Browser, Server
from peer import Peer

ARCHIVES = ROOT / "test" / "upgrade"

SHOWN = """
c.ElasticSpawner.http_timeout = 240  # others may need the machine
import elastichub
print("class:", elastichub.__file__, flush=True)
"""

HASTY = """
from elastichub.notebook import link
link.REFUSED_PAUSE = 0.5
"""


@pytest.fixture(scope="session")
def former():
    """The sources of the former release, and its service; built once for each content of the archive."""
    [archive] = ARCHIVES.glob("elastichub-*.tar.xz")
    name = archive.name.removesuffix(".tar.xz")
    cache = Path(os.environ.get("ELASTICHUB_CACHE", Path.home() / ".cache" / "elastichub"))
    directory = cache / "former-class" / f"{name}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:12]}"
    tree, binary = directory / name, directory / "testservice"
    if not binary.exists():
        if not shutil.which("go"):
            missing("go")
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-xJf", archive, "-C", directory], check=True)
        subprocess.run(["go", "build", "-o", f"{binary}.new", "./hubapi/internal/testservice"], cwd=tree, check=True)
        os.replace(f"{binary}.new", binary)
    return tree, binary


def lives(hub):
    """A user's server is started, followed, seen and stopped."""
    hub.user("researcher")
    status, answer = hub.api("POST", "/users/researcher/server", hub.options({"cpu": "1"}))
    assert status in (201, 202), answer
    until(lambda: (hub.server("researcher") or {}).get("ready"), 240, lambda: hub.log)
    events = hub.progress("researcher")
    assert events[-1]["ready"], events
    assert hub.api("DELETE", "/users/researcher/server")[0] in (202, 204)
    until(lambda: hub.server("researcher") is None, 120, lambda: hub.log)


@pytest.fixture
def hub_of(tmp_path, monkeypatch):
    """Makes a Hub whose class is that of a directory, and tells it in its log."""
    hubs = []

    def make(service, package=ROOT / "python"):
        monkeypatch.setenv("PYTHONPATH", str(package))
        hub = Hub(tmp_path, service.url, TOKEN, more=SHOWN)
        hubs.append(hub)
        hub.start()
        assert f"class: {package}" in hub.log
        return hub

    yield make
    for hub in hubs:
        hub.kill()


def test_the_former_class_with_this_service(former, service, hub_of):
    tree, _ = former
    lives(hub_of(service, tree / "python"))


def test_this_class_with_the_former_service(former, hub_of, tmp_path):
    _, binary = former
    service = TestService(binary, tmp_path / "service.log")
    try:
        lives(hub_of(service))
    finally:
        service.close()


def test_a_class_too_far_apart_is_refused_with_both_releases(service, hub_of, tmp_path):
    """A copy of this class with another release. The Hub goes on, and its log says it once."""
    other = tmp_path / "other"
    shutil.copytree(ROOT / "python" / "elastichub", other / "elastichub")
    module = other / "elastichub" / "__init__.py"
    module.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.9.0"', module.read_text()))
    hub = hub_of(service, other)
    hub.user("researcher")
    for _ in range(2):
        status, answer = hub.api("POST", "/users/researcher/server", hub.options({"cpu": "1"}))
        assert status == 503, answer
        for part in ("9.9.0", __version__, "too far apart", "An administrator must"):
            assert part in answer["message"], answer
    assert len(re.findall(r"\[E [^]]* service:\d+\] .*too far apart", hub.log)) == 1, hub.log
    assert hub.process.poll() is None


def test_what_is_told():
    from traitlets.config import Config

    assert skew.told(3) == f"{__version__}; protocol=3"
    c = Config()
    configure(c, {"JUPYTER_GATEWAY_URL": "http://gateway", "JUPYTER_GATEWAY_HEADERS": '{"X-Mine": "1"}'})
    assert json.loads(c.GatewayClient.headers) == {"X-Mine": "1", skew.HEADER: skew.told(skew.GATEWAY_PROTOCOL)}
    for odd in ("", "no JSON", "[]", "3"):
        assert skew.with_told(odd) == odd


async def test_a_server_too_far_from_its_gateway_says_to_restart_it(tmp_path):
    """At a real jupyter_server: lists, starts and cells that wait say so, and go on when it is over."""
    peer = Peer()
    peer.start()
    server = Server(tmp_path, peer, local=False, config=HASTY)
    await server.start()
    try:
        assert peer.version == skew.told(skew.GATEWAY_PROTOCOL)
        kernel = await server.kernel()
        page = await Browser(server, kernel).open()
        await page.answer(page.run("count 3"))
        peer.apart = "This is too old. Restart your server."
        peer.cut_all()
        for method, path, body in (("GET", "/api/kernelspecs", None), ("POST", "/api/kernels", {"name": "python-gpu"})):
            request = HTTPRequest(
                server.url + path,
                method=method,
                headers={"Authorization": "token t"},
                body=None if body is None else json.dumps(body),
            )
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
            assert answer.code >= 400, path
            assert peer.apart in json.loads(answer.body)["message"], path
        [reply] = await page.answer(page.run("count 3"))
        assert (reply.content()["ename"], reply.content()["evalue"]) == (skew.REASON, peer.apart)
        peer.apart = ""
        [reply] = await page.answer(page.run("count 3"))
        assert reply.content()["status"] == "ok"
    finally:
        await server.stop()
        peer.kill()


def test_the_wheel_that_is_tested_is_this_one():
    assert Path(sys.modules["elastichub"].__file__).is_relative_to(ROOT / "python")
