"""What a notebook server is at: by its rules, and at a real jupyter_server with real terminals, alone in a
namespace of processes as it is in its container."""

import asyncio
import json
import os
import shutil
import sys
from datetime import datetime, timedelta, timezone

import nbformat
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from conftest import missing
from elastichub.notebook import processes
from elastichub.notebook.activity import _instant
from elastichub.notebook.processes import Looks, Process
from notebookserver import Browser, Server
from peer import Peer, until

PATH = "/elastichub/v1/activity"
TERMINALS = """
c.ServerApp.jpserver_extensions["jupyter_server_terminals"] = True
from elastichub.notebook import busy
processes.Looks.look = look
busy.LOOK_EVERY = 0.5
processes.WINDOW = 4
"""


def process(pid, name="python", parent=1, group=0, terminal=0, front=-1, cpu=0.0, arguments=()):
    return Process(pid, parent, group or pid, pid, terminal, front, cpu, 100.0, name, (name, *arguments))


def by_pid(*found):
    return {p.pid: p for p in found}


def in_front(*found, waits=False):
    return [w.process.name for w in processes.commands(by_pid(*found), 1, lambda _: waits)]


@pytest.mark.parametrize(
    ("shell", "at_rest"),
    [
        (("sh",), True),
        (("dash", "-l"), True),
        (("sh", "-c", "read x"), False),
        (("sh", "job.sh"), False),
        (("bash",), False),
    ],
)
def test_a_shell_that_edits_no_lines(shell, at_rest):
    """Others wait for keys at their prompts."""
    alone = process(7, shell[0], terminal=5, front=7, arguments=shell[1:])
    assert (in_front(alone) == []) == at_rest
    assert in_front(alone, waits=True) == []


def test_what_is_in_front_of_a_terminal():
    shell = process(7, "sh", terminal=5, front=8)
    command = process(8, "sleep", parent=7, terminal=5, front=8)
    assert in_front(shell, command) == ["sleep"]
    assert in_front(shell, command, waits=True) == [], "an editor"
    behind = command._replace(front=7)
    assert in_front(shell._replace(front=7), behind) == [], "a job in the background"
    substitution = process(9, "sed", group=7, terminal=5, front=7)
    assert in_front(shell._replace(front=7), substitution) == ["sh"]
    assert in_front(process(1, terminal=5, front=1), shell, command) == [], "where the server itself was started"
    assert in_front(process(1), shell._replace(front=-1)) == []


def test_what_is_at_work_without_a_terminal():
    def names(*found, **used):
        return [w.process.pid for w in processes.others(by_pid(*found), 3, {int(k[1:]): v for k, v in used.items()})]

    server = [process(1, "tini", parent=0), process(3, "jupyter-lab", parent=1)]
    job = process(9, "python", parent=1, arguments=("train.py",))
    assert names(*server, job, p9=0.05) == [9] and names(*server, job, p9=0.049) == []
    assert names(*server, job, p1=1, p3=1) == [], "what the server itself computes is its requests"
    assert names(process(9, "ssh", arguments=("host",))) == [9] and names(process(9, "ssh-agent")) == []
    listener = process(9, "sshd")
    assert names(listener) == [] and names(listener, process(10, "sshd", parent=9)) == [10]
    for command in (
        ("/opt/venv/bin/jupyter-nbconvert", "--execute", "a.ipynb"), ("-m", "papermill", "a", "b"),
        ("-u", "-X", "dev", "/usr/bin/papermill", "a", "b"), ("-m", "nbconvert"),
    ):
        assert names(process(9, "python3.11", arguments=command)) == [9], command
    for command in (("-c", "papermill"), ("-", "papermill"), ("report.py", "papermill"), ()):
        assert names(process(9, "python3.11", arguments=command)) == [], command


def test_cpu_time_is_compared_with_a_minute_ago():
    now, cpu = 0.0, 100.0
    looks = Looks(lambda: by_pid(process(9, cpu=cpu)), lambda: now)
    assert looks.look()[1] == {}, "nothing to compare with"
    now, cpu = 30, 103
    assert looks.look()[1] == {9: 3 / 60}
    now, cpu = 60, 103
    assert looks.look()[1] == {9: 3 / 60}
    for now in (90, 120, 150):
        assert looks.look()[1] == {9: 0}, now
    now, looks._read = 160, lambda: by_pid(process(9, cpu=1)._replace(began=155.0))
    assert looks.look()[1] == {9: 1 / 70}, "another of that pid"


