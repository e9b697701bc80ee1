"""Reads a snapshot and puts what is in it where it was.

Nothing of the user's namespace changes before the whole stream has been read.
"""

import contextlib
import errno
import gc
import json
import os
import sys
import time

from . import facts, remake, settings
from .lost import Lost, type_name
from .notebook import Restored
from .saving import brief
from .stream import BUFFER, COMMIT, END, FORMAT, HEADER, HINT, PICKLE, READONLY, RECORD, VOID, Broken, Reader
from .unpickling import Records


def load(session, path, options):
    """Returns the report."""
    began = time.perf_counter()
    report = {"format": FORMAT, "outcome": "loaded"}
    session.collecting = gc.isenabled()
    gc.disable()
    fd = None
    try:
        fd = path if isinstance(path, int) else os.open(path, os.O_RDONLY)
        load = Load(session, fd, set(options.get("without", ())), _progress(options.get("progress")))
        load.read()
        load.finish(report)
        report["bytes"] = load.reader.total
    except KeyboardInterrupt:
        report["outcome"] = "interrupted"
    except Broken as error:
        report["outcome"], report["error"] = "broken", str(error)
    except Exception as error:
        report["outcome"], report["error"] = "failed", str(error) or type(error).__name__
    finally:
        remake.LOADED = {}
        if fd is not None and fd != path:
            os.close(fd)
        if session.collecting:
            gc.enable()
    report["seconds"] = round(time.perf_counter() - began, 3)
    return brief(report)


def _progress(path):
    """Where the number of the record is written that is made next, so that one in which the
    process dies can be named. A pipe nobody reads is no reason to wait."""
    if path is None:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


class Load:
    def __init__(self, session, fd, without, progress):
        self.session, self.without, self.progress = session, without, progress
        self.reader = Reader(fd)
        self.records = Records(session.is_users_module)
        self.restored = Restored(session)
        self.variables, self.late = {}, []
        remake.LOADED = self.variables
        self.failed, self.notes, self.moved = [], [], []
        self.random = None
        self.saved = None

    def read(self):
        kind, size = self.reader.head()
        if kind != HEADER:
            raise Broken("it does not begin like a snapshot")
        header = self.reader.document(size)
        if header.get("language", "python") != "python":
            raise Broken(f"it is of a kernel of {header['language']}")
        if header.get("format") != FORMAT:
            raise Broken(f"it is of format {header.get('format')}, and this is {FORMAT}")
        while self.saved is None:
            kind, size = self.reader.head()
            if kind == END:
                self.saved = self.reader.document(size)
            elif kind == RECORD:
                self._record(self.reader.document(size))
            else:
                raise Broken(f"a frame {kind!r} is out of place")
        if self.progress is not None:
            os.close(self.progress)

    def _record(self, about):
        pickled, buffers, hint = [], [], None
        while True:
            kind, size = self.reader.head()
            if kind == PICKLE:
                pickled.append(self.reader.piece(size))
            elif kind == HINT:
                hint = self.reader.document(size)
            elif kind in (BUFFER, READONLY):
                made, hint = self.reader.buffer(size, hint), None
                buffers.append(_readonly(made) if kind == READONLY else made)
            elif kind == VOID:
                return
            elif kind == COMMIT:
                break
            else:
                raise Broken(f"a frame {kind!r} is out of place")
        self._tell(about)
        if about["i"] in self.without:
            value = self.records.without(about, pickled)
            self.failed.append({**_who(about), "why": value._lost_why})
        else:
            value, failed = self.records.value(about, pickled, buffers)
            for kind, why in failed[:3]:
                self.failed.append({**_who(about), "type": kind, "why": why})
        for before, now in remake.moved.items():
            self.moved.append({**_who(about), "what": f"it was on {before}, which is not here, and is on {now}"})
        remake.moved.clear()
        self._take(about, value)

    def _tell(self, about):
        if self.progress is not None:
            with contextlib.suppress(OSError):
                os.write(self.progress, json.dumps(about).encode() + b"\n")

    def _take(self, about, value):
        kind = about["k"]
        if kind == "variable":
            self.variables[about["n"]] = value
        elif kind == "process" and type(value) is dict:
            self.notes += settings.apply_process(self.session, value)
        elif kind == "settings" and type(value) is dict:
            self.notes += settings.apply(value)
        elif kind == "random":
            self.random = value
        elif kind not in ("anchor", "process", "settings"):
            self.late.append((kind, about["n"], value))

    def finish(self, report):
        """Puts everything into its place; from here on the namespace changes."""
        for lost in [*self.saved["lost"], *self.saved["skipped"], *self.saved["still_lost"]]:
            self.variables[lost["name"]] = Lost(lost["type"], lost["why"], lost["cell"])
        self._name_lost()
        changed = self._changed()
        self.session.ns.update(self.variables)
        for kind, name, value in self.late:
            try:
                self.restored.put(kind, name, value)
            except Exception as error:
                self.notes.append(f"{kind} {name}: {type(error).__name__}: {error}")
        if type(self.random) is dict:
            settings.set_random_states(self.random)
        self.session.settled()
        report.update(
            variables=sum(type(value) is not Lost for value in self.variables.values()),
            lost=self.saved["lost"],
            holes=self.saved["holes"],
            again=self.saved["again"] + self.moved,
            skipped=self.saved["skipped"],
            still_lost=self.saved["still_lost"],
            failed=self.failed,
            changed=changed,
            notes=self.notes + self.restored.notes,
        )
        if self.restored.debugger is not None:
            report["debugger"] = self.restored.debugger

    def _name_lost(self):
        """What hung on a record that could not be made is lost, too, and to be named."""
        told = [*self.saved["lost"], *self.saved["skipped"], *self.saved["still_lost"], *self.failed]
        names = {each["name"] for each in told}
        for name, value in self.variables.items():
            if type(value) is Lost and name not in names:
                self.failed.append(
                    {"name": name, "type": value._lost_type, "cell": value._lost_cell, "why": value._lost_why}
                )

    def _changed(self):
        """Variables that are not what they were: nothing may come back silently wrong."""
        found = []
        for name, before in self.saved["facts"].items():
            value = self.variables.get(name)
            if type(value) is Lost and before != [type_name(value)]:
                continue  # it is told of already
            now = facts.of(value)
            if now != before:
                found.append({"name": name, "was": before, "is": now})
        return found


def _readonly(buffer):
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(buffer, numpy.ndarray):
        return buffer
    return memoryview(buffer).toreadonly()


def _who(about):
    name = about["n"].replace("\0", ".")
    return {
        "name": name if about["k"] == "variable" else f"{about['k']} {name}".strip(),
        "type": about["t"],
        "cell": about.get("c"),
    }
