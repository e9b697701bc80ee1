"""Reads the pickle of one record after the other; all share what they have made.

The unpickler in C reads them all, unless something of a record cannot be made: then the
one in Python reads that record again, and puts Lost in the place of what fails.
"""

import gc
import io
import pickle
import pickletools
import struct
import sys
import typing

from . import remake
from .holes import CONTAINERS
from .lost import Lost, reason, type_name
from .records import MARK


class Feed:
    """The file that the unpickler in C reads from: the pieces of one record, as they came."""

    def __init__(self):
        self.give(())

    def give(self, pieces):
        self._pieces = [memoryview(piece) for piece in reversed(pieces)]

    def readinto(self, view):
        view = memoryview(view).cast("B")
        done = 0
        while done < len(view) and self._pieces:
            piece = self._pieces[-1]
            size = min(len(piece), len(view) - done)
            view[done : done + size] = piece[:size]
            done += size
            self._pieces[-1] = piece[size:]
            if size == len(piece):
                self._pieces.pop()
        return done

    def read(self, size):
        made = bytearray(min(size, sum(map(len, self._pieces))))
        self.readinto(made)
        return bytes(made)

    def readline(self):
        raise pickle.UnpicklingError("a pickle of protocol 0")


class Buffers:
    """The buffers of the record that is read."""

    def __init__(self):
        self.give(())

    def give(self, buffers):
        self._left = iter(list(buffers))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._left)


class Records:
    """Makes the value of each record, and says what of it could not be made."""

    def __init__(self, is_users_module):
        self._is_users_module = is_users_module
        self._feed, self._buffers = Feed(), Buffers()
        self._unpickler = pickle.Unpickler(self._feed, buffers=self._buffers)
        self._done = 0  # records whose marker is in the memo
        # Lost of the memo, by the references to each: one more, and a record has used it.
        self._gaps = []

    def value(self, about, pieces, buffers):
        self._feed.give(pieces)
        self._buffers.give(buffers)
        counts = [sys.getrefcount(gap) for gap in self._gaps]
        try:
            value = self._unpickler.load()[1]
        except Exception as error:
            return self._again(about, pieces, buffers, error)
        if counts != [sys.getrefcount(gap) for gap in self._gaps]:
            del value
            return self._again(about, pieces, buffers, None)
        self._done += 1
        return value, []

    def without(self, about, pieces):
        """Leaves a record out: what it would have made is Lost to those that come after."""
        gap = Lost(about["t"], "it was left out, for the kernel died when it was made", about.get("c"))
        memo = self._before()
        self._fill(memo, len(memo), pieces, gap)
        self._refill(memo)
        return gap

    def _fill(self, memo, began, pieces, gap):
        """Puts a gap where the record would have put what it makes. Strings are what they
        are: later records name modules and classes by those of earlier ones."""
        last = None
        for op, argument, _ in pickletools.genops(b"".join(pieces)):
            if op.name == "MEMOIZE":
                memo[began] = last if isinstance(last, str) else gap
                began += 1
            last = argument if op.name.endswith("UNICODE") or op.name == "BINUNICODE8" else None
        self._gaps.append(gap)

    def _again(self, about, pieces, buffers, error):
        memo = self._before()
        began = len(memo)
        patient = Patient(b"".join(pieces), buffers, memo, about.get("c"), self._is_users_module)
        try:
            value = patient.load()[1]
            failed = patient.failed
            self._done += 1
        except Exception as second:
            why = reason(error or second)
            value, failed = Lost(about["t"], why, about.get("c")), [(about["t"], why)]
            self._fill(patient.memo, began, pieces, value)
        lost = {id(each): each for at, each in patient.memo.items() if at >= began and type(each) is Lost}
        self._gaps += lost.values()
        self._refill(patient.memo)
        return value, failed

    def _before(self):
        """The memo as it was before this record, whose first entry is its marker."""
        memo = self._unpickler.memo.copy()
        marks = [at for at, value in memo.items() if _is_mark(value)]
        if len(marks) > self._done:
            return {at: value for at, value in memo.items() if at < marks[-1]}
        return memo

    def _refill(self, memo):
        """A new unpickler that knows the memo: one that has failed keeps the rest of its
        frame, and to assign to .memo loses the entries or their number."""

        class Refilled(pickle.Unpickler):
            def persistent_load(self, at):
                return memo[at]

        made = Refilled(self._feed, buffers=self._buffers)
        numbers = range(len(memo))
        entries = (b"J" + struct.pack("<i", at) + b"Qr" + struct.pack("<I", at) + b"0" for at in numbers)
        self._feed.give([b"".join([b"\x80\x05", *entries, b"N."])])
        made.load()
        self._unpickler = made