def test_the_processes_of_this_machine():
    found = processes.read_processes()
    own = found[os.getpid()]
    assert own.parent == os.getppid() and own.group == os.getpgrp() and own.session == os.getsid(0)
    assert own.cpu == pytest.approx(sum(os.times()[:4]), abs=0.5) and own.arguments[0] == sys.executable
    assert processes.process_of(own.pid).began == own.began and processes.process_of(1 << 22) is None


class Terminal:
    def __init__(self, server, name):
        self.server, self.name, self.said = server, name, ""

    async def open(self):
        url = f"ws://127.0.0.1:{self.server.port}/terminals/websocket/{self.name}"
        self.ws = await websocket_connect(HTTPRequest(url, headers={"Authorization": "token t"}))
        self.task = asyncio.ensure_future(self._read())
        return self

    async def _read(self):
        while (said := await self.ws.read_message()) is not None:
            kind, *rest = json.loads(said)
            if kind == "stdout":
                self.said += rest[0]

    def type(self, text):
        self.ws.write_message(json.dumps(["stdin", text]))

    async def prompt(self):
        """A line that only a shell at its prompt answers."""
        self.said = ""
        self.type("echo at$((20+2))prompt\r")
        await until("the shell is at its prompt", lambda: "at22prompt" in self.said)


