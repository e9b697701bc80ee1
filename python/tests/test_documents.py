"""Notebooks whose page is closed while their cells run: a real jupyter_server and a real ipykernel,
and pages that do with the contents API what JupyterLab does."""

import asyncio
import base64
import json
import shutil
import time
from urllib.parse import quote

import nbformat
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from live import LiveKernel
from notebookserver import Browser, Server
from peer import Kernel, Peer, message, until

# No test waits for as long as people do.
CONFIG = """
from elastichub.notebook.documents import keeper, notebooks
keeper.GRACE = keeper.PAUSE = 0.5
keeper.RETURN = 3
notebooks.MOMENT = 0
"""

PROOF = 'open("ran.txt", "a").write("{}\\n")\n'  # every run leaves a line
COUNT = PROOF.format("count") + "import time\nfor i in range({}): print(i, flush=True); time.sleep({})"


ANOTHER = "jupyter_server.gateway.connections.GatewayWebSocketConnection"


class Conflict(Exception):
    """What JupyterLab would show a dialog for."""


class Page(Browser):
    """A page that has a notebook open."""

    def __init__(self, server, path, kernel, session=None):
        super().__init__(server, kernel, session)
        self.path = path

    async def _contents(self, method, query="", body=None):
        status, model = await self.server.api(method, f"/api/contents/{quote(self.path)}{query}", body)
        assert status == 200, model
        return model

    async def load(self):
        self.model = await self._contents("GET", "?content=1&hash=1&type=notebook")
        return self

    def cell(self, name):
        return next(cell for cell in self.model["content"]["cells"] if cell["id"] == name)

    async def save(self):
        """As JupyterLab does: it looks first whether the file is still the one that it knows."""
        there = await self._contents("GET", "?content=0&hash=1")
        if there["hash"] != self.model["hash"]:
            raise Conflict
        body = {name: self.model[name] for name in ("type", "format", "content", "path")}
        await self._contents("PUT", body=body)
        there = await self._contents("GET", "?content=0&hash=1")
        self.model |= {name: there[name] for name in ("hash", "last_modified")}

    def run_cell(self, name, code=None):
        metadata = {"cellId": name, "deletedCells": [], "recordTiming": False, "trusted": True}
        code = self.cell(name)["source"] if code is None else code
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
        return self.send(message("shell", "execute_request", content, session=self.session, metadata=metadata))

    def lines(self, request):
        """The text, without what is shown twice since it was not confirmed when a socket closed."""
        once = {m.header()["msg_id"]: m.content().get("text", "") for m in self.of(request)}
        return "".join(once.values())

    async def until_text(self, request, wanted):
        return await until(f"{wanted!r} is shown", lambda: wanted in self.text(request))


def shown(cell):
    """What a cell shows: its streams in one text, or what the other outputs are."""
    outputs = cell["outputs"]
    return [o["text"] if o["output_type"] == "stream" else o["output_type"] for o in outputs]


def numbers(count):
    return "".join(f"{i}\n" for i in range(count))


class House:
    """A server with a notebook whose kernel runs."""

    def __init__(self, server, peer):
        self.server, self.peer = server, peer
        self.home = server.directory / "home"
        self.path = "a.ipynb"

    async def notebook(self, *sources, kernel=None, **versions):
        """Writes it, with cells c0, c1, …, and starts a kernel for it."""
        cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), self.home / self.path)
        body = {"path": self.path, "name": self.path, "type": "notebook", "kernel": {"name": "python-gpu"}}
        _, self.session = await self.server.api("POST", "/api/sessions", body)
        self.kernel = self.session["kernel"]["id"]
        live = kernel or LiveKernel()
        live.id = self.kernel
        live.kept = self.peer.kernels[self.kernel].kept
        self.peer.kernels[self.kernel] = live
        if isinstance(live, LiveKernel):
            await live.start(self.home)
        self.live = live

    async def page(self, session=None, path=None):
        page = Page(self.server, path or self.path, self.kernel, session)
        await page.load()
        await page.open()
        return page

    def file(self, path=None):
        while not (written := (self.home / (path or self.path)).read_text()):
            time.sleep(0.01)  # jupyter_server keeps a copy and writes into the file
        return nbformat.reads(written, 4)

    def cell(self, name, path=None):
        return next(cell for cell in self.file(path).cells if cell.id == name)

    async def written(self, times=1):
        await until("it is written", lambda: self.server.log.count(" has what session ") >= times)

    def ran(self):
        return (self.home / "ran.txt").read_text().split()

    async def end(self):
        if isinstance(getattr(self, "live", None), LiveKernel):
            await self.live.end()


