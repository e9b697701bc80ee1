"""What one Jupyter session and its kernel have said to each other, as far as it must be known to
go on after the connection between them has broken (docs/resume-protocol.md). No I/O."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from datetime import datetime, timezone
from typing import Any

from . import frames
from .frames import text

MAX_HELD = 64 << 20  # bytes of messages that wait for a sign of the kernel; an agent takes none that is larger
TOO_LARGE = f"The message is larger than {MAX_HELD >> 20} MiB, which is the most that a kernel takes."
# Messages that wait for a sign or an answer. The agent knows a session's last 4096 again.
MAX_OPEN = 4000

_ANSWERED_BY_REPLY = ("shell", "control")


class Sent:
    """A message of the client and what came of it."""

    __slots__ = (
        "cell",
        "channel",
        "header",
        "id",
        "idled",
        "message",
        "over",
        "parent",
        "replied",
        "type",
        "written",
    )

    def __init__(self, message):
        header = message.header()
        # Without an id nothing will be heard of it; Jupyter's clients give each message one.
        self.id = text(header, "msg_id") or uuid.uuid4().hex
        self.type = text(header, "msg_type")
        self.channel = message.channel
        self.header = message.parts[0]
        self.parent = text(message.parent(), "msg_id") if self.type == "input_reply" else ""
        self.message = message  # None once the kernel has shown a sign of it
        self.written = False  # to the gateway connection there is now
        self.replied = self.idled = False
        self.over = False  # nothing more is awaited
        self.cell: Any = None  # that it runs; takes what answers it

    @property
    def asks(self):
        """The kernel owes a reply."""
        return self.channel in _ANSWERED_BY_REPLY and self.type.endswith("_request")


class Conversation:
    """`epoch` and `last` say up to where the client has what the kernel said; `open` holds what
    the client said, in order, until it is settled."""

    def __init__(self):
        self.epoch = None
        self.last = 0
        self.open: OrderedDict[str, Sent] = OrderedDict()
        self.held = 0
        self._voice = None  # raw header of the kernel's last message

    # ------------------------------------------------------------------------- the client

    def say(self, message, cell=None):
        """Takes a message of the client. Returns None, or what answers it if it cannot be taken.

        cell.take(message, epoch, number) is called with everything that answers it.
        """
        sent = Sent(message)
        if sent.id in self.open:
            return None
        if message.size > MAX_HELD:
            return self.refuse(sent, "MessageTooLarge", TOO_LARGE)
        if len(self.open) >= MAX_OPEN:
            self._forget_oldest()
        if self.held + message.size > MAX_HELD or len(self.open) >= MAX_OPEN:
            return self.refuse(
                sent, "TooMuchWaiting", "Too much is waiting for the kernel already."
            )
        self.open[sent.id] = sent
        self.held += message.size
        if cell is not None:
            sent.cell, cell.sent = cell, sent
        return None

    def _forget_oldest(self):
        """Makes room: some kernels never finish what they took up."""
        for sent in self.open.values():
            if sent.message is None:
                self._settle(sent)
                return

    def unwritten(self):
        """What is to be written to the gateway now, in order."""
        return [s for s in self.open.values() if s.message is not None and not s.written]

    def give(self, sent):
        """It is never to be sent again: the other end would not know that it has it."""
        self._seen(sent)

    def reconnected(self):
        """A new connection knows nothing of what was written to the last."""
        for sent in self.open.values():
            sent.written = False

    def withdraw_largest(self):
        """Gives up the largest message that was written and of which nothing was heard."""
        there = [s for s in self.open.values() if s.message is not None and s.written]
        if not there:
            return None
        sent = max(there, key=lambda s: s.message.size)
        self._settle(sent)
        return sent

    # ------------------------------------------------------------------------- the kernel

    @property
    def place(self):
        """Up to where the client has what the kernel said."""
        return self.epoch, self.last

    def return_to(self, place):
        """Somebody else has read on from there: the client is to have that too. Of another process
        of the agent it gets everything."""
        epoch, last = place
        self.last = last if epoch == self.epoch else 0

    def kept(self):
        """What another process needs to go on with the cells that are not done, as JSON."""
        cells = []
        for sent in self.open.values():
            if sent.cell is None:
                continue
            parts = sent.message.parts if sent.message is not None else [sent.header, b"{}", b"{}", b"{}"]
            texts = [bytes(part).decode("utf-8", "surrogateescape") for part in parts[:4]]
            state = {"taken": sent.message is None, "replied": sent.replied, "idled": sent.idled}
            cells.append({**state, "parts": texts})
        return {"epoch": self.epoch, "last": self.last, "cells": cells}

    def restore(self, kept, cells):
        """Goes on from kept(); cells are those that are run, by id of the request. Error: KeyError,
        TypeError, ValueError or AttributeError for anything else."""
        self.epoch, self.last = kept["epoch"], kept["last"]
        for each in kept["cells"]:
            parts = [part.encode("utf-8", "surrogateescape") for part in each["parts"]]
            sent = Sent(frames.Message("shell", parts))
            if sent.id not in cells:
                continue
            sent.cell, cells[sent.id].sent = cells[sent.id], sent
            sent.replied, sent.idled = each["replied"], each["idled"]
            self.open[sent.id] = sent
            if each["taken"]:
                sent.message = None
            else:
                self.held += sent.message.size

    def hello(self, epoch):
        """The gateway has reached the kernel's agent. Returns what the process of another epoch
        had taken up and will never answer."""
        if epoch == self.epoch:
            return []
        died = []
        if self.epoch is not None:
            died = [s for s in self.open.values() if s.message is None]
            for sent in died:
                self._settle(sent)
        self.epoch, self.last = epoch, 0
        return died

    def takes(self, number):
        """Whether this is the first time that the message of that number comes. It is taken as
        received then."""
        if number == 0:
            return True
        if number <= self.last:
            return False
        self.last = number
        return True

    def heard(self, message, number):
        """Learns from a message to the client. `number` is 0 for the gateway's own."""
        if number:
            self._voice = message.parts[0]
        if not self.open:
            return
        sent = self.open.get(text(message.parent(), "msg_id"))
        if sent is None:
            return
        if sent.cell is not None:
            sent.cell.take(message, self.epoch, number)
        reply = message.channel in _ANSWERED_BY_REPLY
        if not number:
            # The gateway speaks for the kernel, which will never see what is answered here.
            if reply:
                self._settle(sent)
            return
        if sent.message is not None:
            self._earlier(sent)
            self._seen(sent)
        kind = text(message.header(), "msg_type")
        if reply:
            sent.replied = True
        elif kind == "status" and text(message.content(), "execution_state") == "idle":
            sent.idled = True
        if reply or kind == "input_request":
            self._answered(sent.id)
        if sent.replied and sent.idled:
            self._settle(sent)

    def _earlier(self, sent):
        """A channel is in order: what was sent before has arrived too. What the kernel shows no
        sign of by its nature is settled with that."""
        for other in list(self.open.values()):
            if other is sent:
                return
            if other.channel == sent.channel and other.message is not None and not other.asks:
                self._settle(other)

    def _answered(self, request):
        """Answers to input() show no sign themselves."""
        for other in list(self.open.values()):
            if other.parent == request:
                self._settle(other)

    def _seen(self, sent):
        if sent.message is not None:
            self.held -= sent.message.size
            sent.message = None
        if not sent.asks:
            self._settle(sent)

    def _settle(self, sent):
        if sent.message is not None:
            self.held -= sent.message.size
            sent.message = None
        sent.over = True
        if sent.id in self.open and self.open[sent.id] is sent:
            del self.open[sent.id]

    # --------------------------------------------------------------------- in its stead

    def refuse(self, sent, name, value):
        """Messages that answer `sent` with an error, as far as it is still unanswered. An
        execute_request also shows it in its cell."""
        failure = {"ename": name, "evalue": value, "traceback": [f"{name}: {value}"]}
        messages = []
        if sent.asks and not sent.replied:
            messages.append(self._make("iopub", "status", sent, {"execution_state": "busy"}))
            if sent.type == "execute_request":
                messages.append(self._make("iopub", "error", sent, failure))
            reply = {"status": "error", "execution_count": 0, "user_expressions": {}, "payload": []}
            kind = sent.type.removesuffix("_request") + "_reply"
            messages.append(self._make(sent.channel, kind, sent, {**failure, **reply}))
        if sent.asks and (messages or not sent.idled):
            messages.append(self._make("iopub", "status", sent, {"execution_state": "idle"}))
        if sent.cell is not None:
            for message in messages:
                sent.cell.take(message, self.epoch, 0)
        return messages

    def bury(self, name, value):
        """The kernel is gone for good. Messages that answer everything that is open."""
        messages = []
        for sent in list(self.open.values()):
            self._settle(sent)
            messages += self.refuse(sent, name, value)
        return messages

    def buried(self):
        """What tells a page that its kernel is gone for good."""
        nobody = Sent(frames.Message("", [b"{}", b"{}", b"{}", b"{}"]))
        return self._make("iopub", "status", nobody, {"execution_state": "dead"})

    def busy(self, sent):
        """What the kernel said when it began with `sent`, for another page; None if it is not at it."""
        if sent.message is not None or sent.idled:
            return None
        return self._make("iopub", "status", sent, {"execution_state": "busy"})

    def _make(self, channel, kind, sent, content):
        # JupyterLab drops the handling of a message when one with another session follows at
        # once: ours speak as the kernel.
        voice = frames.Message("", [self._voice]).header() if self._voice else {}
        header = {
            "msg_id": str(uuid.uuid4()),
            "msg_type": kind,
            "username": text(voice, "username"),
            "session": text(voice, "session"),
            "date": datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
            "version": "5.4",
        }
        return frames.make(channel, header, sent.header, content)
