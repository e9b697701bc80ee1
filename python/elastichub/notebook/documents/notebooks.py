"""The notebooks into which cells are written that no page will save.

One that pages share, by jupyter-collaboration, is written there; otherwise its file is, by the
contents manager, unless another program has changed that.
"""

from __future__ import annotations

import asyncio
import posixpath
import time

import nbformat
from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from . import merging, shared
from .contents import Documents, Version
from .following import Follower

ASIDE = "elastichub"  # in the metadata of a notebook that holds the outputs of another
MOST_ASIDES = 8  # of a notebook, that pages are told of
MOMENT = 2.0  # seconds in which a page may save without having read what it was just sent


async def _not_shared(path):
    """There is none."""


class Notebooks:
    """`sessions` are the connection.Session of pages that have run something, by (kernel, session);
    save_state(key, session) is called before and after each write."""

    def __init__(self, contents, session_manager, pages, sessions, save_state, find_shared, log):
        self.documents = Documents()
        self.followers: set[Follower] = set()  # pages that show what others have run
        self.asides_written = 0
        self.find_shared = find_shared or _not_shared
        self._contents = contents
        self._session_manager = session_manager
        self._pages = pages
        self._sessions = sessions
        self._save_state = save_state
        self._log = log

    def paths(self, kernel):
        """Of the notebooks of a kernel."""
        cursor = self._session_manager.cursor
        cursor.execute("SELECT path FROM session WHERE kernel_id=? AND type='notebook'", (kernel,))
        return [row["path"].removeprefix("RTC:").strip("/") for row in cursor.fetchall()]

    def ring(self):
        """There is something that pages are to be told."""
        for follower in self.followers:
            follower.ring()

    def tell(self, session, words):
        """Has the page of a session told something."""
        for follower in self.followers:
            if follower.session == session:
                follower.notices.append(words)
                follower.ring()

    def of(self, path):
        """Sessions whose cells are in that notebook, with their keys."""
        return [(key, s) for key, s in self._sessions.items() if s.book.path == path and not s.book.aside]

    async def write(self, key, session, read=False):
        """Brings the notebook up to what is known. `read` says that somebody is about to read the
        file. Error: HTTPError and others of the contents manager."""
        book = session.book
        paths = self.paths(key[0])
        if paths and book.path not in paths:
            book.path = paths[0]
        if len(paths) > 1:
            book.path = await self._whose(book, paths)
        # Not under the lock: who opens a document that is shared reads the file meanwhile.
        document_of_pages = None if read else await self.find_shared(book.path)
        document = self.documents[book.path]
        async with document.lock:
            book.fold()
            if book.disposed:
                self._discard(book)
            cells = list(book.cells.values())
            done = [cell for cell in cells if cell.done]
            book.news = False
            try:
                if document_of_pages is not None:
                    shared.write(document_of_pages, cells)
                    book.shared = True
                else:
                    await self._into(document, key, session, cells)
            except BaseException:
                book.news = True
                raise
            for cell in done:
                cell.written = True
        self._save_state(key, session)
        self.ring()

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
            self._log.warning(
                "%s was changed or removed by another program and is left alone: what its cells printed while no "
                "page had it open is in %s",
                book.path,
                book.aside,
            )
        v4 = nbformat.v4
        of = {ASIDE: {"outputs_of": posixpath.basename(book.path)}}
        told = f"What cells of `{book.path}` printed while no page had it open. That file was changed or removed "
        words = v4.new_markdown_cell(told + "by another program meanwhile.")
        notebook = v4.new_notebook(cells=[words], metadata=of)
        for cell in cells:
            merging.write(merging.insert(notebook, cell, None), cell)
        model = {"type": "notebook", "format": "json", "content": notebook}
        await ensure_async(self._contents.save(model, book.aside))
        self.asides_written += 1

    async def asides(self, path):
        """The notebooks beside that one which hold what its cells have printed, and all of it."""
        directory, name = posixpath.split(path)
        stem = name.removesuffix(".ipynb")
        unfinished = {s.book.aside for s in self._sessions.values() if s.book.unfinished() or s.book.news}
        found = []
        for number in ("", *range(1, MOST_ASIDES)):
            there = posixpath.join(directory, f"{stem}-outputs{number}.ipynb")
            if there in unfinished or not await ensure_async(self._contents.file_exists(there)):
                continue
            model = await self._read(there)
            of = model["content"].get("metadata", {}).get(ASIDE) if model else None
            if isinstance(of, dict) and of.get("outputs_of") == name:
                found.append(there)
        return found

    # ---------------------------------------------------------- what pages read and write

    async def flush(self, path):
        """Writes what is known of a notebook that a page is about to read."""
        for key, session in self.of(path):
            if session.connection is None and session.book.news:
                try:
                    await asyncio.shield(self.write(key, session, read=True))
                except Exception as error:  # noqa: BLE001 - it will be tried again
                    self._log.warning("%s cannot be written: %r", path, error)

    def given(self, path, model, content):
        """A page gets this model of a notebook; it is made to tell what pages are told."""
        if not content:
            if path in self.documents:
                self.documents[path].tell(model)
            return
        self.documents[path].read(model)
        for _, session in self.of(path):
            self._give(list(session.book.cells.values()), model["content"])

    def _give(self, cells, notebook):
        for cell, there in zip(cells, merging.find(notebook, cells), strict=True):
            if there is not None:
                cell.give(there.get("outputs", []), there.get("execution_count"))

    def saving(self, path, notebook):
        """A page saves this. What it could not have read is put into it."""
        for _, session in self.of(path):
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
                cell.given = {name: None}
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
        cell.given = {name: None}
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
        stale = name in cell.given or merging.is_earlier(outputs, ours) or merging.is_earlier(outputs, cell.before)
        return same, stale, name

    async def moved(self, path, to):
        """A page has renamed a file or a directory."""
        for follower in self.followers:
            follower.path = _renamed(follower.path, path, to) or follower.path
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
            where = session.book.aside or session.book.path
            if _renamed(where, path, path) is not None:
                session.book.aside = ""
                for cell in list(session.book.cells.values()):
                    session.book.drop(cell)


def _renamed(path, old, new):
    """The path after something was renamed; None if it was not concerned."""
    if path == old:
        return new
    return new + path[len(old) :] if path.startswith(old + "/") else None
