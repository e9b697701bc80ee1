"""What a snapshot calls when it is loaded.

Snapshots name these functions, so a name stays with its meaning: a snapshot of a release
must load in the next. What changes gets a new name.
"""

import builtins
import collections
import contextlib
import contextvars
import copyreg
import functools
import importlib
import importlib.util
import io
import logging
import marshal
import os
import sys
import threading
import types
import weakref

from . import _cloudpickle
from .lost import Lost, NotKept

MAGIC = importlib.util.MAGIC_NUMBER


# -- functions, their cells and their code


def namespace():
    """The user's own namespace: functions of cells look up their globals in it."""
    return shell().user_ns


def shell():
    from IPython import get_ipython

    return get_ipython()


def code(blob, magic, name):
    """Code objects are marshalled as they are, so that file names and lines stay;
    another version of Python would run them wrong or crash."""
    if magic != MAGIC:
        raise NotKept("it was compiled by another version of Python")
    return marshal.loads(blob)


def module_globals(name):
    return importlib.import_module(name).__dict__


def function(code, scope, name, closure):
    return types.FunctionType(code, scope, name, None, closure)


def function_state(made, state):
    attributes, slots = state
    made.__dict__.update(attributes)
    for name, value in slots.items():
        setattr(made, name, value)


def cell():
    return types.CellType()


def cell_state(made, content):
    made.cell_contents = content


# -- classes


def class_skeleton(metaclass, name, bases, namespace, tracker):
    """An empty class. No code of the user's runs for it, neither a metaclass's nor
    __init_subclass__: what these noted when the class was made is in the snapshot already."""
    known = _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)
    if known is not None:
        return known
    silenced = [base for base in _lineage(bases) if _of_user(base) and "__init_subclass__" in base.__dict__]
    hooks = [(base, base.__dict__["__init_subclass__"]) for base in silenced]
    for base, _ in hooks:
        type.__delattr__(base, "__init_subclass__")
    try:
        made = _make_class(metaclass, name, bases, namespace)
    finally:
        for base, hook in hooks:
            type.__setattr__(base, "__init_subclass__", hook)
    return _cloudpickle._lookup_class_or_track(tracker, made)


def _lineage(bases):
    return {parent for base in bases for parent in base.__mro__}


def _of_user(kind):
    return kind in _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS


def _make_class(metaclass, name, bases, namespace):
    if metaclass.__name__ == "_TypedDictMeta":  # it refuses what it has made itself
        return type.__new__(metaclass, name, bases, dict(namespace))
    if not _of_user(metaclass):
        return types.new_class(name, bases, {"metaclass": metaclass}, lambda ns: ns.update(namespace))
    maker = next(m for m in metaclass.__mro__ if not _of_user(m) and "__new__" in m.__dict__)
    return maker.__new__(metaclass, name, bases, dict(namespace))


def class_state(made, state):
    """Past any __setattr__ of a metaclass of the user's; virtual subclasses of an ABC last."""
    attributes, registered = state
    put = type.__setattr__ if _of_user(type(made)) else setattr
    for name, value in attributes.items():
        put(made, name, value)
    if "__firstlineno__" in attributes:  # 3.13 deletes it when another attribute is set
        put(made, "__firstlineno__", attributes["__firstlineno__"])
    for other in registered:
        made.register(other)


def enum(bases, name, qualname, members, module, tracker):
    known = _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)
    if known is not None:
        return known
    return _cloudpickle._make_skeleton_enum(bases, name, qualname, members, module, tracker, None)


def enum_state(made, state):
    """What __init__ of the members has set is given back to them; it is not called."""
    attributes, members = state
    class_state(made, (attributes, ()))
    for name, own in members.items():
        made.__members__[name].__dict__.update(own)


def typevar(*args):
    return _cloudpickle._make_typevar(*args)


# -- instances


new = copyreg.__newobj__  # type: ignore[attr-defined]


def immutable(base, kind, args):
    """An instance of a class derived from int, str, tuple and the like, past its own
    __new__, which may change the value once more."""
    return base.__new__(kind, *args)


def attributes(made, state):
    """Sets attributes past any __setattr__ and without asking a __getattr__."""
    own, slots = state
    if own:
        made.__dict__.update(own)
    for name, value in (slots or {}).items():
        object.__setattr__(made, name, value)


def filled(made, state):
    """Fills an instance of a class derived from list, dict or set past methods of its own."""
    own, slots, base, items = state
    attributes(made, (own, slots))
    if base is list:
        list.extend(made, items)
    else:
        base.update(made, items)


def collected(base, kind):
    return base.__new__(kind)


