"""The extension in a real jupyter_server, between browsers and a gateway that the tests play."""

import asyncio
import json
import shutil
import subprocess
import sys
import textwrap
import uuid
from datetime import datetime, timezone
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from elastichub.notebook import liveness
from elastichub.notebook.frames import V1
from notebookserver import Browser, Server
from peer import SPECS, Kernel, Peer, message, until


@pytest.fixture
async def peer():
    peer = Peer()
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture(params=[False, True], ids=["gateway", "mixed"])
async def server(request, tmp_path, peer):
    server = Server(tmp_path, peer, local=request.param)
    await server.start()
    yield server
    await server.stop()


mixed = pytest.mark.parametrize("server", [True], indirect=True, ids=["mixed"])


async def test_one_kernel_is_told_of_as_the_gateway_has_it(server, peer):
    kernel = await server.kernel()

    async def is_told(state):
        while (await server.api("GET", f"/api/kernels/{kernel}"))[1]["execution_state"] != state:
            await asyncio.sleep(0.1)

    for state in ("busy", "idle"):
        peer.kernels[kernel].state = state
        await asyncio.wait_for(is_told(state), 30)  # nobody reads the list
    del peer.kernels[kernel]  # kubectl delete jupyterkernel
    await asyncio.wait_for(is_told("dead"), 30)
    assert (await server.api("GET", "/api/kernels"))[1] == []
    assert (await server.api("GET", f"/api/kernels/{kernel}"))[0] == 404


async def test_a_page_and_a_kernel_at_the_gateway(server, peer):
    _, listed = await server.api("GET", "/api/kernelspecs")
    logos = listed["kernelspecs"]["python-gpu"]["resources"]
    assert (await server.api("GET", logos["logo-svg"])) == (200, b"<svg/>")
    assert (await server.api("GET", logos["logo-64x64"]))[0] == 404, "not 500"

    kernel = await server.kernel()
    assert list(peer.kernels) == [kernel]

    # Every framing, buffers both ways.
    buffers = [bytes(range(256)) * 300, b"", b"\xff\xfe{"]
    for subprotocol in (V1, None):
        browser = await Browser(server, kernel, subprotocol=subprotocol).open()
        run = browser.run("count 3")
        await browser.answer(run)
        assert browser.text(run) == "0\n1\n2\n"
        comm = browser.send(
            message("shell", "comm_msg", {"comm_id": "ä"}, buffers=buffers, session=browser.session)
        )
        (echo,) = await until(
            "the echo",
            lambda: [m for m in browser.of(comm) if m.header()["msg_type"] == "comm_msg"],
        )
        assert echo.parts[4:] == buffers
        assert echo.content() == {"comm_id": "ä"}
        asked = browser.run("input")
        await until("it asks", lambda: any(m.channel == "stdin" for m in browser.of(asked)))
        browser.send(
            message(
                "stdin", "input_reply", {"value": "42"}, asked.header(), session=browser.session
            )
        )
        await browser.answer(asked)
        assert browser.text(asked) == "42"
        browser.ws.write_message("garbage")
        browser.ws.write_message(b"\x00garbage", binary=True)
        await browser.answer(browser.run("count 1"))
        assert len(peer.open) == 1
        await browser.close()
        await until("the gateway's socket is closed with the browser's", lambda: not peer.open)

    # JupyterLab opens two sockets in a row; what it runs in the second arrives.
    first, second = Browser(server, kernel, "twice"), Browser(server, kernel, "twice")
    await first.open()
    await second.open()
    first.ws.close()
    run = second.run("count 2")
    await second.answer(run)
    assert second.text(run) == "0\n1\n"
    await until("the other is closed", lambda: len(peer.open) == 1)
    await second.close()
    await until("none is left behind", lambda: not peer.open)

    # A gateway that is killed in the middle of output.
    browser = await Browser(server, kernel).open()
    ran = peer.kernels[kernel]
    hung = browser.run("hang")
    await until("it runs", lambda: "hang" in ran.executed)
    for n in range(300):
        ran.publish(browser.session, message("iopub", "stream", {"text": f"{n}\n"}, hung.header()))
        if n == 100:
            peer.kill()
        if n == 200:
            peer.back()
        await asyncio.sleep(0)
    later = browser.run("count 1")
    await browser.answer(later)
    assert browser.text(hung) == "".join(f"{n}\n" for n in range(300))
    ids = [m.header()["msg_id"] for m in browser.got]
    assert len(ids) == len(set(ids))

    # A laptop that sleeps: the page comes back with its session.
    await until("the browser has confirmed", lambda: not ran.session(browser.session).log)
    await asyncio.sleep(0.3)
    browser.ws.protocol.stream.close()
    await until("jupyter_server knows", lambda: not peer.open)
    for n in range(50):
        ran.publish(browser.session, message("iopub", "stream", {"text": f"+{n}"}, hung.header()))
    before = browser.text(hung)
    await browser.open()
    await until("it is all there", lambda: browser.text(hung).endswith("+49"))
    assert browser.text(hung) == before + "".join(f"+{n}" for n in range(50))
    await browser.close()

    # A browser that leaves while the gateway takes its time leaves no socket behind.
    await until("it has left", lambda: not peer.open)
    peer.kill()
    stalled = []

    async def stall(reader, writer):
        stalled.append(writer)
        await asyncio.sleep(1)
        writer.close()

    stalling = await asyncio.start_server(stall, "127.0.0.1", peer.port)
    await browser.open()
    await until("it dials", lambda: stalled)
    await browser.close()
    stalling.close()
    peer.back()
    dialled = peer.dialled
    await asyncio.sleep(2)
    assert peer.dialled == dialled
    assert not peer.open

    # A kernel that is deleted.
    assert (await server.api("DELETE", f"/api/kernels/{kernel}"))[0] == 204
    assert peer.kernels == {}
    assert (await server.api("GET", "/api/kernels"))[1] == []
    assert "Traceback" not in server.log, server.log


