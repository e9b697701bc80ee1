"""A real SIGTERM, and what becomes of it."""

import asyncio
import logging
import os
import signal
import sys

import pytest
from tornado.web import HTTPError

from elastichub.notebook import leaving
from elastichub.notebook.leaving import Leaving
from peer import until


@pytest.fixture
async def told():
    """Tells a server to end, whose gateway answers with `answer`; returns what came of it."""
    ended, asked = [], []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))

    def tell(answer, there=True):
        async def ask():
            asked.append(answer)
            await answer()

        Leaving(ask, lambda: there, logging.getLogger("leaving")).install()
        os.kill(os.getpid(), signal.SIGTERM)
        return ended, asked

    yield tell
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


async def answers():
    pass


async def refuses():
    raise HTTPError(401)


async def is_silent():
    await asyncio.Event().wait()


async def test_a_server_that_is_replaced_serves_its_pages_for_a_moment(told, monkeypatch):
    monkeypatch.setattr(leaving, "LINGER", 0.5)
    ended, asked = told(answers)
    await until("the gateway is asked", lambda: asked)
    await asyncio.sleep(0.2)
    assert not ended
    await until("it ends", lambda: ended == [signal.SIGTERM])


async def test_it_ends_at_once_when_it_is_told_twice(told):
    ended, asked = told(answers)
    await until("the gateway is asked", lambda: asked)
    os.kill(os.getpid(), signal.SIGTERM)
    await until("it ends", lambda: ended == [signal.SIGTERM], seconds=leaving.LINGER / 2)


@pytest.mark.parametrize("answer", [refuses, is_silent])
async def test_a_server_that_is_stopped_ends_at_once(told, monkeypatch, answer):
    monkeypatch.setattr(leaving, "PATIENCE", 0.1)
    ended, asked = told(answer)
    await until("it ends", lambda: ended == [signal.SIGTERM], seconds=leaving.LINGER / 2)
    assert asked == [answer]


async def test_a_server_without_pages_ends_at_once(told):
    ended, asked = told(answers, there=False)
    await until("it ends", lambda: ended == [signal.SIGTERM], seconds=leaving.LINGER / 2)
    assert not asked


async def test_a_process_ends_whose_page_has_read_a_file(tmp_path):
    """The task that has begun the thread waits for ever, as a page's does."""
    written = tmp_path / "written"
    program = f"""
import asyncio, pathlib, threading, time
import anyio.to_thread
from elastichub.notebook.leaving import let_threads_end

begun = threading.Event()

def write():
    begun.set()
    time.sleep(1)
    pathlib.Path({str(written)!r}).write_text("whole")

async def page(work):
    await anyio.to_thread.run_sync(work)
    await asyncio.Event().wait()

async def main():
    loop = asyncio.get_running_loop()
    tasks = [asyncio.ensure_future(page(work)) for work in (int, write)]
    while not begun.is_set():
        await asyncio.sleep(0.01)
    loop.stop()

let_threads_end()
loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
"""
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await asyncio.wait_for(ended.wait(), 20) == 0
    assert written.read_text() == "whole", "what a thread had begun is done"
