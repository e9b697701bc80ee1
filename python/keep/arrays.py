"""How numpy's arrays are taken apart, and what of pandas is made of them.

An array that owns its memory goes as one buffer, from where it lies; a view goes as the
owner and where it looks. Blocks of pandas must own their memory: it trusts its own
bookkeeping of who shares what, and copy on write would break silently over a view.
"""

import pickle

from . import remake
from .lost import NotKept
from .reducing import exact, named

_PLAIN = "biufcmMSU"
_PIECE = 16 << 20


@named("numpy.ndarray")
def array(saving, value):
    import numpy

    if type(value) is not numpy.ndarray:
        return _subclass(saving, value)
    owner = _owner(value)
    if owner.base is not None:
        return _foreign(saving, value, owner)
    if owner is not value:
        why = _why_no_view(value, owner)
        if why:
            saving.note(value, f"as a copy: {why}")
            return whole(saving, value)
    _taken(saving, owner, "array")
    if owner is value:
        return whole(saving, value)
    offset = _address(value) - _address(owner)
    return remake.array_view, (owner, value.dtype, value.shape, offset, value.strides, value.flags.writeable)


def _owner(value):
    """The array at the end of the views."""
    import numpy

    below = _below(value)
    while type(below) is numpy.ndarray:
        value, below = below, _below(below)
    return value


def _below(value):
    """What an array looks at; as_strided and sliding_window_view put something between."""
    return value.base.base if type(value.base).__name__ == "DummyArray" else value.base


def _why_no_view(value, owner):
    if not (owner.flags.c_contiguous or owner.flags.f_contiguous):
        return "its owner is not in one piece"
    if value.dtype.hasobject != owner.dtype.hasobject:
        return "it looked at objects as bytes"
    return None


def _foreign(saving, value, owner):
    """An array over memory that is no array's: bytes, a bytearray, a tensor."""
    import numpy

    base = owner.base.obj if isinstance(owner.base, memoryview) else owner.base
    if type(base) in (bytes, bytearray) and not value.dtype.hasobject:
        offset = _address(value) - _address(numpy.frombuffer(base, numpy.uint8))
        args = (base, value.dtype, value.shape, offset, value.strides, value.flags.writeable)
        return remake.array_over, args
    if type(base).__module__ == "torch" and hasattr(base, "untyped_storage"):
        same = base.detach().numpy().__array_interface__
        if same == value.__array_interface__:
            return remake.array_of_tensor, (base,)
    if value is saving.value:  # else it is a library's way to show what it keeps
        saving.note(value, "as a copy of memory that is no array's")
    return whole(saving, value)


def _address(value):
    return value.__array_interface__["data"][0]


def _taken(saving, owner, by):
    """Tells of memory that an array and an object of a library have shared until now."""
    before = saving.memory.get(id(owner))
    if before is None:
        saving.memory[id(saving.alive(owner))] = by
    elif before != by:
        saving.note(owner, "no longer shares its memory with an object of a library")


def whole(saving, value):
    """An array with memory of its own."""
    import numpy

    if value.dtype.hasobject:
        return _objects(value)
    if value.dtype.kind not in "V" + _PLAIN:
        return value.__reduce_ex__(5)
    if not value.nbytes:
        return remake.new_array, (value.dtype, value.shape)
    order = "C" if value.flags.c_contiguous else "F"
    if not (value.flags.c_contiguous or value.flags.f_contiguous):
        if value.nbytes > _PIECE:
            return _pieces(value)
        value, order = numpy.ascontiguousarray(value), "C"
    elif value.flags.owndata:
        saving.arrays[_address(value)] = value
    flat = value.reshape(-1, order=order).view(numpy.uint8)
    buffer = pickle.PickleBuffer(flat)
    if value.dtype.kind != "V" and _is_simple(value.dtype):
        saving.writer.hint(buffer, {"as": "numpy", "dtype": value.dtype.str, "shape": value.shape, "order": order})
    return remake.array, (saving.writer.ours(buffer), value.dtype, value.shape, order, value.flags.writeable)


def _is_simple(dtype):
    import numpy

    return dtype.metadata is None and numpy.dtype(dtype.str) == dtype


