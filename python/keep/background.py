"""What goes on beside the cells: threads, asyncio tasks and child processes of the user's.

A kernel with such is in use although no cell runs.
"""

import asyncio
import contextlib
import os
import sys
import threading

# Threads and tasks of the kernel and of its libraries, which do no work of the user's.
SERVICES = {
    "IPython",
    "anyio",
    "debugpy",
    "ipykernel",
    "jupyter_client",
    "pydevd",
    "_pydevd_bundle",
    "tornado",
    "tqdm",
    "zmq",
}


def in_use(session):
    """Everything of the user's that goes on, as documents."""
    return [*_threads(session), *_tasks(session), *_children(session)]


def _threads(session):
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread in session.threads or thread is threading.main_thread() or _is_service(thread):
            continue
        if not _waits_for_work(frames.get(thread.ident)):
            yield {"kind": "thread", "name": thread.name}


def _is_service(thread):
    target = getattr(thread, "_target", None)
    modules = [type(thread).__module__, getattr(target, "__module__", None) or ""]
    owner = type(getattr(target, "__self__", None)).__module__
    return any(module.split(".")[0] in SERVICES for module in (*modules, owner))


def _waits_for_work(frame):
    """A worker of a pool that has nothing to do is not at work."""
    waiting = {"concurrent/futures/thread.py", "multiprocessing/pool.py", "joblib/externals/loky/process_executor.py"}
    inner = {"threading.py", "queue.py", *waiting}
    while frame is not None:
        path = frame.f_code.co_filename.replace(os.sep, "/")
        if any(path.endswith(name) for name in waiting):
            return frame.f_code.co_name in {"_worker", "worker", "_handle_workers", "_handle_tasks", "_handle_results"}
        if not any(path.endswith(name) for name in (*inner, "multiprocessing/connection.py")):
            return False
        frame = frame.f_back
    return False


def tasks(shell):
    """The tasks of the kernel's event loop."""
    loop = getattr(getattr(shell, "kernel", None), "io_loop", None)
    loop = getattr(loop, "asyncio_loop", None)
    try:
        loop = loop or asyncio.get_running_loop()
        return {task for task in asyncio.all_tasks(loop) if not task.done()}
    except RuntimeError:
        return set()


def _tasks(session):
    for task in tasks(session.shell) - session.tasks:
        code = _code(task)
        path = getattr(code, "co_filename", "").replace(os.sep, "/")
        if not any(f"/{service}/" in path for service in SERVICES):
            yield {"kind": "task", "name": getattr(code, "co_name", None) or task.get_name()}


def _code(task):
    coroutine = task.get_coro()
    return getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)


def children():
    """Processes of this one, those that have ended left out."""
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as listed:
                found += [int(pid) for pid in listed.read().split()]
    return [pid for pid in found if _status(pid)[0] not in ("Z", "X", "")]


def _status(pid):
    """The state letter and the command line."""
    try:
        with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline", "rb") as command:
            state = stat.read().rpartition(")")[2].split()[0]
            return state, command.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "", ""


def _children(session):
    for pid in children():
        _, command = _status(pid)
        if pid in session.children or "resource_tracker" in command or "LokyProcess" in command:
            continue
        yield {"kind": "process", "name": command[:80], "pid": pid}