async def test_kernels_outlive_the_server(server, peer):
    """Of a drain: the next server has the same kernels for the same documents, and knows who
    has an open page."""

    async def sessions():
        _, listed = await server.api("GET", "/api/sessions")
        return {s["id"]: (s["path"], s["name"] or "", s["type"], s["kernel"]["id"]) for s in listed}

    def kept():
        there = [(k.kept, k.id) for k in peer.kernels.values() if k.kept]
        return {s["id"]: (s["path"], s["name"], s["type"], kernel) for s, kernel in there}

    async def same():
        wanted = await sessions()
        await until("the gateway knows", lambda: kept() == wanted)
        return wanted

    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python-gpu"}}
    _, made = await server.api("POST", "/api/sessions", body)
    _, console = await server.api("POST", "/api/sessions", {"path": "c-1", "type": "console"})
    alone = await server.kernel()
    other = peer.add(Kernel())
    other.own = False
    assert len(await same()) == 2
    for changes in (
        {"path": "ä/b.ipynb"},
        {"name": "b", "type": "file"},
        {"kernel": {"name": "python-gpu"}},
    ):
        peer.failing = "path" in changes  # the gateway is away for a moment
        _, made = await server.api("PATCH", f"/api/sessions/{made['id']}", changes)
        peer.failing = False
        assert (await same())[made["id"]][:2] == (made["path"], made["name"]), changes
    assert made["kernel"]["id"] != body["kernel"].get("id")

    ran = peer.kernels[made["kernel"]["id"]]
    browser = await Browser(server, ran.id).open()
    hung = browser.run("hang")
    await until("it runs", lambda: "hang" in ran.executed)
    ran.publish(browser.session, message("iopub", "stream", {"text": "before\n"}, hung.header()))
    await until("it is read", lambda: browser.text(hung))
    before, kernels = await sessions(), set(peer.kernels)
    login = HTTPRequest(f"{server.url}/api/status?token=t")
    cookies = (await AsyncHTTPClient().fetch(login)).headers.get_list("Set-Cookie")
    cookie = "; ".join(each.partition(";")[0] for each in cookies)
    assert cookie.startswith("username-"), cookie
    server.process.terminate()
    await asyncio.sleep(0.2)
    ran.publish(browser.session, message("iopub", "stream", {"text": "still\n"}, hung.header()))
    await until("the page is served for a moment more", lambda: "still" in browser.text(hung))
    await server.stop()
    shutil.rmtree(server.directory / "runtime")  # the next container has another one
    assert "Traceback" not in server.log, server.log
    assert set(peer.kernels) == kernels, "nothing has ended"
    await until("the sockets are closed", lambda: not peer.open)
    ran.publish(browser.session, message("iopub", "stream", {"text": "meanwhile\n"}, hung.header()))

    await server.start()
    _, listed = await server.api("GET", "/api/kernels")
    assert {k["id"] for k in listed} == kernels - {other.id}, "and none of another server's"
    assert alone in kernels
    assert await sessions() == before
    page = HTTPRequest(f"{server.url}/api/kernels", headers={"Cookie": cookie})
    assert len(json.loads((await AsyncHTTPClient().fetch(page)).body)) == len(listed)
    await browser.open()
    await until("it is told what has happened", lambda: "meanwhile" in browser.text(hung))
    assert browser.text(hung) == "before\nstill\nmeanwhile\n"
    await browser.close()
    _, again = await server.api("POST", "/api/sessions", {**body, "path": "ä/b.ipynb"})
    assert again["kernel"]["id"] == ran.id, "a document gets no second kernel"
    _, made = await server.api("PATCH", f"/api/sessions/{made['id']}", {"path": "c.ipynb"})
    await same()

    # What is shut down stays so.
    assert (await server.api("DELETE", f"/api/sessions/{made['id']}"))[0] == 204
    assert (await server.api("DELETE", f"/api/kernels/{console['kernel']['id']}"))[0] == 204
    assert set(peer.kernels) == {alone, other.id}
    await server.stop()
    await server.start()
    assert await sessions() == {}
    assert [k["id"] for k in (await server.api("GET", "/api/kernels"))[1]] == [alone]


