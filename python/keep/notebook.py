"""What of a notebook's state is the user's: variables, modules, and what IPython keeps."""

import __future__

import linecache
import re
import sys
import types

from . import debugger
from .lost import Lost

SKIP = "__elastichub_skip__"

# Names that IPython gives itself anew; those of inputs and outputs are set by the load.
_MANAGED = re.compile(r"_(i{0,3}|_{0,2}|i?\d+|ih|oh|dh|exit_code)$|(In|Out|get_ipython|exit|quit)$")
_LAST = ("_", "__", "___")
_OWN = {"__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtin__", "__builtins__"}


def variables(session):
    """Names and values, in their order."""
    for name, value in list(session.ns.items()):
        if type(name) is not str or name in _OWN or _MANAGED.match(name):
            continue
        if session.names.get(name) == id(value) and name in session.shell.user_ns_hidden:
            continue  # as it was before the first cell
        yield name, value


def skipped(session):
    """Names that the user does not want to be kept."""
    names = session.ns.get(SKIP, ())
    names = [names] if isinstance(names, str) else names
    return {name for name in names if isinstance(name, str)} if isinstance(names, (list, tuple, set)) else set()


def module_state(module):
    """Data of a module of the user's own; its code comes back by the import."""
    code = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
    return {key: v for key, v in vars(module).items() if not key.startswith("__") and not isinstance(v, code)}


def state(session):
    """What IPython knows, as records: kind, name, value."""
    shell = session.shell
    for number, value in list(session.ns.get("Out", {}).items()):
        yield "output", str(number), value
    for name in _LAST:
        if name in session.ns and not (type(session.ns[name]) is str and not session.ns[name]):
            yield "last", name, session.ns[name]
    yield "shell", "", _shell(session)
    for kind, found in shell.magics_manager.magics.items():
        for name, function in list(found.items()):
            if _is_of_cell(session, function):
                yield "magic", f"{kind}\0{name}", function
    for event, callbacks in shell.events.callbacks.items():
        for callback in callbacks:
            if callback != session.after_cell and _is_of_cell(session, callback):
                yield "event", event, callback
    for mime, formatter in shell.display_formatter.formatters.items():
        for kind, function in list(formatter.type_printers.items()):
            if _is_of_cell(session, function) or _is_made_since(session, mime, kind, function):
                yield "formatter", mime, (kind, function)
    builtins = sys.modules["builtins"].__dict__
    for name, value in list(builtins.items()):
        if session.builtins.get(name) != id(value) and name != "_" and not name.startswith("__IPYTHON"):
            yield "builtin", name, value
    found = debugger.state(shell)
    if found is not None:
        yield "debugger", "", found


def _is_of_cell(session, function):
    """By types alone: IPython's lazy magics import their module when anything is asked of them."""
    if isinstance(function, types.MethodType):
        function = function.__func__
    if isinstance(function, types.FunctionType):
        return function.__globals__ is session.ns
    return type(function).__module__ == "__main__"


def _is_made_since(session, mime, kind, function):
    """Whether a library has made and registered it when the user asked for that, as sympy's
    init_printing() does. Those for figures are matplotlib's settings."""
    if not isinstance(function, types.FunctionType) or "<locals>" not in function.__qualname__:
        return False
    of_figures = function.__module__.startswith(("IPython.", "matplotlib_inline."))
    return not of_figures and session.printers.get((mime, kind)) != id(function)


# Traits that change what a cell does or prints.
_TRAITS = ("ast_node_interactivity", "autocall", "autoawait", "automagic", "loop_runner", "pdb", "show_rewritten_input")


def _shell(session):
    shell, ns = session.shell, session.ns
    history = shell.history_manager
    text = shell.display_formatter.formatters["text/plain"]
    return {
        "count": shell.execution_count,
        "in": list(ns.get("In", ())),
        "raw": list(getattr(history, "input_hist_raw", ())),
        "dirs": [str(path) for path in ns.get("_dh", ())],
        "cells": dict(session.cells),
        "lines": {name: entry for name, entry in linecache.cache.items() if _is_cell_file(name)},
        "files": dict(getattr(shell.compile, "_filename_map", {})),
        "traits": {name: getattr(shell, name, None) for name in _TRAITS if _is_plain(getattr(shell, name, None))},
        "xmode": getattr(shell.InteractiveTB, "mode", None),
        "pprint": text.pprint,
        "float_format": text.float_format,
        "extensions": sorted(set(shell.extension_manager.loaded) - session.extensions),
        "autoreload": _autoreload(shell),
        "features": [name for name in __future__.all_feature_names if shell.compile.flags & _flag(name)],
        "magic_aliases": [
            (name, each.magic_name, each.magic_kind, each.magic_params)
            for name, each in session.magic_aliases()
            if name not in session.known_aliases
        ],
        "aliases": [alias for alias in shell.alias_manager.aliases if alias[0] not in session.aliases],
    }


