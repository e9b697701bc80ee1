"""A kernel of the gateway as a process of this machine, for programs that start kernels themselves.

`jupyter execute`, papermill, nbconvert, jupyter-scheduler and `jupyter console` know a kernel as a
process with five ZMQ sockets, named in a connection file (jupyter_client's kernels.rst). This
process has those sockets and no kernel: what it hears it passes on to a kernel that it has started
at the gateway, and that it ends with itself. elastichub.notebook.terminal writes the kernelspecs
that start it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import logging
import os
import signal
import sys
import uuid
from collections import OrderedDict
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.session import DELIM, Session
from jupyter_server.gateway.gateway_client import GatewayClient
from tornado import web
from traitlets.config import LoggingConfigurable

from .. import skew
from .connection import dial
from .conversation import Conversation
from .frames import Message, text
from .link import Link
from .mixing import GatewayKernels, GatewayKernelSpecs

# Of requests whose asker is remembered: as many as the agent of a kernel knows again.
MAX_ASKED = 4096
PARENT_EVERY = 1.0  # seconds between looks for the program that started this

_SOCKETS = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": zmq.PUB}


class Sockets:
    """The ends of the connection file that a kernel has."""

    def __init__(self, connection):
        self._context = zmq.asyncio.Context()
        key = connection["key"].encode()
        self._session = Session(key=key, signature_scheme=connection["signature_scheme"])
        self._askers: OrderedDict[str, list[bytes]] = OrderedDict()
        self._all = {name: self._bind(connection, name, kind) for name, kind in _SOCKETS.items()}
        self._heartbeat = self._bind(connection, "hb", zmq.REP)

    def _bind(self, connection, name, kind):
        socket = self._context.socket(kind)
        socket.linger = 1000
        separator = ":" if connection["transport"] == "tcp" else "-"
        port = connection[f"{name}_port"]
        socket.bind(f"{connection['transport']}://{connection['ip']}{separator}{port}")
        return socket

    async def beat(self):
        while True:
            await self._heartbeat.send(await self._heartbeat.recv())

    async def hear(self, channel):
        """The next message that bears the connection file's signature."""
        while True:
            whole = await self._all[channel].recv_multipart()
            with contextlib.suppress(ValueError):  # no delimiter
                askers, (signature, *parts) = self._session.feed_identities(whole)
                if len(parts) < 4 or not self._signed(signature, parts):
                    continue
                message = Message(channel, parts)
                self._askers[text(message.header(), "msg_id")] = askers
                if len(self._askers) > MAX_ASKED:
                    self._askers.popitem(last=False)
                return message

    def _signed(self, signature, parts):
        return not self._session.auth or hmac.compare_digest(
            signature, self._session.sign(parts[:4])
        )

    async def say(self, message):
        """To whom it answers, or to all on iopub. What answers nobody here goes nowhere."""
        if message.channel == "iopub":
            to = [b"kernel." + text(message.header(), "msg_type").encode()]
        else:
            to = self._askers.get(text(message.parent(), "msg_id"), [])
        if to and message.channel in self._all:
            parts = [bytes(part) for part in message.parts]
            signature = self._session.sign(parts[:4])
            await self._all[message.channel].send_multipart([*to, DELIM, signature, *parts])

    def close(self):
        self._context.destroy(linger=1000)


class _Program(LoggingConfigurable):
    """What jupyter_server's classes take for the server; without one they know no kernelspecs."""

    base_url = "/"
    kernel_manager: Any = None


class Bridge:
    """Serves one connection file until its kernel is shut down."""

    def __init__(self, connection, log):
        self._parent = os.getppid()
        self.sockets = Sockets(connection)
        self.log = log
        self.ended = asyncio.Event()
        self._talk = Conversation()
        self._link: Any = None
        self._ends_with = ""  # the shutdown_request after whose reply this ends

    async def run(self, kernel_name):
        program = _Program()
        specs = GatewayKernelSpecs(parent=program, log=self.log)
        manager = GatewayKernels(log=self.log, kernel_spec_manager=specs)
        program.kernel_manager = manager
        await specs.get_all_specs()  # tells the manager which kernel is the default
        kernel = await manager.start_kernel(kernel_name=kernel_name, env=_environment())
        session = uuid.uuid4().hex
        self._link = Link(
            self._talk,
            self,
            lambda query: dial(kernel, session, query),
            lambda _: None,
            self.log,
            f"kernel {kernel}",
        )
        jobs = [self._link.run(), self.sockets.beat(), self._orphaned(), self.ended.wait()]
        jobs += [self._listen(channel) for channel in ("shell", "control", "stdin")]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await manager.end_all(now=True)
            self.sockets.close()

    async def _listen(self, channel):
        while True:
            message = await self.sockets.hear(channel)
            header = message.header()
            if text(header, "msg_type") == "shutdown_request":
                self._ends_with = text(header, "msg_id")
            await self.put(self._talk.say(message) or [])
            self._link.nudge()

    async def _orphaned(self):
        """Ends when the program that started this has ended without a word."""
        starter = int(os.environ.get("JPY_PARENT_PID") or 0)  # as jupyter_client has it
        while os.getppid() == self._parent and (not starter or os.path.exists(f"/proc/{starter}")):
            await asyncio.sleep(PARENT_EVERY)

    # What a Link needs of an outlet.

    async def room(self):
        """The sockets take everything."""

    async def put(self, messages, numbered=False):
        for message in messages:
            await self.sockets.say(message)
            if message.channel == "control" and self._ends_with == text(message.parent(), "msg_id"):
                self.ended.set()


def _environment():
    """The directory that the program runs in is the kernel's, as of any local kernel."""
    given = {name: value for name, value in os.environ.items() if name.startswith("KERNEL_")}
    return {"KERNEL_WORKING_DIR": os.getcwd(), **given}


async def _main(arguments):
    with open(arguments.file, encoding="utf-8") as file:
        connection = json.load(file)
    log = logging.getLogger("elastichub.bridge")
    if not GatewayClient.instance().gateway_enabled:
        sys.exit("JUPYTER_GATEWAY_URL is not set: there is no gateway to start a kernel at.")
    GatewayClient.instance().headers = skew.with_told(GatewayClient.instance().headers)
    bridge = Bridge(connection, log)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, bridge.ended.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # an interrupt comes as a message
    try:
        await bridge.run(arguments.kernel)
    except web.HTTPError as error:
        sys.exit(f"The gateway does not start the kernel {arguments.kernel}: {error}")


def main():
    parser = argparse.ArgumentParser(prog="elastichub.notebook.bridge", description=__doc__)
    parser.add_argument("--kernel", required=True, help="name of a kernelspec of the gateway")
    parser.add_argument("-f", "--file", required=True, help="connection file")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # nbclient has arguments for the kernel that it takes any python3 for.
    asyncio.run(_main(parser.parse_known_args()[0]))


if __name__ == "__main__":
    main()
