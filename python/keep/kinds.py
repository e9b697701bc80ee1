"""How objects of the standard library are taken apart that say nothing themselves, or the wrong thing."""

import collections
import contextlib
import contextvars
import functools
import gc
import io
import logging
import os
import re
import sys
import threading
import types
import weakref

from . import _cloudpickle as cp
from . import remake
from .lost import NotKept
from .reducing import COLLECTIONS, OfCollections, OfUser, exact, named, standard

_IMMUTABLE = (int, float, complex, str, bytes, tuple, frozenset)
_PLAIN = (list, dict, set)
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE


# -- instances of the user's classes, and exceptions


@exact(OfUser)
def instances_of(saving, kind):
    """How instances of a class of the user's are taken apart that says nothing of pickling:
    none of its methods is asked, at the save or the return. What is plain is left to the pickler."""
    if any(each in _IMMUTABLE for each in kind.__mro__):
        return _immutable
    base = next((each for each in kind.__mro__ if each in _PLAIN), None)
    asked = any(name in each.__dict__ for each in kind.__mro__[:-1] if saving.is_users(each) for name in _ASKED)
    if (base is None and not asked) or not _may_be_new(kind):
        return standard
    return _attributes if base is None else _filled


def _attributes(_saving, value):
    return remake.new, (type(value),), _state(value), None, None, remake.attributes


def _filled(_saving, value):
    base = next(each for each in type(value).__mro__ if each in _PLAIN)
    items = list(list.__iter__(value)) if base is list else dict.copy(value) if base is dict else set(value)
    return remake.new, (type(value),), (*_state(value), base, items), None, None, remake.filled


@exact(OfCollections)
def collected(saving, value):
    """An instance of a class of the user's that derives from one of collections: these say that
    the class is to be called, and its own __init__ may want other arguments."""
    kind = type(value)
    base = next(each for each in kind.__mro__ if each in COLLECTIONS)
    if kind.__reduce__ is not base.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__ or _has_state(kind):
        return saving.standard(value)
    extra = value.maxlen if base is collections.deque else getattr(value, "default_factory", None)
    items = list(collections.deque.__iter__(value)) if base is collections.deque else list(dict.items(value))
    if base is collections.OrderedDict:
        items = list(collections.OrderedDict.items(value))
    return remake.collected, (base, kind), (*_state(value), base, items, extra), None, None, remake.collected_state


# Methods that the pickler's own way would call on an instance that is not whole yet.
_ASKED = ("__getattr__", "__getattribute__", "__setattr__", "__slots__")


def _may_be_new(kind):
    """Whether an instance can be made by object.__new__ and the like, without arguments,
    and is no more than its attributes: a class in C has memory that only it knows."""
    if hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__") or _has_state(kind):
        return False
    return all(base.__flags__ & _HEAP or base in (object, *_PLAIN) for base in kind.__mro__)


def _has_state(kind):
    own = getattr(kind, "__getstate__", None) is not getattr(object, "__getstate__", None)
    return own or hasattr(kind, "__setstate__")


def _immutable(saving, value):
    kind = type(value)
    base = next(each for each in kind.__mro__ if each in _IMMUTABLE)
    if _has_state(kind) or "__getnewargs_ex__" in dir(kind) or _own(saving, kind, "__getnewargs__"):
        return saving.standard(value)
    plain = base(value) if base not in (str, bytes) else base.__getnewargs__(value)[0]
    if base is tuple:
        plain = tuple(tuple.__iter__(value))
    elif base in (int, float, complex):
        plain = base.__pos__(value)
    return remake.immutable, (base, kind, (plain,)), _state(value), None, None, remake.attributes


def _own(saving, kind, name):
    return any(name in each.__dict__ for each in kind.__mro__ if saving.is_users(each))


def _state(value):
    """The attributes in the instance and those in slots, past any __getattr__."""
    try:
        own = dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        own = None
    slots = {}
    for kind in type(value).__mro__:
        for name in _slot_names(kind):
            with contextlib.suppress(AttributeError):
                slots[name] = object.__getattribute__(value, name)
    return own, slots


def _slot_names(kind):
    names = kind.__dict__.get("__slots__", ())
    for name in (names,) if isinstance(names, str) else names:
        private = name.startswith("__") and not name.endswith("__")
        if name not in ("__dict__", "__weakref__"):
            yield f"_{kind.__name__.lstrip('_')}{name}" if private else name


