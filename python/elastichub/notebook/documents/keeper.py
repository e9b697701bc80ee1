"""Documents whose page is closed.

A page writes what its cells print into the notebook; when it is gone, nobody does. So the server
remembers what each page has run and what came of it. When the page leaves, the server goes on
listening in its place, without confirming anything, so that the same page gets all of it when it
comes back, and writes the notebook itself.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tornado.httpclient import HTTPClientError
from traitlets import Bool, Int
from traitlets.config import LoggingConfigurable

from ..frames import text
from ..link import GONE, Link
from ..outlet import WINDOW
from .cells import Book
from .contents import Version
from .notebooks import Notebooks

GRACE = 2.0  # seconds that a page has to come back before its document is written
PAUSE, MOST = 2.0, 30.0  # seconds between two writes, at least, and after one that failed
SHARE = 10  # a write is followed by a pause of so many times its duration at least
LOOK = 0.25  # seconds between looks for what there is to write
RETURN = 10.0  # seconds that pages have to find a server that has been replaced
UNKNOWN = 3  # answers in a row that there is no such kernel, after which there is none
FAREWELL = 3.0  # seconds for the last writes when the server ends
MAX_BYTES = 128 << 20  # of output that is held for pages that are open


class DocumentKeeper(LoggingConfigurable):
    """Keeps notebooks for pages that are closed."""

    enabled = Bool(True, config=True, help="Write into a notebook what its cells print while no page has it open.")
    max_cell_bytes = Int(8 << 20, config=True, help="Bytes of output that are kept of each cell.")

    def __init__(self, contents, session_manager, kernels, pages, state, find_shared=None, **kwargs):
        """contents is the contents manager, kernels the manager of the gateway's kernels and pages
        the connection.Sessions. find_shared(path) finds a document that pages share."""
        super().__init__(**kwargs)
        self._session_manager = session_manager
        self._kernels = kernels
        self._pages = pages
        self._state = state
        self._sessions: dict[tuple[str, str], Any] = {}  # connection.Session, of pages that have run something
        self.notebooks = Notebooks(
            contents, session_manager, pages, self._sessions, self._save_state, find_shared, self.log
        )
        self._closing = False
        self._waiting: set[asyncio.Future] = set()

    # ------------------------------------------------------------------------------ pages

    def submitted(self, key, session, message, header):
        """A page sends an execute_request. Returns the cell that it runs, if it is one."""
        cell_id = text(_object(message.parts[2]), "cellId")
        content = message.content()
        if not cell_id or content.get("silent"):
            return None
        kernel, _ = key
        self._forget()
        self._sessions[key] = session
        if session.book is None:
            session.book = Book()
            session.book.changed = self.notebooks.ring
        for other, there in self._sessions.items():
            if other[0] == kernel and there is not session:
                there.book.void(cell_id)
        if not session.book.path:
            session.book.path = next(iter(self.notebooks.paths(kernel)), "")
        listed = "deletedCells" in _object(message.parts[2])  # as JupyterLab runs cells of notebooks alone
        return session.book.add(cell_id, text(header, "msg_id"), text(content, "code"), listed, self.max_cell_bytes)

    def left(self, key, session, link, dial, disposed=False):
        """The page of a session has closed its socket. `link` is the task that read for it;
        `disposed` says that the notebook was closed in the page, which asks whether to save it."""
        book = session.book
        if self._closing or book is None or not book.cells:
            return
        if not book.path and not self.notebooks.paths(key[0]):
            return  # a console
        book.disposed = disposed
        for cell in book.cells.values():
            cell.done_when_left = cell.done
        before = [task for task in (link, session.kept) if task is not None]
        session.kept = asyncio.ensure_future(self._keep(key, session, before, dial))

    async def returned(self, key, session):
        """The page of a session is back, and is to be told what it has missed."""
        if session.kept is not None:
            session.kept.cancel()
            await asyncio.wait([session.kept])
            session.kept = None
        if session.place is not None:
            if not session.book.shared:  # else it has seen what was printed
                session.conversation.return_to(session.place)
            session.place, session.book.shared = None, False
            self._state.remove(key)

    def busy(self, kernel):
        """What a page that connects to a kernel is to be told of its state: a kernel that is busy
        answers nobody. As a list, which is empty if nothing is known."""
        running = (
            session.conversation.busy(cell.sent)
            for key, session in self._sessions.items()
            if key[0] == kernel
            for cell in session.book.unfinished()
        )
        return [message for message in running if message is not None][:1]

    def _forget(self):
        """Lets go of what nobody will ask for."""
        for key in [key for key, s in self._sessions.items() if key not in self._pages or not s.book.cells]:
            book = self._sessions[key].book
            if book.cells and book.path in self.notebooks.documents:
                # A page that saves what was there before is asked first, as nobody else would notice.
                self.notebooks.documents[book.path].told = None
            if self._sessions[key].kept is None:
                del self._sessions[key]
        size = sum(session.book.size for session in self._sessions.values())
        for session in self._sessions.values():
            for cell in [c for c in session.book.cells.values() if c.done and session.connection is not None]:
                if size <= MAX_BYTES:
                    return
                before = session.book.size
                session.book.fold()
                session.book.drop(cell)
                size += session.book.size - before

    # -------------------------------------------------------------------- in their stead

    async def _keep(self, key, session, before, dial):
        if before:
            await asyncio.wait(before)
        if session.place is None:
            session.place = session.conversation.place
        link = None
        try:
            if session.book.unfinished():
                self.log.info("the page of session %s is gone: %s is written without it", key[1], session.book.path)
                link = asyncio.ensure_future(self._listen(key, session, dial))
            await self._attend(key, session)
        finally:
            if link is not None:
                link.cancel()
                await asyncio.wait([link])
        session.kept = None

    async def _listen(self, key, session, dial):
        missing = 0

        async def known(query):
            nonlocal missing
            try:
                connection = await dial(query)
                missing = 0
                return connection
            except HTTPClientError as error:
                missing = missing + 1 if error.code == 404 else 0
                if missing >= UNKNOWN:
                    await self._deleted(session)
                raise

        what = f"kernel {key[0]} session {key[1]}, without a page"
        link = _Watch(session, known, self.log, what)
        try:
            await link.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            self.log.exception("the connection to the gateway failed: %s", what)
            self._end(session)

    async def _deleted(self, session):
        """The kernel is gone for good. Its cells say so, whoever has noticed it first."""
        await _Listener(session.outlet).put(session.conversation.bury(*GONE))
        self._end(session)

    def _end(self, session):
        """Nothing will come any more."""
        for cell in session.book.unfinished():
            cell.sent = None
        session.book.news = True
        self.notebooks.ring()

    async def _attend(self, key, session):
        """Writes the document until all is written."""
        book, loop = session.book, asyncio.get_running_loop()
        self._save_state(key, session)
        at, failed = loop.time() + GRACE, 0.0
        while True:
            await asyncio.sleep(LOOK)
            if key[0] not in self._kernels:
                await self._deleted(session)
            done = not book.unfinished()
            if loop.time() < at or not (book.news or done):
                continue
            began = loop.time()
            try:
                # A page that comes back does not leave a file half done.
                await asyncio.shield(self.notebooks.write(key, session))
                failed = 0.0
            except Exception as error:  # noqa: BLE001 - it is tried again
                if not failed:
                    self.log.warning("%s cannot be written: %r", book.path, error)
                failed = min(2 * failed or PAUSE, MOST)
            at = loop.time() + max(PAUSE, failed, SHARE * (loop.time() - began))
            if done and not failed and not book.news:
                self.log.info("%s has what session %s has run", book.aside or book.path, key[1])
                return

    def _save_state(self, key, session):
        away = session.connection is None or self._closing
        if not away or not (session.book.unfinished() or session.book.news):
            self._state.remove(key)
            return
        document = self.notebooks.documents[session.book.path]
        self._state.write(
            key,
            {
                "book": session.book.kept(),
                "conversation": session.conversation.kept(),
                "place": session.place or session.conversation.place,
                "version": document.version and document.version.hash,
                "whole": document.whole,
            },
        )

    # ----------------------------------------------------------------- beginning and end

    def restore(self, dial):
        """Goes on with what a former server has left; dial(kernel, session, query) connects to a kernel."""
        for key, kept in self._state.read():
            session = self._pages.enter(key)
            try:
                book = Book.restored(kept["book"], self.max_cell_bytes)
                session.conversation.restore(kept["conversation"], book.cells)
                session.place = tuple(kept["place"])
                version, whole = kept["version"], kept["whole"]
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.log.warning("what a former server has kept for session %s cannot be used: %r", key[1], error)
                self._state.remove(key)
                continue
            session.book, book.changed = book, self.notebooks.ring
            self._sessions[key] = session
            if version:
                self.notebooks.documents[book.path].version = Version(None, version)
            self.notebooks.documents[book.path].whole = whole
            waiting = asyncio.ensure_future(self._await_page(key, session, dial))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._waiting.discard)

    async def _await_page(self, key, session, dial):
        await asyncio.sleep(RETURN)
        while not getattr(self._session_manager, "adopted", True):
            await asyncio.sleep(LOOK)
        if session.connection is None and session.kept is None:
            self.left(key, session, None, lambda query: dial(*key, query))

    async def close(self):
        """The server ends: the next one goes on."""
        self._closing = True
        for waiting in self._waiting:
            waiting.cancel()
        there = [(key, s) for key, s in self._sessions.items() if s.book.cells]
        kept = [s.kept for _, s in there if s.kept is not None]
        for task in kept:
            task.cancel()
        if kept:
            await asyncio.wait(kept)
        for key, session in there:
            if session.connection is None and session.book.news:
                try:
                    await asyncio.wait_for(self.notebooks.write(key, session), FAREWELL)
                except Exception as error:  # noqa: BLE001 - the next server has it
                    self.log.warning("%s cannot be written: %r", session.book.path, error)
            self._save_state(key, session)


class _Watch(Link):
    """Reads on where a page has left, and lets the gateway keep all of it for that page."""

    acknowledges = False

    def __init__(self, session, dial, log, what):
        super().__init__(session.conversation, _Listener(session.outlet), dial, lambda _: None, log, what)
        self._session = session

    def resumes_at(self):
        place, epoch = self._session.place, self.conversation.epoch
        return place if epoch in (None, place[0]) else (epoch, 0)


class _Listener:
    """An outlet where nobody is: what bears a number is given again to a page that comes back."""

    def __init__(self, outlet):
        self._outlet = outlet

    async def room(self):
        """What is heard takes no room here."""

    async def put(self, messages, numbered=False):
        if not numbered and self._outlet.bytes < WINDOW:
            await self._outlet.put(messages)


def _object(raw):
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
