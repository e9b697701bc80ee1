"""Servers in kernels as pages of this server: what goes through to them, what comes back, and what does not."""

import asyncio
from typing import ClassVar

import pytest
from tornado import web, websocket
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

from elastichub.notebook import ports
from notebookserver import Server
from peer import Peer, until


class Board(web.RequestHandler):
    """A gateway, an agent and a server in a kernel in one: it answers what the last one would."""

    seen: ClassVar[list] = []
    answer: ClassVar[dict] = {}

    def prepare(self):
        peer = self.application.settings["peer"]
        kernel = self.request.path.split("/")[3]
        self.seen.append(self.request)
        if kernel not in peer.kernels:
            self.set_status(404)
            self.finish({"reason": "NotFound", "message": "There is no such kernel."})
            return
        problem = self.answer.get("problem")
        if problem:
            self.set_status(problem[0])
            self.finish({"reason": "x", "message": problem[1]})
            return
        for name in ("Server", "Content-Type", "Date"):
            self.clear_header(name)
        self.set_header("Elastichub-From", "kernel")
        for name, value in self.answer.get("headers", ()):
            self.add_header(name, value)

    async def get(self, *_):
        if self.request.path.endswith("/lines"):
            for n in range(3):
                self.write(f"{n}\n")
                await self.flush()
                await self.answer["next"].wait()
                self.answer["next"].clear()
            return
        if self.request.path.endswith("/endless"):
            sent = 0
            while sent < 256 << 20:
                self.write(b"x" * (1 << 20))
                await self.flush()
                sent += 1 << 20
                Board.answer["sent"] = sent
            return
        self.set_status(self.answer.get("status", 200))
        if self.get_status() != 304:
            self.write(f"{self.request.method} {self.request.uri} {len(self.request.body)}")

    post = put = patch = delete = options = get

    def head(self, *_):
        self.set_header("Content-Length", "7")


class Socket(websocket.WebSocketHandler):
    def select_subprotocol(self, offered):
        return "board" if "board" in offered else None

    def check_origin(self, origin):
        Board.seen.append(self.request)
        return True

    def open(self, *_):
        pass

    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


class Ports(web.RequestHandler):
    def get(self, kernel):
        self.finish({"ports": self.application.settings["peer"].listening.get(kernel, [])})


@pytest.fixture
async def peer():
    Board.seen, Board.answer = [], {}
    peer = Peer()
    peer.listening = {}
    peer.more = [
        (r"/api/kernels/([^/]+)/ports", Ports),
        (r"/api/kernels/([^/]+)/ports/[0-9]+/ws", Socket),
        (r"/api/kernels/([^/]+)/ports/[0-9]+(/.*)", Board),
    ]
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture
async def server(tmp_path, peer):
    server = Server(tmp_path, peer, local=True)
    await server.start()
    yield server
    await server.stop()


