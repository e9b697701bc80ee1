"""Kernels for the tests: real ones of ipykernel, and shells of IPython that are forked,
which cost a twentieth and are enough where nothing of the kernel's own is looked at."""

import json
import os
import queue
import subprocess
import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

KEEP = Path(__file__).resolve().parents[1]
BOOT = str(KEEP / "boot.py")
LONG = os.environ.get("KEEP_LONG") == "1"
# Interpreters with ipykernel, to which the long run goes one after the other.
PYTHONS = os.environ.get("KEEP_PYTHONS", sys.executable).split()


def environment(home):
    made = dict(os.environ, HOME=str(home), IPYTHONDIR=str(home / ".ipython"), MPLBACKEND="agg")
    made.pop("PYTHONDONTWRITEBYTECODE", None)
    return made


class Kernel:
    """An ipykernel, with the module in it as the agent puts it there."""

    def __init__(self, cwd, python=sys.executable, boot=True):
        self.manager = KernelManager(kernel_name="python3")
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.manager._kernel_spec = KernelSpec(argv=argv, display_name="test", language="python")
        self.manager.start_kernel(cwd=str(cwd), env=environment(cwd))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        if boot:
            self.silent(f"exec(open({BOOT!r}).read(), {{'__file__': {BOOT!r}}})")
            self.call("begin")

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def ask(self, expression):
        """Sends what the agent sends; the reply is waited for by answer()."""
        return self.client.execute("", silent=True, store_history=False, user_expressions={"r": expression})

    def answer(self, message, timeout=120):
        while True:
            reply = self.client.get_shell_msg(timeout=timeout)
            if reply["parent_header"].get("msg_id") == message:
                return reply["content"]["user_expressions"]["r"]

    def silent(self, expression, timeout=120):
        found = self.answer(self.ask(expression), timeout)
        assert found["status"] == "ok", found
        return found["data"]["text/plain"]

    def call(self, name, *args):
        return json.loads(self.silent(expression(name, *args)))

    def run(self, code, timeout=120):
        """What a cell prints, and its error."""
        message = self.client.execute(code)
        printed, error = [], None
        while True:
            try:
                got = self.client.get_iopub_msg(timeout=timeout)
            except queue.Empty:
                self.manager.interrupt_kernel()
                timeout, error = 10, "no end"
                continue
            if got["parent_header"].get("msg_id") != message:
                continue
            content = got["content"]
            if got["msg_type"] == "stream":
                printed.append(content["text"])
            elif got["msg_type"] == "execute_result":
                printed.append(content["data"]["text/plain"])
            elif got["msg_type"] == "error":
                error = f"{content['ename']}: {content['evalue']}"
            elif content.get("execution_state") == "idle":
                break
        self.client.get_shell_msg(timeout=timeout)
        return "".join(printed), error

    def shown(self, code, timeout=120):
        """All that a cell publishes, in its order, but for states; a stream's pieces are one."""
        message, all_of_it = self.client.execute(code, allow_stdin=False), []
        while True:
            got = self.client.get_iopub_msg(timeout=timeout)
            if got["parent_header"].get("msg_id") != message:
                continue
            kind, content = got["msg_type"], got["content"]
            last = all_of_it[-1] if all_of_it else ["", {}]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind == "stream" and last[0] == "stream" and last[1]["name"] == content["name"]:
                last[1]["text"] += content["text"]
            elif kind != "status":
                all_of_it.append([kind, content])
        self.client.get_shell_msg(timeout=timeout)
        return all_of_it

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def expression(name, *args):
    return f"__import__('_elastichub_keep').{name}({', '.join(map(repr, args))})"


class Shells:
    """A process that forks a shell for each job; a job is a list of steps."""

    def __init__(self, cwd, preload=(), python=sys.executable):
        script = str(Path(__file__).with_name("shells.py"))
        self.process = subprocess.Popen(
            [python, script, BOOT, *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment(Path(cwd)),
        )

    def job(self, *steps):
        """The result of each step: of a cell [what it printed, its error], else the report."""
        self.process.stdin.write(json.dumps(steps) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
