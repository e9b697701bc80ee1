"""What the kernel was like before the user's first cell, and which cell bound which name."""

import logging
import os
import site
import sys
import sysconfig
import threading
import types
import warnings

from IPython.core.magic import MagicAlias

from . import background
from .remake import shell


class Session:
    """Made once, when the kernel is ready; what is there then is not the user's."""

    def __init__(self):
        self.shell = shell()
        self.ns = self.shell.user_ns
        self.path = list(sys.path)
        self.filters = list(warnings.filters)
        self.recursion = sys.getrecursionlimit()
        self.modules = set(sys.modules)
        self.environ = dict(os.environ)
        self.names = {name: id(value) for name, value in self.ns.items()}
        self.builtins = _ids(sys.modules["builtins"].__dict__)
        self.handlers = {name for name, each in loggers() if each.handlers}
        self.threads = set(threading.enumerate())
        self.children = set(background.children())
        self.tasks = background.tasks(self.shell)
        self.extensions = set(self.shell.extension_manager.loaded)
        self.aliases = {name for name, _ in self.shell.alias_manager.aliases}
        self.known_aliases = {name for name, _ in self.magic_aliases()}
        formatters = self.shell.display_formatter.formatters
        self.printers = {(m, kind): id(f) for m, each in formatters.items() for kind, f in each.type_printers.items()}
        self.collecting = True
        self.cells = {}
        self._bound = {name: id(value) for name, value in self.ns.items()}
        self._library = _library_directories()
        self._user_modules = {}
        self.shell.events.register("post_run_cell", self.after_cell)

    def after_cell(self, result):
        """Notes the names that a cell has bound. Ids are enough, and keep nothing alive:
        what is wanted is a hint for the user, and a reused id only leaves the older one."""
        count = getattr(result, "execution_count", None)
        bound = {name: id(value) for name, value in list(self.ns.items())}
        if count is not None:
            for name, key in bound.items():
                if self._bound.get(name) != key:
                    self.cells[name] = count
        self._bound = bound

    def magic_aliases(self):
        """By type alone: IPython's lazy magics import their module when anything is asked of them."""
        for found in self.shell.magics_manager.magics.values():
            yield from ((name, each) for name, each in found.items() if type(each) is MagicAlias)

    def cell(self, name):
        return self.cells.get(name)

    def settled(self):
        """After a load: what was bound by it was not bound by a cell."""
        self._bound = {name: id(value) for name, value in list(self.ns.items())}

    def is_users_module(self, name):
        """Whether a module comes from a file outside any library directory."""
        known = self._user_modules.get(name)
        if known is None:
            known = self._user_modules[name] = self._comes_from_user(name)
        return known

    def _comes_from_user(self, name):
        module = sys.modules.get(name)
        path = getattr(module, "__file__", None)
        if not isinstance(module, types.ModuleType) or not isinstance(path, str):
            return False
        if name in self.modules or name == "__main__" or name.startswith("_elastichub_keep"):
            return False
        path = os.path.realpath(path)
        if "site-packages" in path or "dist-packages" in path:
            return False
        return not any(path.startswith(directory + os.sep) for directory in self._library)

    def user_modules(self):
        self._user_modules.clear()
        return [(name, module) for name, module in list(sys.modules.items()) if self.is_users_module(name)]


def _ids(namespace):
    return {name: id(value) for name, value in namespace.items()}


def _library_directories():
    paths = [*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix]
    if hasattr(site, "getsitepackages"):
        paths += [*site.getsitepackages(), site.getusersitepackages()]
    return {os.path.realpath(path) for path in paths if path}


def loggers():
    """Every logger by name; the root's is empty."""
    named = [(n, each) for n, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)]
    return [*named, ("", logging.root)]
