"""What is on its way to the browser.

A message that was written to a WebSocket has not arrived: a laptop that sleeps keeps its socket
open for minutes. So each is kept until the browser has answered a ping that was sent after it, and
sent again to the next socket of the same session otherwise. The browser answers pings in order
with what it reads, through any proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from tornado.websocket import WebSocketClosedError

from . import frames

WINDOW = 16 << 20  # bytes on their way; a browser that does not read stops its kernel's socket
PING_PAUSE = 0.005  # seconds between pings; there is one on its way at a time


def heard(written):
    """Of a write to a socket that may close meanwhile, which its on_close says."""
    if not written.cancelled():
        written.exception()


class Outlet:
    """Belongs to a session, and to one browser socket after another."""

    def __init__(self):
        self.kept: deque = deque()  # (index, message): not known to have arrived
        self.bytes = 0
        self._index = 0  # of the last message that was put
        self._handed = 0  # of the last that was written to this browser socket
        self._handler = self._subprotocol = None
        self._fits = asyncio.Event()
        self._fits.set()
        self._asking = None  # a ping, until it is answered
        self._pinged = 0.0

    async def attach(self, handler, subprotocol):
        """Goes on with another browser socket, beginning with what may not have arrived."""
        self.detach(self._handler)
        self._handler, self._subprotocol, self._handed = handler, subprotocol, 0
        inherited = handler.on_pong

        def pong(data):
            inherited(data)
            if self._handler is handler and len(data) == 8:
                self._confirm(int.from_bytes(data, "big"))

        handler.on_pong = pong
        await self._write(handler, list(self.kept))

    def detach(self, handler):
        """That browser socket has closed."""
        if handler is not None and self._handler is handler:
            self._handler = None
            if self._asking:
                self._asking.cancel()
                self._asking = None

    async def room(self):
        """Waits until more may be put."""
        await self._fits.wait()

    async def put(self, messages, numbered=False):
        """Takes messages over: from the call on they reach this browser socket or the next.
        Those with a number the gateway would give again."""
        new = []
        for message in messages:
            self._index += 1
            new.append((self._index, message))
            self.bytes += message.size
        self.kept.extend(new)
        if self.bytes >= WINDOW:
            self._fits.clear()
        if self._handler is not None:
            await self._write(self._handler, new)

    async def _write(self, handler, pairs):
        # All are written before anything is awaited: another put would come in between.
        written = None
        try:
            for index, message in pairs:
                frame = frames.frame(self._subprotocol, message)
                written = handler.write_message(frame, binary=isinstance(frame, bytes))
                written.add_done_callback(heard)
                self._handed = index
            if written:
                self._ask()
                await written
        except WebSocketClosedError:
            pass  # its on_close will say so

    def _ask(self):
        """Pings at once: what is not confirmed when the browser's network breaks is sent again,
        though it may have arrived."""
        if self._asking is None:
            loop = asyncio.get_running_loop()
            at = max(loop.time(), self._pinged + PING_PAUSE)
            self._asking = loop.call_at(at, self._ping, self._handler)

    def _ping(self, handler):
        self._pinged = asyncio.get_running_loop().time()
        with contextlib.suppress(WebSocketClosedError):
            handler.ping(self._handed.to_bytes(8, "big"))

    def _confirm(self, index):
        self._asking = None
        while self.kept and self.kept[0][0] <= index:
            self.bytes -= self.kept.popleft()[1].size
        if self.bytes < WINDOW:
            self._fits.set()
        if self.kept:
            self._ask()
