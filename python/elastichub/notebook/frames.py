"""Jupyter messages on WebSockets, in the three framings there are.

`v1.kernel.websocket.jupyter.org`: little-endian u64 count and offsets, then channel, header,
parent header, metadata, content and buffers. Legacy binary: big-endian u32 count and offsets, then
one JSON document and the buffers. Legacy text: that JSON document alone, for messages without
buffers. Between v1 and v1 nothing is decoded.
"""

from __future__ import annotations

import itertools
import json
import struct

V1 = "v1.kernel.websocket.jupyter.org"
RESUME = "v1.resume.elastichub.io"

_PARTS = ("header", "parent_header", "metadata", "content")


class Malformed(ValueError):
    """A frame that is none of a Jupyter message."""


class Message:
    """A Jupyter message. `parts` are the JSON of header, parent header, metadata and content,
    then the buffers, all as bytes; `raw` is the v1 frame it came in, if it did."""

    __slots__ = ("channel", "parts", "raw")

    def __init__(self, channel, parts, raw=None):
        self.channel = channel
        self.parts = parts
        self.raw = raw

    @property
    def size(self):
        """Bytes, without framing."""
        return sum(map(len, self.parts))

    def header(self):
        return _document(self.parts[0])

    def parent(self):
        return _document(self.parts[1])

    def content(self):
        return _document(self.parts[3])


def _document(raw):
    """A JSON object; {} for anything else."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def text(document, key):
    """A string of a JSON object; "" for anything else."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def make(channel, header, parent, content):
    """A message of our own. `parent` is raw JSON."""
    return Message(channel, [_dump(header), bytes(parent), b"{}", _dump(content)])


def _dump(document):
    return json.dumps(document, separators=(",", ":")).encode()


# ---------------------------------------------------------------------------------------- v1


def parse_v1(frame):
    if len(frame) < 8:
        raise Malformed("short frame")
    count = int.from_bytes(frame[:8], "little")
    # Channel, four parts of JSON, and the end: six offsets at least.
    if not 6 <= count <= (len(frame) - 8) // 8:
        raise Malformed("impossible number of offsets")
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    last = 8 * (count + 1)
    for offset in offsets:
        if not last <= offset <= len(frame):
            raise Malformed("offset out of order")
        last = offset
    pieces = [frame[a:b] for a, b in itertools.pairwise(offsets)]
    try:
        channel = pieces[0].decode()
    except UnicodeDecodeError:
        raise Malformed("channel is no text") from None
    return Message(channel, pieces[1:], frame)


def v1(message):
    if message.raw is None:
        channel = message.channel.encode()
        offsets = [8 * (len(message.parts) + 3)]
        for piece in (channel, *message.parts):
            offsets.append(offsets[-1] + len(piece))
        head = struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets)
        message.raw = b"".join((head, channel, *message.parts))
    return message.raw


# ------------------------------------------------------------------------------------ legacy


def parse_legacy(frame):
    """A legacy frame: text is JSON alone, bytes are JSON with buffers."""
    if isinstance(frame, str):
        return _from_json(frame, [])
    if len(frame) < 8:
        raise Malformed("short frame")
    (count,) = struct.unpack_from("!I", frame)
    if not 1 <= count <= (len(frame) - 4) // 4:
        raise Malformed("impossible number of offsets")
    offsets = struct.unpack_from(f"!{count}I", frame, 4)
    last = 4 * (count + 1)
    for offset in offsets:
        if not last <= offset <= len(frame):
            raise Malformed("offset out of order")
        last = offset
    pieces = [frame[a:b] for a, b in itertools.pairwise((*offsets, len(frame)))]
    return _from_json(pieces[0], pieces[1:])


def _from_json(raw, buffers):
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise Malformed("no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("header"), dict):
        raise Malformed("no message")
    # As jupyter_server does: without a channel it is the shell's.
    channel = document.get("channel") or "shell"
    if not isinstance(channel, str):
        raise Malformed("channel is no text")
    return Message(channel, [*(_dump(document.get(part) or {}) for part in _PARTS), *buffers])


def legacy(message):
    """A str, or bytes if the message has buffers."""
    header = message.header()
    document = ",".join(
        f'"{name}":{part.decode("utf-8", "replace") or "{}"}'
        for name, part in zip(_PARTS, message.parts, strict=False)  # buffers follow
    )
    document = (
        f'{{{document},"channel":{json.dumps(message.channel)},"buffers":[],'
        f'"msg_id":{json.dumps(header.get("msg_id"))},"msg_type":{json.dumps(header.get("msg_type"))}}}'
    )
    buffers = message.parts[4:]
    if not buffers:
        return document
    pieces = [document.encode(), *buffers]
    offsets = [4 * (len(pieces) + 1)]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece))
    return b"".join((struct.pack(f"!{len(pieces) + 1}I", len(pieces), *offsets), *pieces))


# ----------------------------------------------------------------------------------- choosing


def parse(subprotocol, frame):
    """A frame of a peer that speaks v1 or, with subprotocol None, legacy."""
    if subprotocol != V1:
        return parse_legacy(frame)
    if isinstance(frame, str):
        raise Malformed("text in v1")
    return parse_v1(frame)


def frame(subprotocol, message):
    """What to write to such a peer: bytes as a binary frame, str as a text frame."""
    return v1(message) if subprotocol == V1 else legacy(message)


def parse_numbered(frame):
    """(number, message) of the resume protocol."""
    if len(frame) < 16:
        raise Malformed("short frame")
    return int.from_bytes(frame[:8], "little"), parse_v1(frame[8:])