async def test_a_parked_kernel_returns_as_another(server, peer):
    """JupyterLab's "Change kernel": of one that is parked with its variables nothing is lost."""
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python-gpu"}}
    _, made = await server.api("POST", "/api/sessions", body)
    session, kernel = f"/api/sessions/{made['id']}", made["kernel"]["id"]
    await until("the gateway knows", lambda: peer.kernels[kernel].kept)
    peer.kernels[kernel].parked = True
    peer.kernels[kernel].name = "python-cpu"
    status, changed = await server.api("PATCH", session, {"kernel": {"name": "python-gpu"}})
    assert (status, changed["kernel"]["id"], changed["kernel"]["name"]) == (200, kernel, "python-gpu")
    assert list(peer.kernels) == [kernel]
    assert ("return", kernel) in peer.actions

    status, changed = await server.api("PATCH", session, {"kernel": {"name": "python-gpu"}})
    assert (status, changed["kernel"]["id"] != kernel) == (200, True), "one that runs is replaced"
    await until("the one before is gone", lambda: list(peer.kernels) == [changed["kernel"]["id"]])


def keep(home, kernel, expires):
    """A state as an agent leaves it."""
    directory = Path(home) / ".elastichub" / "kernels" / kernel
    (directory / "chunks").mkdir(parents=True)
    head = {"format": 1, "kernel": kernel, "expires": expires}
    (directory / "manifest").write_text(json.dumps(head) + "\nsealed")
    (directory / "chunks" / ("0" * 64)).write_bytes(b"sealed")
    (directory / "lock").touch()
    return directory


async def test_states_of_kernels_that_are_gone(server, peer):
    """Nobody starts a kernel in that home any more: the server removes them itself."""
    await server.stop()
    over = keep(server.directory / "home", "over", "2020-01-01T00:00:00.123456789Z")
    kernel, stranger = peer.add(Kernel()), str(uuid.uuid4())
    held = keep(server.directory / "home", kernel.uid, "2999-01-01T00:00:00Z")
    other = keep(server.directory / "home", stranger, "2999-01-01T00:00:00Z")
    await server.start()
    await until("what is over is gone", lambda: not over.exists())
    await until("they are noted", (held.parent.parent / "seen").exists)
    await server.stop()
    assert held.exists()
    assert other.exists(), "nobody knows whose it is"

    del peer.kernels[kernel.id]  # as kubectl does while the server is away
    await server.start()
    await until("it is gone", lambda: not held.exists())
    assert other.exists()

    # One that is shut down here while it is parked.
    parked = await server.kernel()
    held = keep(server.directory / "home", peer.kernels[parked].uid, "2999-01-01T00:00:00Z")
    await until("it is known", lambda: peer.kernels[parked].uid in peer.told)
    await asyncio.sleep(0.2)  # what it was told, it notes
    assert (await server.api("DELETE", f"/api/kernels/{parked}"))[0] == 204
    await until("it is gone", lambda: not held.exists())
    assert other.exists()
    assert "Traceback" not in server.log, server.log