def _pieces(value):
    """A large array that is not in one piece: copied piece by piece, not as a whole."""
    step = max(_PIECE // max(value[:1].nbytes, 1), 1)
    items = ((slice(at, at + step), Whole(value[at : at + step])) for at in range(0, len(value), step))
    return remake.new_array, (value.dtype, value.shape), None, None, items


class Whole:
    """Stands for an array that must own its memory, whatever it is a view of."""

    def __init__(self, value):
        self.value = value


@exact(Whole)
def _whole(saving, value):
    return whole(saving, value.value)


def _objects(value):
    if value.size > 64 and (value.flags.c_contiguous or value.flags.f_contiguous):
        order = "C" if value.flags.c_contiguous else "F"
        flat = value.reshape(-1, order=order)
        if _is_text(flat):
            if value.ndim == 1:
                return _text_array(None, flat)
            return remake.shaped, (FlatTexts(flat), value.shape, order)
    return value.__reduce_ex__(5)


_STEP = 1 << 16


def _is_text(flat):
    """Whether there is nothing but str, None and float; in steps, so that an interrupt is noticed."""
    kinds = {str, type(None), float}
    return all({*map(type, flat[at : at + _STEP].tolist())} <= kinds for at in range(0, flat.size, _STEP))


def _text_array(_saving, flat):
    """Some texts in one buffer each: in half the time, and without an entry in the memo for every one."""
    items = ((slice(at, at + _STEP), Texts(flat[at : at + _STEP].tolist())) for at in range(0, flat.size, _STEP))
    return remake.new_array, (flat.dtype, flat.shape), None, None, items


class FlatTexts:
    """An array of texts, as one line of them."""

    def __init__(self, flat):
        self.flat = flat


@exact(FlatTexts)
def _flat_texts(saving, value):
    return _text_array(saving, value.flat)


class Texts:
    """Some texts in one buffer."""

    def __init__(self, values):
        self.values = values


@exact(Texts)
def _some_texts(saving, value):
    values, value.values = value.values, None
    others = [(at, each) for at, each in enumerate(values) if type(each) is not str or "\0" in each]
    for at, _ in others:
        values[at] = ""
    buffer = pickle.PickleBuffer("\0".join(values).encode("utf-8", "surrogatepass"))
    return remake.texts, (saving.writer.ours(buffer), others)


def _subclass(saving, value):
    """A masked array, a matrix, a recarray: as it says itself, so as a copy."""
    import numpy

    base = value.base
    while isinstance(getattr(base, "base", None), numpy.ndarray):
        base = base.base
    if isinstance(base, numpy.ndarray):
        _taken(saving, base, "library")
    return saving.standard(value)


@named("numpy.memmap")
def memory_map(saving, value):
    if getattr(value, "filename", None) is None or value._mmap is None or not value.flags.c_contiguous:
        raise NotKept("it is not all of what a file has")
    if value.mode != "r":
        value.flush()
    saving.note(value, "opened again")
    return remake.memory_map, (str(value.filename), value.dtype, value.mode, value.offset, value.shape)


@named(
    "pandas._libs.internals.Block",
    "pandas._libs.internals.BlockManager",
    "pandas.core.internals.base.DataManager",
    "pandas.core.internals.managers.BaseBlockManager",
    "pandas.core.arrays.base.ExtensionArray",
    "pandas.api.extensions.ExtensionArray",
    "pandas.core.indexes.base.Index",
    "pandas.Index",
)
def pandas(saving, value):
    parts = saving.standard(value)
    return parts if isinstance(parts, str) else tuple(_owned(saving, part) for part in parts)


def _owned(saving, value, depth=5, most=1000):
    """The same, with arrays that own their memory."""
    import numpy

    kind = type(value)
    if kind is numpy.ndarray:
        _taken(saving, _owner(value), "library")
        return Whole(value)
    if depth and kind is tuple:
        return tuple(_owned(saving, each, depth - 1) for each in value)
    if depth and kind is list and len(value) < most:
        return [_owned(saving, each, depth - 1) for each in value]
    if depth and kind is dict and len(value) < most:
        return {name: _owned(saving, each, depth - 1) for name, each in value.items()}
    return value