def _flag(feature):
    return getattr(__future__, feature).compiler_flag


def _is_plain(value):
    return value is None or isinstance(value, (str, bool, int))


def _is_cell_file(name):
    return "ipykernel_" in name or name.startswith("<ipython-input")


def _autoreload(shell):
    magic = shell.magics_manager.magics["line"].get("autoreload")
    owner = magic.__self__ if isinstance(magic, types.MethodType) else None
    reloader = getattr(owner, "_reloader", None)
    if reloader is None or not getattr(reloader, "enabled", False):
        return None
    return "2" if reloader.check_all else "1"


class Restored:
    """Puts into IPython what a snapshot has of it."""

    def __init__(self, session):
        self.session, self.shell, self.ns = session, session.shell, session.ns
        self.notes = []
        self.debugger = None

    def put(self, kind, name, value):
        if type(value) is Lost:
            return  # never as a hook: every cell would fail
        getattr(self, f"_{kind}")(name, value)

    def _attempt(self, what, action, *args):
        try:
            action(*args)
        except Exception as error:
            self.notes.append(f"{what}: {type(error).__name__}: {error}")

    def _output(self, name, value):
        self.ns.setdefault("_oh", {})[int(name)] = value
        self.ns[f"_{name}"] = value

    def _last(self, name, value):
        self.shell.push({name: value}, interactive=False)  # else IPython takes it for the user's own
        setattr(self.shell.displayhook, name, value)

    def _module(self, name, value):
        module, _, key = name.partition("\0")
        if module in sys.modules:
            setattr(sys.modules[module], key, value)

    def _builtin(self, name, value):
        setattr(sys.modules["builtins"], name, value)

    def _magic(self, name, value):
        kind, _, key = name.partition("\0")
        self.shell.magics_manager.magics[kind][key] = value

    def _event(self, name, value):
        self.shell.events.register(name, value)

    def _formatter(self, name, value):
        kind, function = value
        if type(kind) is not Lost and type(function) is not Lost:
            self.shell.display_formatter.formatters[name].for_type(kind, function)

    def _debugger(self, _name, state):
        try:
            self.debugger = {"requests": debugger.put(self.shell, state)}
        except Exception as error:
            self.debugger = {"requests": [], "why": str(error) or type(error).__name__}

    def _shell(self, _name, state):
        self._history(state)
        self.session.cells.update(state["cells"])
        linecache.cache.update(state["lines"])
        if hasattr(self.shell.compile, "_filename_map"):
            self.shell.compile._filename_map.update(state["files"])
        for name, value in state["traits"].items():
            if getattr(self.shell, name, None) != value:
                self._attempt(name, setattr, self.shell, name, value)
        if state["xmode"]:
            self._attempt("xmode", self.shell.InteractiveTB.set_mode, state["xmode"])
        text = self.shell.display_formatter.formatters["text/plain"]
        text.pprint = state["pprint"]
        if text.float_format != state["float_format"]:
            self._attempt("precision", self.shell.run_line_magic, "precision", state["float_format"])
        for name in state["extensions"]:
            self._attempt(name, self.shell.extension_manager.load_extension, name)
        if state["autoreload"]:
            self._attempt("autoreload", self.shell.run_line_magic, "autoreload", state["autoreload"])
        for feature in state.get("features", ()):
            self.shell.compile.flags |= _flag(feature)
        for alias in state.get("magic_aliases", ()):
            self._attempt(alias[0], self.shell.magics_manager.register_alias, *alias)
        for name, command in state["aliases"]:
            self._attempt(name, self.shell.alias_manager.define_alias, name, command)

    def _history(self, state):
        self.shell.execution_count = state["count"]
        history = self.shell.history_manager
        self.ns["In"][:] = state["in"]
        history.input_hist_raw[:] = state["raw"]
        self.ns["_dh"][:] = state["dirs"]
        for number, source in enumerate(state["in"]):
            self.ns[f"_i{number}"] = source
        for back, name in enumerate(("_i", "_ii", "_iii"), start=1):
            source = state["raw"][-back] if len(state["raw"]) > back else ""
            self.ns[name] = source
            setattr(history, name, source)
