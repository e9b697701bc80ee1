"""shells.py BOOT MODULE...: imports the modules, then forks a shell of IPython for each
line of standard input, a JSON list of steps, and prints the JSON list of their results."""

import contextlib
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


def child(boot, steps):
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    shell = InteractiveShell.instance(config=config)
    shell.showtraceback = lambda *args, **kwargs: None
    with open(boot) as source:
        exec(source.read(), {"__file__": boot})
    keep = sys.modules["_elastichub_keep"]
    keep.begin()
    results = []
    for name, *args in steps:
        results.append(cell(shell, *args) if name == "run" else getattr(keep, name)(*args).document)
    return results


def main():
    boot, *preload = sys.argv[1:]
    importlib.import_module("IPython.core.interactiveshell")
    for name in preload:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            status = 1
            try:
                document = json.dumps(child(boot, json.loads(line)))
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