@pytest.fixture(params=[False, True], ids=["gateway", "mixed"])
async def server(request, tmp_path):
    if not shutil.which("unshare"):
        missing("unshare")
    peer = Peer()
    peer.start()
    server = Server(tmp_path, peer, local=request.param, config=TERMINALS)
    server.prefix = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGTERM", "--")
    if os.geteuid() != 0:
        server.prefix = ("unshare", "--map-root-user", *server.prefix[1:])
    server.env |= {"SHELL": "/bin/bash", "PS1": "$ ", "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    await server.start()
    server.peer = peer
    yield server
    await server.api("POST", "/api/shutdown")  # unshare passes no signal on
    await server.stop()
    peer.kill()
    assert "Traceback" not in server.log, server.log


async def tells(server):
    code, said = await server.api("GET", PATH)
    assert code == 200, said
    return said


async def is_at(server, *expected):
    """(kind, name) of what it is at, which has begun and is not in the future."""
    told = []

    async def look():
        told[:] = (await tells(server))["busy"]
        return [(b["kind"], b["name"]) for b in told] == list(expected)

    try:
        for _ in range(150):
            if await look():
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError(f"{told}, not {expected}")
    finally:
        now = datetime.now(timezone.utc)
        for busy in told:
            assert now - timedelta(minutes=5) < _instant(busy["since"]) < now + timedelta(seconds=1), busy


async def stays_at(server, *expected):
    await is_at(server, *expected)
    await asyncio.sleep(1)
    await is_at(server, *expected)


@pytest.mark.parametrize("server", [False], indirect=True)
async def test_terminals(server):
    await is_at(server)
    _, model = await server.api("POST", "/api/terminals")
    terminal = await Terminal(server, model["name"]).open()
    name = model["name"]
    await terminal.prompt()
    await stays_at(server)

    terminal.type("sleep 200\r")  # silent
    await stays_at(server, ("terminal", f"{name} (sleep)"))
    since = (await tells(server))["busy"][0]["since"]
    assert (await tells(server))["lastActivity"] > since
    terminal.type("\x03")
    await is_at(server)

    terminal.type("tail -f $(mktemp)\r")
    await stays_at(server, ("terminal", f"{name} (tail)"))
    terminal.type("\x03")
    await terminal.prompt()

    # The page need not be open.
    terminal.type("sleep 201\r")
    await is_at(server, ("terminal", f"{name} (sleep)"))
    terminal.ws.close()
    await stays_at(server, ("terminal", f"{name} (sleep)"))
    terminal = await Terminal(server, name).open()
    terminal.type("\x03")
    await terminal.prompt()

    # A prompt within a prompt, with and without editing of lines.
    for command in ("python3 -q", "bash --norc", "sh"):
        terminal.type(command + "\r")
        await asyncio.sleep(0.5)
        await stays_at(server)
        terminal.type("\x04")
        await terminal.prompt()
    terminal.type("python3 -qc 'import time; time.sleep(100)'\r")
    await is_at(server, ("terminal", f"{name} (python3)"))
    terminal.type("\x03")
    await terminal.prompt()

    # What computes is at work wherever it is.
    terminal.type("nohup sh -c 'while :; do :; done' >/dev/null 2>&1 &\r")
    await is_at(server, ("process", "sh"))
    terminal.type("kill %1\r")
    await is_at(server)

    # Programs that wait for keys.
    terminal.type(f"cd {server.directory}; export LC_ALL=C.UTF-8\r")
    for command, end in (("vim -u NONE -N", ":q!\r"), ("less server.log", "q"), ("top", "q")):
        if not shutil.which(command.split()[0]):
            continue
        terminal.type(command + "\r")
        await asyncio.sleep(1.5)
        await stays_at(server)
        if command == "top":  # which goes on printing: that is no use
            await asyncio.sleep(8)  # as exactly as Linux notes what is typed
            used = (await tells(server))["lastActivity"]
            await asyncio.sleep(5)
            assert (await tells(server))["lastActivity"] == used
            assert await server.last_activity() > _instant(used), "which jupyter_server takes for use"
            terminal.type("h")
            await asyncio.sleep(0.5)
            assert (await tells(server))["lastActivity"] > used
            terminal.type("q")
            await asyncio.sleep(0.5)
        terminal.type(end)
        await asyncio.sleep(0.5)  # top takes what comes in one piece for one key
        await terminal.prompt()
    if shutil.which("tmux"):  # which gives its programs terminals of their own
        terminal.type("tmux new sleep\\ 300\r")
        await is_at(server, ("terminal", "pts/1 (sleep)"))

    await server.kernel()
    await tells(server)
    server.peer.kill()
    assert (await server.api("GET", PATH))[0] >= 500, "nothing may be concluded"


async def what_only_reads_is_no_use(server):
    (server.directory / "home" / "a.txt").write_text("a")
    used = (await tells(server))["lastActivity"]
    for path in (
        "kernels", "sessions", "terminals", "contents", "contents/a.txt?content=1", "kernelspecs", "status", "me",
    ):
        code, _ = await server.api("GET", f"/api/{path}")
        assert code == 200, path
    await server.api("POST", "/git/status", {})
    await server.api("PUT", "/lab/api/workspaces/default", {})
    assert (await server.api("POST", PATH + "/page", {"usedSecondsAgo": None}))[0] == 200
    await server.api("POST", PATH + "/page", {"usedSecondsAgo": 3600})
    assert (await tells(server))["lastActivity"] == used
    assert await server.last_activity() == _instant(used), "neither for the Hub"

    async def is_use(*request):
        nonlocal used
        code, said = await server.api(*request)
        assert code < 300, said
        former, used = used, (await tells(server))["lastActivity"]
        assert used > former, request

    await is_use("POST", PATH + "/page", {"usedSecondsAgo": 0})
    await is_use("PUT", "/api/contents/b.txt", {"type": "file", "format": "text", "content": "b"})
    await is_use("POST", "/api/terminals")
    await is_use("DELETE", "/api/contents/b.txt")
    assert await server.last_activity() == _instant(used)
    for bad in ({"usedSecondsAgo": "now"}, {"usedSecondsAgo": {}}, {"usedSecondsAgo": 1e300}, []):
        code, _ = await server.api("POST", PATH + "/page", bad)
        assert code == (200 if bad == [] else 400), bad


@pytest.mark.parametrize("server", [True], indirect=True)
async def test_use_and_kernels_and_notebooks_that_are_run(server):
    await what_only_reads_is_no_use(server)
    kernel = await server.kernel("python3")
    page = await Browser(server, kernel).open()
    await is_at(server)
    page.run("import time; time.sleep(6)")
    await is_at(server, ("kernel", kernel))
    await is_at(server)
    used = _instant((await tells(server))["lastActivity"])
    assert datetime.now(timezone.utc) - used < timedelta(seconds=3)
    # One that goes on in a thread.
    page.run("import threading\ndef work():\n while not over: pass")
    page.run("over = False; threading.Thread(target=work).start()")
    await asyncio.sleep(2)
    await is_at(server, ("kernel", kernel))
    page.run("over = True")
    await is_at(server)
    # Nobody knows of this kernel but the process that runs it.
    home = server.directory / "home"
    cells = [nbformat.v4.new_code_cell("import time; time.sleep(100)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home / "long.ipynb")
    command = ["jupyter", "nbconvert", "--execute", "--to", "html", "long.ipynb"]
    page.run(f"import subprocess; p = subprocess.Popen({command}, cwd={str(home)!r}, stdout=-3, stderr=-3)")
    await asyncio.sleep(5)
    names = {busy["name"] for busy in (await tells(server))["busy"]}
    assert "jupyter-nbconvert" in names
    page.run("p.terminate()")
    await page.dispose()
