"""Pages that show what cells print which another page has run: a real jupyter_server and a real
ipykernel, and pages that apply what they are told as JupyterLab's plugin does."""

import asyncio
import copy
import json
from contextlib import suppress
from urllib.parse import urlencode

import nbformat
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

import test_documents
from elastichub.notebook.documents.notebooks import ASIDE
from peer import Kernel, message, until
from test_documents import ANOTHER, COUNT, PICTURE, PROOF, UPDATES, numbers, shown

peer, house = test_documents.peer, test_documents.house  # fixtures

FOLLOW = "/elastichub/v1/documents/follow"
BAR = "import time\nfor i in range(10, {}): print(f'{{i}} %', end='\\r', flush=True); time.sleep({})"


# It prints as many lines as the test lets it.
GATED = PROOF.format("count") + """import time
i = 0
while i < 80:
    if i < int(open("upto.txt").read() or 0): print(i, flush=True); i += 1
    else: time.sleep(0.02)"""


class Follower:
    """What a page shows, by cell."""

    def __init__(self, house, path=None, session=""):
        self.house, self.path, self.session = house, path or house.path, session
        self.runs, self.outputs, self.running, self.count = {}, {}, {}, {}
        self.code, self.told, self.asides, self.notices, self.gone = {}, [], [], [], []

    async def open(self, **headers):
        query = urlencode({"path": self.path, "session": self.session})
        url = f"ws://127.0.0.1:{self.house.server.port}{FOLLOW}?{query}"
        self.ws = await websocket_connect(HTTPRequest(url, headers=headers or {"Authorization": "token t"}))
        self.task = asyncio.ensure_future(self._read())
        return self

    async def _read(self):
        while (frame := await self.ws.read_message()) is not None:
            self.take(json.loads(frame))
            with suppress(WebSocketClosedError):  # what came before this page closed it
                self.ws.write_message("next")

    def take(self, told):
        self.told.append(told)
        if "begin" in told:
            self.runs = {run: cell for run, cell in self.runs.items() if run in told["begin"]}
        elif "aside" in told:
            self.asides.append(told["aside"])
        elif "notice" in told:
            self.notices.append(told["notice"])
        elif "gone" in told:
            self.gone.append(self.runs.pop(told["gone"], None))
        else:
            name = told["cell"]
            if "code" in told:
                assert told["same"] == 0
                self.runs[told["run"]], self.code[name], self.outputs[name] = name, told["code"], []
            outputs = self.outputs[name]
            del outputs[told["same"] :]
            if told["text"]:
                outputs[-1] = {**outputs[-1], "text": outputs[-1]["text"] + told["text"]}
            outputs += told["outputs"]
            self.running[name], self.count[name] = told["running"], told["count"]

    def text(self, name):
        return "".join(o["text"] for o in self.outputs.get(name, ()) if o["output_type"] == "stream")

    def show(self, name):
        return shown({"outputs": self.outputs.get(name, [])})

    def put(self, model):
        """Into what a page saves."""
        for name, outputs in self.outputs.items():
            there = next(cell for cell in model["content"]["cells"] if cell["id"] == name)
            there.update(outputs=outputs, execution_count=self.count[name])

    async def close(self):
        self.ws.close(1001)
        await self.task


async def test_a_page_that_is_opened_while_a_cell_runs_goes_on_live(house):
    def up_to(count):
        (house.home / "upto.txt").write_text(str(count))

    up_to(12)
    await house.notebook(GATED, PICTURE, UPDATES)
    page = await house.page()
    counting, *_ = [page.run_cell(f"c{i}") for i in range(3)]
    await page.until_text(counting, "\n10\n")
    await page.close()
    up_to(15)

    other = await house.page()
    await until("it is told that the kernel is busy", lambda: other.got)
    assert other.got[0].content() == {"execution_state": "busy"} and other.got[0].parent() == counting.header()
    follower = await Follower(house, session=other.session).open()
    await until("it shows what came", lambda: "\n14\n" in follower.text("c0"))
    await until("all three run", lambda: follower.running == {"c0": True, "c1": True, "c2": True})
    assert follower.count["c0"] is None
    assert follower.code["c0"] == GATED
    # It edits another cell and saves in the middle of it, and again.
    for count in (30, 50, 80):
        seen = follower.text("c0")
        assert seen == numbers(seen.count("\n")), "once, and in order"
        up_to(count)
        follower.put(other.model)
        await other.save()
        await until("it goes on", lambda seen=seen: len(follower.text("c0")) > len(seen))
    await until("it is done", lambda: not follower.running["c2"])
    assert follower.show("c0") == [numbers(80)]
    # What a cell changes of another is told with that one, not before its own end.
    await until("the update is told", lambda: follower.outputs["c1"][1]["data"] == {"text/plain": "second"})
    assert follower.show("c2") == ["final\n30%\n", "execute_result"]
    assert follower.count == {"c0": 1, "c1": 2, "c2": 3}
    changes = [told for told in follower.told if told.get("cell") == "c0"]
    assert len(changes) > 3 and all(len(json.dumps(told)) < 2000 for told in changes[1:]), "what is new, and no more"
    await house.written()
    follower.put(other.model)
    await other.save()
    cells = house.file().cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert [shown(cell) for cell in cells] == [[numbers(80)], ["display_data"] * 2, ["final\n30%\n", "execute_result"]]
    assert house.ran() == ["count"]
    for each in (follower, other):
        await each.close()


