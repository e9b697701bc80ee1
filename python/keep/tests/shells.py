"""shells.py BOOT MODULE...: imports the modules, then forks a shell of IPython for each
line of standard input, a JSON list of steps, and prints the JSON list of their results."""

import contextlib
import gc
import importlib
import io
import json
import os
import sys
import traceback


def cell(shell, code):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        result = shell.run_cell(code, store_history=True)
    error = result.error_in_exec or result.error_before_exec
    return [printed.getvalue(), f"{type(error).__name__}: {error}" if error else None]


def made_shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    shell = InteractiveShell.instance(config=config)
    shell.enable_gui = lambda gui=None: None  # as a kernel has it, for %matplotlib
    shell.showtraceback = lambda *args, **kwargs: None
    return shell


def child(shell, boot, steps):
    entered = [enter(shell, *steps.pop(0)[1:])] if steps[0][0] == "enter" else []
    with open(boot) as source:
        exec(source.read(), {"__file__": boot})
    keep = sys.modules["_elastichub_keep"]
    keep.begin()
    results = entered
    for name, *args in steps:
        results.append(cell(shell, *args) if name == "run" else getattr(keep, name)(*args).document)
    return results


def enter(shell, directory):
    """As a kernel that was started there."""
    os.chdir(directory)
    shell.user_ns["_dh"][:] = [directory]
    sys.path[0] = ""


def main():
    boot, *preload = sys.argv[1:]
    importlib.import_module("IPython.core.interactiveshell")
    for name in preload:
        importlib.import_module(name)
    shell = made_shell()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            status = 1
            try:
                document = json.dumps(child(shell, boot, json.loads(line)))
                with os.fdopen(write, "w") as out:
                    out.write(document)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(write)
        with os.fdopen(read) as results:
            document = results.read()
        os.waitpid(pid, 0)
        answers.write((document or "null") + "\n")
        answers.flush()


main()
