"""What keeps this server from being idle: a busy kernel, a command in a terminal, a process at work."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime, timedelta, timezone
from functools import cached_property

from jupyter_core.utils import ensure_async

from . import processes, use

LOOK_EVERY = 30.0  # seconds
MOST = 64  # that are told
_AT_REST = {"idle", "dead"}  # whatever is not known to be at rest is at work


class Busy:
    """Looks by itself, too, so that the end of what was at work is known to LOOK_EVERY."""

    def __init__(self, app, looks=None):
        self._app = app
        self._looks = looks or processes.Looks()
        self._lock = asyncio.Lock()
        self._began: dict[str, datetime] = {}  # of kernels: when each was first seen to be busy

    async def run(self):
        while True:
            try:
                await self.local()
            except Exception as error:  # noqa: BLE001 - it looks again, and whoever asks is told
                self._app.log.warning("it is not known what is at work in this server: %r", error)
            await asyncio.sleep(LOOK_EVERY)

    async def all(self):
        """What is at work now, by kind. Nothing is concluded from an error."""
        models = await self._kernels()
        kernels = [model["id"] for model in models if model["execution_state"] not in _AT_REST]
        now = datetime.now(timezone.utc)
        self._began = {id: self._began.get(id, now) for id in kernels}
        if kernels:
            use.note(self._app, now)
        told = [_told("kernel", id, self._began[id]) for id in sorted(kernels)]
        local = [found for found in await self.local() if found["name"] not in kernels]
        return (told + local)[:MOST]

    async def local(self):
        """The same without the gateway's kernels."""
        async with self._lock:
            there, used = await asyncio.to_thread(self._looks.look)
        found = list(self._find(there, used))
        if found:
            use.note(self._app, datetime.now(timezone.utc))
        return found

    async def _kernels(self):
        manager = self._app.kernel_manager
        return await ensure_async(getattr(manager, "list_all", manager.list_kernels)())

    def _find(self, there, used):
        own, kernels, terminals = os.getpid(), self._processes_of_kernels(), self._terminals()
        told = set()
        for work in sorted(processes.commands(there, own)):
            leader = there.get(work.process.session)
            name = (terminals.get(leader.pid) if leader is not None else None) or _device(work.terminal)
            told |= {p.pid for p in there.values() if p.terminal == work.terminal and p.group == p.front}
            yield _told("terminal", f"{name} ({work.process.name})", self._since(work.process))
        for work in sorted(processes.others(there, own, used)):
            pid = work.process.pid
            if pid in kernels:
                yield _told("kernel", kernels[pid], self._since(work.process))
            elif pid not in told:
                yield _told("process", processes.program(work.process) or work.process.name, self._since(work.process))

    def _processes_of_kernels(self):
        """Ids of kernels of this server, by pid."""
        manager = self._app.kernel_manager
        found = {}
        for id in manager.list_kernel_ids():
            provisioner = getattr(manager.get_kernel(id), "provisioner", None)
            pid = getattr(provisioner, "pid", None)
            if pid:
                found[pid] = id
        return found

    def _terminals(self):
        """Names of terminals, by the pid of their shells."""
        manager = self._app.web_app.settings.get("terminal_manager")
        terminals = manager.terminals if manager is not None else {}
        return {terminal.ptyproc.pid: name for name, terminal in terminals.items()}

    @cached_property
    def _boot(self):
        """When the machine began. Asked once: it wavers, and what is told must not."""
        return datetime.now(timezone.utc) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))

    def _since(self, process):
        return self._boot + timedelta(seconds=process.began)


def _device(terminal):
    return f"pts/{(terminal & 0xFF) | ((terminal >> 12) & 0xFFF00)}"


def _told(kind, name, since):
    return {"kind": kind, "name": name[:253], "since": since.isoformat(timespec="seconds").replace("+00:00", "Z")}
