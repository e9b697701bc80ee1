"""An ipykernel behind the gateway that the tests play, as its agent is: what it publishes goes to
every session, what it replies to the one that asked."""

import asyncio

import zmq
import zmq.asyncio
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.session import DELIM

from elastichub.notebook.frames import Message, text
from peer import Kernel

_SOCKETS = {"shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB}


class LiveKernel(Kernel):
    async def start(self, directory):
        """Runs it in a directory."""
        self._manager = AsyncKernelManager(kernel_name="python3")
        await self._manager.start_kernel(cwd=str(directory))
        client = self._manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        client.stop_channels()
        self._context = zmq.asyncio.Context()
        self._sockets = {name: self._connect(name, kind) for name, kind in _SOCKETS.items()}
        self._tasks = [asyncio.ensure_future(self._hear(name)) for name in _SOCKETS]
        return self

    def _connect(self, name, kind):
        socket = self._context.socket(kind)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        else:
            socket.identity = b"agent"
        socket.connect(f"tcp://127.0.0.1:{getattr(self._manager, name + '_port')}")
        return socket

    async def _hear(self, channel):
        while True:
            whole = await self._sockets[channel].recv_multipart()
            parts = whole[whole.index(DELIM) + 2 :]
            made = Message(channel, parts)
            to = list(self.sessions) if channel == "iopub" else [text(made.parent(), "session")]
            for name in to:
                self.publish(name, made)

    def take(self, name, taken):
        session = self.session(name)
        if taken.parts[0] in session.taken:
            return
        session.taken.add(taken.parts[0])
        self.received.append(taken)
        if text(taken.header(), "msg_type") == "execute_request":
            self.executed.append(taken.content()["code"])
        parts = [bytes(part) for part in taken.parts]
        signature = self._manager.session.sign(parts[:4])
        self._sockets[taken.channel].send_multipart([DELIM, signature, *parts])

    async def end(self):
        for task in self._tasks:
            task.cancel()
        self._context.destroy(linger=0)
        await self._manager.shutdown_kernel(now=True)
