"""The connection of one browser socket to the gateway: made, kept, made again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from urllib.parse import urlencode

from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClosedError

from .. import skew
from . import frames
from .frames import RESUME, V1, Malformed, text

# Pauses between attempts, in seconds. A gateway that is back is found within the longest.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 3.0
# The same after an answer that a new attempt will hardly change: no such kernel, no access.
REFUSED_PAUSE = 10.0
ACK_AFTER = 0.05  # seconds; the protocol wants it within 100 ms
ACK_BYTES = 2 << 20  # of output; a kernel waits until what it wrote is acknowledged
PING_EVERY = 5.0
SILENCE = 15.0  # of a peer that was pinged, after which it is taken for gone

_REFUSALS = (401, 403, 404, 409)
# How long the gateway may not know this server before pages are told. A token that was changed is in
# the server's file within that time.
UNKNOWN = 150.0
NOT_KNOWN = (
    "ServerNotKnown",
    "The gateway does not know this server any more: the key of its access was replaced. "
    "Save your work and restart your server: File > Hub Control Panel, Stop My Server, Start My Server. "
    "Your files stay.",
)
GONE = ("KernelDeleted", "The kernel was deleted. Its variables are gone; run this again in a new kernel.")
_POLICY, _TOO_BIG, _REPLACED = 1008, 1009, 4001


def pause(attempt, refused, chance):
    """Seconds to wait before an attempt; `chance` is in [0, 1)."""
    longest = REFUSED_PAUSE if refused else LONGEST_PAUSE
    base = REFUSED_PAUSE if refused else FIRST_PAUSE * 2 ** min(attempt, 10)
    return min(base, longest) * (0.5 + chance / 2)


def said(error, code, reason):
    """What the gateway itself has answered with that status for that reason, or ""."""
    if not isinstance(error, HTTPClientError) or error.code != code or error.response is None:
        return ""
    try:
        body = json.loads(error.response.body)
        return str(body["message"]) if body["reason"] == reason else ""
    except (ValueError, TypeError, KeyError):
        return ""


def _buries(message):
    """Whether a message of the gateway's own says that the kernel is gone for good: one that has
    ended and can come back is idle to its clients."""
    status = text(message.header(), "msg_type") == "status"
    return status and text(message.content(), "execution_state") == "dead"


class Link:
    """Runs until it is cancelled: whoever starts it ends it when the browser's socket closes.

    dial(query) connects and returns a tornado client connection; outlet takes what the kernel
    said; noted(message) hears of it before that.
    """

    acknowledges = True  # what has arrived, so that the gateway forgets it

    def __init__(self, conversation, outlet, dial, noted, log, what):
        self.conversation = conversation
        self.outlet = outlet
        self.dial = dial
        self.noted = noted
        self.log = log
        self.what = what  # for the log
        self.attempt = 0
        self._news = asyncio.Event()  # there is something to write
        self._arrived = asyncio.Event()  # there is something to acknowledge
        self._much = asyncio.Event()  # that is not to wait for more
        self._unacknowledged = 0  # bytes
        self._gone = False  # the gateway has no such kernel
        self._unknown: float | None = None  # since when it has not known this server
        self._mode = ""  # no connection yet; None is the legacy framing
        self._idle, self._alive = True, 0.0  # waiting for the gateway; last sign of it

    def resumes_at(self):
        """(epoch, number): with a new connection the gateway forgets what came before that."""
        return self.conversation.place

    def nudge(self):
        self._news.set()

    async def run(self):
        while True:
            refused = await self._once()
            wait = pause(self.attempt, refused, random.random())
            self.attempt += 1
            self.log.debug("next attempt to reach the gateway in %.1f s: %s", wait, self.what)
            if not self._gone:
                await asyncio.sleep(wait)
                continue
            await asyncio.sleep(FIRST_PAUSE)
            with contextlib.suppress(asyncio.TimeoutError):  # what is asked now is answered now
                await asyncio.wait_for(self._news.wait(), wait)

    async def _once(self):
        """One connection from beginning to end. Returns whether it was refused."""
        talk = self.conversation
        epoch, last = self.resumes_at()
        query = {"epoch": epoch, "resume": last} if epoch is not None else {}
        try:
            ws = await self.dial("&" + urlencode(query) if query else "")
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is patience
            refused = isinstance(error, HTTPClientError) and error.code in _REFUSALS
            level = self.log.warning if self.attempt == 0 else self.log.debug
            level("the gateway cannot be reached: %s: %r", self.what, error)
            if said(error, 404, "NotFound"):
                await self._bury()
            apart = said(error, 409, skew.REASON)
            if apart:
                await self.outlet.put(self.conversation.bury(skew.REASON, apart))
            await self._tell_unknown(isinstance(error, HTTPClientError) and error.code == 401)
            return refused
        self._gone, self._unknown = False, None
        self._speak(ws.selected_subprotocol)
        talk.reconnected()
        self._news.set()
        self._idle, self._alive = True, asyncio.get_running_loop().time()
        jobs = (self._read(ws), self._write(ws), self._ack(ws), self._watch(ws))
        parts = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                failed = part.exception()
                if failed and not isinstance(failed, (WebSocketClosedError, OSError)):
                    self.log.error(
                        "the connection to the gateway failed: %s", self.what, exc_info=failed
                    )
        finally:
            for part in parts:
                part.cancel()
            self._leave(ws)
            ws.close()
            await asyncio.gather(*parts, return_exceptions=True)
        self.log.warning(
            "the connection to the gateway ended, code %s: %s", ws.close_code, self.what
        )
        if ws.close_code == _TOO_BIG:
            await self._too_big()
        return ws.close_code in (_POLICY, _REPLACED)

    def _speak(self, subprotocol):
        if subprotocol != RESUME and subprotocol != self._mode:
            self.log.warning(
                "the gateway does not speak %s: going on with %s. Output may be lost when the "
                "connection breaks: %s",
                RESUME,
                subprotocol or "the legacy framing",
                self.what,
            )
        self._mode = subprotocol
        self.log.info(
            "connected to the gateway, attempt %d, %s: %s",
            self.attempt + 1,
            subprotocol or "legacy",
            self.what,
        )

    async def _bury(self):
        """Answers what will never be answered, and has the page let go of its kernel."""
        self._news.clear()
        answers = self.conversation.bury(*GONE)
        if not self._gone:
            answers.append(self.conversation.buried())
        self._gone = True
        await self.outlet.put(answers)

    async def _tell_unknown(self, unknown):
        """Answers what is open, once the gateway has long refused this server's token."""
        now = asyncio.get_running_loop().time()
        if not unknown:
            self._unknown = None
        elif self._unknown is None:
            self._unknown = now
        elif now - self._unknown >= UNKNOWN:
            await self.outlet.put(self.conversation.bury(*NOT_KNOWN))

    # ------------------------------------------------------------------------------- in

    async def _read(self, ws):
        while True:
            await self.outlet.room()
            self._idle = True
            frame = await ws.read_message()
            self._idle = False
            self._alive = asyncio.get_running_loop().time()
            if frame is None:
                return
            self.attempt = 0
            try:
                await self._take(frame)
            except Malformed as error:
                self.log.warning("a frame of the gateway is dropped: %s: %s", error, self.what)

    async def _take(self, frame):
        if self._mode != RESUME:
            message = frames.parse(self._mode, frame)
            self.conversation.heard(message, number=-1)
            self.noted(message)
            await self.outlet.put([message])
        elif isinstance(frame, str):
            await self._hello(frame)
        else:
            number, message = frames.parse_numbered(frame)
            if not self.conversation.takes(number):
                return
            self.conversation.heard(message, number)
            if number:
                self._arrived.set()
                self._unacknowledged += len(frame)
                if self._unacknowledged >= ACK_BYTES:
                    self._much.set()
                self.noted(message)
            elif _buries(message):
                # Another replica of the gateway may have taken what this one has not answered.
                await self.outlet.put(self.conversation.bury(*GONE))
            await self.outlet.put([message], numbered=number > 0)

    async def _hello(self, frame):
        try:
            epoch = json.loads(frame)["hello"]["epoch"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Malformed("unknown text frame") from None
        if not isinstance(epoch, str) or not epoch:
            raise Malformed("hello without an epoch")
        answers = []
        for sent in self.conversation.hello(epoch):
            answers += self.conversation.refuse(
                sent, "KernelDied", "The kernel's process ended before it had answered."
            )
        await self.outlet.put(answers)

    # ------------------------------------------------------------------------------ out

    async def _write(self, ws):
        while True:
            await self._news.wait()
            self._news.clear()
            for sent in self.conversation.unwritten():
                if sent.message is None:  # settled meanwhile
                    continue
                mode = V1 if self._mode == RESUME else self._mode
                frame = frames.frame(mode, sent.message)
                written = ws.write_message(frame, binary=isinstance(frame, bytes))
                sent.written = True
                await written
                if self._mode != RESUME:
                    self.conversation.give(sent)

    async def _ack(self, ws):
        if self._mode != RESUME or not self.acknowledges:
            await asyncio.Event().wait()
        while True:
            await self._arrived.wait()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._much.wait(), ACK_AFTER)
            self._arrived.clear()
            self._much.clear()
            self._unacknowledged = 0
            await self._acknowledge(ws)

    def _leave(self, ws):
        """Acknowledges without delay: a server that takes this one's place gets the rest only."""
        if self._mode != RESUME or not self.acknowledges or not self._arrived.is_set():
            return
        with contextlib.suppress(WebSocketClosedError):
            self._acknowledge(ws).add_done_callback(lambda w: w.cancelled() or w.exception())

    def _acknowledge(self, ws):
        talk = self.conversation
        return ws.write_message(json.dumps({"ack": talk.last, "epoch": talk.epoch}))

    async def _watch(self, ws):
        """Notices a peer that is gone without having said so. One that waits for the browser to
        read is not."""
        loop = asyncio.get_running_loop()

        def pong(_data):
            self._alive = loop.time()

        ws.on_pong = pong
        while True:
            await asyncio.sleep(PING_EVERY)
            if not self._idle:
                self._alive = loop.time()
            elif loop.time() - self._alive > SILENCE:
                self.log.warning("the gateway is silent: %s", self.what)
                return
            ws.ping()

    async def _too_big(self):
        """The gateway hung up over a message, and would do it again."""
        sent = self.conversation.withdraw_largest()
        if sent is not None:
            self.log.warning("a message is too large for the gateway: %s", self.what)
            await self.outlet.put(
                self.conversation.refuse(
                    sent, "MessageTooLarge", "The message is too large for the kernel gateway."
                )
            )