@pytest.fixture
async def peer():
    peer = Peer()
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture
async def house(request, tmp_path, peer):
    server = Server(tmp_path, peer, local=False, config=CONFIG + getattr(request, "param", ""))
    await server.start()
    house = House(server, peer)
    yield house
    await house.end()
    await server.stop()
    assert "Traceback" not in server.log, server.log


PICTURE = """
from IPython.display import display, Image
import base64
display(Image(data=base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")))
handle = display({"text/plain": "first"}, raw=True, display_id=True)
"""
UPDATES = """
from IPython.display import clear_output
handle.update({"text/plain": "second"}, raw=True)
for i in range(3):
    print("draft", i); clear_output(wait=True)
print("final"); print("10%\\r20%\\r30%")
6 * 7
"""


async def test_a_page_that_is_closed_loses_nothing(house):
    picture, never = PROOF.format("picture") + PICTURE, PROOF.format("never")
    await house.notebook(COUNT.format(120, 0.02), picture, UPDATES, "1 / 0", never)
    page = await house.page()
    counting, *_ = [page.run_cell(f"c{i}") for i in range(5)]
    await page.until_text(counting, "\n10\n")
    await page.close()
    assert shown(house.cell("c0")) == []
    await house.written()

    cells = house.file().cells
    assert shown(cells[0]) == [numbers(120)]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, None]
    assert shown(cells[1]) == ["display_data", "display_data"]
    assert len(base64.b64decode(cells[1].outputs[0].data["image/png"])) == 70
    assert cells[1].outputs[1].data == {"text/plain": "second"}
    assert shown(cells[2]) == ["final\n30%\n", "execute_result"]
    assert cells[2].outputs[1].data == {"text/plain": "42"} and cells[2].outputs[1].execution_count == 3
    assert shown(cells[3]) == ["error"] and cells[3].outputs[0].ename == "ZeroDivisionError"
    assert "division by zero" in cells[3].outputs[0].traceback[-1]
    assert shown(cells[4]) == [], "it was not run after the error"
    assert "transient" not in json.dumps(house.file())
    nbformat.validate(house.file())
    assert house.ran() == ["count", "picture"]
    await until("nobody listens any more", lambda: not house.peer.open)

    # A page that is opened later has it all, trusts it, and saves without a question.
    later = await house.page()
    assert shown(later.cell("c0")) == [numbers(120)]
    assert all(cell["metadata"]["trusted"] for cell in later.model["content"]["cells"])
    later.cell("c4")["source"] = "edited"
    await later.save()
    assert house.cell("c4").source == "edited" and shown(house.cell("c0")) == [numbers(120)]
    # So does the one that was away, which is told everything when it is back.
    await page.open()
    assert (await page.answer(counting))[0].content()["execution_count"] == 1
    assert page.lines(counting) == numbers(120)
    await page.close()
    await later.close()


async def test_a_page_that_sleeps_saves_without_a_question(house):
    await house.notebook(COUNT.format(60, 0.02))
    page = await house.page()
    counting = page.run_cell("c0")
    await page.until_text(counting, "\n10\n")
    before = page.text(counting)
    page.ws.protocol.stream.close()
    await house.written()
    assert shown(house.cell("c0")) == [numbers(60)]
    await page.open()
    await page.answer(counting)
    assert page.text(counting).startswith(before)
    assert page.text(counting).count("\n59\n") == 1
    page.cell("c0")["outputs"] = [{"output_type": "stream", "name": "stdout", "text": numbers(60)}]
    page.cell("c0")["execution_count"] = 1
    page.model["content"]["metadata"]["mine"] = True
    await page.save()
    assert house.file().metadata["mine"] and shown(house.cell("c0")) == [numbers(60)]
    assert house.ran() == ["count"]
    await page.close()