@exact(BaseException)
def exception(saving, value):
    """With its cause and context, which pickling leaves out; a traceback holds frames."""
    kind = type(value)
    if kind.__reduce__ is BaseException.__reduce__ and saving.is_users(kind):
        parts = remake.exception, (kind, value.args)
        own = dict(value.__dict__)
    else:
        parts = saving.standard(value)
        if isinstance(parts, str):
            return parts
        own = parts[2] if len(parts) > 2 else {}
        if len(parts) > 3 or not isinstance(own, (dict, type(None))):
            return parts
    if value.__traceback__ is not None:
        saving.note(value, "without its traceback")
    state = (own or {}, value.__cause__, value.__context__, value.__suppress_context__)
    return parts[0], parts[1], state, None, None, remake.exception_state


# -- what is over


@exact(types.GeneratorType)
def generator(_saving, value):
    if value.gi_frame is None:
        return remake.exhausted, ()
    raise NotKept("it is half way")


@exact(types.CoroutineType, types.AsyncGeneratorType)
def coroutine(_saving, _value):
    raise NotKept("it is half way")


@exact(types.FrameType, types.TracebackType)
def frame(_saving, _value):
    raise NotKept("it is of code that has run")


@named("subprocess.Popen")
def process(saving, value):
    if value.returncode is None:
        raise NotKept("it is bound to a process that is gone")
    return saving.standard(value)


# -- locks and references


@exact(type(threading.Lock()))
def lock(saving, value):
    saving.note(value, "made anew, not held")
    return remake.lock, ()


@exact(type(threading.RLock()))
def rlock(saving, value):
    saving.note(value, "made anew, not held")
    return remake.rlock, ()


@named("_thread._local")
def local(saving, value):
    saving.note(value, "with the values of the main thread")
    return remake.local, (type(value), dict(value.__dict__))


@exact(weakref.ref)
def reference(_saving, value):
    target = value()
    return (remake.dead_reference, ()) if target is None else (remake.reference, (target, value.__callback__))


@exact(weakref.WeakValueDictionary)
def weak_values(_saving, value):
    return remake.weak_values, (dict(value.items()),)


@exact(weakref.WeakKeyDictionary)
def weak_keys(_saving, value):
    return remake.weak_keys, (list(value.items()),)


@exact(weakref.WeakSet)
def weak_set(_saving, value):
    return remake.weak_set, (list(value),)


@named("asyncio.mixins._LoopBoundMixin")
def loop_bound(saving, value):
    """A lock of asyncio or the like, which knows the loop in which something waited for it."""
    parts = saving.standard(value)
    if isinstance(parts, str) or len(parts) < 3 or not isinstance(parts[2], dict):
        return parts
    return (*parts[:2], {**parts[2], "_loop": None}, *parts[3:])


# -- what looks into something else


def _view(which):
    def reduce(_saving, value):
        """The mapping itself is not an attribute; the garbage collector knows it."""
        (target,) = gc.get_referents(value)
        return remake.mapping_view, (target, which)

    return reduce


for _kind in (dict, collections.OrderedDict):
    for _which in ("keys", "values", "items"):
        exact(type(getattr(_kind(), _which)()))(_view(_which))
exact(types.MappingProxyType)(_view("proxy"))


@exact(memoryview)
def memory_view(saving, value):
    target = value.obj
    plain = value.contiguous and value.ndim == 1 and value.format == "B" and target is not None
    if plain and memoryview(target).nbytes == value.nbytes:
        return remake.memory_view, (target, value.readonly)
    saving.note(value, "as a copy of what it looked at")
    return remake.memory_view, (bytearray(value.tobytes()), value.readonly)


@exact(functools._lru_cache_wrapper)
def cached(saving, value):
    if cp._lookup_module_and_qualname(value):
        return saving.standard(value)
    if hasattr(value, "cache_parameters"):
        size, typed = value.cache_parameters()["maxsize"], value.cache_parameters()["typed"]
    else:
        size, typed = value.cache_info().maxsize, False
    saving.note(value, "with an empty cache")
    own = dict(value.__dict__)
    return remake.cached, (value.__wrapped__, size, typed), (own, None), None, None, remake.attributes


@exact(re.Match)
def match(_saving, value):
    """Found again in its text; that it is the same is looked at here."""
    for method, at in (("search", value.pos), ("match", value.pos), ("fullmatch", value.pos), ("match", value.start())):
        args = (value.re, method, value.string, at, value.endpos)
        found = remake.match(*args)
        if found is not None and found.regs == value.regs:
            return remake.match, args
    raise NotKept("it is not found again in its text")