async def test_a_gateway_that_is_away_when_the_server_starts(server, peer):
    kept = peer.add(Kernel())
    kept.kept = {"id": str(uuid.uuid4()), "path": "a.ipynb", "name": "", "type": "notebook"}
    await server.stop()
    peer.kill()
    await server.start()
    for what in ("kernels", "sessions"):  # an open page would let go of its kernel
        assert (await server.api("GET", f"/api/{what}"))[0] == 503
    if server.local:  # it does not wait for ever
        for _ in range(100):
            if (await server.api("GET", "/api/kernels")) == (200, []):
                break
            await asyncio.sleep(0.1)
        assert (await server.api("GET", "/api/sessions")) == (200, [])
    peer.back()
    for _ in range(300):
        status, sessions = await server.api("GET", "/api/sessions")
        if status == 200 and sessions:
            break
        await asyncio.sleep(0.1)
    assert [(s["id"], s["kernel"]["id"]) for s in sessions] == [(kept.kept["id"], kept.id)]


async def test_kernels_of_another_gateway_end_with_the_server(server, peer):
    peer.features = []
    await server.stop()
    await server.start()
    _, made = await server.api("POST", "/api/sessions", {"path": "a", "type": "notebook"})
    assert list(peer.kernels) == [made["kernel"]["id"]]
    await server.stop()
    assert peer.kernels == {}
    peer.refusing = True  # the token of a stopped notebook
    await server.start()
    await server.kernel()
    await server.stop()
    assert server.process.returncode == 0, server.log
    assert "the gateway's kernels are left to the gateway" in server.log
    assert "Traceback" not in server.log, server.log


async def test_a_busy_kernel_is_activity_of_the_server(server, peer):
    kernel = await server.kernel()
    ran = peer.kernels[kernel]
    other = peer.add(Kernel())  # somebody else's
    other.state = "busy"

    async def comes(still, what):
        for _ in range(20):  # it takes a few looks at the gateway
            before = await server.last_activity()
            await asyncio.sleep(0.8)
            if still == (before == await server.last_activity()):
                return
        raise AssertionError(what)

    await comes(True, "an idle kernel is none")
    ran.state = "busy"
    await comes(False, "a busy one is, with no browser there")
    if server.local:  # jupyter_server itself answers 503 with the gateway
        peer.failing = True
        await asyncio.sleep(0.5)
        await comes(False, "nothing is concluded from a gateway that is away")
        peer.failing = False
    ran.state = "idle"
    await comes(True, "it has ended")
    at = datetime.now(timezone.utc)
    ran.last_activity = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for _ in range(100):
        seen = await server.last_activity()
        if abs((seen - at).total_seconds()) < 0.001:
            break
        await asyncio.sleep(0.1)
    assert abs((seen - at).total_seconds()) < 0.001, "what the gateway knows counts"
    ran.last_activity = "2999-01-01T00:00:00.000000Z"
    await asyncio.sleep(0.5)
    assert await server.last_activity() <= datetime.now(timezone.utc), "clocks may differ"
    ran.last_activity = "2026-01-01T00:00:00.000000Z"
    browser = await Browser(server, kernel).open()
    await browser.answer(
        browser.send(message("shell", "kernel_info_request", {}, session=browser.session))
    )
    await comes(True, "a page that only looks is none")
    before = await server.last_activity()
    await browser.answer(browser.run("count 1"))
    assert await server.last_activity() > before, "a run is"
    hung = browser.run("hang")
    await until("it runs", lambda: "hang" in ran.executed)
    await asyncio.sleep(1.1)
    before = await server.last_activity()
    ran.publish(browser.session, message("iopub", "stream", {"text": "x"}, hung.header()))
    await until("it is read", lambda: browser.text(hung))
    assert await server.last_activity() > before, "output is"
    await browser.close()


