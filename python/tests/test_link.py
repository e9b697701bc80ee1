"""The connection to the gateway against a peer that breaks it at any point: every message arrives
exactly once and in order, whatever is cut."""

import asyncio
import logging
import random
import time

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from elastichub.notebook import frames
from elastichub.notebook import link as links
from elastichub.notebook import outlet as outlets
from elastichub.notebook.conversation import Conversation
from elastichub.notebook.frames import RESUME, V1
from elastichub.notebook.link import Link
from elastichub.notebook.outlet import Outlet
from peer import Kernel, Peer, message, until


class Browser:
    """A browser's socket: it reads what it gets, until it sleeps."""

    def __init__(self, got):
        self.got = got
        self.asleep = self.closed = False
        self.on_pong = lambda data: None

    def write_message(self, frame, binary):
        if self.closed:
            raise WebSocketClosedError
        assert binary
        if not self.asleep:
            self.got.append(frames.parse_v1(frame))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def ping(self, data):
        if self.closed:
            raise WebSocketClosedError
        if not self.asleep:
            asyncio.get_running_loop().call_soon(self.on_pong, data)


class Page:
    """One Jupyter session: its browser socket, its link, what it has seen."""

    def __init__(self, peer, kernel):
        self.peer, self.kernel = peer, kernel
        self.talk, self.outlet, self.got = Conversation(), Outlet(), []
        self.sent = []
        self.browser = None

    async def open(self):
        self.browser = Browser(self.got)
        await self.outlet.attach(self.browser, V1)
        log = logging.getLogger("link")
        self.link = Link(self.talk, self.outlet, self.dial, lambda m: None, log, "test")
        self.task = asyncio.ensure_future(self.link.run())

    async def dial(self, query):
        url = f"ws://127.0.0.1:{self.peer.port}/api/kernels/{self.kernel.id}/channels?session_id=s{query}"
        request = HTTPRequest(url, headers={"Authorization": "token secret"})
        return await websocket_connect(request, subprotocols=[RESUME, V1])

    def send(self, made):
        self.sent.append(made)
        assert self.talk.say(made) is None
        self.link.nudge()
        return made

    def run(self, code):
        return self.send(message("shell", "execute_request", {"code": code}, session="page"))

    def answered(self, request):
        return [m for m in self.of(request) if m.channel == "shell"]

    def of(self, request):
        return [m for m in self.got if m.parent() == request.header()]

    def text(self, request):
        return "".join(m.content().get("text", "") for m in self.of(request))

    async def close(self):
        self.browser.closed = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.outlet.detach(self.browser)


