"""What the cells of a page have printed, as a notebook file holds it (nbformat 4). No I/O."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..frames import text
from . import merging

# Bytes of messages that are kept as they came: a cell that the page saves before that costs nothing.
MAX_RAW = 4 << 20
MAX_DISPLAYS = 4096  # names of displays that are known, of a page
MAX_GIVEN = 4096  # states of a cell that pages were given


class Stream:
    """Adjacent text of stdout or stderr. What is printed over is gone, as in JupyterLab."""

    def __init__(self, name):
        self.name = name
        self.size = 0  # bytes
        self._above: list[str] = []  # all lines but the last
        self._line, self._at = "", 0  # the last one, and where the next character goes

    def write(self, new):
        if self._at == len(self._line) and "\b" not in new and "\r" not in new:
            self.size += _bytes(new)
            self._append(self._line, new)
            return
        before = _bytes(self._line)
        self.size -= before
        line, at = self._line, self._at
        for part in _pieces(new):
            if part == "\n":  # goes to the end of the line, wherever the next character would
                self.size += _bytes(line) + 1
                self._above.append(line + "\n")
                line, at = "", 0
            elif part == "\r":
                at = 0
            elif part == "\b":
                if at:
                    line, at = line[: at - 1] + line[at + 1 :], at - 1
            else:
                line, at = line[:at] + part + line[at + len(part) :], at + len(part)
        self._line, self._at = line, at
        self.size += _bytes(line)

    def _append(self, line, new):
        whole, newline, rest = new.rpartition("\n")
        if newline:
            self._above.append(line + whole + newline)
            line = ""
        self._line = line + rest
        self._at = len(self._line)

    def output(self):
        self._above = ["".join(self._above)]
        return {"output_type": "stream", "name": self.name, "text": self._above[0] + self._line}

    def kept(self):
        """All of it as JSON."""
        return {"stream": self.name, "text": self.output()["text"], "at": self._at - len(self._line)}

    @classmethod
    def restored(cls, kept):
        stream = cls(kept["stream"])
        stream._append("", kept["text"])
        stream.size = _bytes(kept["text"])
        stream._at += kept["at"]
        return stream


def _pieces(new):
    """Text and the characters that move, in order."""
    begin = 0
    for i, character in enumerate(new):
        if character in "\n\r\b":
            if i > begin:
                yield new[begin:i]
            yield character
            begin = i + 1
    if begin < len(new):
        yield new[begin:]


def _bytes(string):
    return len(string) if string.isascii() else len(string.encode("utf-8", "replace"))


class Cell:
    """One run of one cell. `limit` is how many bytes of its output are kept."""

    def __init__(self, book, identity, message_id, code, listed, limit):
        self.book = book
        self.id = identity
        self.message_id = message_id
        self.code = code
        self.listed = listed  # it is a cell of a notebook, and not of a console
        self.limit = limit
        self.sent: Any = None  # what the conversation knows of the request
        self.count: int | None = None
        self.heard = 0.0  # when the last message came, by time.monotonic()
        self.newest = True  # no page has saved the notebook since it was run
        self.done_when_left = False  # by its page
        self.written = False  # the file has what there will be
        self.given: dict[str, None] = {}  # what pages were given in its place (see merging.state)
        self.before: list[Any] = []  # what pages showed before something of it was changed
        self.outputs: list[Any] = []  # Stream, or an output as a dict
        self.size = 0
        self.dropped = 0  # bytes beyond the limit
        self._clears = False  # before the next output

    @property
    def done(self):
        return self.sent is None or self.sent.over

    def give(self, outputs, count):
        """A page has this in its place."""
        self.given[merging.state(outputs, count)] = None
        if len(self.given) > MAX_GIVEN:
            del self.given[next(iter(self.given))]

    def take(self, message, epoch, number):
        """A message that answers the request. `number` is that of the resume protocol, 0 or -1."""
        self.book.take(self, message, epoch, number)

    def add(self, kind, content):
        """Takes the content of a message of that type in."""
        if kind == "stream":
            self._begin()
            self._print(text(content, "name") or "stdout", text(content, "text"))
        elif kind in ("display_data", "execute_result"):
            self._begin()
            self._show(kind, content)
        elif kind == "error":
            self._begin()
            self._fail(content)
        elif kind == "clear_output":
            self._clears = bool(content.get("wait"))
            if not self._clears:
                self._clear()
        elif kind == "execute_reply":
            count = content.get("execution_count")
            self.count = count if isinstance(count, int) and count > 0 else None

    def _begin(self):
        if self._clears:
            self._clear()
        self._clears = False

    def _clear(self):
        self.outputs, self.size, self.dropped = [], 0, 0

    def _print(self, name, new):
        room = self.limit - self.size
        if self.dropped or _bytes(new) > room:
            fitting = "" if self.dropped else new.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
            self.dropped += _bytes(new) - _bytes(fitting)
            new = fitting
        if not new:
            return
        last = self.outputs[-1] if self.outputs else None
        if not isinstance(last, Stream) or last.name != name:
            last = Stream(name)
            self.outputs.append(last)
        self.size -= last.size
        last.write(new)
        self.size += last.size

    def _show(self, kind, content):
        output = {"output_type": kind, **_bundle(content)}
        if kind == "execute_result":
            output["execution_count"] = content.get("execution_count")
        name = _display(content)
        if name:
            self.book.update(name, content)
        size = _weight(output)
        if self.size + size > self.limit:
            self.dropped += size
            return
        self.size += size
        self.outputs.append(output)
        if name:
            output["display_id"] = name
            self.book.name(name, self, output)

    def _fail(self, content):
        traceback = content.get("traceback")
        lines = [str(line) for line in traceback] if isinstance(traceback, list) else []
        output = {"output_type": "error", "ename": text(content, "ename"), "evalue": text(content, "evalue")}
        size = _weight(output | {"traceback": lines})
        if self.size + size > self.limit and size > MAX_ERROR:
            self.dropped += size
            output["evalue"], lines = output["evalue"][:MAX_ERROR], []
        self.size += size
        self.outputs.append(output | {"traceback": lines})

    def restart(self, outputs):
        """Somebody else has changed what it has printed so far, to these outputs."""
        self._clear()
        for output in outputs:
            if output.get("output_type") == "stream":
                self._print(output.get("name", "stdout"), _joined(output.get("text")))
            else:
                self.outputs.append(dict(output))
                self.size += _weight(output)
        self.book.changed()

    def export(self, missing="the page was closed"):
        """The outputs as a notebook file has them. `missing` says why some are not kept."""
        outputs = [
            output.output() if isinstance(output, Stream) else {k: v for k, v in output.items() if k != "display_id"}
            for output in self.outputs
        ]
        if self.dropped:
            line = f"[{_size(self.dropped)} of further output are not kept: {missing}.]\n"
            outputs.append({"output_type": "stream", "name": "stderr", "text": line})
        return outputs

    def kept(self):
        """What the next server is to know, as JSON."""
        return {
            "id": self.id,
            "message": self.message_id,
            "code": self.code,
            "listed": self.listed,
            "newest": self.newest,
            "done": self.done,
            "count": self.count,
            "dropped": self.dropped,
            "clears": self._clears,
            "outputs": [o.kept() if isinstance(o, Stream) else o for o in self.outputs],
        }

    @classmethod
    def restored(cls, book, kept, limit):
        """The cell of kept(). Error: KeyError, TypeError or ValueError for anything else."""
        cell = cls(book, kept["id"], kept["message"], kept["code"], kept["listed"], limit)
        cell.count, cell.dropped, cell._clears = kept["count"], kept["dropped"], kept["clears"]
        cell.newest = kept["newest"]
        for output in kept["outputs"]:
            if "stream" in output:
                cell.outputs.append(Stream.restored(output))
                cell.size += cell.outputs[-1].size
                continue
            cell.outputs.append(output)
            cell.size += _weight(output)
            if "display_id" in output:
                book.name(output["display_id"], cell, output)
        return cell


MAX_ERROR = 64 << 10  # bytes of an error that are kept whatever came before


def _size(number):
    return f"{number / 1e6:.1f} MB" if number >= 1 << 20 else f"{(number + 999) // 1000} kB"


def _bundle(content):
    data, metadata = content.get("data"), content.get("metadata")
    return {"data": data if isinstance(data, dict) else {}, "metadata": metadata if isinstance(metadata, dict) else {}}


def _display(content):
    transient = content.get("transient")
    return text(transient, "display_id") if isinstance(transient, dict) else ""


def _weight(output):
    """About how many bytes an output takes."""
    return len(json.dumps(output, default=str))


def _joined(value):
    return "".join(value) if isinstance(value, list) else value if isinstance(value, str) else ""


class Book:
    """The cells that one page has run on one kernel, in order, and what they have printed."""

    def __init__(self):
        self.path = ""  # of the notebook, when it was last looked up
        self.aside = ""  # the notebook that has the outputs instead, if that one cannot have them
        self.cells: OrderedDict[str, Cell] = OrderedDict()  # by id of the request
        self.shared = False  # pages were shown what was printed, in a document that they share
        self.disposed = False  # its page has closed the notebook
        self.news = False  # there is something that was not written
        self.changed: Callable[[], None] = lambda: None  # called when there is something to tell
        self._epoch: str | None = None
        self._number = 0  # of the last message that was taken
        self._raw: list[tuple[Cell, Any]] = []  # messages in order, not looked into yet
        self._raw_bytes = 0
        self._displays: OrderedDict[str, list[tuple[Cell, dict]]] = OrderedDict()

    def add(self, identity, message_id, code, listed, limit):
        """A cell is run. What an earlier run of it printed is over."""
        if message_id in self.cells:
            return self.cells[message_id]
        self.void(identity)
        cell = Cell(self, identity, message_id, code, listed, limit)
        self.cells[message_id] = cell
        self.changed()
        return cell

    def void(self, identity):
        """Nothing is kept any more of the runs of that cell."""
        for cell in [c for c in self.cells.values() if c.id == identity]:
            self.drop(cell)

    def drop(self, cell):
        self.cells.pop(cell.message_id, None)
        if cell.sent is not None:
            cell.sent.cell = None
        if not self.cells:
            self._raw, self._raw_bytes = [], 0
        self.changed()

    def unfinished(self):
        return [cell for cell in self.cells.values() if not cell.done]

    @property
    def size(self):
        """Bytes in memory, about."""
        return self._raw_bytes + sum(cell.size for cell in self.cells.values())

    def take(self, cell, message, epoch, number):
        if number > 0:
            if epoch == self._epoch and number <= self._number:
                return  # the page is told again what it has not confirmed
            self._epoch, self._number = epoch, number
        self.news, cell.heard = True, time.monotonic()
        self._raw.append((cell, message))
        self._raw_bytes += message.size
        if self._raw_bytes > MAX_RAW:
            self.fold()
        self.changed()

    def fold(self):
        """Looks into the messages that came since the last time."""
        raw, self._raw, self._raw_bytes = self._raw, [], 0
        for cell, message in raw:
            if self.cells.get(cell.message_id) is not cell:
                continue
            kind = text(message.header(), "msg_type")
            if kind == "update_display_data":
                content = message.content()
                self.update(_display(content), content)
            elif kind != "status":
                cell.add(kind, message.content())

    def name(self, display, cell, output):
        self._displays.setdefault(display, []).append((cell, output))
        if len(self._displays) > MAX_DISPLAYS:
            self._displays.popitem(last=False)

    def update(self, display, content):
        """Shows something else wherever that display is."""
        for cell, output in self._displays.get(display, ()):
            new = {**output, **_bundle(content)}
            more = _weight(new) - _weight(output)
            if cell.size + more <= cell.limit:
                cell.size += more
                cell.written = False
                output.update(new)

    def names_displays(self, cell):
        return any("display_id" in output for output in cell.outputs if isinstance(output, dict))

    def kept(self):
        """What the next server is to know, as JSON."""
        self.fold()
        cells = [cell.kept() for cell in self.cells.values() if not (cell.done and cell.written)]
        place = {"epoch": self._epoch, "number": self._number}
        return {"path": self.path, "aside": self.aside, "cells": cells, **place}

    @classmethod
    def restored(cls, kept, limit):
        """The book of kept(). Error: KeyError, TypeError or ValueError for anything else."""
        book = cls()
        book.path, book.aside = kept["path"], kept["aside"]
        book._epoch, book._number = kept["epoch"], kept["number"]
        for each in kept["cells"]:
            cell = Cell.restored(book, each, limit)
            book.cells[cell.message_id] = cell
        book.news = True
        return book
