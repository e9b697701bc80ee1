"""Connections to the service are kept, and nothing is lost by it."""

import asyncio
import socket
import ssl
import struct
import subprocess
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

import elastichub.connections
from elastichub.connections import Connections, Interrupted, NoAnswer, NotConnected

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers the requests of every connection with the next of the given texts. None says
    nothing; what ends with CLOSE is cut after it."""

    CLOSE = b"<close>"

    def __init__(self, answers):
        self._answers = list(answers)
        self.asked = []  # the number of the connection, and the request's first line
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            self.asked.append((number, head.split(b"\r\n")[0].decode()))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is None:
                continue
            writer.write(answer.removesuffix(self.CLOSE))
            if answer.endswith(self.CLOSE):
                break
        writer.close()


@asynccontextmanager
async def peer(*answers, tls=None):
    p = Peer(answers)
    server = await asyncio.start_server(p.serve, "127.0.0.1", 0, ssl=tls)
    p.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield p
    finally:
        server.close()


async def ask(connections, path="/", **more):
    return await connections.ask(
        "GET", path, {}, **{"connect_seconds": 5, "seconds": 5, **more}
    )


async def test_requests_after_each_other_are_one_connection():
    async with peer(OK) as p:
        c = Connections(p.url + "/prefix", None, 8)
        for n in range(3):
            answer = await ask(c, f"/{n}")
            assert (answer.status, answer.body) == (200, b"ok")
        assert p.asked == [(1, f"GET /prefix/{n} HTTP/1.1") for n in range(3)]


async def test_requests_at_once_are_as_many_connections_as_are_allowed():
    async with peer(OK) as p:
        c = Connections(p.url, None, 4)
        await asyncio.gather(*(ask(c) for _ in range(40)))
        assert len(p.asked) == 40
        assert p.connections == 4


@pytest.mark.parametrize(
    "answer, body",
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\none\r\n0a\r\n, two\n\r\nxy\r\n0\r\n\r\n",
            b"one, two\n\r\nxy",
        ),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_answers_of_every_form_are_read_to_their_end(answer, body, whole):
    async def serve(reader, writer):
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            for part in [answer] if whole else [answer[i : i + 1] for i in range(len(answer))]:
                writer.write(part)
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    c = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 1)
    for _ in range(2):
        assert (await ask(c)).body == body
    fed = []
    assert (await ask(c, feed=fed.append)).body == b""
    assert b"".join(fed) == body
    server.close()


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok" + Peer.CLOSE,
        OK + b"HTTP/1.1 200 OK\r\n",  # which nobody asked for
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_what_may_not_be_kept_is_not_used_again(first):
    """An answer of 500 and more comes from a replica that another one may do better than."""
    async with peer(first, OK) as p:
        c = Connections(p.url, None, 8)
        assert (await ask(c)).body == b"ok"
        assert (await ask(c)).status == 200
        assert [number for number, _ in p.asked] == [1, 2]


async def test_a_kept_connection_that_was_closed_is_done_without():
    async with peer(OK + Peer.CLOSE, OK) as p:
        c = Connections(p.url, None, 8)
        await ask(c)
        await asyncio.sleep(0.05)
        assert not c._idle, "it is noticed"
        await ask(c)
        assert p.connections == 2


async def test_what_meets_a_closed_connection_is_asked_again_but_not_what_may_be_asked_once():
    async with peer(OK, Peer.CLOSE, OK, Peer.CLOSE) as p:
        c = Connections(p.url, None, 8)
        await ask(c)
        assert (await ask(c, "/again")).body == b"ok"
        assert p.asked[1:] == [(1, "GET /again HTTP/1.1"), (2, "GET /again HTTP/1.1")]
        with pytest.raises(Interrupted):
            await ask(c, "/once", once=True)
        assert p.asked[3:] == [(3, "GET /once HTTP/1.1")]


async def test_an_answer_that_has_begun_is_not_asked_for_again():
    async with peer(OK, OK[:20] + Peer.CLOSE, OK) as p:
        c = Connections(p.url, None, 8)
        await ask(c)
        with pytest.raises(Interrupted):
            await ask(c)
        assert len(p.asked) == 2


async def test_what_comes_though_nothing_was_asked_is_no_answer():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.05)
        writer.write(OK.replace(b"ok", b"no"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    c = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 1)
    for _ in range(2):
        assert (await ask(c)).body == b"ok"
        await asyncio.sleep(0.1)
    server.close()


async def test_what_is_fed_to_somebody_who_fails_is_told():
    def fail(_):
        raise RuntimeError

    async with peer(OK) as p:
        with pytest.raises(Interrupted):
            await ask(Connections(p.url, None, 8), feed=fail)


async def test_a_new_connection_that_breaks_is_no_reason_to_ask_again():
    async with peer(Peer.CLOSE) as p:
        with pytest.raises(Interrupted):
            await ask(Connections(p.url, None, 8))
        assert len(p.asked) == 1


async def test_a_connection_that_is_closed_at_once_is_told():
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    c = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 8)
    for _ in range(3):
        with pytest.raises(Interrupted):
            await ask(c)
    assert not c._idle
    server.close()


async def test_old_and_idle_ones_are_not_used(monkeypatch):
    async with peer(OK) as p:
        c = Connections(p.url, None, 8)
        for bound in ("KEPT_SECONDS", "IDLE_SECONDS"):
            before = p.connections
            await ask(c)
            with monkeypatch.context() as m:
                m.setattr(elastichub.connections, bound, 0)
                await ask(c)
            assert p.connections - before in (1, 2)
        assert p.connections == 3


async def test_silence_ends_in_time_and_takes_the_kept_ones_with_it():
    async with peer(OK, OK, None, None, OK) as p:
        c = Connections(p.url, None, 2)
        await asyncio.gather(ask(c), ask(c))
        assert len(c._idle) == 2
        with pytest.raises(NoAnswer):
            await ask(c, seconds=0.2)
        assert not c._idle
        with pytest.raises(NoAnswer):
            await asyncio.gather(*(ask(c, seconds=0.2) for _ in range(3)))
        assert (await ask(c)).body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok" + Peer.CLOSE,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + Peer.CLOSE,
        b"x" * (1 << 17),
    ],
)
async def test_what_is_no_answer_is_told(answer):
    async with peer(answer) as p:
        with pytest.raises(Interrupted) as raised:
            await ask(Connections(p.url, None, 8))
        assert not isinstance(raised.value, NoAnswer)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n" + b"x" * 101,
        b"Content-Length: 101\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"20\r\n" + b"x" * 32 + b"\r\n") * 4,
    ],
    ids=["until the end", "of a length", "of chunks"],
)
async def test_an_endless_answer_costs_bounded_memory(monkeypatch, body):
    monkeypatch.setattr(elastichub.connections, "MAX_BODY_BYTES", 100)
    async with peer(b"HTTP/1.1 200 OK\r\n" + body) as p:
        with pytest.raises(Interrupted):
            await ask(Connections(p.url, None, 8))


async def test_an_answer_that_would_end_with_the_connection_does_not_end_with_a_break():
    """Which is also how one ends whose other side has crashed."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\no")
        await asyncio.sleep(0.1)
        linger = struct.pack("ii", 1, 0)  # with a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(Interrupted):
        await ask(Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 1))
    server.close()