async def test_two_pages_that_are_open(house):
    await house.notebook(COUNT.format(60, 0.03), "'other'")
    page, other = await house.page(), await house.page()
    own = await Follower(house, session=page.session).open()
    follower = await Follower(house, session=other.session).open()
    counting = page.run_cell("c0")
    await until("it is shown live", lambda: "\n5\n" in follower.text("c0"))
    await page.answer(counting)
    await until("it is done", lambda: not follower.running["c0"])
    assert follower.show("c0") == [numbers(60)] and follower.count["c0"] == 1
    assert not own.runs, "what a page has run itself it shows itself"
    # Who has run it saves, and the other is told no more of it.
    page.cell("c0").update(outputs=follower.outputs["c0"], execution_count=1)
    await page.save()
    again = page.run_cell("c1")
    await page.answer(again)
    await until("the other cell is shown", lambda: follower.show("c1") == ["execute_result"])
    late = await Follower(house).open()
    await until("it is told what is not saved", lambda: late.show("c1") == ["execute_result"])
    assert list(late.outputs) == ["c1"] and list(late.told[0]) == ["begin"]
    # Both run the same cell: the later counts.
    theirs = other.run_cell("c1", "'theirs'")
    await other.answer(theirs)
    await until("its end is told", lambda: own.show("c1") == ["execute_result"])
    assert "theirs" in json.dumps(own.outputs["c1"])
    for each in (own, follower, late, page, other):
        await each.close()


async def test_a_state_that_cannot_be_seen_to_be_earlier(house):
    """A progress bar overwrites itself: a page saves what it showed a moment ago."""
    await house.notebook(BAR.format(70, 0.05))
    page = await house.page()
    page.run_cell("c0")
    await until("it runs", lambda: house.live.executed)
    await asyncio.sleep(0.3)
    await page.close()
    other = await house.page()
    follower = await Follower(house).open()
    loaded = "".join(shown(other.cell("c0")))
    await until("it goes on", lambda: "%" in follower.text("c0") and follower.text("c0") > loaded)
    earlier = copy.deepcopy((follower.outputs, follower.count))
    await until("it is done", lambda: not follower.running["c0"])
    assert follower.text("c0").startswith("69 %")
    await house.written()
    follower.outputs, follower.count = earlier
    follower.put(other.model)
    await other.save()
    assert house.cell("c0").outputs[0].text.startswith("69 %") and house.cell("c0").execution_count == 1
    await follower.close()
    await other.close()


async def test_a_page_that_comes_and_goes(house):
    """Its socket breaks, the notebook is renamed by another page, the server is replaced."""
    await house.notebook(COUNT.format(150, 0.05))
    page = await house.page()
    await page.until_text(page.run_cell("c0"), "\n5\n")
    await page.close()
    follower = await Follower(house).open()
    await until("it is shown", lambda: "\n8\n" in follower.text("c0"))
    follower.ws.protocol.stream.close()
    await follower.task
    await asyncio.sleep(0.3)
    await follower.open()
    seen = follower.text("c0")
    await until("it goes on", lambda: len(follower.text("c0")) > len(seen))
    assert (await house.server.api("PATCH", "/api/contents/a.ipynb", {"path": "b.ipynb"}))[0] == 200
    seen = follower.text("c0")
    await until("it goes on under another name", lambda: len(follower.text("c0")) > len(seen))
    await house.server.stop()
    await house.server.start()
    follower.path = "b.ipynb"
    await follower.open()
    await until("it is done", lambda: "\n149\n" in follower.text("c0") and not follower.running["c0"])
    assert follower.text("c0") == numbers(150) and house.ran() == ["count"]
    await follower.close()