@exact(contextvars.ContextVar)
def context_variable(saving, value):
    """What it is set to is a context's; each cell may have one of its own."""
    if value in contextvars.copy_context():
        saving.note(value, "not set to anything")
    return remake.context_variable, (value.name, *_default(value))


def _default(value):
    """What it is where nothing has set it, if it has a default."""
    try:
        return (contextvars.Context().run(value.get),)
    except LookupError:
        return ()


# -- files, streams, loggers, databases

_STREAMS = ("stdout", "stderr", "stdin", "__stdout__", "__stderr__", "__stdin__")


@exact(io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)
def file(saving, value):
    for name in _STREAMS:
        if value is getattr(sys, name, None):
            return remake.stream, (name,)
    text = _text(value)
    if value.closed:
        return remake.closed, (str(getattr(value, "name", "")), _mode(value), text)
    if not isinstance(_raw(value), io.FileIO):
        raise NotKept(f"it goes through a {type(_raw(value)).__name__}")
    if not isinstance(getattr(value, "name", None), (str, bytes, os.PathLike)):
        raise NotKept("it has no name")
    mode = _mode(value)
    if set(mode) & set("wax+"):
        value.flush()
    here, there = os.fstat(value.fileno()), os.stat(value.name)
    if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
        raise NotKept("the file was replaced or removed")
    position = value.tell() if value.seekable() else None
    saving.note(value, "opened again at its position")
    path = os.path.abspath(os.fsdecode(value.name))
    return remake.opened, (path, mode, position, text, here.st_size, value.name)


def _raw(value):
    """What a file reads from and writes to in the end, such as a file or a GzipFile."""
    inner = value.buffer if isinstance(value, io.TextIOWrapper) else value
    return getattr(inner, "raw", inner)


def _text(value):
    return {"encoding": value.encoding, "errors": value.errors} if isinstance(value, io.TextIOWrapper) else None


def _mode(value):
    inner = value.buffer if isinstance(value, io.TextIOWrapper) else value
    mode = next((m for m in (getattr(value, "mode", None), getattr(inner, "mode", None)) if isinstance(m, str)), "r")
    if isinstance(value, io.TextIOWrapper):
        return mode.replace("b", "")
    return mode if "b" in mode else mode + "b"


@named("ipykernel.iostream.OutStream")
def out_stream(_saving, value):
    for name in ("stdout", "stderr"):
        if value is getattr(sys, name):
            return remake.stream, (name,)
    raise NotKept("it is bound to a process that is gone")


@named("IPython.core.interactiveshell.InteractiveShell")
def shell(_saving, _value):
    return remake.shell, ()


@named("logging.Logger")
def logger(_saving, value):
    name = None if value is logging.root else value.name
    if logging.getLogger(name) is not value:
        raise NotKept("it is not the logger of its name")
    return remake.logger, (name,)


_PRAGMAS = ("foreign_keys", "recursive_triggers", "busy_timeout", "query_only", "synchronous")


@named("sqlite3.Row")
def sqlite_row(_saving, value):
    return remake.sqlite_row, (tuple(value.keys()), tuple(value))


@named("sqlite3.Connection")
def sqlite(saving, value):
    """detect_types cannot be asked for; functions of the user's are the connection's."""
    if _is_closed(value):
        return remake.sqlite_closed, ()
    if value.in_transaction:
        raise NotKept("a transaction is open")
    attached = [row[1:] for row in map(tuple, _rows(value, "pragma database_list"))]
    if len(attached) != 1:
        raise NotKept("it has other databases attached")
    pragmas = {name: row[0] for name in _PRAGMAS for row in map(tuple, _rows(value, f"pragma {name}"))}
    settings = (value.isolation_level, value.row_factory, value.text_factory, pragmas)
    path = attached[0][1]
    if path and os.path.isabs(path):
        saving.note(value, "opened again, without functions and detect_types")
        return remake.sqlite_file, (path, *settings)
    saving.note(value, "made anew with its tables, without functions and detect_types")
    dump = value.serialize() if hasattr(value, "serialize") else "\n".join(value.iterdump())
    return remake.sqlite_memory, (dump, *settings)


def _is_closed(connection):
    import sqlite3

    try:
        return connection.total_changes < 0
    except sqlite3.ProgrammingError:
        return True


def _rows(connection, question):
    """Past the row factory of the user's."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(question).fetchall()


@named("_elastichub_keep.saving.Anchor")
def anchor(_saving, value):
    return remake.anchor, (value.name,)
