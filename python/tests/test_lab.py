"""JupyterLab in Chromium with this server extension and the plugin: what a person sees, by
test/e2e/labpage.mjs."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from tornado import web

import peer as gateway
from conftest import ROOT, missing
from notebookserver import Server
from peer import Peer
from test_documents import ANOTHER, PICTURE, PROOF, UPDATES, House

LAB = """
from elastichub.notebook.documents import keeper
keeper.GRACE = keeper.PAUSE = 0.5
c.ServerApp.jpserver_extensions["jupyterlab"] = True
c.ServerApp.jpserver_extensions["notebook_shim"] = False
c.LabApp.expose_app_in_browser = True
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
"""
OVERRIDES = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


@pytest.fixture(scope="session")
def modules():
    """npm's, where test/e2e/modules.sh puts them."""
    for program in ("node", "npm", "chromium"):
        if not shutil.which(program):
            missing(program)


@pytest.fixture
async def lab(request, tmp_path, modules):
    peer = Peer()
    peer.start()
    server = Server(tmp_path, peer, local=False, config=LAB + getattr(request, "param", ""))
    plugin = tmp_path / "data" / "labextensions" / "@elastichub" / "lab"
    plugin.parent.mkdir(parents=True)
    plugin.symlink_to(ROOT / "python" / "labextension")
    settings = tmp_path / "config" / "labconfig"
    settings.mkdir()
    (settings / "default_setting_overrides.json").write_text(json.dumps(OVERRIDES))
    server.env["JUPYTER_PREFER_ENV_PATH"] = "0"  # the plugin of this tree counts, and not one that was installed
    server.env |= {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "user"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "w")}
    await server.start()
    house = House(server, peer)
    yield house
    await house.end()
    await server.stop()
    peer.kill()
    assert "Traceback" not in server.log, server.log


async def look(house, scenario, **environment):
    """Runs it, and shows what it has said if it fails."""
    url = f"{house.server.url}/lab/tree/%s?token=t"
    environment |= {"LAB_URL": url, "LAB_HOME": str(house.home)}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-ec",
        "./modules.sh && exec node labpage.mjs " + scenario,
        cwd=ROOT / "test" / "e2e",
        env={"ELASTICHUB_CACHE": str(Path.home() / ".cache" / "elastichub"), **os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


# It prints as many lines as the scenario lets it.
SLOWLY = PROOF.format("count") + """import time
i = 0
while i < 150:
    if i < int(open("upto.txt").read() or 0): print(i, flush=True); i += 1
    else: time.sleep(0.02)"""


async def test_a_page_that_is_opened_while_cells_run(lab):
    wait = "import time\nwhile int(open('upto.txt').read() or 0) < 151: time.sleep(0.02)\n"
    await lab.notebook(SLOWLY, PICTURE, wait + UPDATES, "# other")
    await look(lab, "live")
    cells = lab.file().cells
    assert cells[0].outputs[0].text == "".join(f"{i}\n" for i in range(150)) and len(cells[0].outputs) == 1
    assert [cell.execution_count for cell in cells] == [1, 2, 4, None]
    assert cells[1].outputs[1].data == {"text/plain": "second"}
    assert cells[3].source == "# other\n# edited before\n# edited meanwhile\n# and again\n# and afterwards\n# at last"
    assert lab.ran() == ["count"]


async def test_two_pages(lab):
    await lab.notebook(SLOWLY, "", "", "# other")
    await look(lab, "two")
    assert lab.cell("c0").outputs[0].text == "".join(f"{i}\n" for i in range(150))
    assert lab.cell("c3").source == "# other\n# by the first" and lab.ran() == ["count"]


async def test_outputs_that_are_offered(lab):
    await lab.notebook(SLOWLY)
    edited = lab.file()
    edited.cells[0].source = "# of another program"
    await look(lab, "aside", EDITED=nbformat.writes(edited))
    assert not (lab.home / "a-outputs.ipynb").exists()
    cells = lab.file().cells
    assert [cell.source for cell in cells] == ["# of another program", SLOWLY]
    assert cells[1].outputs[0].text.endswith("\n149\n") and cells[1].execution_count == 1
    nbformat.validate(lab.file())


async def test_a_kernel_that_is_refused(lab, monkeypatch):
    def post(self, kernel_id=None, action=None):
        self.set_status(403)
        words = "Both GPUs of ml-research are taken until 5 %."
        self.finish({"reason": "Forbidden", "message": words})

    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python-gpu", "display_name": "x"}}),
                   lab.home / "a.ipynb")
    monkeypatch.setattr(gateway.Rest, "post", post)
    assert issubclass(gateway.Rest, web.RequestHandler)
    await look(lab, "refused")


async def test_a_kernel_that_is_deleted(lab):
    kernel = gateway.Kernel()
    await lab.notebook("hang", "count 2", kernel=kernel)

    async def delete():  # as kubectl does, under the cell
        await gateway.until("it runs", lambda: kernel.executed, seconds=120)
        del lab.peer.kernels[kernel.id]
        for socket in list(lab.peer.open):
            socket.pass_on(0, gateway.message("iopub", "status", {"execution_state": "dead"}))
            socket.close(1000, "the kernel is gone")

    deleting = asyncio.ensure_future(delete())
    await look(lab, "deleted")
    await deleting
    assert kernel.executed == ["hang"]
    again = [k for k in lab.peer.kernels.values() if k.id != kernel.id]
    assert [k.executed for k in again] == [["count 2"]]


@pytest.mark.parametrize("lab", [f"c.ServerApp.kernel_websocket_connection_class = {ANOTHER!r}\n"], indirect=True)
async def test_a_server_that_keeps_nothing(lab):
    await lab.notebook("print('one')", "", "", "print('four')")
    await look(lab, "unkept")


async def test_a_server_that_will_be_stopped(lab):
    await lab.notebook("'one'")
    await look(lab, "stop")


async def test_a_page_that_nobody_uses(lab):
    await lab.notebook("'one'")
    await look(lab, "idle")


async def test_messages_that_are_too_large(lab):
    await lab.notebook("'one'")
    await look(lab, "large")