@mixed
async def test_kernels_of_this_server_and_of_the_gateway(server, peer):
    for _ in range(100):  # the first answer may come before the gateway's
        _, listed = await server.api("GET", "/api/kernelspecs")
        if listed["default"] == "python-gpu":
            break
        await asyncio.sleep(0.1)
    assert listed["default"] == "python-gpu"
    names = {k: v["spec"]["display_name"] for k, v in listed["kernelspecs"].items()}
    names.pop("ir", None)  # of the machine, where R is installed
    assert names == {
        "python-gpu": "Python 3 (GPU)",
        "python3": "Python 3 (ipykernel) (this server)",
    }
    _, spec = await server.api("GET", "/api/kernelspecs/python3")
    assert spec["spec"]["display_name"] == names["python3"]
    logo = spec["resources"]["logo-svg"]
    assert b"<svg" in (await server.api("GET", logo))[1]
    assert (await server.api("GET", "/api/kernelspecs/nothing"))[0] == 404

    # Sessions, as JupyterLab makes them.
    async def session(name):
        body = {"path": f"{name}.ipynb", "type": "notebook", "name": name, "kernel": {"name": name}}
        status, made = await server.api("POST", "/api/sessions", body)
        assert status == 201, made
        return made

    local, remote = await session("python3"), await session("python-gpu")
    assert list(peer.kernels) == [remote["kernel"]["id"]]
    _, kernels = await server.api("GET", "/api/kernels")
    assert {k["id"]: k["name"] for k in kernels} == {
        local["kernel"]["id"]: "python3",
        remote["kernel"]["id"]: "python-gpu",
    }
    assert len((await server.api("GET", "/api/sessions"))[1]) == 2

    here = await Browser(server, local["kernel"]["id"]).open()
    run = here.run("import os; print(os.getpid(), 6*7)")
    await here.answer(run)
    await until("it has printed", lambda: here.text(run).endswith("42\n"))
    here_pid = here.text(run).split()[0]
    assert Path(f"/proc/{here_pid}").exists(), "it runs on this machine"
    there = await Browser(server, remote["kernel"]["id"]).open()
    await there.answer(there.run("count 1"))
    assert len(peer.open) == 1

    for kernel in (local, remote):
        for action, status in (("interrupt", 204), ("restart", 200)):
            path = f"/api/kernels/{kernel['kernel']['id']}/{action}"
            assert (await server.api("POST", path))[0] == status, path
    assert peer.actions == [
        ("interrupt", remote["kernel"]["id"]),
        ("restart", remote["kernel"]["id"]),
    ]
    again = here.run("print('os' in globals())")
    await here.answer(again)
    await until("it has printed", lambda: here.text(again) == "False\n")

    # Renaming a notebook.
    for made in (local, remote):
        status, _ = await server.api(
            "PATCH", f"/api/sessions/{made['id']}", {"path": "renamed.ipynb"}
        )
        assert status == 200

    # Without the gateway this server's kernels work, and nothing is forgotten.
    peer.failing = True
    _, kernels = await server.api("GET", "/api/kernels")
    assert {k["name"] for k in kernels} == {"python3", "python-gpu"}
    _, listed = await server.api("GET", "/api/kernelspecs")
    assert set(listed["kernelspecs"]) - {"ir"} == {"python3", "python-gpu"}
    await here.answer(here.run("1"))
    second = await server.kernel("python3")
    beside = await Browser(server, second).open()
    await beside.answer(beside.run("1"))  # it is up: ipykernel has words for an end before that
    await beside.close()
    assert (await server.api("POST", "/api/kernels", {"name": "python-gpu"}))[0] == 503
    peer.failing = False

    # What the gateway has dropped is gone here too, and its session.
    await there.close()
    del peer.kernels[remote["kernel"]["id"]]
    _, kernels = await server.api("GET", "/api/kernels")
    assert {k["id"] for k in kernels} == {local["kernel"]["id"], second}
    assert [s["id"] for s in (await server.api("GET", "/api/sessions"))[1]] == [local["id"]]
    assert (await server.api("GET", f"/api/kernels/{remote['kernel']['id']}"))[0] == 404

    # A name that both have is the gateway's.
    peer.specs = {"python3": {**SPECS["python-gpu"], "name": "python3"}}
    _, listed = await server.api("GET", "/api/kernelspecs")
    assert listed["kernelspecs"]["python3"]["spec"]["display_name"] == "Python 3 (GPU)"
    assert await server.kernel("python3") in peer.kernels
    assert "the gateway's kernelspec python3 hides this server's" in server.log

    await here.close()
    process = int(here_pid)
    await server.stop()
    assert not Path(f"/proc/{process}").exists(), "it ends with the server"
    assert len(peer.kernels) == 1, "the gateway's goes on"
    assert "Traceback" not in server.log, server.log


