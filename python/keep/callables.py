"""How functions, classes and modules are taken apart."""

import abc
import builtins
import enum
import marshal
import sys
import types
import typing

from . import _cloudpickle as cp
from . import remake
from .reducing import exact

_SLOTS = ("__qualname__", "__defaults__", "__kwdefaults__", "__module__", "__doc__", "__type_params__")


@exact(types.CodeType)
def code(_saving, value):
    return remake.code, (marshal.dumps(value), remake.MAGIC, value.co_name)


@exact(types.FunctionType)
def function(saving, value):
    if cp._should_pickle_by_reference(value):
        return NotImplemented
    slots = {name: getattr(value, name) for name in _SLOTS if getattr(value, name, None) is not None}
    slots["__doc__"] = value.__doc__  # it may have been taken away
    slots.update(_annotations(value))
    args = (value.__code__, _scope(saving, value.__globals__), value.__name__, value.__closure__)
    return remake.function, args, (dict(value.__dict__), slots), None, None, remake.function_state


def _annotations(value):
    """From 3.14 on as the function that makes them: they may name what is not there yet."""
    lazy = getattr(value, "__annotate__", None)
    if lazy is not None:
        return {"__annotate__": lazy}
    return {"__annotations__": value.__annotations__} if value.__annotations__ else {}


def _scope(saving, scope):
    """The user's namespace and that of exec() are in the memo; a module's is its own."""
    if scope is saving.ns:
        return scope
    module = sys.modules.get(scope.get("__name__"))
    if module is not None and module.__dict__ is scope and not _is_new(module):
        return saving.alive(Scope(module.__name__))
    return scope


class Scope:
    """Stands for the globals of a module that is imported again."""

    def __init__(self, name):
        self.name = name


@exact(Scope)
def scope(_saving, value):
    return remake.module_globals, (value.name,)


@exact(types.CellType)
def cell(_saving, value):
    """A cell is an object of its own, so closures go on sharing it."""
    try:
        content = value.cell_contents
    except ValueError:
        return remake.cell, ()
    return remake.cell, (), Content(content), None, None, remake.cell_state


class Content:
    """What is in a cell; without it, None could not be told from no state."""

    def __init__(self, value):
        self.value = value


@exact(Content)
def content(_saving, value):
    return remake.same, (value.value,)


@exact(type)
def class_(saving, value):
    """Also for classes of a metaclass, by issubclass."""
    if value in (type(None), type(...), type(NotImplemented)) or value in cp._BUILTIN_TYPE_NAMES:
        return cp._class_reduce(value)
    if cp._should_pickle_by_reference(value):
        return NotImplemented
    if issubclass(value, enum.Enum):
        return _enum(value)
    namespace = {"__module__": value.__module__}
    for name in ("__slots__", "__dict__", "__orig_bases__"):
        own = value.__dict__.get(name)
        if own is not None and not isinstance(own, types.GetSetDescriptorType):
            namespace[name] = own
    args = (type(value), value.__name__, value.__bases__, namespace, cp._get_or_create_tracker_id(value))
    return remake.class_skeleton, args, _class_state(value), None, None, remake.class_state


def _class_state(value):
    attributes = dict(value.__dict__)
    slots = attributes.get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else slots
    for name in ("__weakref__", "__dict__", "__slots__", *_ABC_CACHES, *slots):
        attributes.pop(name, None)
    for name, each in list(attributes.items()):
        if isinstance(each, types.MemberDescriptorType) and each.__objclass__ is value:
            del attributes[name]  # a slot whose name was mangled
    registered = []
    if isinstance(value, abc.ABCMeta) and "_abc_impl" in value.__dict__:
        registered = [each for each in (made() for made in abc._get_dump(value)[0]) if each is not None]
    return attributes, registered


_ABC_CACHES = ("_abc_impl", "_abc_cache", "_abc_registry", "_abc_negative_cache", "_abc_negative_cache_version")
_ENUM_OWN = (
    "_generate_next_value_",
    "_member_map_",
    "_member_names_",
    "_member_type_",
    "_value2member_map_",
    "_unhashable_values_",
    "_unhashable_values_map_",
    "_hashable_values_",
    "_value_repr_",
    "_use_args_",
    "_new_member_",
    "_singles_mask_",
    "_flag_mask_",
    "_all_bits_",
    "_boundary_",
    "_inverted_",
    "__new__",
)


def _enum(value):
    """Its metaclass makes the members, also those that are other names of one."""
    members = {name: member.value for name, member in value.__members__.items()}
    args = (value.__bases__, value.__name__, value.__qualname__, members, value.__module__)
    attributes, _ = _class_state(value)
    for name in (*_ENUM_OWN, *members):
        attributes.pop(name, None)
    own = {name: _member_state(member) for name, member in value.__members__.items()}
    args = (*args, cp._get_or_create_tracker_id(value))
    return remake.enum, args, (attributes, own), None, None, remake.enum_state


def _member_state(member):
    own = ("_value_", "_name_", "__objclass__", "_sort_order_")
    return {name: each for name, each in vars(member).items() if name not in own}


@exact(typing.TypeVar)
def typevar(_saving, value):
    found = cp._lookup_module_and_qualname(value, name=value.__name__)
    if found is None:
        return remake.typevar, cp._decompose_typevar(value)
    return getattr, found


def _is_new(module):
    """Made by types.ModuleType() and not by an import: sys.modules may have it all the same."""
    return getattr(module, "__spec__", None) is None and not hasattr(module, "__file__") and module is not builtins


@exact(types.ModuleType)
def module(_saving, value):
    name = value.__name__
    if value is sys.modules.get("__main__"):
        return remake.module, ("__main__",)
    if sys.modules.get(name) is value and not _is_new(value):
        return remake.module, (name,)
    state = {key: each for key, each in vars(value).items() if key != "__builtins__"}
    return remake.new_module, (name,), state, None, None, remake.module_state
