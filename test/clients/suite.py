"""A pytest plugin for other people's tests of kernels and their clients.

It leaves out what not_applicable.yaml lists for the suite in the environment's SUITE, and
has jupyter_client's managers start their kernels at the gateway. In which respects it
favours the tests is said where it does.
"""

import os
import queue
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import websocket
import yaml

SUITE = os.environ["SUITE"]


# --- kernels at the gateway, for tests that know jupyter_client


class Manager:
    """What jupyter_client's tests ask of a KernelManager."""

    def __init__(self, kernel_name="", **_):
        from jupyter_kernel_client.manager import KernelHttpManager

        self.kernel_name = kernel_name
        self.kernel_spec = SimpleNamespace(interrupt_mode="message")
        self._manager = KernelHttpManager(os.environ["GATEWAY_URL"], os.environ["GATEWAY_TOKEN"])

    def start_kernel(self, **_):
        self._manager.start_kernel(name="python3")

    def client(self, **_):
        return Client(self._manager.client, self)

    def is_alive(self):
        """A kernel that has ended stays in the list: the next cell brings it back."""
        model = self._manager.refresh_model()
        return bool(model) and model["execution_state"] != "dead"

    def interrupt_kernel(self):
        self._manager.interrupt_kernel()

    def signal_kernel(self, signum):
        assert signum == signal.SIGINT
        self._manager.interrupt_kernel()

    def restart_kernel(self, **_):
        self._manager.restart_kernel()

    def shutdown_kernel(self, **_):
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)


PATIENCE = 15  # s


class Messages(queue.Queue):
    """What has come on a channel.

    The suites give a message a tenth of a second after the one before it, which a busy machine
    does not keep. So a wait goes on while the kernel is not idle after all that it was asked,
    for PATIENCE seconds at most.
    """

    def __init__(self, asked):
        super().__init__()
        self._asked = asked

    def _put(self, msg):
        if msg["msg_type"] == "status" and msg["content"]["execution_state"] == "idle":
            self._asked.discard(msg["parent_header"].get("msg_id"))
        super()._put(msg)

    def get(self, block=True, timeout=None):
        end = time.monotonic() + PATIENCE
        while True:
            last = not block or not self._asked
            try:
                return super().get(block, timeout)
            except queue.Empty:
                if last:
                    raise
                if time.monotonic() > end:
                    self._asked.clear()


class Client:
    """jupyter-kernel-client's, with the few names that it lacks of jupyter_client's."""

    def __init__(self, client, manager):
        self._client = client
        self.parent = manager
        asked = set()
        for channel in ("shell", "iopub", "control"):
            setattr(client, f"_{channel}_msg_queue", Messages(asked))
        send = client.session.send

        def note(stream, channel, msg, *args, **kwargs):
            if channel in ("shell", "control"):
                asked.add(msg["header"]["msg_id"])
            return send(stream, channel, msg, *args, **kwargs)

        client.session.send = note

    def __getattr__(self, name):
        return getattr(self._client, name)

    def execute(self, code, *args, reply=False, timeout=None, **kwargs):
        return self._replied(self._client.execute(code, *args, **kwargs), reply, timeout)

    def kernel_info(self, reply=False, timeout=None):
        msg = self._client.session.msg("kernel_info_request", {})
        self._client.shell_channel.send(msg)
        return self._replied(msg["header"]["msg_id"], reply, timeout)

    def shutdown(self, restart=False, reply=False, timeout=None):
        return self._replied(self._client.shutdown(restart), reply, timeout, "control")

    def _replied(self, msg_id, reply, timeout, channel="shell"):
        if not reply:
            return msg_id
        while True:
            msg = getattr(self._client, f"get_{channel}_msg")(timeout=timeout)
            if msg["parent_header"].get("msg_id") == msg_id:
                return msg


def start_new_kernel(startup_timeout=60, kernel_name="python3", **kwargs):
    manager = Manager(kernel_name)
    manager.start_kernel(**kwargs)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=startup_timeout)
    return manager, client


@contextmanager
def run_kernel(**kwargs):
    manager, client = start_new_kernel(**kwargs)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if SUITE in ("ipykernel", "jupyter_kernel_test"):
    import jupyter_client.manager

    jupyter_client.manager.start_new_kernel = start_new_kernel
    jupyter_client.manager.run_kernel = run_kernel
    jupyter_client.manager.KernelManager = Manager


# --- what costs time


def _look_often():
    """Has websocket-client's thread see every 0.2 s whether its socket was closed, not every 10 s.

    Whoever closes a client waits for that thread.
    """
    create = websocket.WebSocketApp.create_dispatcher

    def create_dispatcher(self, ping_timeout, *args, **kwargs):
        return create(self, ping_timeout or 0.2, *args, **kwargs)

    websocket.WebSocketApp.create_dispatcher = create_dispatcher


_look_often()


# --- what does not apply


def _not_applicable():
    """{module::test: reason} of the suite."""
    return yaml.safe_load((Path(__file__).parent / "not_applicable.yaml").read_text())[SUITE] or {}


def _names(item):
    """The names under which a test may be listed: with and without parameters, and its module's and class's."""
    module, *path = item.nodeid.split("::")
    module = Path(module).stem
    full = "::".join([module, *path])
    plain = full.split("[")[0]
    parts = plain.split("::")
    return {full} | {"::".join(parts[: n + 1]) for n in range(len(parts))}


class Selection:
    def __init__(self):
        self.left_out = 0
        self.status = 0

    def pytest_collection_modifyitems(self, config, items):
        listed = _not_applicable()
        found, left_out = set(), []
        for item in items:
            names = _names(item) & listed.keys()
            found |= names
            if names:
                left_out.append(item)
        if (gone := listed.keys() - found) and not config.option.keyword:
            raise pytest.UsageError(f"no such test in {SUITE}: {', '.join(sorted(gone))}")
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        self.left_out = len(left_out)

    def pytest_sessionfinish(self, exitstatus):
        self.status = int(exitstatus)

    def pytest_unconfigure(self):
        """Clients that a test has left connected have threads that wait for more."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.status)

    def pytest_terminal_summary(self, terminalreporter):
        stats = {kind: len(found) for kind, found in terminalreporter.stats.items()}
        failed = stats.get("failed", 0) + stats.get("error", 0)
        terminalreporter.line(
            f"clients: {SUITE}: {stats.get('passed', 0)} passed, {failed} failed,"
            f" {self.left_out} not applicable, {stats.get('skipped', 0)} skipped by itself,"
            f" {stats.get('rerun', 0)} run again"
        )


def pytest_configure(config):
    config.pluginmanager.register(Selection())