async def test_two_pages_of_which_one_is_closed(house):
    await house.notebook(COUNT.format(80, 0.03), "1 + 1", "'other'")
    nb = house.file()
    nb.cells[1].outputs, nb.cells[1].execution_count = [nbformat.v4.new_output("stream", text="of yesterday")], 7
    nbformat.write(nb, house.home / house.path)
    page, other = await house.page(), await house.page()
    counting, _ = page.run_cell("c0"), page.run_cell("c1")
    await page.until_text(counting, "\n10\n")
    await page.close()
    await until("so far is written", lambda: "\n12\n" in "".join(shown(house.cell("c0"))))

    # The other has an old state, and does not undo what has come since.
    other.cell("c2")["source"] = "'edited'"
    await other.save()
    assert house.cell("c2").source == "'edited'"
    assert "\n12\n" in shown(house.cell("c0"))[0]
    # One that is opened now shows what came so far.
    third = await house.page()
    assert "\n12\n" in shown(third.cell("c0"))[0] and "\n79\n" not in shown(third.cell("c0"))[0]
    await house.written()
    third.cell("c2")["source"] = "'by the third'"
    await third.save()
    assert shown(house.cell("c0")) == [numbers(80)]
    assert shown(house.cell("c1")) == ["execute_result"] and house.cell("c1").execution_count == 2
    with pytest.raises(Conflict):  # two pages, as ever
        await other.save()

    # What a user clears or runs again is the user's.
    await third.close()
    third = await house.page()
    third.cell("c0").update(outputs=[], execution_count=None)
    await third.save()
    assert shown(house.cell("c0")) == []
    again = third.run_cell("c1", "'again'")
    await third.answer(again)
    third.cell("c1").update(outputs=[], execution_count=3, source="'again'")
    await third.save()
    assert house.cell("c1").execution_count == 3 and shown(house.cell("c1")) == []
    assert house.ran() == ["count"]
    for each in (other, third):
        await each.close()


async def test_a_page_that_is_closed_and_opened_at_once(house):
    await house.notebook(COUNT.format(60, 0.03))
    page = await house.page()
    counting = page.run_cell("c0")
    await page.until_text(counting, "\n10\n")
    # The same page: it goes on with every line once.
    await page.close()
    await page.open()
    await page.until_text(counting, "\n20\n")
    kept = house.server.directory / "data" / "elastichub" / "documents"
    assert not kept.exists() or not list(kept.iterdir()), "the next server has nothing to do with it"
    # Loaded anew, it shows what came so far.
    await page.close()
    anew = await house.page()
    assert "\n20\n" in shown(anew.cell("c0"))[0]
    await house.written()
    await anew.load()
    assert shown(anew.cell("c0")) == [numbers(60)] and anew.cell("c0")["execution_count"] == 1
    assert page.lines(counting) == numbers(page.lines(counting).count("\n")), "once, and in order"
    assert house.ran() == ["count"]
    await anew.close()


