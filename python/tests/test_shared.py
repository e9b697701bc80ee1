"""Notebooks that pages share: documents of jupyter_ydoc, as jupyter-collaboration keeps them."""

import asyncio
from types import SimpleNamespace

import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_ydoc import YNotebook

from desk import KEY, Desk
from elastichub.notebook.documents import shared


@pytest.fixture
def desk(tmp_path):
    desk = Desk(AsyncLargeFileManager, tmp_path)
    desk.document = YNotebook()
    desk.document.set(
        {
            "cells": [
                {"id": "other", "cell_type": "markdown", "source": "words", "metadata": {}},
                {"id": "c", "cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": None},
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )
    desk.document.ycells[1]["execution_state"] = "running"
    desk.keeper.notebooks.find_shared = desk.find = Find(desk.document)
    return desk


class Find:
    def __init__(self, document):
        self.document, self.asked = document, []

    async def __call__(self, path):
        self.asked.append(path)
        return self.document


def outputs(document):
    return [o.get("text") or o["output_type"] for o in document.get()["cells"][1]["outputs"]]


async def test_a_document_that_pages_share_is_written_into(desk):
    whole = desk.file.read_bytes()
    changes = []
    desk.document.ycells.observe_deep(lambda events: changes.append([str(event.path) for event in events]))
    for text in ("1\n", "2\n"):
        desk.say(text)
        await desk.write()
    assert outputs(desk.document) == ["1\n2\n"]
    assert [paths for paths in changes if "[1, 'outputs', 0, 'text']" in paths], "no more is sent than was printed"
    assert desk.document.ycells[1]["execution_state"] == "running"
    desk.answer("display_data", {"data": {"text/plain": "shown"}, "metadata": {}})
    desk.answer("execute_reply", {"status": "ok", "execution_count": 7}, channel="shell")
    desk.answer("status", {"execution_state": "idle"})
    await desk.write()
    cell = desk.document.get()["cells"][1]
    assert outputs(desk.document) == ["1\n2\n", "display_data"] and cell["execution_count"] == 7
    assert desk.document.ycells[1]["execution_state"] == "idle" and cell["source"] == "1"
    changes.clear()
    await desk.write()
    assert not changes
    assert desk.file.read_bytes() == whole and desk.find.asked[0] == "a.ipynb"
    assert desk.cell.written


async def test_what_is_cleared_or_removed_in_a_document_that_pages_share(desk):
    desk.say("draft")
    desk.answer("clear_output", {"wait": True})
    await desk.write()
    assert outputs(desk.document) == ["draft"]
    desk.say("final")
    await desk.write()
    assert outputs(desk.document) == ["final"]
    del desk.document.ycells[1]
    desk.say("late")
    await desk.write()
    assert [cell["id"] for cell in desk.document.get()["cells"]] == ["other"]


async def test_who_reads_the_file_does_not_wait_for_the_document_that_pages_share(desk):
    """jupyter-collaboration reads the file to make it."""
    desk.say("1")

    async def never(path):
        await asyncio.Event().wait()

    desk.keeper.notebooks.find_shared = never
    model = await asyncio.wait_for(desk.page(), 10)
    assert model["content"]["cells"][0]["outputs"][0]["text"] == "1"


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_page_that_comes_back_is_not_told_again_what_it_has_seen(desk, is_shared):
    talk = desk.session.conversation
    talk.epoch, talk.last, desk.session.place = "e", 9, ("e", 4)
    if not is_shared:
        desk.find.document = None
    desk.say("1")
    await desk.write()
    await desk.keeper.returned(KEY, desk.session)
    assert talk.last == (9 if is_shared else 4)
    assert desk.session.place is None


async def test_without_jupyter_collaboration():
    class Away:
        async def get_document(self, **wanted):
            assert wanted == {"path": "a", "content_type": "notebook", "file_format": "json", "copy": False}
            raise RuntimeError("not running")

    for extensions in ({}, {"jupyter_server_ydoc": {Away()}}):
        app = SimpleNamespace(extension_manager=SimpleNamespace(extension_apps=extensions))
        assert await shared.find(app, "a") is None