def _is_mark(value):
    return type(value) is list and len(value) == 1 and type(value[0]) is str and value[0] == MARK


class Patient(pickle._Unpickler):
    """Goes on where something cannot be made. What a library would make of Lost is lost
    as well; what goes into sets and dicts before it has a hash goes in at the end."""

    dispatch: typing.ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, data, buffers, memo, cell, is_users_module):
        super().__init__(io.BytesIO(data), buffers=list(buffers))
        self.is_users_module = is_users_module
        self.memo = memo
        self.cell = cell
        self.failed = []
        self.late = []

    def load(self):
        value = super().load()
        late, self.late = self.late, []
        for put in late:
            try:
                put()
            except Exception as error:
                self._fail("an entry of a set or dict", error)
        return value

    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except Exception as error:
            return self._fail(f"{module}.{name}", error)

    def _fail(self, what, error):
        why = reason(error)
        self.failed.append((what, why))
        return Lost(what, why, self.cell)

    def _make(self, function, args, keywords, what, loose):
        inner = None if loose else _lost_in((args, keywords))
        if inner is not None:
            return self._around(what, inner)
        try:
            return function(*args, **keywords)
        except Exception as error:
            return self._fail(what, error)

    def _is_loose(self, kind):
        """Whether it may hold Lost: what is the user's own, and plain containers."""
        module = getattr(kind, "__module__", None) or ""
        return module in _LOOSE or module == "__main__" or self.is_users_module(module)

    def _around(self, what, inner):
        why = f"its {inner._lost_type}: {inner._lost_why}"
        self.failed.append((what, why))
        return Lost(what, why, self.cell)

    def _reduce(self):
        args = self.stack.pop()
        function = self.stack[-1]
        if type(function) is Lost:
            return
        if function in _SETTERS:
            self.stack[-1] = None if type(args[0]) is Lost else self._set(function, args)
        elif function is remake.function and type(args[0]) is Lost:
            self.stack[-1] = args[0]  # the code says why
        else:
            loose = function in _HOLDERS or self._is_loose(function)
            self.stack[-1] = self._make(function, args, {}, _named(function, args), loose)

    def _set(self, function, args):
        try:
            return function(*args)
        except Exception:
            self.late.append(lambda: function(*args))
            return None

    def _new(self, args, keywords):
        kind = self.stack.pop()
        if type(kind) is Lost:
            self.append(kind)
        else:
            self.append(self._make(kind.__new__, (kind, *args), keywords, kind.__qualname__, self._is_loose(kind)))

    def _newobj(self):
        self._new(self.stack.pop(), {})

    def _newobj_ex(self):
        keywords = self.stack.pop()
        self._new(self.stack.pop(), keywords)

    def _build(self):
        target = self.stack[-2]
        if type(target) is Lost:
            self.stack.pop()
            return
        inner = None if self._is_loose(type(target)) else _lost_in((self.stack[-1],))
        if inner is not None:
            self.failed.append((type_name(target), f"its {inner._lost_type}: {inner._lost_why}"))
            self.stack.pop()
            self.stack[-1] = self._replace(target, inner)
            return
        try:
            super().load_build()
        except Exception as error:
            while self.stack[-1] is not target:
                self.stack.pop()
            self.failed.append((type_name(target), reason(error)))
            self.stack[-1] = self._replace(target, self._fail(type_name(target), error))

    def _replace(self, target, lost):
        """What has been made of it is not to be used."""
        for at in reversed(range(len(self.memo))):
            if self.memo.get(at) is target:
                self.memo[at] = lost
                break
        return lost

    def _append(self):
        value = self.stack.pop()
        if type(self.stack[-1]) is not Lost:
            self.stack[-1].append(value)

    def _appends(self):
        items = self.pop_mark()
        target = self.stack[-1]
        if type(target) is Lost:
            return
        if hasattr(target, "extend"):
            target.extend(items)
        else:
            for item in items:
                target.append(item)

    def _setitem(self):
        value = self.stack.pop()
        key = self.stack.pop()
        self._put(self.stack[-1], [(key, value)])

    def _setitems(self):
        items = self.pop_mark()
        self._put(self.stack[-1], list(zip(items[::2], items[1::2])))

    def _put(self, target, pairs):
        if type(target) is Lost:
            return None
        for at, (key, value) in enumerate(pairs):
            if self._waits(target):
                return self.late.append(_Late(target, pairs[at:]))
            try:
                target[key] = value
            except Exception:
                return self.late.append(_Late(target, pairs[at:]))
        return None

    def _waits(self, target):
        """Entries stay in their order: after one that waits, all do."""
        return any(isinstance(late, _Late) and late.target is target for late in self.late)

    def _additems(self):
        items = self.pop_mark()
        target = self.stack[-1]
        if type(target) is Lost:
            return
        try:
            for item in items:
                target.add(item)
        except Exception:
            self.late.append(lambda: [target.add(item) for item in items])

    def _frozenset(self):
        """A frozenset of what has no hash yet cannot be filled later."""
        items = self.pop_mark()
        try:
            self.append(frozenset(items))
        except Exception as error:
            self.append(self._fail("frozenset", error))

    for _name, _function in (
        ("REDUCE", _reduce),
        ("NEWOBJ", _newobj),
        ("NEWOBJ_EX", _newobj_ex),
        ("BUILD", _build),
        ("APPEND", _append),
        ("APPENDS", _appends),
        ("SETITEM", _setitem),
        ("SETITEMS", _setitems),
        ("ADDITEMS", _additems),
        ("FROZENSET", _frozenset),
    ):
        dispatch[getattr(pickle, _name)[0]] = _function  # type: ignore[assignment]


