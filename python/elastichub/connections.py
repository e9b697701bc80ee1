"""HTTP/1.1 to one address over connections that are kept: a new one for every request, with its
look-up, certificates and objects, costs the Hub several times what the request does. tornado's
AsyncHTTPClient makes a new one for each. So its connections are kept here; what goes over them,
tornado writes and reads.

A connection is kept after an answer that was read to its end, below 500, and for a minute at
most: so a replica that does not know yet, or goes away, is not asked for long.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine
from tornado.iostream import StreamClosedError
from tornado.tcpclient import TCPClient

# How old a connection may become that is used again.
KEPT_SECONDS = 60
# How long one may lie idle: less than whatever is in between forgets it after.
IDLE_SECONDS = 20
# How often one who waits for a connection looks whether it is there.
LOOK_SECONDS = 0.25
MAX_BODY_BYTES = 64 << 20


class Answer(NamedTuple):
    status: int
    headers: HTTPHeaders
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
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"ElasticSpawner.api_url is no http or https address: {url}")
        self._address = parts.hostname, parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path
        self._certificates = _Certificates(ca_file)
        self._client = TCPClient()
        self._room = asyncio.Semaphore(at_most)
        self._idle: list[_Connection] = []  # the one used last is at the end

    async def ask(self, method, path, headers, body=None, *, connect_seconds, seconds, feed=None, once=False):
        """The Answer; feed is called with what comes of its body instead.

        Raises NotConnected or Interrupted. What a kept connection did not take, since the other
        side had closed it, is asked once more on a new one, unless `once`: that always has a new one.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        request = self._request(method, path, headers, body)
        await self._wait_for_room(seconds)
        try:
            connection = None if once else self._take(loop.time())
            if connection is not None:
                try:
                    return await self._exchange(connection, request, feed, deadline)
                except _Unanswered:
                    pass
            connection = await self._connect(connect_seconds, deadline)
            return await self._exchange(connection, request, feed, deadline)
        finally:
            self._room.release()

    def _request(self, method, path, headers, body):
        """What write_headers of tornado takes, which writes Latin-1: so UTF-8 is sent."""
        sent = HTTPHeaders({name: value.encode().decode("latin-1") for name, value in headers.items()})
        sent["Host"] = self._authority
        if body is not None:
            sent["Content-Length"] = str(len(body))
        return RequestStartLine(method, self._prefix + path, "HTTP/1.1"), sent, body

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

    async def _connect(self, seconds, deadline):
        """A new one, for which `seconds` are waited, in which the loop runs, and until deadline at most."""
        try:
            tls = self._certificates.context() if self._tls else None
            stream = await _patiently(
                self._client.connect(
                    *self._address,
                    ssl_options=tls,
                    max_buffer_size=MAX_BODY_BYTES,
                    timeout=max(deadline - asyncio.get_running_loop().time(), 0),
                ),
                seconds,
            )
        except (OSError, UnicodeError, asyncio.TimeoutError) as error:
            cause = getattr(error, "real_error", None) or error
            raise NotConnected(cause, late=isinstance(cause, asyncio.TimeoutError)) from error
        return _Connection(stream)

    async def _exchange(self, connection, request, feed, deadline):
        try:
            answer, lasts = await connection.exchange(request, feed, deadline)
        except NoAnswer:
            self._drop_idle()  # they may lead to the same one that is silent
            raise
        if lasts and answer.status < 500 and connection.is_clean():
            self._idle.append(connection)
            connection.stream.set_close_callback(lambda: self._forget(connection))
        else:
            connection.close()
        return answer

    def _forget(self, connection):
        if connection in self._idle:
            self._idle.remove(connection)

    def _drop_idle(self):
        while self._idle:
            self._idle.pop().close()


async def _patiently(connecting, seconds):
    """The stream. A Hub that starts a hundred servers at once is busy for seconds, in which nothing that has come is
    looked at: that long nobody has waited. Raises asyncio.TimeoutError; what comes later is hung up."""
    attempt = asyncio.ensure_future(connecting)
    try:
        for _ in range(max(round(seconds / LOOK_SECONDS), 1)):
            await asyncio.wait({attempt}, timeout=LOOK_SECONDS)
            if attempt.done():
                return attempt.result()
        raise asyncio.TimeoutError(f"no connection within {seconds:g} s")
    finally:
        if not attempt.done():
            attempt.add_done_callback(_hang_up)


def _hang_up(attempt):
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


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


class _Unanswered(Interrupted):
    """The connection was closed before anything of an answer came."""


class _Connection:
    """One, for one request at a time."""

    def __init__(self, stream):
        self.stream = stream
        self._made_at = self._used_at = asyncio.get_running_loop().time()
        self._late = False
        self._bounds = HTTP1ConnectionParameters(max_body_size=MAX_BODY_BYTES)

    def is_clean(self):
        return not self.stream.closed() and not self._has_more()

    def usable(self, now):
        return self.is_clean() and now - self._used_at < IDLE_SECONDS and now - self._made_at < KEPT_SECONDS

    def _has_more(self):
        """Whether something has come that is not read: the next request would take it for its
        answer. tornado has no public name for it."""
        return self.stream._read_buffer_size > 0

    def close(self):
        self.stream.close()

    async def exchange(self, request, feed, deadline):
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, self._give_up)
        try:
            http = HTTP1Connection(self.stream, True, self._bounds)
            http.write_headers(*request)
            http.finish()
            return await self._read(http, _Reader(feed))
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._used_at = loop.time()

    def _give_up(self):
        self._late = True
        self.close()

    async def _read(self, http, reader):
        """The Answer, and whether another may follow."""
        whole, error = False, None
        try:
            whole = await http.read_response(reader)
        except Exception as raised:  # noqa: BLE001 - what is no HTTP raises this or that, or is not whole
            error = raised
        if self._late:
            raise NoAnswer("no answer in time")
        if isinstance(error, StreamClosedError) and not reader.status and not self._has_more():
            raise _Unanswered("the connection was closed before an answer")
        if reader.ends_with_connection:
            error = error or self.stream.error
        if error or not whole:
            raise Interrupted(str(error or "what came is no HTTP"))
        return Answer(reader.status, reader.headers, b"".join(reader.body)), reader.lasts


class _Reader(HTTPMessageDelegate):
    """Is told of an answer by tornado."""

    def __init__(self, feed):
        self._feed = feed
        self.status, self.headers, self.body = 0, HTTPHeaders(), []
        self.lasts = self.ends_with_connection = False

    def headers_received(self, start_line, headers):
        self.status, self.headers = start_line.code, headers
        self.lasts = start_line.version != "HTTP/1.0" and headers.get("Connection", "").lower() != "close"
        self.ends_with_connection = self.status not in (204, 304) and not (
            "Content-Length" in headers or "Transfer-Encoding" in headers
        )

    def data_received(self, chunk):
        if self._feed is not None and 200 <= self.status < 300:
            self._feed(chunk)
        else:
            self.body.append(chunk)
