"""Writes a snapshot: the surroundings, the variables, what IPython knows, the report."""

import gc
import os
import platform
import time

from . import arrays, background, callables, facts, kinds, libraries, notebook, settings, singletons, tensors
from .lost import Lost, type_name
from .records import Records
from .reducing import Reducing
from .remake import ANCHORS
from .stream import END, FORMAT, HEADER, TooLarge, Unwritable, Writer
from .watch import Interrupted, Watch

# They register what they know.
HANDLERS = (arrays, callables, kinds, libraries, tensors)

# How many things of one sort a reply names; the stream's own report names all.
NAMED = 100


def save(session, path, options):
    """Returns the report. Whatever goes wrong, the kernel is as it was; a stream without
    its last frame is void."""
    began = time.perf_counter()
    watch = Watch(options.get("seconds"), options.get("record_seconds"))
    report = {"format": FORMAT, "outcome": "saved", "background": background.in_use(session)}
    session.collecting = gc.isenabled()
    gc.disable()  # it would look at every new object, and none of them dies before the end
    try:
        with watch.armed():
            fd = path if isinstance(path, int) else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                writer = Writer(fd, watch, options.get("max_bytes"))
                _write(session, writer, watch, report)
            finally:
                if fd != path:
                    os.close(fd)
        report["bytes"] = writer.total
    except Interrupted as stopped:
        report["outcome"] = stopped.outcome
    except KeyboardInterrupt:
        report["outcome"] = "interrupted"
    except TooLarge:
        report["outcome"] = "too large"
    except (Unwritable, Exception) as error:
        report["outcome"], report["error"] = "failed", str(error) or type(error).__name__
    finally:
        if session.collecting:
            gc.enable()
    report["seconds"] = round(time.perf_counter() - began, 3)
    return brief(report)


def brief(report):
    """The report as a reply carries it: no longer than a message should be."""
    made = {key: value for key, value in report.items() if key != "facts"}
    for key, value in made.items():
        if isinstance(value, list) and len(value) > NAMED:
            made[key] = [*value[:NAMED], {"more": len(value) - NAMED}]
    return made


def _write(session, writer, watch, report):
    reducing = Reducing(session, writer)
    reducing.singletons = singletons.find(session)
    names = list(notebook.variables(session))
    writer.document(
        HEADER,
        {
            "format": FORMAT,
            "python": platform.python_version(),
            "variables": len(names),
            "records": len(names) + len(session.ns.get("Out", ())),
        },
    )
    save = Save(Records(reducing, watch), session)
    save.anchors(reducing)
    save.record("process", "", settings.read_process(session))
    save.record("settings", "", settings.read(session))
    save.variables(names)
    for name, module in session.user_modules():
        for key, value in notebook.module_state(module).items():
            save.record("module", f"{name}\0{key}", value)
    for kind, name, value in notebook.state(session):
        save.record(kind, name, value)
    # Last: nothing that is saved may draw a number from them, and nothing that is loaded.
    save.record("random", "", settings.random_states())
    report.update(save.report())
    writer.document(END, report)


class Save:
    """What became of each record, for the report."""

    def __init__(self, records, session):
        self.records, self.session = records, session
        self.lost, self.holes, self.again, self.skipped, self.still = [], [], [], [], []
        self.facts = {}
        self.kept = 0
        self.state_lost = []

    def anchors(self, reducing):
        """What every process has one of: a reference to it, from wherever, is one to the new one."""
        made = {name: find() for name, find in ANCHORS.items()}
        for name, value in made.items():
            if value is None:
                continue
            stand_in = reducing.alive(Anchor(name))
            self.records.write("anchor", name, stand_in)
            memo = self.records.pickler.memo.copy()
            number, _ = memo.pop(id(stand_in))
            memo[id(value)] = (number, value)
            self.records.pickler.memo = memo
            reducing.anchored.add(id(value))

    def variables(self, names):
        skip = notebook.skipped(self.session)
        for name, value in names:
            kind = {"name": name, "type": type_name(value), "cell": self.session.cell(name)}
            if type(value) is Lost:
                kind.update(type=value._lost_type, cell=value._lost_cell)
                self.still.append({**kind, "why": value._lost_why})
            elif name in skip:
                self.skipped.append({**kind, "why": "it was left out by __elastichub_skip__"})
            else:
                self._variable(name, value, kind)

    def _variable(self, name, value, kind):
        before = facts.of(value)
        outcome = self.records.write("variable", name, value, kind["cell"])
        if outcome.why is not None:
            self.lost.append({**kind, "why": outcome.why})
            return
        self.kept += 1
        if id(value) not in self.records.reducing.anchored:  # what it has is not what was saved
            self.facts[name] = before
        for hole, why in outcome.holes:
            self.holes.append({**kind, "type": hole, "why": why})
        for what in outcome.again:
            self.again.append({**kind, "what": what})

    def record(self, kind, name, value):
        """What is no variable is told of by its kind, if it is the user's to know of."""
        outcome = self.records.write(kind, name, value)
        if outcome.why is not None:
            place = name.replace("\0", ".")
            self.state_lost.append({"name": f"{kind} {place}".strip(), "type": type_name(value), "why": outcome.why})

    def report(self):
        whole = not (self.lost or self.holes or self.state_lost)
        return {
            "whole": whole,
            "variables": self.kept,
            "lost": self.lost,
            "holes": self.holes,
            "again": self.again,
            "skipped": self.skipped,
            "still_lost": self.still,
            "state_lost": self.state_lost,
            "facts": self.facts,
        }


class Anchor:
    """Stands for one of ANCHORS while its record is written."""

    def __init__(self, name):
        self.name = name
