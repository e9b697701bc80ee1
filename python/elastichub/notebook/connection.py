"""jupyter_server's end of the connection between a browser and a kernel at a gateway."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any, ClassVar

from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from jupyter_server.utils import url_path_join
from tornado.escape import url_escape
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from . import frames, liveness
from .conversation import MAX_HELD, TOO_LARGE, Conversation
from .frames import RESUME, V1, Malformed, text
from .link import Link
from .outlet import Outlet

MAX_FRAME = 1 << 30  # bytes of a message in either direction; the gateway's own bound is lower
CONNECT_TIMEOUT = 10.0  # seconds

# Of sessions whose browser is away: a laptop that sleeps over a weekend finds its own again.
MAX_AWAY = 64
MAX_AWAY_BYTES = 64 << 20
MAX_AWAY_SECONDS = 72 * 3600


class Session:
    """What outlives a browser socket: the Jupyter session of one page with one kernel."""

    def __init__(self):
        self.conversation = Conversation()
        self.outlet = Outlet()
        self.connection = None  # that serves it now
        self.left = 0.0  # when the browser went
        # Of documents.DocumentKeeper:
        self.book: Any = None  # the cells that the page has run
        self.kept: asyncio.Future | None = None  # listens while the browser is away
        self.place: tuple | None = None  # what the browser had when that began

    @property
    def bytes(self):
        return self.conversation.held + self.outlet.bytes + (self.book.size if self.book is not None else 0)


class Sessions:
    """Of one jupyter_server, by kernel and session id."""

    def __init__(self, clock=time.monotonic):
        self._all = OrderedDict()  # those away in the order in which they left
        self._clock = clock

    def __len__(self):
        return len(self._all)

    def __contains__(self, key):
        return key in self._all

    def is_open(self, kernel):
        """Whether a browser is connected to the kernel."""
        return any(key[0] == kernel and s.connection is not None for key, s in self._all.items())

    def enter(self, key):
        return self._all.setdefault(key, Session())

    def leave(self, key, connection, known):
        """The browser has gone. `known` reports whether a kernel still exists."""
        session = self._all.get(key)
        if session is None or session.connection is not connection:
            return
        session.connection, session.left = None, self._clock()
        self._all.move_to_end(key)
        self._forget(known)

    def _forget(self, known):
        away = [(k, s) for k, s in self._all.items() if s.connection is None and s.kept is None]
        number, size, now = len(away), sum(s.bytes for _, s in away), self._clock()
        for key, session in away:
            old = now - session.left > MAX_AWAY_SECONDS
            if old or number > MAX_AWAY or size > MAX_AWAY_BYTES or not known(key[0]):
                del self._all[key]
                number, size = number - 1, size - session.bytes


async def dial(kernel_id, session_id, query):
    """Connects to a kernel at the gateway; query is what a Link asks for."""
    client = GatewayClient.instance()
    url = url_path_join(
        client.ws_url or "", client.kernels_endpoint, url_escape(kernel_id), "channels"
    )
    arguments = client.load_connection_args()
    arguments["connect_timeout"] = min(
        arguments.get("connect_timeout", CONNECT_TIMEOUT), CONNECT_TIMEOUT
    )
    request = HTTPRequest(f"{url}?session_id={url_escape(session_id)}{query}", **arguments)
    dialled = websocket_connect(
        request, subprotocols=[RESUME, V1], max_message_size=MAX_FRAME, ping_interval=0
    )
    dialled = asyncio.ensure_future(dialled)  # what it is already, and is not declared to be
    try:
        return await asyncio.shield(dialled)
    except asyncio.CancelledError:
        # Tornado goes on connecting, and nobody would ever close that connection.
        dialled.add_done_callback(_close_late)
        raise


def _close_late(dialled):
    if not dialled.exception():
        dialled.result().close()


class GatewayConnection(BaseKernelWebsocketConnection):
    """Between one browser socket and one gateway socket. Binary-safe: it speaks with the browser
    in whatever framing that chose, and with the gateway in one of its own."""

    sessions = Sessions()
    keeper: ClassVar[Any] = None  # documents.DocumentKeeper, if documents are kept
    _running: ClassVar[set] = set()
    _telling: ClassVar[set[asyncio.Future]] = set()

    _task = None
    _link: Any = None
    _session: Any = None
    _subprotocol = None  # of the browser's socket
    _protocol: Any = None  # tornado's end of it, which the handler forgets when it closes
    _heard = 0.0

    @classmethod
    async def close_all(cls):
        """Called by jupyter_server when it ends."""
        tasks = [connection._task for connection in list(cls._running) if connection.end()]
        await asyncio.gather(*tasks, return_exceptions=True)
        if cls.keeper is not None:
            await cls.keeper.close()

    @classmethod
    def are_open(cls):
        """Whether a browser is connected to a kernel at the gateway."""
        return bool(cls._running)

    @property
    def _key(self):
        return (self.kernel_id, self.session_id)

    async def connect(self):
        """The browser's socket is open."""
        self._session = session = self.sessions.enter(self._key)
        before = session.connection
        if before is not None:
            # The page has a new socket already, and this end of the old one does not know yet.
            before.end()
            before.websocket_handler.close()
        session.connection = self
        handler = self.websocket_handler
        self._subprotocol = handler.selected_subprotocol
        self._protocol = handler.ws_connection
        what = f"kernel {self.kernel_id} session {self.session_id}"
        self._link = Link(
            session.conversation, session.outlet, self._dial, self._noted, self.log, what
        )
        self._running.add(self)
        self._task = asyncio.ensure_future(self._serve(session, handler))

    async def _serve(self, session, handler):
        try:
            if self.keeper is not None:
                await self.keeper.returned(self._key, session)
            await session.outlet.attach(handler, self._subprotocol)
            if self.keeper is not None:
                await session.outlet.put(self.keeper.busy(self.kernel_id))
            await self._link.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            self.log.exception("the connection between browser and gateway failed")
            handler.close(1011, "internal error")
        finally:
            self._running.discard(self)

    async def _dial(self, query):
        return await dial(self.kernel_id, self.session_id, query)

    def disconnect(self):
        """The browser's socket has closed."""
        self.end()
        if self._session is not None:
            self._session.outlet.detach(self.websocket_handler)
            if self.keeper is not None and self._session.connection is self:
                self.keeper.left(self._key, self._session, self._task, self._dial, self._is_disposed())
            self.sessions.leave(self._key, self, lambda kernel: kernel in self.multi_kernel_manager)

    def _is_disposed(self):
        """Whether the page itself has closed its socket: browsers do that with code 1001."""
        return self._protocol is not None and self._protocol.client_terminated and self._protocol.close_code is None

    def end(self):
        """Ends the gateway's socket; reports whether there was one to end."""
        if self._task is None or self._task.done():
            return False
        self._task.cancel()
        return True

    def handle_incoming_message(self, incoming_msg):
        """A frame of the browser."""
        if self._link is None:
            return
        try:
            message = frames.parse(self._subprotocol, incoming_msg)
        except Malformed as error:
            self.log.warning("a frame of the browser is dropped: %s", error)
            return
        header = message.header()
        kind = text(header, "msg_type")
        allowed = self.multi_kernel_manager.allowed_message_types
        if allowed and kind not in allowed:
            self.log.warning("a message of type %s is not allowed and dropped", kind)
            return
        if liveness.counts(kind):
            liveness.note(self.multi_kernel_manager)
        cell = None
        if self.keeper is not None and kind == "execute_request":
            cell = self.keeper.submitted(self._key, self._session, message, header)
        answers = self._session.conversation.say(message, cell)
        if answers is not None:
            self._refused(kind, message, cell, answers)
        self._link.nudge()

    def _refused(self, kind, message, cell, answers):
        """A message of the browser cannot be taken."""
        if cell is not None:
            cell.book.drop(cell)
        size = message.size / (1 << 20)
        self.log.warning("too much is waiting for kernel %s: a %s of %.1f MiB is refused", self.kernel_id, kind, size)
        if self.keeper is not None:  # what asks nothing has nobody to answer
            why = TOO_LARGE if message.size > MAX_HELD else "Too much is waiting for the kernel already."
            self.keeper.notebooks.tell(self.session_id, f"A message of {size:.0f} MiB was not sent. {why}")
        telling = asyncio.ensure_future(self._session.outlet.put(answers))
        self._telling.add(telling)  # a task that nobody holds may be collected before its end
        telling.add_done_callback(self._telling.discard)

    def _noted(self, message):
        """A message of the kernel. A second's precision will do."""
        now = time.monotonic()
        if now - self._heard >= 1 and liveness.counts(text(message.parent(), "msg_type")):
            self._heard = now
            liveness.note(self.multi_kernel_manager)