async def test_a_request_that_is_given_up_leaves_no_connection():
    async with peer(OK, None, OK) as p:
        c = Connections(p.url, None, 1)
        await ask(c)
        waiting = asyncio.ensure_future(ask(c))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (await ask(c)).body == b"ok"
        assert [number for number, _ in p.asked] == [1, 1, 2]


async def test_nobody_there():
    async with peer(OK) as p:
        pass
    with pytest.raises(NotConnected) as raised:
        await ask(Connections(p.url, None, 8))
    assert isinstance(raised.value.cause, ConnectionRefusedError)


@pytest.mark.parametrize("url", ["elastichub:8080", "ftp://x", "http://", "http://x:y"])
def test_an_address_that_is_none_is_told(url):
    with pytest.raises(ValueError):
        Connections(url, None, 1)


async def test_a_hub_that_is_busy_itself_has_not_waited():
    async with peer(OK) as p:
        asking = asyncio.ensure_future(ask(Connections(p.url, None, 1), connect_seconds=0.5))
        await asyncio.sleep(0)
        time.sleep(1)  # as a Hub that starts many servers
        assert (await asking).body == b"ok"


async def test_a_connection_that_comes_too_late_is_hung_up(monkeypatch):
    comes, hung_up = asyncio.get_running_loop().create_future(), []
    monkeypatch.setattr(elastichub.connections.TCPClient, "connect", lambda *_, **__: comes)
    with pytest.raises(NotConnected) as raised:
        await ask(Connections("http://127.0.0.1:1", None, 1), connect_seconds=0.5)
    assert raised.value.late
    comes.set_result(SimpleNamespace(close=lambda: hung_up.append(True)))
    await asyncio.sleep(0)
    assert hung_up == [True]


async def test_headers_hold_no_line_break():
    async with peer(OK) as p:
        with pytest.raises(ValueError):
            await Connections(p.url, None, 1).ask(
                "GET", "/", {"X": "a\r\nb"}, connect_seconds=5, seconds=5
            )
        assert not p.asked


async def test_headers_are_utf_8():
    heads = asyncio.Queue()

    async def serve(reader, writer):
        heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    c = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 1)
    await c.ask("GET", "/", {"X": "ä…"}, connect_seconds=5, seconds=5)
    assert "X: ä…\r\n".encode() in await heads.get()
    server.close()


async def test_a_ca_file_that_changes_counts_for_new_connections(tmp_path):
    certificate, key = tmp_path / "cert", tmp_path / "key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1"]
        + ["-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ca = tmp_path / "changing.crt"
    ca.write_bytes(certificate.read_bytes())
    async with peer(OK, tls=context) as p:
        c = Connections(p.url, str(ca), 8)
        await ask(c)
        made = c._certificates.context()
        assert c._certificates.context() is made
        ca.unlink()
        await ask(c)  # over the one that is kept
        assert p.connections == 1
        with pytest.raises(NotConnected) as raised:
            await ask(c, once=True)
        assert isinstance(raised.value.cause, FileNotFoundError)
        ca.write_bytes(certificate.read_bytes() * 2)
        await ask(c, once=True)
        assert c._certificates.context() is not made
