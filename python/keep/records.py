"""One record of a snapshot after the other: each is complete, or void.

A marker is the first thing in every record, so the pickler's memo can be cut back to
where the record began. What a record holds that cannot be kept is found, and around it
what is of a library and thus not to be kept either; then the record is written anew.
"""

import json
import sys

from .holes import CONTAINERS, Trace
from .lost import Lost, reason, type_name
from .reducing import Deep, Quick
from .stream import COMMIT, RECORD, VOID
from .watch import TooSlow

MARK = "\0elastichub record"
ATTEMPTS = 8
# Levels of nesting: in C, half of what 8 MiB of stack were seen to bear; from 3.12 on C
# counts by itself, earlier, and Python's own recursion needs no C stack.
C_DEPTH = 20_000
PYTHON_DEPTH = 200_000
HAS_DEEP = sys.version_info >= (3, 12)


class Outcome:
    """What became of a record: why it is void, or what of it could not be kept."""

    def __init__(self, why=None, holes=(), again=()):
        self.why = why
        self.holes = sorted({(type_name(value), text) for value, text in holes})
        self.again = sorted(set(again))


class Records:
    def __init__(self, reducing, watch):
        self.reducing, self.watch, self.writer = reducing, watch, reducing.writer
        self.pickler = Quick(reducing)
        self.count = 0

    def write(self, kind, name, value, cell=None):
        """Writes a record of a value; what is raised besides is about the whole snapshot."""
        about = {"i": self.count, "k": kind, "n": name, "t": type_name(value)}
        if cell is not None:
            about["c"] = cell
        self.count += 1
        self.reducing.cell, self.reducing.value = cell, value
        self.reducing.trace = None
        attempt = self._attempt
        for _ in range(ATTEMPTS):
            why = attempt(about, value)
            if why == DEEP and HAS_DEEP and attempt == self._attempt:
                self._void()
                attempt = self._attempt_deep
                continue
            if why is None and not self.reducing.holes and not self.reducing.suspect:
                return self._commit()
            why = TOO_DEEP if why == DEEP else why or self._own_reason(value)
            if why is None and self._settled(value):
                return self._commit()
            self._void()
            if why is not None:
                return Outcome(why=why)
            self.reducing.trace = Trace(value, self.reducing.anchored)
        return Outcome(why="what it holds cannot be told apart from what cannot be kept")

    def _own_reason(self, value):
        """Why the value of the record is a hole itself, if it is."""
        found = self.reducing.holes.get(id(value))
        return None if found is None else found[1]

    def _settled(self, value):
        """Whether the holes are where they are allowed. If not, what is around them and
        may have none is not to be kept in the next attempt."""
        trace = self.reducing.trace
        if trace is None:
            return False
        known = {key: self.reducing.incomplete[key] for key in trace.parents if key in self.reducing.incomplete}
        around = trace.above([*self.reducing.holes, *known])
        missed = [hole for hole in self.reducing.holes if hole not in trace.parents]
        whole = {key: hole for key, (each, hole) in around.items() if not self.reducing.is_loose(each)}
        if missed:  # from within code of a library's, which is thus not whole
            whole[id(value)] = missed[0]
        for key, hole in whole.items():
            inner, why = self.reducing.holes.get(hole) or (known[hole], "it is not whole")
            self.reducing.doomed[key] = f"its {type_name(inner)}: {why}"
            self.reducing.alive(trace.objects[key])
        if not whole:
            self.reducing.incomplete.update({key: each for key, (each, _) in around.items()})
            return True
        if id(value) in whole and type(value) in CONTAINERS:
            # No handler sees it, so it is void by its own reason.
            self.reducing.holes[id(value)] = (value, self.reducing.doomed[id(value)])
        return False

    def _commit(self):
        self.writer.flush()
        self.writer.frame(COMMIT)
        holes = list(self.reducing.holes.values())
        if holes:
            self._unlearn(holes)
        return Outcome(holes=[hole for hole in holes if type(hole[0]) is not Lost], again=self.reducing.again)

    def _unlearn(self, holes):
        """Lets the memo forget the objects that are not kept, so that the next record that
        holds one is told of it. Each entry keeps its number, for another object."""
        memo = self.pickler.memo.copy()
        for value, _ in holes:
            if id(value) in memo:
                number, _ = memo.pop(id(value))
                stand_in = self.reducing.alive(object())
                memo[id(stand_in)] = (number, stand_in)
        self.pickler.memo = memo

    def _void(self):
        self.writer.forget()
        self.writer.frame(VOID)
        memo = self.pickler.memo.copy()
        if id(self._mark) in memo:
            began = memo[id(self._mark)][0]
            self.pickler.memo = {key: entry for key, entry in memo.items() if entry[0] < began}

    def _begin(self, about):
        self.reducing.holes, self.reducing.again, self.reducing.suspect = {}, [], False
        self._mark = [MARK]
        self.writer.frame(RECORD, json.dumps(about).encode())

    def _attempt(self, about, value):
        self._begin(about)
        return self._dump(self.pickler, value, C_DEPTH)

    def _attempt_deep(self, about, value):
        self._begin(about)
        deep = Deep(self.reducing, self.pickler.memo.copy())
        why = self._dump(deep, value, PYTHON_DEPTH)
        self.pickler.memo = deep.memo
        return why

    def _dump(self, pickler, value, depth):
        """Why it failed, or None."""
        limit = sys.getrecursionlimit()
        try:
            sys.setrecursionlimit(max(limit, depth))
            with self.watch.record():
                pickler.dump((self._mark, value))
                self.writer.flush()
        except RecursionError:
            return DEEP
        except MemoryError:
            return "there is not enough memory to write it"
        except TooSlow:
            return "it took too long to write it"
        except Exception as error:
            return reason(error)
        finally:
            sys.setrecursionlimit(limit)
        return None


DEEP = "it is nested deeply"
TOO_DEEP = "it is nested too deeply"
