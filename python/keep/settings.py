"""Settings of the process and of libraries that change what a cell does or prints.

Each is read if its library is imported, and set again before anything of the user's is
made. What cannot be set is told of; it stops nothing.
"""

import contextlib
import csv
import decimal
import gc
import importlib
import locale
import logging
import os
import random
import socket
import sys
import time
import types
import warnings

from .lost import Lost
from .session import loggers


def read(session):
    """What the libraries have, each under its own name."""
    found = {"logging": _logging(session), "modules": _modules(session)}
    for name, (reader, _) in LIBRARIES.items():
        if name in sys.modules:
            with contextlib.suppress(Exception):
                found[name] = reader(sys.modules[name])
    return found


def apply(found):
    """Sets what was read, and returns what could not be set."""
    notes = []
    attempt = _Attempts(notes)
    for name, (_, setter) in LIBRARIES.items():
        if name in found:
            attempt(name, lambda name=name, setter=setter: setter(importlib.import_module(name), found[name], attempt))
    attempt("logging", _set_logging, found["logging"])
    for name in found["modules"]:
        if name not in sys.modules:
            attempt(f"import {name}", importlib.import_module, name)
    return notes


def apply_process(session, found):
    notes = []
    attempt = _Attempts(notes)
    attempt("process", _set_process, session, found, attempt)
    return notes


class _Attempts:
    def __init__(self, notes):
        self.notes = notes

    def __call__(self, what, action, *args):
        try:
            action(*args)
        except Exception as error:
            self.notes.append(f"{what}: {type(error).__name__}: {error}")


# -- the process


def read_process(session):
    """Apart from the libraries: what is imported for these may be found by it."""
    return {
        "cwd": _cwd(),
        "path": list(sys.path),
        "path_before": session.path,
        "environ": {name: value for name, value in os.environ.items() if session.environ.get(name) != value},
        "environ_gone": [name for name in session.environ if name not in os.environ],
        "recursion": _changed(sys.getrecursionlimit(), session.recursion),
        "filters": _changed(list(warnings.filters), session.filters),
        "decimal": _decimal(),
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": _umask(),
        "timeout": socket.getdefaulttimeout(),
        "gc": (session.collecting, gc.get_threshold()),
        "csv": csv.field_size_limit(),
        "digits": sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None,
    }


def _cwd():
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _changed(now, before):
    return None if now == before else now


def _umask():
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimal():
    context = decimal.getcontext()
    traps = {signal.__name__: bool(on) for signal, on in context.traps.items()}
    return {name: getattr(context, name) for name in _DECIMAL}, traps


def _set_process(session, found, attempt):
    new = [path for path in found["path"] if path not in found["path_before"]]
    for path in new:
        if path not in sys.path:
            sys.path.insert(min(found["path"].index(path), len(sys.path)), path)
    for path in found["path_before"]:
        if path not in found["path"] and path in sys.path:
            sys.path.remove(path)
    if found["cwd"]:
        attempt("working directory", os.chdir, found["cwd"])
    os.environ.update(found["environ"])
    for name in found["environ_gone"]:
        os.environ.pop(name, None)
    if "TZ" in found["environ"] or "TZ" in found["environ_gone"]:
        time.tzset()
    if found["recursion"]:
        sys.setrecursionlimit(found["recursion"])
    if found["filters"] is not None:
        warnings.filters[:] = found["filters"]
        getattr(warnings, "_filters_mutated", getattr(warnings, "_filters_mutated_lock_held", lambda: None))()
    values, traps = found["decimal"]
    for name, value in values.items():
        setattr(decimal.getcontext(), name, value)
    for name, on in traps.items():
        decimal.getcontext().traps[getattr(decimal, name)] = on
    attempt("locale", locale.setlocale, locale.LC_ALL, found["locale"])
    os.umask(found["umask"])
    socket.setdefaulttimeout(found["timeout"])
    session.collecting = found["gc"][0]
    gc.set_threshold(*found["gc"][1])
    csv.field_size_limit(found["csv"])
    if found["digits"] is not None and hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(found["digits"])


def _modules(session):
    """Submodules that were imported: "import xml.dom" leaves no variable of its own."""
    roots = {v.__name__.split(".")[0] for v in list(session.ns.values()) if isinstance(v, types.ModuleType)}
    return sorted(
        name
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in roots
        and name not in session.modules
        and getattr(module, "__spec__", None) is not None
        and name != "__main__"
    )


# -- logging


def _logging(session):
    found = loggers()
    return {
        "levels": {n: (each.level, each.propagate, each.disabled) for n, each in found if not _is_default(each)},
        "handlers": {n: list(each.handlers) for n, each in found if each.handlers and n not in session.handlers},
        "disable": logging.root.manager.disable,
        "names": dict(logging._levelToName),
    }


def _is_default(logger):
    return not logger.level and logger.propagate and not logger.disabled


def _set_logging(found):
    for name, (level, propagate, disabled) in found["levels"].items():
        logger = logging.getLogger(name or None)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
    for name, handlers in found["handlers"].items():
        logger = logging.getLogger(name or None)
        if not logger.handlers:
            for handler in handlers:
                if type(handler) is not Lost:
                    logger.addHandler(handler)
    logging.disable(found["disable"])
    for level, name in found["names"].items():
        if type(level) is int:
            logging.addLevelName(level, name)