async def test_a_page_saves_what_it_has_itself(house):
    """With the page open nothing is written, and what it has saved or cleared is not written later."""
    await house.notebook("'one'", "'two'", "'three'")
    page = await house.page()
    for name in ("c0", "c1", "c2"):
        await page.answer(page.run_cell(name))
    await asyncio.sleep(1)
    assert shown(house.cell("c0")) == []
    page.cell("c0")["source"] = "'one, edited'"
    page.cell("c1").update(outputs=[{"output_type": "stream", "name": "stdout", "text": "mine"}], execution_count=2)
    await page.save()
    await asyncio.sleep(0.2)
    await page.answer(page.run_cell("c2", "'three, edited'"))
    new = page.run_cell("c3", "'new'")
    await page.answer(new)
    await page.close()
    await house.written()
    cells = {cell.id: cell for cell in house.file().cells}
    assert list(cells) == ["c0", "c1", "c2", "c3"]
    assert shown(cells["c0"]) == [] and cells["c0"].source == "'one, edited'"
    assert shown(cells["c1"]) == ["mine"]
    assert cells["c2"].outputs[0].data == {"text/plain": "'three, edited'"} and cells["c2"].source == "'three, edited'"
    assert cells["c3"].source == "'new'" and shown(cells["c3"]) == ["execute_result"]


@pytest.mark.parametrize("at_last", ["the notebook", "the page"])
async def test_a_notebook_that_is_closed_in_its_page(house, at_last):
    """Its user was asked whether to save it, and has not: what runs is kept, and nothing else."""
    await house.notebook("'done'", COUNT.format(40, 0.03), "'old'")
    page = await house.page()
    await page.answer(page.run_cell("c0"))
    counting = page.run_cell("c1")
    page.run_cell("c2", "'new'")
    page.run_cell("c3", "'never saved'")
    await page.until_text(counting, "\n10\n")
    await page.dispose()
    await page.open()  # as "Reconnect to Kernel" does it
    await page.until_text(counting, "\n12\n")
    await (page.dispose() if at_last == "the notebook" else page.close())
    await house.written()
    cells = house.file().cells
    assert shown(cells[1]) == [numbers(40)] and cells[2].outputs[0].data == {"text/plain": "'new'"}
    if at_last == "the page":
        assert shown(cells[0]) == ["execute_result"] and shown(cells[3]) == ["execute_result"]
        assert [cell.source for cell in cells[2:]] == ["'new'", "'never saved'"]
        return
    assert shown(cells[0]) == []
    assert [cell.source for cell in cells] == ["'done'", COUNT.format(40, 0.03), "'old'"]


async def test_a_notebook_that_is_renamed_meanwhile(house):
    (house.home / "there").mkdir()
    await house.notebook(COUNT.format(60, 0.03))
    page = await house.page()
    await page.until_text(page.run_cell("c0"), "\n10\n")
    await page.close()
    for old, new in (("a.ipynb", "ä b.ipynb"), ("ä b.ipynb", "there/c.ipynb"), ("there", "elsewhere")):
        status, _ = await house.server.api("PATCH", f"/api/contents/{quote(old)}", {"path": new})
        assert status == 200
    await house.written()
    assert [str(p.relative_to(house.home)) for p in house.home.rglob("*.ipynb") if "checkpoint" not in str(p)] == [
        "elsewhere/c.ipynb"
    ]
    assert shown(house.cell("c0", "elsewhere/c.ipynb")) == [numbers(60)]
    _, sessions = await house.server.api("GET", "/api/sessions")
    assert [s["path"] for s in sessions] == ["elsewhere/c.ipynb"], "its kernel is found there"


async def test_a_file_that_another_program_edits_meanwhile(house):
    await house.notebook(COUNT.format(60, 0.03))
    page = await house.page()
    await page.until_text(page.run_cell("c0"), "\n10\n")
    nb = house.file()
    nb.cells[0].source = "of another program"
    nbformat.write(nb, house.home / house.path)
    edited = (house.home / house.path).read_bytes()
    await page.close()
    await house.written()
    assert (house.home / house.path).read_bytes() == edited
    beside = house.file("a-outputs.ipynb")
    assert "a.ipynb" in beside.cells[0].source
    assert shown(beside.cells[1]) == [numbers(60)] and "for i in range" in beside.cells[1].source
    assert "what its cells printed while no page had it open is in a-outputs.ipynb" in house.server.log
    # It is a notebook as any other.
    other = await house.page(path="a-outputs.ipynb")
    await other.save()
    await other.close()


