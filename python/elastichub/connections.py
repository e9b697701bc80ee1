"""HTTP/1.1 to one address over connections that are kept: a new one for every request, with
its look-up, certificates and objects, costs the Hub several times what the request does.

    idle ──take──▸ HEAD ──▸ LENGTH | CHUNKED | UNTIL_CLOSE ──▸ over ──keep──▸ idle
                    ▴ 1xx ┘

A connection is kept after an answer that was read to its end, below 500, and for a minute at
most: so a replica that does not know yet, or goes away, is not asked for long.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

# How old a connection may become that is used again.
KEPT_SECONDS = 60
# How long one may lie idle: less than whatever is in between forgets it after.
IDLE_SECONDS = 20
MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 64 << 20


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # by names in lower case
    body: bytes  # empty if it was fed to somebody


class NotConnected(Exception):
    """Nothing has been sent. The cause is an OSError; `late` if it was waited for in vain."""

    def __init__(self, cause, late=False):
        super().__init__(str(cause))
        self.cause, self.late = cause, late


class Interrupted(Exception):
    """The request may have been read; the answer was not, or not to its end."""


class NoAnswer(Interrupted):
    """It did not come, or not to its end, in time."""


class Connections:
    """Those to one address, for one event loop."""

    def __init__(self, url, ca_file, at_most):
        """at_most requests are made at once; others wait, which counts as their time."""
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        if not self._tls and parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"ElasticSpawner.api_url is no http or https address: {url}")
        self._address = parts.hostname, parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path
        self._certificates = _Certificates(ca_file)
        self._room = asyncio.Semaphore(at_most)
        self._idle: list[_Connection] = []  # the one used last is at the end

    async def ask(
        self, method, path, headers, body=None, *, connect_seconds, seconds, feed=None, once=False
    ):
        """The Answer; feed is called with what comes of its body instead.

        Raises NotConnected or Interrupted. What a kept connection did not take, since the other
        side had closed it, is asked once more on a new one, unless `once`: that always has a new one.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        head = self._head(method, path, headers, body)
        await self._wait_for_room(seconds)
        try:
            connection = None if once else self._take(loop.time())
            if connection is not None:
                try:
                    return await self._exchange(connection, head, feed, deadline)
                except _Stale:
                    pass
            connection = await self._connect(min(connect_seconds, deadline - loop.time()))
            return await self._exchange(connection, head, feed, deadline)
        except _Stale:
            raise Interrupted("the connection was closed before an answer") from None
        finally:
            self._room.release()

    def _head(self, method, path, headers, body):
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a header")
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")

    async def _wait_for_room(self, seconds):
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            await asyncio.wait_for(self._room.acquire(), seconds)
        except asyncio.TimeoutError:
            raise NoAnswer("too many requests are waiting") from None

    def _take(self, now):
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now):
                return connection
            connection.close()
        return None

    async def _connect(self, seconds):
        loop = asyncio.get_running_loop()
        host, port = self._address
        try:
            tls = self._certificates.context() if self._tls else None
            _, connection = await asyncio.wait_for(
                loop.create_connection(
                    lambda: _Connection(self._idle, loop.time()),
                    host,
                    port,
                    ssl=tls,
                    happy_eyeballs_delay=0.3,
                ),
                max(seconds, 0),
            )
        except asyncio.TimeoutError as error:
            raise NotConnected(error, late=True) from None
        except (OSError, UnicodeError) as error:
            raise NotConnected(error) from error
        return connection

    async def _exchange(self, connection, head, feed, deadline):
        try:
            answer = await connection.exchange(head, feed, deadline)
        except NoAnswer:
            self._drop_idle()  # they may lead to the same one that is silent
            raise
        if connection.is_over() and answer.status < 500:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _drop_idle(self):
        while self._idle:
            self._idle.pop().close()


class _Certificates:
    """A TLS context costs more than a request: it is made anew when the file changes."""

    def __init__(self, ca_file):
        self._file, self._of, self._context = ca_file, None, None

    def context(self):
        of = None
        if self._file:
            status = os.stat(self._file)
            of = status.st_ino, status.st_size, status.st_mtime_ns
        if self._context is None or of != self._of:
            self._context = ssl.create_default_context(cafile=self._file)
            self._of = of
        return self._context


class _Stale(Exception):
    """The other side had closed it, before it answered anything."""


class _In(Enum):
    HEAD = "the status line and headers"
    LENGTH = "a body whose length is known"
    CHUNK = "the line before a chunk"
    CHUNKED = "a chunk and the line break after it"
    TRAILER = "what follows the last chunk"
    UNTIL_CLOSE = "a body that ends with the connection"
    OVER = "an answer that is whole, or none yet"


