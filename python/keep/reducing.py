"""Decides for every object how it is taken apart, or that it cannot be kept.

The pickler's memo does the rest: it spans all records, so what is one object stays one.
"""

import collections
import copyreg
import gc
import pickle
import typing

from . import _cloudpickle as cp
from . import holes, remake
from .lost import Lost, NotKept, reason, type_name

# Handlers by exact type, and by module and name of a class for what may not be imported.
EXACT: dict = {}
NAMED: dict = {}

# Bound to the process: never to be taken apart, though parts of them could be.
BOUND = {
    ("_asyncio", "Future"),
    ("_asyncio", "Task"),
    ("_ctypes", "_Pointer"),
    ("_socket", "socket"),
    ("_thread", "_ThreadHandle"),
    ("asyncio.events", "AbstractEventLoop"),
    ("asyncio.futures", "Future"),
    ("concurrent.futures._base", "Executor"),
    ("concurrent.futures._base", "Future"),
    ("ipykernel.kernelbase", "Kernel"),
    ("ipywidgets.widgets.widget", "Widget"),
    ("multiprocessing.managers", "BaseManager"),
    ("multiprocessing.managers", "BaseProxy"),
    ("multiprocessing.pool", "Pool"),
    ("multiprocessing.process", "BaseProcess"),
    ("multiprocessing.queues", "Queue"),
    ("multiprocessing.queues", "SimpleQueue"),
    ("multiprocessing.shared_memory", "SharedMemory"),
    ("multiprocessing.synchronize", "SemLock"),
    ("psutil", "Process"),
    ("selectors", "BaseSelector"),
    ("tempfile", "TemporaryDirectory"),
    ("tempfile", "_TemporaryFileWrapper"),
    ("threading", "Thread"),
    ("traitlets.config.configurable", "SingletonConfigurable"),
    ("zmq.sugar.context", "Context"),
    ("zmq.sugar.socket", "Socket"),
}

# Modules whose classes hold what the user has put in, and nothing of their own.
LOOSE = {
    "_collections",
    "_functools",
    "_thread",
    "builtins",
    "collections",
    "functools",
    "itertools",
    "types",
    "weakref",
}

COLLECTIONS = (collections.OrderedDict, collections.defaultdict, collections.Counter, collections.deque)
_BUILTIN = (*holes.CONTAINERS, *holes.ATOMS, pickle.PickleBuffer)


def exact(*kinds):
    def register(handler):
        for kind in kinds:
            EXACT[kind] = handler
        return handler

    return register


def named(*names):
    """names are those of a module and of a class in it: "sqlite3.Connection"."""

    def register(handler):
        for name in names:
            module, _, kind = name.rpartition(".")
            NAMED[module, kind] = handler
        return handler

    return register


class OfUser:
    """Stands in EXACT for every class of the user's: its handler chooses one for a class."""


class OfCollections:
    """The same for classes of the user's that derive from one of collections."""