@pytest.fixture
async def peer():
    peer = Peer()
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(links, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(links, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(links, "ACK_AFTER", 0.003)


def numbers(count):
    return "".join(f"{n}\n" for n in range(count))


async def test_what_has_arrived_is_acknowledged_at_the_end(peer, monkeypatch):
    """Another process that takes the session over begins after it."""
    monkeypatch.setattr(links, "ACK_AFTER", 60)
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    run = page.run("count 3")
    await until("it is answered", lambda: page.answered(run))
    assert kernel.session("s").log
    await page.close()
    await until("the agent was told that all arrived", lambda: not kernel.session("s").log)


async def test_much_is_acknowledged_at_once(peer, monkeypatch):
    """The kernel waits until large output is acknowledged."""
    monkeypatch.setattr(links, "ACK_AFTER", 3600)
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    run = page.run("count 3")
    await until("it is answered", lambda: page.answered(run))
    log = kernel.session("s").log
    little = len(log)
    assert little > 3
    page.send(
        message("shell", "comm_msg", {}, buffers=[bytes(links.ACK_BYTES)], session="page")
    )
    await until("what came before was acknowledged", lambda: len(kernel.session("s").log) < little)
    await page.close()


@pytest.mark.parametrize("seed", range(12))
async def test_every_message_once_and_in_order_whatever_is_cut(peer, seed):
    choice = random.Random(seed)
    random.seed(seed)
    peer.budget = lambda: choice.randint(1, 25)
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    runs = []
    for turn in range(20):
        runs.append(page.run(f"count {choice.randint(0, 15)}"))
        if choice.random() < 0.5:
            buffers = [choice.randbytes(choice.randint(0, 3000)) for _ in range(2)]
            page.send(message("shell", "comm_msg", {"data": turn}, buffers=buffers, session="page"))
        if choice.random() < 0.3:
            runs.append(asked := page.run("input"))
            await until(
                "input is asked for", lambda: any(m.channel == "stdin" for m in page.of(asked))
            )
            page.send(
                message(
                    "stdin", "input_reply", {"value": f"v{turn}"}, asked.header(), session="page"
                )
            )
        if choice.random() < 0.5:
            await asyncio.sleep(choice.random() / 50)
    await until("every run is answered", lambda: all(page.answered(r) for r in runs))
    await until("the agent was told that all arrived", lambda: not kernel.session("s").log)
    assert not page.talk.open, "all is settled"
    # To the kernel: each message once, in the order in which it was sent.
    assert [m.header()["msg_id"] for m in kernel.received] == [
        m.header()["msg_id"] for m in page.sent
    ]
    assert [m.parts for m in kernel.received] == [m.parts for m in page.sent]
    # To the browser: what the kernel wrote, each message once, in its order.
    ids = [m.header()["msg_id"] for m in page.got]
    assert len(ids) == len(set(ids))
    expected = [m for m in page.sent if m.header()["msg_type"] == "execute_request"]
    for run in expected:
        code = run.content()["code"]
        if code.startswith("count "):
            assert page.text(run) == numbers(int(code.removeprefix("count ")))
        assert len(page.answered(run)) == 1
        states = [s for m in page.of(run) if (s := m.content().get("execution_state"))]
        assert states == ["busy", "idle"]
    comms = [m for m in page.got if m.header()["msg_type"] == "comm_msg"]
    assert [m.parts[3:] for m in comms] == [
        m.parts[3:] for m in page.sent if m.header()["msg_type"] == "comm_msg"
    ]
    assert peer.dialled > 5, "the connection did break"
    await page.close()


@pytest.mark.parametrize("seed", range(6))
async def test_a_browser_that_sleeps_finds_everything_on_its_return(peer, seed):
    choice = random.Random(seed)
    peer.budget = lambda: choice.randint(5, 60)
    kernel = peer.add()
    page = Page(peer, kernel)
    for _ in range(10):
        await page.open()
        run = page.run("count 40")
        await asyncio.sleep(choice.random() / 30)
        # The lid: nothing arrives any more, and nobody here knows for a while.
        page.browser.asleep = True
        await asyncio.sleep(choice.random() / 30)
        await page.close()
    await page.open()
    await until("the last run is answered", lambda: page.answered(run))
    seen, order = set(), []
    for m in page.got:
        if (key := m.header()["msg_id"]) not in seen:
            seen.add(key)
            order.append(m)
    page.got[:] = order
    for run in page.sent:
        assert page.text(run) == numbers(40)
        assert len(page.answered(run)) == 1
    assert [m.header()["msg_id"] for m in kernel.received] == [
        m.header()["msg_id"] for m in page.sent
    ]
    await page.close()


async def test_what_was_confirmed_does_not_come_again(peer):
    page = Page(peer, peer.add())
    await page.open()
    run = page.run("count 5")
    await until("it is answered", lambda: page.answered(run))
    await until("the browser has confirmed", lambda: not page.outlet.kept)
    assert page.outlet.bytes == 0
    await page.close()
    before = len(page.got)
    await page.open()
    again = page.run("count 1")
    await until("it is answered", lambda: page.answered(again))
    assert all(m.parent() == again.header() for m in page.got[before:])
    await page.close()


async def test_a_gateway_that_is_away_for_a_while(peer):
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    first = page.run("count 3")
    await until("it is answered", lambda: page.answered(first))
    peer.kill()
    runs = [page.run(f"count {n}") for n in range(3)]
    await asyncio.sleep(0.3)
    assert not any(page.answered(run) for run in runs)
    peer.back()
    await until("what was typed meanwhile has run", lambda: all(page.answered(run) for run in runs))
    assert kernel.executed == ["count 3", "count 0", "count 1", "count 2"]
    assert len(peer.open) == 1
    await page.close()
    await until("its connection is closed", lambda: not peer.open)


async def test_another_process_of_the_kernel(peer):
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    lost = page.run("hang")
    await until("it runs", lambda: page.of(lost))
    kernel.renew()
    await until("it is answered", lambda: page.answered(lost))
    assert [m.header()["msg_type"] for m in page.of(lost)] == [
        "status",
        "status",
        "error",
        "execute_reply",
        "status",
    ]
    assert page.answered(lost)[0].content()["ename"] == "KernelDied"
    run = page.run("count 2")
    await until("the new process answers", lambda: page.answered(run))
    assert page.text(run) == "0\n1\n"
    await page.close()


@pytest.mark.parametrize("told", [True, False], ids=["the gateway says so", "meanwhile"])
async def test_a_kernel_that_is_deleted(peer, told):
    """Every cell gets an answer: also one that another replica of the gateway had sent, and one that
    is run afterwards."""
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    lost = page.run("hang")
    await until("it runs", lambda: page.of(lost))
    if told:
        dead = message("iopub", "status", {"execution_state": "dead"})
        for socket in list(peer.open):
            socket.pass_on(0, dead)
    del peer.kernels[kernel.id]
    for socket in list(peer.open):
        socket.close(1000, "the kernel is gone")
    await until("it is answered", lambda: page.answered(lost))
    assert [m.header()["msg_type"] for m in page.of(lost)] == ["status", "status", "error", "execute_reply", "status"]
    later = page.run("count 1")
    await until("the next one is answered", lambda: page.answered(later))
    for run in (lost, later):
        assert [m.content().get("ename") for m in page.answered(run)] == ["KernelDeleted"]
        assert page.of(run)[-1].content() == {"execution_state": "idle"}
    deaths = [m for m in page.got if m.content().get("execution_state") == "dead"]
    assert 1 <= len(deaths) <= 2, "the page is told, and not with every attempt"
    assert not page.talk.open
    await page.close()


async def test_a_message_that_is_too_large_is_answered_and_not_sent_again(peer):
    peer.limit = 10_000
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    large, small = page.run("x" * 20_000), page.run("count 1")
    await until("the small one has run", lambda: page.text(small) == "0\n")
    assert [m.content().get("ename") for m in page.answered(large)] == ["MessageTooLarge"]
    assert kernel.executed == ["count 1"]
    dialled = peer.dialled
    await asyncio.sleep(0.1)
    assert peer.dialled == dialled, "it is not tried again"
    await page.close()


@pytest.mark.parametrize("speaks", [[V1], []], ids=["v1", "legacy"])
async def test_another_gateway(peer, caplog, speaks):
    peer.speaks = speaks
    kernel = peer.add()
    page = Page(peer, kernel)
    caplog.set_level(logging.INFO)
    await page.open()
    run = page.run("count 30")
    binary = page.send(message("shell", "comm_msg", {}, buffers=[b"\xff\x00"], session="page"))
    await until("it is answered", lambda: page.answered(run) and page.of(binary)[-1:])
    assert page.text(run) == numbers(30)
    assert [m.parts[4:] for m in page.of(binary) if m.header()["msg_type"] == "comm_msg"] == [
        [b"\xff\x00"]
    ]
    peer.kill()
    await until("it has noticed", lambda: page.link.attempt > 1)
    later = page.run("count 1")
    peer.back()
    await until("what was typed meanwhile has run", lambda: page.answered(later))
    assert kernel.executed == ["count 30", "count 1"], "nothing is run twice"
    said = [r for r in caplog.records if "does not speak v1.resume.elastichub.io" in r.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    await page.close()


async def test_a_browser_that_does_not_read_holds_a_bounded_amount(peer, monkeypatch):
    monkeypatch.setattr(outlets, "WINDOW", 20_000)
    kernel = peer.add()
    page = Page(peer, kernel)
    await page.open()
    page.browser.asleep = True
    run = page.run("count 2000")
    await until("the window is full", lambda: page.outlet.bytes >= 20_000)
    await asyncio.sleep(0.2)
    assert page.outlet.bytes < 30_000
    await page.close()
    await page.open()
    await until("all of it has arrived", lambda: page.answered(run))
    assert page.text(run) == numbers(2000)
    await page.close()


async def test_a_silent_gateway_is_left(peer, monkeypatch):
    monkeypatch.setattr(links, "PING_EVERY", 0.1)
    monkeypatch.setattr(links, "SILENCE", 2)
    page = Page(peer, peer.add())
    await page.open()
    await until("it is connected", lambda: peer.open)
    await asyncio.sleep(2.5)
    assert peer.dialled == 1, "one that answers pings is not silent"
    (socket,) = peer.open
    socket.ws_connection._handle_message = lambda opcode, data: None
    await until("it has dialled again", lambda: peer.dialled > 1)
    await page.close()


async def test_garbage_of_the_gateway_is_dropped(peer):
    page = Page(peer, peer.add())
    await page.open()
    (socket,) = await until("it is connected", lambda: peer.open)
    for frame in (
        b"",
        b"x",
        b"\xff" * 100,
        "text",
        "{}",
        '{"hello": 1}',
        '{"hello": {"epoch": 5}}',
        "[" * 50_000,
    ):
        socket.write_message(frame, binary=isinstance(frame, bytes))
    run = page.run("count 1")
    await until("it goes on", lambda: page.answered(run))
    assert peer.dialled == 1
    await page.close()


def test_pauses():
    longest = [links.pause(n, False, 0.999) for n in range(40)]
    assert longest == sorted(longest)
    assert longest[0] < 0.3
    assert max(longest) <= links.LONGEST_PAUSE
    assert min(links.pause(n, True, 0) for n in range(40)) >= links.REFUSED_PAUSE / 2


async def test_a_refusal_is_tried_again_slowly(peer, monkeypatch, caplog):
    monkeypatch.setattr(links, "REFUSED_PAUSE", 0.2)
    page = Page(peer, Kernel())
    began = time.monotonic()
    await page.open()
    await until("it has dialled again", lambda: peer.dialled >= 2)
    await asyncio.sleep(0.3)
    assert peer.dialled <= 1 + (time.monotonic() - began) / 0.1
    assert len([r for r in caplog.records if "cannot be reached" in r.getMessage()]) == 1
    peer.add(page.kernel)
    run = page.run("count 1")
    await until("it is served when it is there", lambda: page.answered(run))
    await page.close()