class _Connection(asyncio.Protocol):
    def __init__(self, idle, now):
        self._idle_ones = idle
        self._made_at = self._used_at = now
        self._in = _In.OVER
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answer: asyncio.Future | None = None
        self._used = False

    # --- for Connections

    def usable(self, now):
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and now - self._used_at < IDLE_SECONDS
            and now - self._made_at < KEPT_SECONDS
        )

    def is_over(self):
        return self._in is _In.OVER and self._keep and self._transport is not None

    def close(self):
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, head, feed, deadline):
        loop = asyncio.get_running_loop()
        self._feed = feed
        self._in, self._buffer, self._body, self._size = _In.HEAD, b"", [], 0
        self._status, self._headers, self._left, self._keep = 0, {}, 0, True
        self._answer = loop.create_future()
        self._timer = loop.call_at(deadline, self._late)
        self._transport.write(head)
        try:
            await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._timer.cancel()
            self._used, self._used_at = True, loop.time()
        return Answer(self._status, self._headers, b"".join(self._body))

    def _late(self):
        self._fail(NoAnswer("no answer in time"))

    def _fail(self, error):
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()

    # --- for the event loop

    def connection_made(self, transport):
        self._transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error):
        self._transport = None
        if self in self._idle_ones:
            self._idle_ones.remove(self)
        if self._answer is None or self._answer.done():
            return
        if self._in is _In.UNTIL_CLOSE and error is None:
            self._end()
        elif self._used and self._in is _In.HEAD and not self._buffer and not self._status:
            self._fail(_Stale())
        else:
            self._fail(Interrupted(str(error or "the connection was closed")))

    def data_received(self, data):
        if self._in is _In.OVER:
            self.close()  # nothing was asked
            return
        self._buffer = self._buffer + data if self._buffer else data
        try:
            while self._in is not _In.OVER and self._step():
                pass
        except (ValueError, UnicodeError) as error:
            self._fail(Interrupted(f"what came is no HTTP: {error}"))

    # --- an answer (RFC 9112)

    def _step(self):
        """Read one thing of what has come. Returns whether it was there."""
        if self._in is _In.HEAD:
            return self._read_head()
        if self._in is _In.LENGTH:
            self._left -= self._take(self._left)
            if not self._left:
                self._end()
            return False
        if self._in is _In.UNTIL_CLOSE:
            self._take(len(self._buffer))
            return False
        if self._in is _In.CHUNK:
            line = self._line()
            if line is not None:
                self._left = int(line.partition(b";")[0].strip(), 16)
                if self._left < 0:
                    raise ValueError("a chunk of less than nothing")
                self._in = _In.CHUNKED if self._left else _In.TRAILER
            return line is not None
        if self._in is _In.TRAILER:
            line = self._line()
            if line == b"":
                self._end()
            return line is not None
        if self._left:
            self._left -= self._take(self._left)
            return not self._left
        if self._line() is None:
            return False
        self._in = _In.CHUNK
        return True

    def _line(self):
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ValueError("a line without an end")
            return None
        self._buffer = rest
        return line.rstrip(b"\r")

    def _take(self, n):
        part, self._buffer = self._buffer[:n], self._buffer[n:]
        if part:
            if self._feed is not None and 200 <= self._status < 300:
                self._feed(part)
            else:
                self._size += len(part)
                if self._size > MAX_BODY_BYTES:
                    raise ValueError("an answer without an end")
                self._body.append(part)
        return len(part)

    def _read_head(self):
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD_BYTES:
            raise ValueError("headers without an end")
        if not found:
            return False
        self._buffer = rest
        status, *lines = head.decode("latin-1").split("\r\n")
        version, code, *_ = status.split(" ", 2)
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdigit():
            raise ValueError("no status line")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("a header without a colon")
            headers[name.lower()] = value.strip()
        if int(code) >= 200:  # others announce the answer, and have no body
            self._status, self._headers = int(code), headers
            self._keep = (
                version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
            )
            self._begin_body(headers)
        return True

    def _begin_body(self, headers):
        if self._status in (204, 304):
            self._end()
        elif headers.get("transfer-encoding", "identity").lower() != "identity":
            if headers["transfer-encoding"].lower() != "chunked":
                raise ValueError("an encoding that was not asked for")
            self._in = _In.CHUNK
        elif "content-length" in headers:
            length = headers["content-length"]
            if not (length.isascii() and length.isdigit()):
                raise ValueError("no length")
            self._in, self._left = _In.LENGTH, int(length)
            if not self._left:
                self._end()
        else:
            self._in = _In.UNTIL_CLOSE

    def _end(self):
        if self._in is _In.UNTIL_CLOSE or self._buffer:
            self._keep = False  # nothing can follow, or something does that was not asked for
        self._in = _In.OVER
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