class Reducing:
    """What the picklers of one save share."""

    def __init__(self, session, writer):
        self.session, self.writer, self.ns = session, writer, session.ns
        self.table = {**copyreg.dispatch_table, **cp.Pickler._dispatch_table, **copyreg.dispatch_table}
        self.handlers = dict.fromkeys(_BUILTIN, leave)
        self.users = {}
        self.kept_alive = []
        # Of the record that is written.
        self.holes = {}
        self.again = []
        self.suspect = False  # it holds something that was kept with a hole, in a record before
        self.cell = None
        self.value = None
        self.trace = None
        # Of all records.
        self.anchored = set()  # ids of what every process has one of
        self.singletons = {}  # id to module and name
        self.doomed = {}  # id to reason: not to be kept although it could be taken apart
        self.incomplete = {}  # id to object: kept with a hole within
        self.arrays = {}  # address to the array that owns the memory there
        self.memory = {}  # id of an owner of memory to who took it: "array" or "library"
        self.storages = {}

    def reduce(self, value):
        kind = type(value)
        handler = self.handlers.get(kind)
        if handler is None:
            handler = self.handlers[kind] = self.choose(kind)
        if self.doomed and id(value) in self.doomed:
            return self.hole(value, self.doomed[id(value)])
        try:
            place = self.singletons.get(id(value))
            parts = handler(self, value) if place is None else (remake.singleton, place)
            if self.incomplete and not self.suspect and type(parts) is tuple:
                parted = (*parts, *gc.get_referents(value))
                self.suspect = holes.touches(parted, self.incomplete, self.anchored)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            return self.hole(value, reason(error))
        if self.trace is not None and type(parts) is tuple:
            parts = self.trace.reduced(value, parts)
        return parts

    def hole(self, value, why):
        self.holes[id(value)] = (value, why)
        return Lost, (type_name(value), why, self.cell)

    def choose(self, kind):
        if kind in EXACT:
            return EXACT[kind]
        for base in kind.__mro__:
            key = (base.__module__, base.__name__)
            if key in BOUND:
                return bound
            if key in NAMED:
                return NAMED[key]
        if issubclass(kind, type):
            return EXACT[type]
        if issubclass(kind, BaseException):
            return EXACT[BaseException]
        says_nothing = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
        if says_nothing and kind not in self.table and self.is_users(kind):
            return EXACT[OfUser](self, kind)
        if issubclass(kind, COLLECTIONS) and kind not in COLLECTIONS and self.is_users(kind):
            return EXACT[OfCollections]
        return standard

    def is_users(self, kind):
        """Whether a class was written by the user."""
        known = self.users.get(kind)
        if known is None:
            known = kind.__module__ == "__main__" or self.session.is_users_module(kind.__module__)
            known = self.users[kind] = known or not cp._should_pickle_by_reference(kind)
        return known

    def is_loose(self, value):
        """Whether a hole in an object is one that its user may be expected to see."""
        kind = type(value)
        if isinstance(value, type) or kind in holes.CONTAINERS or self.is_users(kind):
            return True
        if kind.__module__ == "numpy":
            return kind.__name__ == "ndarray"
        return kind.__module__ in LOOSE or kind.__module__.startswith("_elastichub_keep")

    def standard(self, value):
        """What the object says itself, checked so that an error is this object's alone."""
        reducer = self.table.get(type(value))
        parts = reducer(value) if reducer is not None else value.__reduce_ex__(5)
        if isinstance(parts, str):
            if cp._lookup_module_and_qualname(value, name=parts) is None:
                raise NotKept(f"it is not found as {getattr(value, '__module__', None)}.{parts}")
            return parts
        if type(parts) is not tuple or not 2 <= len(parts) <= 6 or not callable(parts[0]):
            raise NotKept("its __reduce__ does not say how to make it")
        if getattr(parts[0], "__name__", "") == "__newobj__" and parts[1][0] is not type(value):
            raise NotKept("its __reduce__ names another class")
        return parts

    def note(self, value, what):
        self.again.append(f"{type_name(value)} {what}")

    def alive(self, value):
        """Keeps an object to the end of the save, so that its id is not used twice."""
        self.kept_alive.append(value)
        return value


def leave(_saving, _value):
    return NotImplemented


def standard(saving, value):
    return saving.standard(value)


def bound(_saving, _value):
    raise NotKept("it is bound to a process that is gone")


class Quick(pickle.Pickler):
    """The pickler in C."""

    # A plain dict: a ChainMap, as cloudpickle has, costs more than the pickling.
    dispatch_table: typing.ClassVar = {}  # type: ignore[misc]

    def __init__(self, reducing):
        super().__init__(reducing.writer, protocol=5, buffer_callback=reducing.writer.buffer)
        self.reducer_override = reducing.reduce


class Deep(pickle._Pickler):
    """The pickler in Python, for what is nested deeper than C may recurse. From Python 3.12
    on its recursion needs no C stack. It takes the other's memo and gives it back."""

    dispatch_table: typing.ClassVar = {}  # type: ignore[misc]

    def __init__(self, reducing, memo):
        super().__init__(reducing.writer, protocol=5, buffer_callback=reducing.writer.buffer)
        self.reducer_override = reducing.reduce
        self.memo = memo
