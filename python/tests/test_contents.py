"""What pages are told of notebooks into which the server writes."""

import asyncio
import logging

import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager, LargeFileManager
from tornado.web import HTTPError

from desk import KEY, Desk
from elastichub.notebook.documents.contents import MAX_DOCUMENTS, Documents
from elastichub.notebook.documents.state import State
from peer import message, until


class Slow(AsyncLargeFileManager):
    """Waits where a test wants it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.holds = ""  # before a save or after it; the others pass
        self.held, self.goes_on = asyncio.Event(), asyncio.Event()

    async def save(self, model, path=""):
        await self._hold("before")
        saved = await super().save(model, path)
        await self._hold("after")
        return saved

    async def _hold(self, when):
        if self.holds == when:
            self.holds = ""
            self.held.set()
            await self.goes_on.wait()


class Old(LargeFileManager):
    """Of before there were hashes."""

    def get(self, path, content=True, type=None, format=None):
        return super().get(path, content=content, type=type, format=format)


@pytest.mark.parametrize("manager", [Slow, LargeFileManager])
async def test_what_the_server_writes_is_no_change_to_pages(tmp_path, manager):
    desk = Desk(manager, tmp_path)
    page = await desk.page()
    for text in ("1", "2"):
        desk.say(text)
        await desk.write()
        assert await desk.version() == page["hash"]
    assert desk.shown() == "12"
    later = await desk.page()
    assert (later["hash"], later["last_modified"]) == (page["hash"], page["last_modified"])
    # What a page saves is.
    page["content"]["metadata"]["mine"] = True
    await desk.pages.save(page, "a.ipynb")
    assert await desk.version() != page["hash"]
    assert desk.shown() == "12" and nbformat.read(desk.file, 4).metadata.mine
    # And so is what another program does.
    before = await desk.version()
    desk.say("3")
    await desk.write()
    assert await desk.version() == before
    desk.file.write_text(desk.file.read_text().replace("mine", "theirs"))
    assert await desk.version() != before


async def test_a_page_does_not_look_between_a_write_and_what_is_known_of_it(tmp_path):
    desk = Desk(Slow, tmp_path)
    page = await desk.page()
    desk.say("1")
    desk.manager.holds = "after"
    writing = asyncio.ensure_future(desk.write())
    await desk.manager.held.wait()
    looking = asyncio.ensure_future(desk.version())
    await asyncio.sleep(0.1)
    assert not looking.done()
    desk.manager.goes_on.set()
    assert await looking == page["hash"]
    await writing


async def test_a_page_that_saves_meanwhile_waits(tmp_path):
    desk = Desk(Slow, tmp_path)
    page = await desk.page()
    desk.say("1")
    desk.manager.holds = "before"
    writing = asyncio.ensure_future(desk.write())
    await desk.manager.held.wait()
    desk.say("2")
    page["content"]["metadata"]["mine"] = True
    saving = asyncio.ensure_future(desk.pages.save(page, "a.ipynb"))
    await asyncio.sleep(0.1)
    desk.manager.goes_on.set()
    await asyncio.gather(writing, saving)
    assert desk.shown() == "12" and nbformat.read(desk.file, 4).metadata.mine


async def test_a_contents_manager_without_hashes(tmp_path):
    desk = Desk(Old, tmp_path)
    page = await desk.pages.get("a.ipynb")
    desk.say("1")
    await desk.write()
    assert desk.shown() == "1"
    assert (await desk.pages.get("a.ipynb", content=False))["last_modified"] == page["last_modified"]


async def test_a_write_that_fails_is_made_again(tmp_path):
    desk = Desk(Slow, tmp_path)
    desk.say("1")
    whole = desk.file.read_bytes()
    desk.file.write_text("no notebook")
    with pytest.raises(HTTPError, match=r"a\.ipynb"):
        await desk.write()
    assert desk.session.book.news and not desk.cell.written
    desk.file.write_bytes(whole)
    await desk.keeper.notebooks.flush("a.ipynb")
    assert desk.shown() == "1"


async def test_pages_are_asked_when_nobody_knows_any_more_what_they_have(tmp_path):
    desk = Desk(Slow, tmp_path)
    page = await desk.page()
    desk.say("1")
    await desk.write()
    for n in range(3):  # of those that are gone, as many are remembered as there is room for
        session = desk.sessions.enter(("kernel", f"other {n}"))
        desk.sessions.leave(("kernel", f"other {n}"), session.connection, lambda _: False)
    request = message("shell", "execute_request", {"code": "1"}, metadata={"cellId": "d"})
    desk.keeper.submitted(("kernel", "another"), desk.sessions.enter(("kernel", "another")), request, request.header())
    assert await desk.version() != page["hash"]


async def test_documents_are_bounded():
    documents = Documents()
    await documents["held"].lock.acquire()
    for n in range(2 * MAX_DOCUMENTS):
        assert documents[str(n)] is documents[str(n)]
    assert "held" in documents and "0" not in documents and str(2 * MAX_DOCUMENTS - 1) in documents
    documents.moved("held", "to")
    assert "held" not in documents and documents["to"].lock.locked()


async def test_what_is_kept_for_the_next_server(tmp_path, caplog):
    state = State(tmp_path / "state", logging.getLogger())
    state.write(("k", "s"), {"a": 1})
    state.write(("k", "s"), {"a": 2})
    (file,) = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    ((key, kept),) = state.read()
    assert key == ("k", "s") and kept["a"] == 2
    (tmp_path / "state" / "other.json").write_text('{"format": 2, "key": ["k", "t"]}')
    (tmp_path / "state" / "broken.json").write_text("{")
    assert len(state.read()) == 1 and caplog.text.count("is left alone") == 2
    state.remove(("k", "s"))
    state.remove(("k", "s"))
    assert state.read() == []
    (tmp_path / "file").write_text("")
    State(tmp_path / "file" / "state", logging.getLogger()).write(("k", "s"), {})
    assert "would be lost" in caplog.text


async def test_what_a_former_server_has_kept_and_cannot_be_used(tmp_path, caplog):
    desk = Desk(Slow, tmp_path)
    desk.keeper._state.write(KEY, {"book": {}})
    desk.keeper.restore(None)
    assert "cannot be used" in caplog.text
    await until("it is gone", lambda: not list((tmp_path / "state").iterdir()))
