"""The frames of a snapshot: docs/parking-format.md describes them for other readers."""

import contextlib
import fcntl
import json
import mmap
import os
import struct

FORMAT = 1

HEADER = b"H"  # the first: format, interpreter, number of records expected
RECORD = b"R"  # a record begins: number, kind, name, type, cell
PICKLE = b"P"  # a piece of the record's pickle
HINT = b"A"  # how the next buffer is best allocated
BUFFER = b"B"  # an out-of-band buffer of the record
READONLY = b"Q"  # the same, not to be written to
COMMIT = b"E"  # the record is complete
VOID = b"X"  # the record is void: its pieces and buffers are to be forgotten
END = b"Z"  # the last: the report

HEAD = struct.Struct("<cQ")
PIPE = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, not named before Python 3.10
_PIECE = 1 << 20
_WRITE = 4 << 20


class TooLarge(BaseException):
    """The snapshot exceeds the bytes that it may have."""


class Unwritable(BaseException):
    """Nobody reads the stream, or its volume is full. Not an OSError: an object whose
    pickling raises one is not to be mistaken for it."""


class Writer:
    """Writes frames to a descriptor. As pickler's file it gathers small writes; large
    ones and buffers are passed on as they are, without a copy."""

    def __init__(self, fd, watch, limit=None):
        self.fd, self.watch, self.limit = fd, watch, limit
        self.total = 0
        self._parts, self._held = [], 0
        self._hints = {}
        self._ours = set()
        _widen(fd)

    def frame(self, kind, *views):
        size = sum(_size(view) for view in views)
        self.total += HEAD.size + size
        if self.limit is not None and self.total > self.limit:
            raise TooLarge
        self._out(HEAD.pack(kind, size))
        for view in views:
            self._out(view)

    def document(self, kind, value):
        self.frame(kind, json.dumps(value, separators=(",", ":")).encode())

    def _out(self, view):
        view = memoryview(view)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        while len(view):
            try:
                with self.watch.writing():
                    sent = os.write(self.fd, view[:_WRITE])
            except OSError as error:
                raise Unwritable(str(error)) from error
            view = view[sent:]

    def write(self, piece):
        """What the pickler calls. Small pieces are its own memory, which it uses again."""
        size = _size(piece)
        if size < _PIECE and not isinstance(piece, bytes):
            piece = bytes(piece)
        self._parts.append(piece)
        self._held += size
        if self._held >= _PIECE:
            self.flush()
        return size

    def flush(self):
        if self._held:
            parts, self._parts, self._held = self._parts, [], 0
            self.frame(PICKLE, *parts)

    def forget(self):
        """Drops what is held of a record that failed."""
        self._parts, self._held = [], 0
        self._hints.clear()
        self._ours.clear()

    def hint(self, buffer, allocation):
        self._hints[id(buffer)] = allocation

    def ours(self, buffer):
        """Has the buffer released once it is written: the pickler's memo would keep it."""
        self._ours.add(id(buffer))
        return buffer

    def buffer(self, buffer):
        """What the pickler calls for a buffer that is not to be in the pickle."""
        self.flush()
        allocation = self._hints.pop(id(buffer), None)
        if allocation is not None:
            self.document(HINT, allocation)
        with buffer.raw() as view:
            self.frame(READONLY if view.readonly else BUFFER, view)
        if id(buffer) in self._ours:
            self._ours.discard(id(buffer))
            buffer.release()
        return False


def _size(view):
    return view.nbytes if isinstance(view, memoryview) else len(view)


def _widen(fd):
    with contextlib.suppress(OSError):  # a file, or more than this user's pipes may have
        fcntl.fcntl(fd, _SET_PIPE_SIZE, PIPE)


class Broken(Exception):
    """The stream is no whole snapshot of a format that is known."""


class Reader:
    """Reads frames from a descriptor."""

    def __init__(self, fd):
        self.fd = fd
        self.total = 0
        _widen(fd)

    def head(self):
        kind, size = HEAD.unpack(bytes(self.piece(HEAD.size)))
        return kind, size

    def piece(self, size):
        made = bytearray(size)
        self.fill(memoryview(made))
        return made

    def document(self, size):
        return json.loads(bytes(self.piece(size)))

    def buffer(self, size, allocation):
        """A buffer in memory of its own: an array's, a tensor's, else fresh pages."""
        made = _allocated(size, allocation or {})
        if made is not None:
            target, view = made
            self.fill(view)
            return target
        if size < _PIECE:
            return self.piece(size)
        pages = mmap.mmap(-1, size)
        self.fill(memoryview(pages))
        return pages

    def skip(self, size):
        while size:
            size -= len(self.piece(min(size, _WRITE)))

    def fill(self, view):
        while len(view):
            got = os.readv(self.fd, [view[: 64 << 20]])
            if got <= 0:
                raise Broken("the snapshot ends early")
            self.total += got
            view = view[got:]


def _allocated(size, allocation):
    try:
        if allocation.get("as") == "numpy":
            return _numpy(size, allocation)
        if allocation.get("as") == "torch" and size:
            import torch

            made = torch.empty(size, dtype=torch.uint8)
            return made, memoryview(made.numpy())
    except ImportError:
        pass
    return None


def _numpy(size, allocation):
    import numpy

    made = numpy.empty(tuple(allocation["shape"]), allocation["dtype"], allocation["order"])
    if made.nbytes != size or not size:
        return None
    flat = made.reshape(-1, order=allocation["order"]).view(numpy.uint8)
    return made, memoryview(flat)
