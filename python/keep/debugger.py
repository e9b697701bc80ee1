"""The debugger of ipykernel: what is set in it, and how that is set in another process.

A client knows a cell by the path that ipykernel gives it, which is a directory named by the
process and a hash of the code. So the directory stays as it was, and the cells' files are
written again. The debugger itself is begun by requests on the control channel once the load
is over, since it waits for the main thread.
"""

import contextlib
import json
import os
import sys

# Filters of exceptions, and where pydevd has them.
_FILTERS = {
    "raised": "break_on_caught_exceptions",
    "uncaught": "break_on_uncaught_exceptions",
    "userUnhandled": "break_on_user_uncaught_exceptions",
}
_TRAITS = ("just_my_code", "filter_internal_frames")


def _started(shell):
    found = getattr(getattr(shell, "kernel", None), "debugger", None)
    return found if getattr(found, "is_started", False) else None


def state(shell):
    """What is set, or why that is not known; None if the debugger is off."""
    debugger = _started(shell)
    try:
        return None if debugger is None else _set_in(debugger)
    except Exception as error:  # it may be another's than ipykernel's
        return {"why": f"{type(error).__name__}: {error}"}


def _set_in(debugger):
    directory = sys.modules["ipykernel.compiler"].get_tmp_directory()
    pydb = sys.modules["pydevd"].get_global_debugger()
    return {
        "directory": directory,
        "files": _files(directory, debugger.breakpoint_list),
        "breakpoints": json.loads(json.dumps(debugger.breakpoint_list)),
        "exceptions": [name for name, where in _FILTERS.items() if "BaseException" in getattr(pydb, where, ())],
        "traits": {name: bool(getattr(debugger, name)) for name in _TRAITS if hasattr(debugger, name)},
    }


def _files(directory, paths):
    """Cells that a client has shown the debugger, by name. A file that is gone can have no
    breakpoint that anybody sees."""
    found = {}
    for path in paths:
        if os.path.dirname(path) == directory:
            with contextlib.suppress(OSError, UnicodeError), open(path, encoding="utf-8", newline="") as file:
                found[os.path.basename(path)] = file.read()
    return found


def put(shell, found):
    """Makes the cells' files again, and returns the requests that set the rest, in order."""
    if "why" in found:
        raise RuntimeError(found["why"])
    debugger = getattr(getattr(shell, "kernel", None), "debugger", None)
    if debugger is None:
        raise RuntimeError("this kernel has no debugger")
    directory = found["directory"]
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for name, text in found["files"].items():
        with open(os.path.join(directory, name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    for module in ("ipykernel.compiler", "ipykernel.debugger"):
        sys.modules[module].get_tmp_directory = lambda: directory
    for name, value in found["traits"].items():
        setattr(debugger, name, value)
    return [
        {"type": "request", "seq": number, "command": command, "arguments": arguments}
        for number, (command, arguments) in enumerate(_requests(found), start=1)
    ]


def _requests(found):
    client = {"clientID": "elastichub", "clientName": "elastichub", "adapterID": "python", "pathFormat": "path"}
    counts = {"linesStartAt1": True, "columnsStartAt1": True, "supportsVariableType": True}
    yield "initialize", {**client, **counts, "supportsVariablePaging": True, "supportsRunInTerminalRequest": True}
    yield "attach", {}
    for path, points in found["breakpoints"].items():
        if points:
            yield "setBreakpoints", {"source": {"path": path}, "breakpoints": points, "sourceModified": False}
    if found["exceptions"]:
        yield "setExceptionBreakpoints", {"filters": found["exceptions"]}


@contextlib.contextmanager
def away(shell):
    """The debugger does not look at what is done meanwhile: it would stop at an exception
    of a pickler, or in a method of the user's that this calls."""
    debugpy = sys.modules.get("debugpy") if _started(shell) is not None else None
    if debugpy is None:
        yield
        return
    debugpy.trace_this_thread(False)
    try:
        yield
    finally:
        debugpy.trace_this_thread(True)
