"""What stands where an object could not be kept: it raises on any use and says why."""


class ParkedObjectLost(RuntimeError):
    """Raised by the use of what could not be kept while the kernel was parked."""


class Lost:
    """Stands for one object that is gone. It may be passed around and displayed by its
    repr, so that a container that holds it can be looked at; everything else raises.
    """

    __slots__ = ("__weakref__", "_lost_cell", "_lost_type", "_lost_why")

    def __init__(self, kind, why, cell=None):
        object.__setattr__(self, "_lost_type", kind)
        object.__setattr__(self, "_lost_why", why)
        object.__setattr__(self, "_lost_cell", cell)

    def __repr__(self):
        return f"<not kept while parked: {self._lost_type} ({self._lost_why})>"

    def __reduce__(self):
        return Lost, (self._lost_type, self._lost_why, self._lost_cell)

    def _lost_use(self, *_args, **_kwargs):
        where = f" (In [{self._lost_cell}])" if self._lost_cell else ""
        raise ParkedObjectLost(
            f"this {self._lost_type} could not be kept while the kernel was parked"
            f" ({self._lost_why}); run the cell that makes it again{where}"
        )

    def __getattr__(self, name):
        # What asks whether there is a hook, such as copy, pickle and IPython's display.
        if (name.startswith("__") and name.endswith("__")) or name.startswith(("_repr_", "_ipython_")):
            raise AttributeError(name)
        return self._lost_use()

    __hash__ = object.__hash__


# str and format raise too: a text with "<not kept ...>" in it would be used as if it were right.
_USES = (
    "abs add aenter aexit aiter and anext await bool bytes call ceil complex contains delattr"
    " delitem dir divmod enter eq exit float floor floordiv format fspath ge getitem gt index int"
    " invert iter le len length_hint lshift lt matmul mod mul ne neg next or pos pow radd rand"
    " rdivmod reversed rfloordiv rlshift rmatmul rmod rmul ror round rpow rrshift rshift rsub"
    " rtruediv rxor set setattr setitem str sub truediv trunc xor"
)
for _use in _USES.split():
    if _use not in ("dir", "set"):
        setattr(Lost, f"__{_use}__", Lost._lost_use)


def type_name(value):
    """The name of a type as a user would write it."""
    kind = type(value)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def reason(error):
    """An exception as a line for the user."""
    text = str(error) or type(error).__name__
    if not isinstance(error, NotKept):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 200 else text[:199] + "…"


class NotKept(Exception):
    """Raised for an object that is not kept; its text is the reason."""
