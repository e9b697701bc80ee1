"""A notebook of one cell that a page has run and left, with the server's part of it and no server."""

import logging
import sqlite3

import nbformat

from elastichub.notebook.connection import Sessions
from elastichub.notebook.documents.contents import PagesContents
from elastichub.notebook.documents.keeper import DocumentKeeper
from elastichub.notebook.documents.state import State
from peer import message

KEY = ("kernel", "page")


class SessionManager:
    def __init__(self):
        self.cursor = sqlite3.connect(":memory:").cursor()
        self.cursor.row_factory = sqlite3.Row
        self.cursor.execute("CREATE TABLE session (session_id, path, name, type, kernel_id)")
        self.cursor.execute("INSERT INTO session VALUES ('s', 'a.ipynb', 'a', 'notebook', 'kernel')")


class Desk:
    """A notebook of one cell, run by a page that has gone."""

    def __init__(self, manager, tmp_path):
        self.file = tmp_path / "home" / "a.ipynb"
        self.file.parent.mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="c")]), self.file)
        self.manager = manager(root_dir=str(self.file.parent))
        self.sessions, state = Sessions(), State(tmp_path / "state", logging.getLogger())
        self.keeper = DocumentKeeper(self.manager, SessionManager(), {"kernel"}, self.sessions, state)
        self.pages = PagesContents(self.manager, self.keeper.notebooks)
        self.session = self.sessions.enter(KEY)
        request = message("shell", "execute_request", {"code": "1"}, metadata={"cellId": "c", "deletedCells": []})
        self.cell = self.keeper.submitted(KEY, self.session, request, request.header())
        self.session.conversation.say(request, self.cell)
        self.request = request.header()

    def answer(self, kind, content, channel="iopub"):
        self.session.conversation.heard(message(channel, kind, content, self.request), -1)

    def say(self, text):
        self.answer("stream", {"name": "stdout", "text": text})

    async def write(self):
        await self.keeper.notebooks.write(KEY, self.session)

    def shown(self):
        return "".join(output.text for output in nbformat.read(self.file, 4).cells[0].outputs)

    async def page(self, **wanted):
        return await self.pages.get("a.ipynb", content=True, require_hash=True)

    async def version(self):
        return (await self.pages.get("a.ipynb", content=False, require_hash=True))["hash"]