async def test_outputs_beside_a_file_that_another_program_edits_are_offered(house):
    await house.notebook(COUNT.format(60, 0.03))
    page = await house.page()
    await page.until_text(page.run_cell("c0"), "\n10\n")
    follower = await Follower(house).open()
    nb = house.file()
    nb.cells[0].source = "of another program"
    nbformat.write(nb, house.home / house.path)
    await page.close()
    await until("it is offered", lambda: follower.asides)
    assert follower.asides == ["a-outputs.ipynb"] and shown(house.file("a-outputs.ipynb").cells[1]) == [numbers(60)]
    late = await Follower(house).open()
    await until("also later", lambda: late.asides == ["a-outputs.ipynb"])
    assert (await house.server.api("DELETE", "/api/contents/a-outputs.ipynb"))[0] == 204
    # A notebook that is only called so is nobody's.
    of_another = nbformat.v4.new_notebook(metadata={"elastichub": {"outputs_of": "b.ipynb"}})
    nbformat.write(of_another, house.home / "a-outputs.ipynb")
    after = await Follower(house).open()
    await until("it has begun", lambda: after.told)
    await page.open()
    await page.answer(page.run_cell("c0", "1"))
    await until("nothing is offered", lambda: after.show("c0") == ["execute_result"])
    assert after.asides == []
    for each in (follower, late, after, page):
        await each.close()


@pytest.mark.parametrize("house", ["c.DocumentKeeper.max_cell_bytes = 10_000\n"], indirect=True)
async def test_what_is_told_is_bounded(house):
    await house.notebook("import time\nfor i in range(2000): print('x' * 100)\ntime.sleep(1)\nprint('end')")
    page = await house.page()
    follower = await Follower(house).open()
    page.run_cell("c0")
    told = "further output are not kept: the page that has run the cell shows it.]"
    await until("it is told", lambda: follower.outputs.get("c0") and told in follower.outputs["c0"][-1]["text"])
    assert len(follower.outputs["c0"][0]["text"]) == 10_000 and len(follower.outputs["c0"]) == 2
    await page.close()
    await until("its page is missed", lambda: "not kept: the page was closed.]" in follower.outputs["c0"][-1]["text"])
    await until("it is done", lambda: not follower.running["c0"])
    assert sum(len(json.dumps(each)) for each in follower.told) < 20_000
    await follower.close()


async def test_a_message_of_a_page_that_is_too_large(house):
    await house.notebook("'one'", kernel=Kernel())
    page = await house.page()
    follower = await Follower(house, session=page.session).open()
    large = page.send(message("shell", "comm_msg", {"data": {}}, session=page.session, buffers=[bytes(11 << 20)]))
    await until("it arrives", lambda: [m for m in house.live.received if len(m.parts) > 4])
    assert len(house.live.received[-1].parts[4]) == 11 << 20
    page.send(message("shell", "comm_msg", {"data": {}}, session=page.session, buffers=[bytes(65 << 20)]))
    await until("the page is told", lambda: follower.notices)
    assert "65 MiB" in follower.notices[0] and "larger than 64 MiB" in follower.notices[0]
    code = page.run_cell("c0", "#" * (65 << 20))
    await page.answer(code)
    assert [m.content()["ename"] for m in page.of(code) if m.channel == "shell"] == ["MessageTooLarge"]
    await page.answer(page.run_cell("c0"))
    assert large is not None and page.ws.close_code is None, "the socket holds"
    for each in (follower, page):
        await each.close()


async def test_a_server_ends_with_a_page_that_follows(house):
    await house.notebook("1")
    aside = nbformat.v4.new_notebook(metadata={ASIDE: {"outputs_of": house.path}})
    nbformat.write(aside, house.home / "a-outputs.ipynb")
    follower = await Follower(house).open()
    await until("its files were read", lambda: follower.asides == ["a-outputs.ipynb"])
    house.server.process.terminate()
    await asyncio.to_thread(house.server.process.wait, 30)
    await follower.close()


async def test_who_may_not_see_it(house):
    await house.notebook("1")
    for headers in ({"Authorization": "token wrong"}, {"X": "no token"}, {"Cookie": "x=1", "Origin": "http://evil"}):
        with pytest.raises(HTTPClientError) as refused:
            await Follower(house).open(**headers)
        assert refused.value.code == 403
    about = {"kept": True, "reason": "", "maxMessage": 256 << 20}
    assert await house.server.api("GET", "/elastichub/v1/documents") == (200, about)


@pytest.mark.parametrize("house", [f"c.ServerApp.kernel_websocket_connection_class = {ANOTHER!r}\n"], indirect=True)
async def test_where_documents_are_not_kept(house):
    status, about = await house.server.api("GET", "/elastichub/v1/documents")
    assert status == 200 and about["kept"] is False
    assert "GatewayWebSocketConnection is in the place of elastichub's class" in about["reason"]
    assert about["reason"] in house.server.log
    with pytest.raises(HTTPClientError) as refused:
        await Follower(house, path="a.ipynb").open()
    assert refused.value.code == 404