def test_what_a_gateway_says_of_activity():
    now = datetime(2026, 5, 1, tzinfo=timezone.utc)
    at = datetime(2026, 4, 1, tzinfo=timezone.utc)

    def model(kernel="a", state="idle", activity="2026-04-01T00:00:00.000000Z"):
        return {"id": kernel, "execution_state": state, "last_activity": activity}

    for models, expected in (
        ([], (None, set())),
        ([model()], (at, set())),
        ([model("b", "busy")], (None, set())),
        ([model(), model("c", activity="2026-04-02T00:00:00Z")], (at.replace(day=2), set())),
        ([model(state="busy"), model("c")], (now, {"a"})),
        ([model(state="starting")], (now, {"a"})),
        ([model(state="dead")], (at, set())),
        ([model(activity="2030-01-01T00:00:00Z")], (now, set())),
        ([model(activity="2026-04-01T00:00:00")], (None, set())),
        ([model(activity="nonsense"), model("c", activity=None), "x", None], (None, set())),
        ([model(state="busy", activity=5)], (now, {"a"})),
    ):
        assert liveness.judge(models, {"a", "c"}, now) == expected, models


def test_configuration():
    from traitlets.config import Config

    from elastichub.notebook import configure

    c = Config()
    configure(c, {})
    assert "kernel_websocket_connection_class" not in c.ServerApp, (
        "without a gateway it is Jupyter's"
    )
    configure(c, {"JUPYTER_GATEWAY_URL": "http://gateway"})
    assert (
        c.ServerApp.kernel_websocket_connection_class
        == "elastichub.notebook.connection.GatewayConnection"
    )
    assert c.ServerApp.kernel_manager_class == "elastichub.notebook.mixing.GatewayKernels"
    c = Config({"GatewayClient": {"url": "http://gateway"}})
    configure(c, {"ELASTICHUB_LOCAL_KERNELS": "true"})
    assert c.ServerApp.kernel_manager_class == "elastichub.notebook.mixing.MixedKernelManager"
    with pytest.raises(ValueError, match="ELASTICHUB_LOCAL_KERNELS"):
        configure(Config(), {"ELASTICHUB_LOCAL_KERNELS": "yes"})


def test_a_page_is_signed_in_for_one_start():
    from traitlets.config import Config

    from elastichub.notebook import configure

    def secret(token, c=None):
        c = c or Config()
        configure(c, {"JUPYTER_GATEWAY_URL": "http://gateway", "JUPYTERHUB_API_TOKEN": token})
        return c.ServerApp.get("cookie_secret")

    assert len(secret("a")) == 32
    assert secret("a") == secret("a") != secret("b")
    assert secret("") is None, "without a Hub it is Jupyter's"
    assert secret("a", Config({"ServerApp": {"cookie_secret": b"own"}})) == b"own"


@pytest.mark.parametrize(
    ("without", "imports"),
    [
        ("jupyter_server", "from elastichub import ElasticSpawner"),
        ("jupyterhub", "import elastichub.notebook.mixing, elastichub.notebook.liveness"),
    ],
)
def test_neither_side_needs_what_the_other_does(without, imports):
    code = f"import sys; sys.modules[{without!r}] = None\n{imports}"
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