async def ask(server, path, method="GET", headers=None, token=True, **more):
    request = HTTPRequest(
        server.url + path,
        method=method,
        headers={**({"Authorization": "token t"} if token else {}), **(headers or {})},
        follow_redirects=False,
        allow_nonstandard_methods=True,
        request_timeout=30,
        decompress_response=False,
        **more,
    )
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def test_what_goes_through_and_what_does_not(server, peer):
    kernel = await server.kernel()
    page = f"/elastichub/kernels/{kernel}/proxy/6006"
    Board.answer["headers"] = [
        ("Set-Cookie", "sid=1; Path=/; HttpOnly"),
        ("Set-Cookie", "deep=1; Path=/app; Domain=example.org; Secure"),
        ("Set-Cookie", "jupyterhub-session-id=x; Path=/"),
        ("Set-Cookie", "_xsrf=x"),
        ("X-Own", "1"),
        ("Service-Worker-Allowed", "/"),
        ("Clear-Site-Data", "*"),
        ("Access-Control-Allow-Origin", "*"),
    ]
    answer = await ask(
        server,
        f"{page}/a%2Fb//c/../d?q=1&token=t&%74oken=t&x=%zz",
        headers={
            "Cookie": "jupyterhub-session-id=secret; sid=0; _xsrf=y",
            "Referer": f"{server.url}/lab?token=t#x",
            "Connection": "close, X-Hop",
            "X-Hop": "1",
            "X-Forwarded-For": "10.0.0.1",
            "Accept-Encoding": "br",
            "User-Agent": "me",
        },
    )
    assert answer.code == 200
    assert answer.body == f"GET /api/kernels/{kernel}/ports/6006/a%2Fb//c/../d?q=1&x=%zz 0".encode()
    (seen,) = Board.seen
    assert seen.headers["Authorization"] == "token secret", "the gateway's own, and the gateway takes it off"
    for name in ("Cookie", "X-Hop", "X-Forwarded-For"):
        assert name not in seen.headers
    assert seen.headers["Referer"] == f"{server.url}/lab"
    assert (seen.headers["Accept-Encoding"], seen.headers["User-Agent"]) == ("br", "me")
    assert seen.headers["X-Forwarded-Host"] == f"127.0.0.1:{server.port}"
    assert seen.headers["X-Forwarded-Prefix"] == page
    theirs = [each for each in answer.headers.get_list("Set-Cookie") if not each.startswith("username-")]
    assert theirs == [
        f"sid=1; HttpOnly; Path={page}/",
        f"deep=1; Secure; Path={page}/app",
    ]
    assert answer.headers["X-Own"] == "1"
    for name in ("Service-Worker-Allowed", "Clear-Site-Data", "Access-Control-Allow-Origin", "Elastichub-From"):
        assert name not in answer.headers
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"

    await ask(server, f"{page}/", headers={"Cookie": "jupyterhub-user-a=secret; sid=1; other=2; deep=3"})
    assert Board.seen[-1].headers["Cookie"] == "sid=1; deep=3", "what it has set itself"
    await ask(server, f"/elastichub/kernels/{kernel}/proxy/6007/", headers={"Cookie": "sid=1"})
    assert "Cookie" not in Board.seen[-1].headers, "of another server"

    Board.answer["headers"] = []
    answer = await ask(server, f"{page}/up", "POST", body=b"x" * (5 << 20))
    assert answer.body.endswith(b" 5242880")
    answer = await ask(server, f"{page}/h", "HEAD")
    assert (answer.code, answer.headers["Content-Length"]) == (200, "7")
    Board.answer["status"] = 304
    assert (await ask(server, f"{page}/")).code == 304
    Board.answer["status"] = 302
    for location, seen in (
        ("/login?a=1", f"{page}/login?a=1"),
        ("next", "next"),
        ("http://localhost:6006/x", f"{page}/x"),
        (f"http://127.0.0.1:{server.port}/x", f"{page}/x"),
        (f"{page}/x", f"{page}/x"),
        ("https://example.org/x", "https://example.org/x"),
    ):
        Board.answer["headers"] = [("Location", location)]
        assert (await ask(server, f"{page}/")).headers["Location"] == seen, location
    answer = await ask(server, f"{page}?a=1&token=t")
    assert (answer.code, answer.headers["Location"]) == (307, f"{page}/?a=1")
    assert "Traceback" not in server.log, server.log


async def test_lines_and_sockets(server, peer):
    kernel = await server.kernel()
    page = f"/elastichub/kernels/{kernel}/proxy/6006"
    Board.answer["next"] = asyncio.Event()
    lines = []
    whole = asyncio.ensure_future(ask(server, f"{page}/lines", streaming_callback=lines.append))
    for n in range(3):
        await until(
            "it is there before the next", lambda: b"".join(lines) == b"".join(b"%d\n" % i for i in range(n + 1))
        )
        Board.answer["next"].set()
    assert (await whole).code == 200

    url = f"ws://127.0.0.1:{server.port}{page}/ws"
    same = {"Authorization": "token t", "Origin": server.url}
    ws = await websocket_connect(HTTPRequest(url, headers=same), subprotocols=["board"])
    assert ws.selected_subprotocol == "board"
    for message in ("ä", b"\x00" * 200_000):
        await ws.write_message(message, binary=isinstance(message, bytes))
        assert await ws.read_message() == message
    assert "Cookie" not in Board.seen[-1].headers
    ws.close()

    # Whoever reads nothing has the server wait, and this one hold nothing.
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {page}/endless HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: token t\r\n\r\n".encode())
    await until("it has begun", lambda: Board.answer.get("sent", 0) > 0)
    before = -1
    while before != Board.answer["sent"]:
        before = Board.answer["sent"]
        await asyncio.sleep(1)
    assert before < 64 << 20
    writer.close()


