"""Objects that a library has one of, by their place in its modules.

numpy.random.rand is a method of such an object, matplotlib.rcParams is one: a copy of it
would be right to look at and wrong to use.
"""

import sys
import types

_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
_BY_IDENTITY = (object.__hash__, None)  # what is equal by value may be a copy


def find(session):
    """Ids of objects with a place in a module that is not the user's."""
    found, places = {}, {}
    for name, module in list(sys.modules.items()):
        if name in ("__main__", "sys", "builtins") or name.startswith("_elastichub_keep"):
            continue
        if not isinstance(module, types.ModuleType) or session.is_users_module(name):
            continue
        if getattr(module, "__spec__", None) is None and name not in session.modules:
            continue  # made by the user, and not imported
        for key, value in list(vars(module).items()):
            kind = type(value)
            has = places.get(kind)
            if has is None:
                has = places[kind] = _has_places(session, kind)
            if has:
                found.setdefault(id(value), (name, key))
    return found


def _has_places(session, kind):
    """Whether instances of a class are what they are by their place in a module."""
    if (kind.__module__ == "builtins" and kind is not object) or issubclass(kind, _CODE):
        return False
    if kind.__module__ in ("__main__", "numpy"):
        return False
    return kind.__hash__ in _BY_IDENTITY and not session.is_users_module(kind.__module__)
