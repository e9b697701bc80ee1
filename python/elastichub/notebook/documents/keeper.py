"""Documents whose page is closed.

A page writes what its cells print into the notebook; when it is gone, nobody does. So the server
remembers what each page has run and what came of it. When the page leaves, the server goes on
listening in its place, without confirming anything, so that the same page gets all of it when it
comes back, and writes the notebook itself.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import time
from typing import Any

import nbformat
from jupyter_core.utils import ensure_async
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets import Bool, Int
from traitlets.config import LoggingConfigurable

from ..frames import text
from ..link import Link
from ..outlet import WINDOW
from . import merging
from .cells import Book
from .contents import Documents, Version

GRACE = 2.0  # seconds that a page has to come back before its document is written
PAUSE, MOST = 2.0, 30.0  # seconds between two writes, at least, and after one that failed
SHARE = 10  # a write is followed by a pause of so many times its duration at least
LOOK = 0.25  # seconds between looks for what there is to write
RETURN = 10.0  # seconds that pages have to find a server that has been replaced
UNKNOWN = 3  # answers in a row that there is no such kernel, after which there is none
MOMENT = 2.0  # seconds in which a page may save without having read what it was just sent
FAREWELL = 3.0  # seconds for the last writes when the server ends
MAX_BYTES = 128 << 20  # of output that is held for pages that are open


class DocumentKeeper(LoggingConfigurable):
    """Keeps notebooks for pages that are closed."""

    enabled = Bool(True, config=True, help="Write into a notebook what its cells print while no page has it open.")
    max_cell_bytes = Int(8 << 20, config=True, help="Bytes of output that are kept of each cell.")

    def __init__(self, contents, session_manager, kernels, pages, state, **kwargs):
        """contents is the contents manager, kernels the manager of the gateway's kernels and pages
        the connection.Sessions."""
        super().__init__(**kwargs)
        self.documents = Documents()
        self._contents = contents
        self._session_manager = session_manager
        self._kernels = kernels
        self._pages = pages
        self._state = state
        self._sessions: dict[tuple[str, str], Any] = {}  # connection.Session, of pages that have run something
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
        for other, there in self._sessions.items():
            if other[0] == kernel and there is not session:
                there.book.void(cell_id)
        if not session.book.path:
            session.book.path = next(iter(self._paths(kernel)), "")
        listed = "deletedCells" in _object(message.parts[2])  # as JupyterLab runs cells of notebooks alone
        return session.book.add(cell_id, text(header, "msg_id"), text(content, "code"), listed, self.max_cell_bytes)

    def left(self, key, session, link, dial, disposed=False):
        """The page of a session has closed its socket. `link` is the task that read for it;
        `disposed` says that the notebook was closed in the page, which asks whether to save it."""
        book = session.book
        if self._closing or book is None or not book.cells:
            return
        if not book.path and not self._paths(key[0]):
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
            session.conversation.return_to(session.place)
            session.place = None
            self._state.remove(key)

    def _forget(self):
        """Lets go of what nobody will ask for."""
        for key in [key for key, s in self._sessions.items() if key not in self._pages or not s.book.cells]:
            book = self._sessions[key].book
            if book.cells and book.path in self.documents:
                # A page that saves what was there before is asked first, as nobody else would notice.
                self.documents[book.path].told = None
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

    def _paths(self, kernel):
        """Of the notebooks of a kernel."""
        cursor = self._session_manager.cursor
        cursor.execute("SELECT path FROM session WHERE kernel_id=? AND type='notebook'", (kernel,))
        return [row["path"].removeprefix("RTC:").strip("/") for row in cursor.fetchall()]

    def _of(self, path):
        """Sessions whose cells are in that notebook."""
        return [(key, s) for key, s in self._sessions.items() if s.book.path == path and not s.book.aside]

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
                    self._end(session)
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

    def _end(self, session):
        """Nothing will come any more."""
        for cell in session.book.unfinished():
            cell.sent = None
        session.book.news = True

    async def _attend(self, key, session):
        """Writes the document until all is written."""
        book, loop = session.book, asyncio.get_running_loop()
        self._save_state(key, session)
        at, failed = loop.time() + GRACE, 0.0
        while True:
            await asyncio.sleep(LOOK)
            if key[0] not in self._kernels:
                self._end(session)
            done = not book.unfinished()
            if loop.time() < at or not (book.news or done):
                continue
            began = loop.time()
            try:
                # A page that comes back does not leave a file half done.
                await asyncio.shield(self._write(key, session))
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
        if not (session.book.unfinished() or session.book.news):
            self._state.remove(key)
            return
        document = self.documents[session.book.path]
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

    async def _write(self, key, session):
        """Brings the notebook up to what is known. Error: HTTPError and others of the contents manager."""
        book = session.book
        paths = self._paths(key[0])
        if paths and book.path not in paths:
            book.path = paths[0]
        if len(paths) > 1:
            book.path = await self._whose(book, paths)
        document = self.documents[book.path]
        async with document.lock:
            book.fold()
            if book.disposed:
                self._discard(book)
            cells = list(book.cells.values())
            done = [cell for cell in cells if cell.done]
            book.news = False
            try:
                await self._into(document, key, session, cells)
            except BaseException:
                book.news = True
                raise
            for cell in done:
                cell.written = True
        self._save_state(key, session)

    def _discard(self, book):
        """What was done when a notebook was closed, and was not saved, is not wanted. What runs is."""
        book.disposed = False
        for cell in list(book.cells.values()):
            cell.newest = False
            if cell.done_when_left:
                book.drop(cell)

    async def _whose(self, book, paths):
        """Which of several notebooks has the cells."""
        for path in paths:
            model = await self._read(path)
            if model and any(merging.find(model["content"], list(book.cells.values()))):
                return path
        return book.path

    async def _read(self, path, content=True):
        """The contents manager's model; None if there is no such notebook."""
        try:
            return await ensure_async(self._contents.get(path, content=content, type="notebook", require_hash=True))
        except TypeError:  # it knows no hashes
            return await ensure_async(self._contents.get(path, content=content, type="notebook"))
        except HTTPError as error:
            if error.status_code == 404:
                return None
            raise

    async def _into(self, document, key, session, cells):
        book = session.book
        if not cells:
            return
        model = None if book.aside else await self._read(book.path)
        if model is None:
            await self._aside(book, cells)
            return
        version = Version.of(model)
        foreign = document.is_foreign(version) and merging.whole(model["content"]) != document.whole
        if document.told is None and self._pages.is_open(key[0]):
            self._give(cells, model["content"])  # what an open page has
        if not merging.merge(model["content"], cells, lambda cell: cell.newest and not foreign):
            if foreign or document.version is None:
                document.version, document.told = version, None
            return
        if foreign:
            await self._aside(book, cells)
            return
        document.version, document.whole = version, merging.whole(model["content"])
        book.news = True  # until it is written
        self._save_state(key, session)
        book.news = False
        await ensure_async(
            self._contents.save({"type": "notebook", "format": "json", "content": model["content"]}, book.path)
        )
        after = await self._read(book.path, content=False)
        document.wrote(version, Version.of(after or {}))

    async def _aside(self, book, cells):
        """Writes a notebook of its own: that of the cells is not there, or not as it was."""
        if not book.aside:
            directory, name = posixpath.split(book.path)
            if directory and not await ensure_async(self._contents.dir_exists(directory)):
                directory = ""
            stem = name.removesuffix(".ipynb") or "notebook"
            name = await ensure_async(self._contents.increment_filename(f"{stem}-outputs.ipynb", directory))
            book.aside = posixpath.join(directory, name)
            self.log.warning(
                "%s was changed or removed by another program and is left alone: what its cells printed while no "
                "page had it open is in %s",
                book.path,
                book.aside,
            )
        v4 = nbformat.v4
        told = f"What cells of `{book.path}` printed while no page had it open. That file was changed or removed "
        notebook = v4.new_notebook(cells=[v4.new_markdown_cell(told + "by another program meanwhile.")])
        for cell in cells:
            merging.write(merging.insert(notebook, cell, None), cell)
        model = {"type": "notebook", "format": "json", "content": notebook}
        await ensure_async(self._contents.save(model, book.aside))

    # ---------------------------------------------------------- what pages read and write

    async def flush(self, path):
        """Writes what is known of a notebook that a page is about to read."""
        for key, session in self._of(path):
            if session.connection is None and session.book.news:
                try:
                    await asyncio.shield(self._write(key, session))
                except Exception as error:  # noqa: BLE001 - it will be tried again
                    self.log.warning("%s cannot be written: %r", path, error)

    def given(self, path, model, content):
        """A page gets this model of a notebook; it is made to tell what pages are told."""
        if not content:
            if path in self.documents:
                self.documents[path].tell(model)
            return
        self.documents[path].read(model)
        for _, session in self._of(path):
            self._give(list(session.book.cells.values()), model["content"])

    def _give(self, cells, notebook):
        for cell, there in zip(cells, merging.find(notebook, cells), strict=True):
            if there is not None:
                cell.given.add(merging.state(there.get("outputs", []), there.get("execution_count")))

    def saving(self, path, notebook):
        """A page saves this. What it could not have read is put into it."""
        for _, session in self._of(path):
            session.book.fold()
            cells = list(session.book.cells.values())
            found = merging.find(notebook, cells)
            judge = self._is_missing if session.connection is None else self._is_settled
            missing = [cell for cell, there in zip(cells, found, strict=True) if judge(session.book, cell, there)]
            merging.merge(notebook, missing, lambda cell: cell.newest)

    def _is_settled(self, book, cell, there):
        """For a page that is open: forgets what is saved. Nothing is put into what it saves."""
        cell.newest = False
        if not cell.done or (book.unfinished() and book.names_displays(cell)):
            return False
        if there is not None:
            same, stale, name = self._compare(cell, there)
            if not same and (stale or time.monotonic() - cell.heard < MOMENT):
                cell.given = {name}
                return False
        book.drop(cell)
        return False

    def _is_missing(self, book, cell, there):
        """For a page that is gone: whether another one saves what was there before the cell had run
        to where it is now. Otherwise somebody has changed it, and that counts."""
        if there is None:
            if cell.newest and not cell.given:
                return True
            book.drop(cell)
            return False
        cell.newest = False
        same, stale, name = self._compare(cell, there)
        # Who has an older state has an older version of the file, and is asked before it saves that.
        cell.given = {name}
        if stale and not same:
            return True
        if cell.done:
            book.drop(cell)
        elif not same:
            cell.restart(there.get("outputs", []))
        return False

    def _compare(self, cell, there):
        """(whether a notebook's cell shows what is kept, or what was there earlier, a name for it)"""
        outputs, count = there.get("outputs", []), there.get("execution_count")
        ours, name = cell.export(), merging.state(outputs, count)
        same = name == merging.state(ours, cell.count)
        return same, name in cell.given or merging.is_earlier(outputs, ours), name

    async def moved(self, path, to):
        """A page has renamed a file or a directory."""
        for key, session in list(self._sessions.items()):
            new = _renamed(session.book.path, path, to)
            if new is None:
                continue
            self.documents.moved(session.book.path, new)
            session.book.path = new
            cursor = self._session_manager.cursor
            cursor.execute("SELECT session_id, path FROM session WHERE kernel_id=? AND type='notebook'", (key[0],))
            for row in cursor.fetchall():
                row_path = _renamed(row["path"], path, to)
                if row_path is not None:
                    name = posixpath.basename(row_path)
                    await self._session_manager.update_session(row["session_id"], path=row_path, name=name)

    def deleted(self, path):
        """A page has deleted a file or a directory."""
        self.documents.forget(path)
        for session in self._sessions.values():
            if _renamed(session.book.path, path, path) is not None:
                for cell in list(session.book.cells.values()):
                    session.book.drop(cell)

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
            session.book = book
            self._sessions[key] = session
            if version:
                self.documents[book.path].version = Version(None, version)
            self.documents[book.path].whole = whole
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
                    await asyncio.wait_for(self._write(key, session), FAREWELL)
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


def _renamed(path, old, new):
    """The path after something was renamed; None if it was not concerned."""
    if path == old:
        return new
    return new + path[len(old) :] if path.startswith(old + "/") else None