async def test_who_may_not(server, peer):
    kernel = await server.kernel()
    page = f"/elastichub/kernels/{kernel}/proxy/6006"
    answer = await ask(server, f"{page}/", token=False)
    assert (answer.code, answer.headers["Location"].split("?")[0]) == (302, "/login")
    assert (await ask(server, f"{page}/", "POST", token=False, body=b"x")).code == 403
    with pytest.raises(Exception, match=r"302|403"):
        await websocket_connect(f"ws://127.0.0.1:{server.port}{page}/ws")
    assert not Board.seen
    login = await ask(server, "/api/status?token=t", token=False)
    cookie = "; ".join(each.partition(";")[0] for each in login.headers.get_list("Set-Cookie"))
    for origin, code in (("https://example.org", 403), (server.url, 200)):
        headers = {"Cookie": cookie, "Origin": origin}
        assert (await ask(server, f"{page}/", "POST", headers, token=False, body=b"x")).code == code, origin
    foreign = HTTPRequest(
        f"ws://127.0.0.1:{server.port}{page}/ws", headers={"Cookie": cookie, "Origin": "https://example.org"}
    )
    with pytest.raises(Exception, match="403"):
        await websocket_connect(foreign)
    Board.seen.clear()
    for path in (
        f"/elastichub/kernels/{kernel}/proxy/x/",
        f"/elastichub/kernels/{kernel}/proxy/123456/",
        "/elastichub/kernels/../proxy/6006/",
        f"/elastichub/kernels/{kernel}%2F..%2Fx/proxy/6006/",
    ):
        assert (await ask(server, path)).code in (302, 404), path  # jupyter_server redirects from /…/
    assert not Board.seen

    # What the gateway says is the page's to show.
    other = "11111111-1111-4111-8111-111111111111"
    answer = await ask(server, f"/elastichub/kernels/{other}/proxy/6006/")
    assert answer.code == 404
    assert "There is no such kernel." in answer.body.decode()
    for status, shown, says in (
        (409, 409, "The kernel is parked."),
        (502, 502, "Nothing listens."),
        (401, 503, "Who?"),
    ):
        Board.answer["problem"] = (status, says)
        answer = await ask(server, f"{page}/")
        assert answer.code == shown
        assert says in answer.body.decode()
    peer.kill()
    answer = await ask(server, f"{page}/")
    assert answer.code == 503
    assert "cannot be reached" in answer.body.decode()
    peer.back()


async def test_the_newest_kernel_that_listens(server, peer):
    first, second, third = [await server.kernel() for _ in range(3)]
    peer.listening = {first: [6006], second: [6006, 8000], third: [8000]}
    answer = await ask(server, "/proxy/6006/a%2Fb?x=1&token=t")
    assert answer.headers["Location"] == f"/elastichub/kernels/{second}/proxy/6006/a%2Fb?x=1"
    answer = await ask(server, "/proxy/8000")
    assert answer.headers["Location"] == f"/elastichub/kernels/{third}/proxy/8000/"
    answer = await ask(server, "/proxy/7000/")
    assert answer.code == 404
    assert "No kernel of yours listens on port 7000" in answer.body.decode()
    assert (await ask(server, "/proxy/6006/", token=False)).headers["Location"].startswith("/login")


def test_cookies_of_servers_are_bounded():
    cookies = ports.Cookies()
    for n in range(ports.MOST_COOKIES):
        assert cookies.narrow("a", f"c{n}=1", "/p")
    assert cookies.narrow("a", "more=1", "/p") is None
    assert cookies.narrow("a", "c0=2", "/p") == "c0=2; Path=/p/"
    for n in range(ports.MOST_SERVERS):
        cookies.narrow(n, "c=1", "/p")
    assert cookies.mine("a", "c0=1") == ""
    assert cookies.mine(1, "c=1; d=2") == "c=1"