@pytest.mark.parametrize("by", ["a page", "another program"])
async def test_a_file_that_is_removed_meanwhile(house, by):
    (house.home / "there").mkdir()
    house.path = "there/a.ipynb"
    await house.notebook(COUNT.format(40, 0.03))
    page = await house.page()
    await page.until_text(page.run_cell("c0"), "\n10\n")
    await page.close()
    if by == "a page":
        assert (await house.server.api("DELETE", "/api/contents/there"))[0] == 204
    else:
        shutil.rmtree(house.home / "there")
    await house.written()
    left = [path.name for path in house.home.glob("*.ipynb")]
    if by == "a page":
        assert left == [], "who deletes it does not want it"
    else:
        assert left == ["a-outputs.ipynb"] and shown(house.file("a-outputs.ipynb").cells[1]) == [numbers(40)]


LOTS = """
from IPython.display import display
import time
time.sleep(1)
for i in range(2000): print("x" * 100)
display({"text/plain": "y" * 20_000}, raw=True)
1 / 0
"""


@pytest.mark.parametrize("house", ["c.DocumentKeeper.max_cell_bytes = 10_000\n"], indirect=True)
async def test_output_is_bounded(house):
    await house.notebook(LOTS)
    page = await house.page()
    page.run_cell("c0")
    await until("it runs", lambda: house.live.executed)
    await page.close()
    await house.written()
    kept, error, told = house.cell("c0").outputs
    assert kept.text == ("x" * 100 + "\n") * 99 + "x"
    assert error.ename == "ZeroDivisionError"
    assert told.text == "[213 kB of further output are not kept: the page was closed.]\n"