def collected_state(made, state):
    """Past methods of its own, as filled() does."""
    own, slots, base, items, extra = state
    attributes(made, (own, slots))
    if base is collections.deque:
        base.__init__(made, items, extra)
        return
    if base is collections.defaultdict:
        made.default_factory = extra
    put = base.__setitem__ if base is collections.OrderedDict else dict.__setitem__
    for key, value in items:
        put(made, key, value)


def exception(kind, args):
    """An exception without its own __init__, which may want other arguments; that of the
    class it derives from is called, for it sets what is not in the dict."""
    made = kind.__new__(kind, *args)
    builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    with contextlib.suppress(TypeError):
        builtin.__init__(made, *args)
    made.args = args
    return made


def exception_state(made, state):
    own, cause, context, suppress = state
    made.__dict__.update(own)
    made.__cause__, made.__context__ = cause, context
    made.__suppress_context__ = suppress


# -- modules and what belongs to the process


def module(name):
    return importlib.import_module(name)


def new_module(name):
    made = types.ModuleType(name)
    made.__dict__.pop("__builtins__", None)
    return made


def module_state(made, state):
    made.__dict__.update(state)
    made.__dict__["__builtins__"] = builtins.__dict__


def anchor(name):
    """Objects of which every process has one of its own."""
    return ANCHORS[name]()


ANCHORS = {
    "namespace": namespace,
    "builtins": lambda: builtins.__dict__,
    "modules": lambda: sys.modules,
    "path": lambda: sys.path,
    "In": lambda: namespace().get("In"),
    "Out": lambda: namespace().get("Out"),
    "environ": lambda: os.environ,
}


def singleton(module, name):
    """What a library has one of, such as its options or its random state."""
    return getattr(importlib.import_module(module), name)


def stream(name):
    return getattr(sys, name)


def logger(name):
    return logging.getLogger(name)


# -- locks, references and views


def lock():
    return threading.Lock()


def rlock():
    return threading.RLock()


def local(kind, values):
    made = kind()
    made.__dict__.update(values)
    return made


def reference(target, callback=None):
    return weakref.ref(target, callback)


def dead_reference():
    return weakref.ref(type("gone", (), {})())


def weak_values(items):
    return weakref.WeakValueDictionary(items)


def weak_keys(items):
    return weakref.WeakKeyDictionary(items)


def weak_set(items):
    return weakref.WeakSet(items)


def mapping_view(target, which):
    if which == "proxy":
        return types.MappingProxyType(target)
    base = collections.OrderedDict if isinstance(target, collections.OrderedDict) else dict
    return getattr(base, which)(target)


def cached(wrapped, size, typed):
    return functools.lru_cache(size, typed)(wrapped)


def match(pattern, method, text, start, end):
    return getattr(pattern, method)(text, start, end)


def context_variable(name, *default):
    return contextvars.ContextVar(name, **({"default": default[0]} if default else {}))


def exhausted():
    made = (item for item in ())
    next(made, None)
    return made


def memory_view(target, readonly):
    view = memoryview(target)
    return view.toreadonly() if readonly else view


# -- files and databases


def opened(path, mode, position, text, size, name=None):
    """A file opened again at its position, by the name that it had if that is still its. It is
    neither made nor cut short."""
    if os.path.isfile(path) and os.path.getsize(path) < size:
        raise NotKept(f"{path} has become shorter")

    def opener(path, flags):
        return os.open(path, flags & ~(os.O_TRUNC | os.O_CREAT | os.O_EXCL))

    if isinstance(name, str) and os.path.abspath(name) == path:
        path = name
    made = open(path, mode, opener=opener, **(text or {}))  # noqa: SIM115 - it is the user's
    if position is not None:
        made.seek(position)
    return made


def closed(path, mode, text):
    with open(os.devnull, mode.replace("x", "w"), **(text or {})) as made:
        pass
    raw = made
    while not isinstance(raw, io.FileIO):
        raw = raw.buffer if isinstance(raw, io.TextIOWrapper) else raw.raw
    raw.name = path
    return made


def sqlite_file(path, *settings):
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    return _sqlite(path, *settings)


def sqlite_memory(dump, *settings):
    made = _sqlite(":memory:", *settings)
    if isinstance(dump, str):
        made.executescript(dump)
    else:
        made.deserialize(dump)
    return made


def sqlite_closed():
    made = _sqlite(":memory:", None, None, str, {})
    made.close()
    return made


def sqlite_row(names, values):
    """Of a query that has such columns: a row needs a cursor."""
    import sqlite3

    quoted = [name.replace('"', '""') for name in names]
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.execute("select " + ", ".join(f'null as "{name}"' for name in quoted))
        return sqlite3.Row(cursor, values)