# -- libraries: what is read of each, and how it is set


def _numpy(numpy):
    printed = numpy.get_printoptions()
    printed.pop("override_repr", None)
    return printed, numpy.geterr()


def _set_numpy(numpy, found, attempt):
    printed, errors = found
    attempt("numpy print options", lambda: numpy.set_printoptions(**printed))
    numpy.seterr(**errors)


def _pandas(_pandas):
    import pandas._config.config as config

    return {
        name: config.get_option(name)
        for name, option in config._registered_options.items()
        if name not in config._deprecated_options and config.get_option(name) != option.defval
    }


def _set_pandas(pandas, found, attempt):
    for name, value in found.items():
        if type(value) is not Lost:
            attempt(name, pandas.set_option, name, value)


def _matplotlib(matplotlib):
    settings = matplotlib.rcParams
    backend = dict.get(settings, "backend")
    found = {
        name: value
        for name, value in dict.items(settings)
        if "backend" not in name and name != "interactive" and matplotlib.rcParamsOrig.get(name) != value
    }
    inline = sys.modules.get("matplotlib_inline.config")
    formats = None
    if inline is not None and inline.InlineBackend.initialized():
        one = inline.InlineBackend.instance()
        formats = {name: getattr(one, name) for name in ("figure_formats", "close_figures", "print_figure_kwargs")}
    return found, backend if isinstance(backend, str) else None, formats


def _set_matplotlib(matplotlib, found, attempt):
    from .remake import shell

    changed, backend, formats = found
    if backend and "inline" in backend:
        attempt("matplotlib inline", shell().run_line_magic, "matplotlib", "inline")
    elif backend:
        attempt("matplotlib backend", matplotlib.use, backend)
    for name, value in changed.items():
        attempt(name, matplotlib.rcParams.__setitem__, name, value)
    if formats:
        from matplotlib_inline.config import InlineBackend

        for name, value in formats.items():
            attempt(name, setattr, InlineBackend.instance(), name, value)


def _torch(torch):
    return {
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _set_torch(torch, found, _attempt):
    torch.set_default_dtype(found["dtype"])
    torch.set_grad_enabled(found["grad"])
    torch.use_deterministic_algorithms(found["deterministic"])


def _sklearn(sklearn):
    return sklearn.get_config()


def _set_sklearn(sklearn, found, _attempt):
    known = sklearn.get_config()
    sklearn.set_config(**{name: value for name, value in found.items() if name in known})


def _polars(polars):
    return polars.Config.save()


def _set_polars(polars, found, _attempt):
    polars.Config.load(found)


def _xarray(xarray):
    return dict(xarray.get_options())


def _set_xarray(xarray, found, attempt):
    for name, value in found.items():
        attempt(f"xarray {name}", lambda name=name, value=value: xarray.set_options(**{name: value}))


def _plotly(io):
    return io.templates.default, io.renderers.default


def _set_plotly(io, found, _attempt):
    io.templates.default, io.renderers.default = found


def _jax(jax):
    return {"jax_enable_x64": bool(jax.config.jax_enable_x64)}


def _set_jax(jax, found, _attempt):
    for name, value in found.items():
        jax.config.update(name, value)


def _sympy(sympy):
    from sympy.printing.defaults import Printable
    from sympy.printing.printer import Printer

    disabled = [name for name in _SYMPY_FORMATS if getattr(Printable, name, None) is Printable._repr_disabled]
    return {"settings": dict(Printer._global_settings), "disabled": disabled}


# What init_printing() switches off for its class.
_SYMPY_FORMATS = ("_repr_latex_", "_repr_png_", "_repr_svg_")


def _set_sympy(sympy, found, _attempt):
    from sympy.printing.defaults import Printable
    from sympy.printing.printer import Printer

    Printer.set_global_settings(**found["settings"])
    for name in found["disabled"]:
        setattr(Printable, name, Printable._repr_disabled)


LIBRARIES = {
    "numpy": (_numpy, _set_numpy),
    "pandas": (_pandas, _set_pandas),
    "matplotlib": (_matplotlib, _set_matplotlib),
    "torch": (_torch, _set_torch),
    "sklearn": (_sklearn, _set_sklearn),
    "polars": (_polars, _set_polars),
    "xarray": (_xarray, _set_xarray),
    "plotly.io": (_plotly, _set_plotly),
    "jax": (_jax, _set_jax),
    "sympy": (_sympy, _set_sympy),
}


# -- random states, which are set last: imports draw from them


def random_states():
    found = {"random": random.getstate()}
    if "numpy.random.mtrand" in sys.modules:
        found["numpy"] = sys.modules["numpy.random.mtrand"].get_state()
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        found["torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["cuda"] = [each.numpy() for each in torch.cuda.get_rng_state_all()]
    return found


def set_random_states(found):
    random.setstate(found["random"])
    if "numpy" in found:
        importlib.import_module("numpy").random.set_state(found["numpy"])
    if "torch" in found:
        torch = importlib.import_module("torch")
        torch.set_rng_state(torch.from_numpy(found["torch"].copy()))
        for device, state in enumerate(found.get("cuda", ())):
            if device < torch.cuda.device_count():
                torch.cuda.set_rng_state(torch.from_numpy(state.copy()), device)
