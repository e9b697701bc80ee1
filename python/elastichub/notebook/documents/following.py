"""Pages that have a notebook open and show what cells print that another page has run, or one that
is gone: what has come so far, and then what changes, in order.

A page is told what the server knows of a cell, which is what the server would write into the file,
and is told of a change when it has said that it has the one before. Nothing lies between the
two: both are taken from the same place, in one step of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..outlet import heard
from . import merging

PAUSE = 0.1  # seconds between two changes that a page is told of, at least
SHARE = 10  # they are followed by a pause of so many times what it took to find them out,
LONGEST_PAUSE = 2.0  # and of so many seconds at most
TORNADO_MAX = 10 << 20  # bytes of a message that tornado reads, unless it is told otherwise
GLANCE = 5.0  # seconds after which one looks without having been told to


class _View:
    """What a page shows of one run of a cell."""

    def __init__(self, cell):
        self.cell = cell
        self.outputs: list[Any] = []
        self.count = None
        self.running = True
        self.begun = False

    def change(self, missing):
        """What the page is to be told, as JSON; None if it is nothing."""
        cell = self.cell
        outputs, running = cell.export(missing), not cell.done
        same, text, rest = merging.delta(self.outputs, outputs)
        if same < len(self.outputs):  # it cannot be seen any more that this was earlier
            cell.give(self.outputs, self.count)
            cell.before = self.outputs
        new = {"run": cell.message_id, "cell": cell.id, "same": same, "text": text, "outputs": rest}
        news = text or rest or same < len(self.outputs) or (cell.count, running) != (self.count, self.running)
        if self.begun and not news:
            return None
        if not self.begun:
            new["code"] = cell.code
        self.begun, self.outputs, self.count, self.running = True, outputs, cell.count, running
        return {**new, "count": cell.count, "running": running}


class Follower:
    """One page with one notebook open. `session` is that of its kernel connection: what it has run
    itself it shows itself."""

    def __init__(self, notebooks, path, session):
        self.path = path
        self._notebooks = notebooks
        self.session = session
        self.notices: list[str] = []
        self._views: dict[str, _View] = {}
        self._offered: set[str] = set()
        self._looked = -1  # when so many had been written
        self._bell = asyncio.Event()

    def ring(self):
        """Something has changed."""
        self._bell.set()

    async def wait(self):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._bell.wait(), GLANCE)
        self._bell.clear()

    def begin(self):
        """The first that a page is told: the runs of which it will hear."""
        return {"begin": list(self._runs())}

    def changes(self):
        """Yields what the page is told, one thing after the other."""
        notices, self.notices = self.notices, []
        for words in notices:
            yield {"notice": words}
        runs = self._runs()
        for run in [run for run in self._views if run not in runs]:
            view = self._views.pop(run)
            if view.cell.done and (last := view.change(_MISSING)) is not None:
                yield last
            yield {"gone": run}
        for run, (cell, missing) in runs.items():
            view = self._views.setdefault(run, _View(cell))
            if (change := view.change(missing)) is not None:
                yield change

    def _runs(self):
        runs: dict[str, Any] = {}
        for (_, session), there in self._notebooks.of(self.path):
            if session == self.session or there.book.shared:
                continue
            there.book.fold()
            missing = _MISSING if there.connection is None else _ELSEWHERE
            runs |= {cell.message_id: (cell, missing) for cell in list(there.book.cells.values())}
        return runs

    async def offers(self):
        """Notebooks that hold what cells of this one have printed, of which the page has not heard yet."""
        if self._looked == self._notebooks.asides_written:
            return []
        self._looked = self._notebooks.asides_written
        found = [aside for aside in await self._notebooks.asides(self.path) if aside not in self._offered]
        self._offered.update(found)
        return [{"aside": aside} for aside in found]


_MISSING = "the page was closed"
_ELSEWHERE = "the page that has run the cell shows it"


class About(APIHandler):
    """Whether documents are kept here. `settings` are those of the web application."""

    auth_resource = "contents"

    @web.authenticated
    @authorized
    async def get(self):
        told = self.settings["elastichub"]
        about = {"kept": told["notebooks"] is not None, "reason": told["reason"]}
        about["maxMessage"] = self.settings.get("websocket_max_message_size", TORNADO_MAX)
        self.finish(json.dumps(about))


class Follow(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """Tells a page, which answers each message with one of its own when it has it."""

    auth_resource = "contents"
    _task: asyncio.Future | None = None

    def set_default_headers(self):
        """As jupyter_server's own sockets: there is no page to set headers for."""

    def get_compression_options(self):
        return self.settings.get("websocket_compression_options", None)

    @ws_authenticated
    async def get(self):
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "read", "contents")):
            raise web.HTTPError(403)
        self._notebooks = self.settings["elastichub"]["notebooks"]
        if self._notebooks is None:
            raise web.HTTPError(404)
        path = self.get_query_argument("path").strip("/")
        self._follower = Follower(self._notebooks, path, self.get_query_argument("session", ""))
        await super().get()

    def open(self):
        super().open()
        self._has_it = asyncio.Event()
        self._notebooks.followers.add(self._follower)
        self._task = asyncio.ensure_future(self._tell_all())

    def on_message(self, message):
        self._has_it.set()

    def on_close(self):
        if self._task is not None:
            self._notebooks.followers.discard(self._follower)
            self._task.cancel()

    async def _tell_all(self):
        try:
            await self._tell(self._follower.begin())
            while True:
                took = await self._tell_changes()
                for offer in await self._follower.offers():
                    await self._tell(offer)
                await asyncio.sleep(min(max(PAUSE, SHARE * took), LONGEST_PAUSE))
                await self._follower.wait()
        except WebSocketClosedError:
            pass
        except Exception:
            self.log.exception("a page cannot be told what cells of %s print", self._follower.path)
            self.close(1011, "internal error")

    async def _tell_changes(self):
        """Returns how many seconds of this thread it took to find them out."""
        changes, took = self._follower.changes(), 0.0
        while True:
            began = time.thread_time()
            change = next(changes, None)
            took += time.thread_time() - began
            if change is None:
                return took
            await self._tell(change)

    async def _tell(self, message):
        self._has_it.clear()
        self.write_message(json.dumps(message)).add_done_callback(heard)
        await self._has_it.wait()