class _Late:
    """Entries of one dict that wait."""

    def __init__(self, target, pairs):
        self.target, self.pairs = target, pairs

    def __call__(self):
        for key, value in self.pairs:
            self.target[key] = value


_SETTERS = (
    remake.attributes,
    remake.cell_state,
    remake.class_state,
    remake.enum_state,
    remake.exception_state,
    remake.filled,
    remake.function_state,
    remake.module_state,
    remake.tensor_state,
)
_HOLDERS = (
    remake.cached,
    remake.exception,
    remake.immutable,
    remake.local,
    remake.mapping_view,
    remake.new_array,
    remake.new_module,
    remake.reference,
    remake.same,
    remake.shaped,
    remake.weak_keys,
    remake.weak_set,
    remake.weak_values,
)
_LOOSE = {"builtins", "collections", "copyreg", "functools", "itertools", "types", "weakref", "_elastichub_keep.lost"}


def _named(function, args):
    if function is remake.code:
        return f"function {args[2]}" if len(args) > 2 else "function"
    if function is remake.class_skeleton:
        return f"class {args[1]}"
    return getattr(function, "__qualname__", None) or type_name(function)


def _lost_in(parts, depth=4, most=1000):
    """Lost within reach of what something is made of."""
    level = list(parts)
    for _ in range(depth):
        below = []
        for value in level:
            if type(value) is Lost:
                return value
            kind = type(value)
            if kind is dict and len(value) <= most:
                below += value.values()
            elif kind in CONTAINERS and len(value) <= most:
                below += value
            elif kind.__module__ == "collections":
                below += gc.get_referents(value)
        level = below
    return None
