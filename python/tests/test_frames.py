"""The three framings, against jupyter_server's own functions, and frames that lie."""

import json
import random

import pytest
from jupyter_server.services.kernels.connection import base

from elastichub.notebook import frames
from elastichub.notebook.frames import Malformed, Message

HEADER = {"msg_id": "a", "msg_type": "comm_msg", "session": "s"}


def sample(*buffers, channel="iopub", content=None):
    parts = [HEADER, {"msg_id": "p"}, {"m": "ü\ud83d"}, content or {"text": "ä" * 10}]
    return Message(channel, [*(json.dumps(part).encode() for part in parts), *buffers])


def same(a, b):
    assert a.channel == b.channel
    assert [json.loads(p) for p in a.parts[:4]] == [json.loads(p) for p in b.parts[:4]]
    assert [bytes(p) for p in a.parts[4:]] == [bytes(p) for p in b.parts[4:]]


@pytest.mark.parametrize("buffers", [(), (b"",), (b"\x00\xff\xfe", b"", b"x" * 70000)])
def test_v1_is_what_jupyter_server_reads_and_writes(buffers):
    made = sample(*buffers)
    channel, parts = base.deserialize_msg_from_ws_v1(frames.v1(made))
    assert (channel, parts) == ("iopub", made.parts)
    theirs = base.serialize_msg_to_ws_v1(made.parts, "iopub")
    assert frames.v1(made) == theirs
    same(frames.parse_v1(theirs), made)
    assert frames.v1(frames.parse_v1(theirs)) is theirs, "between v1 and v1 nothing is made anew"


@pytest.mark.parametrize("buffers", [(b"",), (b"\x00\xff\xfe", b"", b"x" * 70000)])
def test_legacy_binary_is_what_jupyter_server_reads_and_writes(buffers):
    made = sample(*buffers)
    read = base.deserialize_binary_message(frames.legacy(made))
    assert read["channel"] == "iopub"
    assert (read["msg_id"], read["msg_type"]) == ("a", "comm_msg")
    assert read["content"] == made.content()
    assert tuple(read["buffers"]) == buffers
    document = {
        "channel": "iopub",
        "header": made.header(),
        "parent_header": made.parent(),
        "metadata": json.loads(made.parts[2]),
        "content": made.content(),
        "buffers": list(buffers),
    }
    same(frames.parse_legacy(base.serialize_binary_message(document)), made)


def test_legacy_text():
    made = sample()
    written = frames.legacy(made)
    assert isinstance(written, str)
    document = json.loads(written)
    assert document["msg_id"] == "a"
    assert document["buffers"] == []
    same(frames.parse_legacy(written), made)
    assert frames.parse_legacy('{"header": {}}').channel == "shell"


def test_numbers():
    made = sample(b"\x01")
    number, read = frames.parse_numbered((2**40).to_bytes(8, "little") + frames.v1(made))
    assert number == 2**40
    same(read, made)


def test_frames_that_lie_are_malformed_and_nothing_else():
    choice = random.Random(1)
    good = [
        frames.v1(sample(b"abc")),
        frames.legacy(sample(b"abc")),
        frames.legacy(sample()).encode(),
    ]
    for _ in range(20_000):
        raw = bytearray(choice.choice(good))
        for _ in range(choice.randint(1, 6)):
            raw[choice.randrange(min(len(raw), 100))] = choice.randrange(256)
        raw = bytes(raw[: choice.choice((len(raw), choice.randrange(len(raw))))])
        for parse in (
            frames.parse_v1,
            frames.parse_legacy,
            frames.parse_numbered,
            lambda f: frames.parse_legacy(f.decode("latin-1")),
        ):
            try:
                message = parse(raw)
            except Malformed:
                continue
            if isinstance(message, tuple):
                message = message[1]
            # What is accepted can be asked for anything and written in any framing.
            message.header(), message.parent(), message.content()
            frames.v1(message), frames.legacy(message)


def test_deeply_nested_json_is_malformed():
    with pytest.raises(Malformed):
        frames.parse_legacy('{"header":' + "[" * 100_000)
    assert Message("shell", [b"[" * 100_000, b"", b"", b""]).header() == {}