def _sqlite(path, isolation, rows, text, pragmas):
    import sqlite3

    made = sqlite3.connect(path, isolation_level=isolation, check_same_thread=False)
    made.row_factory, made.text_factory = rows, text
    for name, value in pragmas.items():
        made.execute(f"pragma {name} = {int(value)}")
    return made


# -- numpy


def array(buffer, dtype, shape, order, writeable):
    """An array that owns its memory. The stream's reader allocates it, if it can."""
    import numpy

    if isinstance(buffer, numpy.ndarray) and buffer.shape == shape and buffer.dtype == dtype:
        made = buffer
    else:
        made = numpy.empty(shape, dtype, order)
        made.reshape(-1, order=order).view(numpy.uint8)[:] = numpy.frombuffer(buffer, numpy.uint8)
    made.flags.writeable = writeable
    return made


def new_array(dtype, shape):
    """Filled by items, piece by piece, where one piece for all would need its size once more."""
    import numpy

    return numpy.empty(shape, dtype)


def shaped(flat, shape, order):
    return flat.reshape(shape, order=order)


def array_view(owner, dtype, shape, offset, strides, writeable):
    """A view of another array, given as bytes from the beginning of its memory."""
    import numpy

    memory = owner if owner.flags.c_contiguous else owner.T
    if dtype.hasobject:
        flat = memory.reshape(-1)
        made = numpy.lib.stride_tricks.as_strided(flat[offset // flat.itemsize :], shape, strides)
    elif memory.nbytes == 0:
        made = numpy.ndarray(shape, dtype)
    else:
        made = numpy.ndarray(shape, dtype, memory, offset, strides)
    if not writeable:
        made.flags.writeable = False
    return made


def array_over(memory, dtype, shape, offset, strides, writeable):
    """An array that looks into bytes or a bytearray."""
    import numpy

    made = numpy.ndarray(shape, dtype, memory, offset, strides)
    made.flags.writeable = writeable
    return made


def array_of_tensor(tensor):
    return tensor.detach().numpy()


def texts(blob, others):
    """Strings in one buffer, and what stands between them that is none."""
    made = str(blob, "utf-8", "surrogatepass").split("\0")
    for at, value in others:
        made[at] = value
    return made


def memory_map(path, dtype, mode, offset, shape):
    import numpy

    return numpy.memmap(path, dtype=dtype, mode="r+" if mode == "w+" else mode, offset=offset, shape=shape)


# -- torch


def storage(buffer, device):
    """Back to the device it had; else to the first GPU there is; else to the CPU."""
    import torch

    made = buffer if isinstance(buffer, torch.Tensor) else torch.frombuffer(buffer, dtype=torch.uint8)
    if device == "cpu":
        return made.untyped_storage()
    return made.to(_device(device)).untyped_storage()


def empty_storage(device):
    import torch

    return torch.empty(0, dtype=torch.uint8, device=_device(device)).untyped_storage()


# What was on a GPU that is not there, since the last record: what it was on, and is on now.
moved: "dict[str, str]" = {}


def _device(name):
    import torch

    device = torch.device(name)
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count()
    if device.index is not None and device.index < count:
        return device
    found = torch.device("cuda", 0) if count else torch.device("cpu")
    if count == 0 or device.index is not None:
        moved[str(device)] = str(found)
    return found


def storage_of_array(owner):
    import torch

    return torch.from_numpy(owner.reshape(-1, order="A")).untyped_storage()


def tensor(kept, dtype, offset, size, stride, requires_grad):
    import torch

    made = torch.empty(0, dtype=dtype, device=kept.device).set_(kept, offset, size, stride)
    return made.requires_grad_(True) if requires_grad else made


def parameter(data, requires_grad):
    import torch

    return torch.nn.Parameter(data, requires_grad=requires_grad)


def tensor_state(made, state):
    own, grad = state
    made.__dict__.update(own)
    if grad is not None:
        made.grad = grad


def optimizer_state(made, state):
    """With what hangs on the instance alone: hooks, and the step that a scheduler watches."""
    own, besides = state
    made.__setstate__(own)
    made.__dict__.update({name: value for name, value in besides.items() if type(value) is not Lost})


# -- other libraries


def image_draw(image, mode):
    from PIL import ImageDraw

    return ImageDraw.Draw(image, mode)


def among_variables(made, state):
    """Has an object take its state where the variables that are back are the globals."""
    scope = {**namespace(), **LOADED, "made": made, "state": state}
    exec("made.__setstate__(state)", scope)


LOADED: dict = {}  # variables by name, while a snapshot is loaded


def same(value):
    return value