@pytest.mark.parametrize("how", ["told to end", "killed"])
async def test_a_server_that_is_replaced_meanwhile(house, how):
    await house.notebook(COUNT.format(150, 0.04), PICTURE, UPDATES)
    page = await house.page()
    counting, *_ = [page.run_cell(f"c{i}") for i in range(3)]
    await page.until_text(counting, "\n10\n")
    kept = house.server.directory / "data" / "elastichub" / "documents"
    if how == "told to end":  # with the page open, which will not come back
        await house.server.stop()
    else:
        await page.close()
        await until("so far is written", lambda: "\n12\n" in "".join(shown(house.cell("c0"))))
        house.server.process.kill()
        house.server.process.wait()
        # As if between the file and what is known of it.
        (state,) = kept.iterdir()
        state.write_text(json.dumps({**json.loads(state.read_text()), "version": "of before"}))
    shutil.rmtree(house.server.directory / "runtime", ignore_errors=True)
    await asyncio.sleep(1)
    await house.server.start()
    await house.written()
    cells = house.file().cells
    assert shown(cells[0]) == [numbers(150)]
    assert shown(cells[1]) == ["display_data", "display_data"]
    assert cells[1].outputs[1].data == {"text/plain": "second"}
    assert shown(cells[2]) == ["final\n30%\n", "execute_result"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert house.ran() == ["count"]
    await until("nothing is left", lambda: not list(kept.iterdir()))


async def test_a_page_that_comes_back_to_another_server(house):
    """Its replacement does not write over what the page itself goes on with."""
    await house.notebook(COUNT.format(200, 0.05))
    page = await house.page()
    counting = page.run_cell("c0")
    await page.until_text(counting, "\n10\n")
    await house.server.stop()
    await house.server.start()
    await page.open()
    await page.answer(counting)
    assert page.text(counting).count("\n199\n") == 1
    assert shown(house.cell("c0")) == []
    await page.close()
    await house.written()
    assert shown(house.cell("c0")) == [numbers(200)]
    assert house.ran() == ["count"]


async def test_a_cell_that_waits_for_the_gateway_is_run_without_its_page(house):
    await house.notebook(COUNT.format(3, 0))
    page = await house.page()
    await page.answer(page.run_cell("c0", "1"))
    house.peer.kill()
    page.run_cell("c0")
    await asyncio.sleep(0.3)
    await page.close()
    house.peer.back()
    await house.written()
    assert shown(house.cell("c0")) == [numbers(3)] and house.cell("c0").execution_count == 2
    assert house.ran() == ["count"]


async def test_connections_that_break_while_no_page_is_there(house):
    await house.notebook(COUNT.format(150, 0.03))
    page = await house.page()
    counting = page.run_cell("c0")
    await page.until_text(counting, "\n10\n")
    await page.close()
    for _ in range(4):
        await until("it is read", lambda: house.peer.open)
        await asyncio.sleep(0.4)
        house.peer.cut_all()
    # The page gets all of it, though somebody else has read on.
    await house.written()
    assert shown(house.cell("c0")) == [numbers(150)]
    await page.open()
    await page.answer(counting)
    assert page.lines(counting) == numbers(150)
    await page.close()


async def test_kernels_that_end_while_no_page_is_there(house):
    await house.notebook("hang", kernel=Kernel())
    page = await house.page()
    hung = page.run_cell("c0")
    await until("it runs", lambda: house.live.executed)
    house.live.publish(page.session, message("iopub", "stream", {"name": "stdout", "text": "so far"}, hung.header()))
    await page.close()
    await until("so far is written", lambda: shown(house.cell("c0")) == ["so far"])
    house.live.renew()  # its process has died, and another one has come
    await house.written()
    assert shown(house.cell("c0")) == ["so far", "error"]
    assert house.cell("c0").outputs[1].ename == "KernelDied"

    page = await house.page()
    again = page.run_cell("c0", "hang")
    await until("it runs", lambda: len(house.live.executed) == 2)
    house.live.publish(page.session, message("iopub", "stream", {"name": "stdout", "text": "again"}, again.header()))
    await page.until_text(again, "again")
    await page.close()
    assert (await house.server.api("DELETE", f"/api/kernels/{house.kernel}"))[0] == 204
    await house.written(2)
    assert shown(house.cell("c0")) == ["again", "error"]
    assert house.cell("c0").outputs[1].ename == "KernelDeleted"


@pytest.mark.parametrize("house", ["c.DocumentKeeper.enabled = False\n"], indirect=True)
async def test_it_can_be_switched_off(house):
    await house.notebook(COUNT.format(20, 0.01))
    page = await house.page()
    await page.until_text(page.run_cell("c0"), "\n10\n")
    await page.close()
    await asyncio.sleep(2)
    assert shown(house.cell("c0")) == [] and not house.peer.open


@pytest.mark.parametrize("house", [f"c.ServerApp.kernel_websocket_connection_class = {ANOTHER!r}\n"], indirect=True)
async def test_another_class_in_its_place_is_told(house):
    assert "GatewayWebSocketConnection is in the place of elastichub's class here: output is lost" in house.server.log


@pytest.mark.parametrize("local", [False, True], ids=["gateway", "mixed"])
async def test_a_program_asks_what_is_kept(tmp_path, peer, local):
    server = Server(tmp_path, peer, local=local)
    await server.start()
    try:
        answers = {}
        for name in ["python-gpu", "python3"] if local else ["python-gpu"]:
            kernel = await server.kernel(name)
            answers[name] = await server.api("GET", f"/elastichub/v1/documents/kernels/{kernel}")
        assert answers.pop("python-gpu") == (200, {"kept": True})
        assert answers == ({"python3": (200, {"kept": False})} if local else {})
        with pytest.raises(HTTPClientError) as refused:
            await AsyncHTTPClient().fetch(f"{server.url}/elastichub/v1/documents/kernels/{kernel}")
        assert refused.value.code == 403
    finally:
        await server.stop()


async def test_a_program_is_told_that_nothing_is_kept(tmp_path, peer):
    server = Server(tmp_path, peer, local=False, config="c.DocumentKeeper.enabled = False")
    await server.start()
    try:
        kernel = await server.kernel()
        assert await server.api("GET", f"/elastichub/v1/documents/kernels/{kernel}") == (200, {"kept": False})
    finally:
        await server.stop()
