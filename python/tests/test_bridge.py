"""Kernels of the gateway for programs that start kernels themselves."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import uuid

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from elastichub.notebook import terminal
from elastichub.notebook.mixing import stand_in
from elastichub.notebook.terminal import TerminalKernelSpecs
from notebookserver import Server
from peer import SPECS, Peer, until

LOG = logging.getLogger(__name__)


@pytest.fixture
async def peer():
    peer = Peer()
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture
def specs(tmp_path, monkeypatch, peer):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", peer.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", "secret")
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    written = TerminalKernelSpecs(LOG)
    written.announce()
    written.write(SPECS)
    yield written
    os.environ.pop("JUPYTER_PATH", None)


def names():
    return set(KernelSpecManager(ensure_native_kernel=False).find_kernel_specs())


@pytest.fixture
async def client(specs):
    manager = AsyncKernelManager(kernel_name="python-gpu")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=30)
    yield client
    client.stop_channels()
    await manager.shutdown_kernel(now=True)


def test_what_the_gateway_offers_is_found(specs):
    assert "python-gpu" in names()
    found = KernelSpecManager().get_kernel_spec("python-gpu")
    assert (found.display_name, found.language) == ("Python 3 (GPU)", "python")
    assert found.interrupt_mode == "message"
    specs.write({"other": SPECS["python-gpu"]})
    assert "other" in names() and "python-gpu" not in names()
    specs.announce()
    assert os.environ["JUPYTER_PATH"] == str(specs.path), "said once"


async def test_a_program_runs_code_at_the_gateway(client, peer):
    (kernel,) = peer.kernels.values()
    seen = []
    reply = await client.execute_interactive("count 3", timeout=20, output_hook=seen.append)
    assert reply["content"]["status"] == "ok"
    text = "".join(m["content"]["text"] for m in seen if m["msg_type"] == "stream")
    assert text == "0\n1\n2\n"
    assert kernel.executed[-1] == "count 3"


async def test_a_notebook_made_elsewhere_runs_in_a_terminal(specs, peer, capfd):
    elsewhere = TerminalKernelSpecs(LOG, usual=[("python", "python3"), ("r", "ir")])
    elsewhere.write(SPECS)
    assert {"python-gpu", "python3"} <= names()
    assert not (elsewhere.path / "kernels" / "ir").exists(), "nobody speaks R here"
    manager = AsyncKernelManager(kernel_name="python3")
    await manager.start_kernel(extra_arguments=["--HistoryManager.hist_file=:memory:"])  # as nbclient does
    try:
        await until("it is there", lambda: [kernel.name for kernel in peer.kernels.values()] == ["python-gpu"])
        assert "there is no kernel python3 here: python-gpu is started in its place" in capfd.readouterr().err
    finally:
        await manager.shutdown_kernel(now=True)
    elsewhere.write({**SPECS, "python3": SPECS["python-gpu"]})
    assert KernelSpecManager().get_kernel_spec("python3").display_name == "Python 3 (GPU)", "its own comes first"


async def test_a_program_is_asked_and_answers(client, peer):
    seen = []

    def answer(_):
        client.input("42")

    reply = await client.execute_interactive(
        "input", allow_stdin=True, timeout=20, stdin_hook=answer, output_hook=seen.append
    )
    assert reply["content"]["status"] == "ok"
    assert [m["content"]["text"] for m in seen if m["msg_type"] == "stream"] == ["42"]


async def test_the_kernel_ends_with_its_program(specs, peer):
    manager = AsyncKernelManager(kernel_name="python-gpu")
    await manager.start_kernel()
    await until("it is there", lambda: peer.kernels)
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=30)
    client.stop_channels()
    await manager.shutdown_kernel()
    await until("it is shut down", lambda: not peer.kernels)

    # A program that is killed says nothing.
    lines = ["import time", "from jupyter_client.manager import KernelManager"]
    lines += ["KernelManager(kernel_name='python-gpu').start_kernel()", "print(flush=True)"]
    code = "\n".join([*lines, "time.sleep(99)"])
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    await asyncio.to_thread(program.stdout.readline)
    await until("it is there", lambda: peer.kernels)
    program.kill()
    program.wait()
    await until("it is ended", lambda: not peer.kernels)


async def test_messages_without_the_signature_are_not_passed_on(client, peer):
    (kernel,) = peer.kernels.values()
    before = len(kernel.received)
    other = client.session.clone()
    other.key = uuid.uuid4().bytes
    content = {"code": "count 1", "silent": False, "store_history": True}
    other.send(client.shell_channel.socket, other.msg("execute_request", content))
    reply = await client.execute_interactive("count 2", timeout=20)
    assert reply["content"]["status"] == "ok"
    codes = [m.content().get("code") for m in kernel.received[before:]]
    assert "count 1" not in codes


def test_without_a_gateway_it_says_so(specs, tmp_path):
    file = tmp_path / "connection.json"
    file.write_text(json.dumps({}))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER_GATEWAY")}
    run = subprocess.run(
        [sys.executable, "-m", "elastichub.notebook.bridge", "--kernel", "k", "-f", str(file)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "JUPYTER_GATEWAY_URL is not set" in run.stderr


@pytest.mark.parametrize("local", [False, True], ids=["gateway", "mixed"])
async def test_a_servers_terminals_find_them(tmp_path, peer, local, monkeypatch):
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    server = Server(tmp_path, peer, local=local)
    await server.start()
    try:
        there = {"python-gpu"} if local else {"python-gpu", "python3"}
        files = (tmp_path / "runtime").glob
        await until(
            "they are written",
            lambda: {file.parent.name for file in files("elastichub/*/kernels/*/kernel.json")} == there,
        )
        _, listed = await server.api("GET", "/api/kernelspecs")
        argv = listed["kernelspecs"]["python-gpu"]["spec"]["argv"]
        assert not any("bridge" in word for word in argv), "the server's own go the direct way"
    finally:
        await server.stop()


@pytest.mark.parametrize("local", [False, True], ids=["gateway", "mixed"])
async def test_programs_that_the_server_did_not_start_find_them(tmp_path, peer, local):
    """As kubectl exec starts them, with the variables of image and Pod. Nobody has opened a page."""
    place = tmp_path / "elastichub"
    (place / "kernels" / "removed-meanwhile").mkdir(parents=True)
    server = Server(tmp_path, peer, local=local)
    server.env["JUPYTER_PATH"] = f"{place}:/nowhere"
    await server.start()
    try:
        there = {"python-gpu"} if local else {"python-gpu", "python3"}
        await until("they are written", lambda: {file.name for file in (place / "kernels").iterdir()} == there)
        lines = ["from jupyter_client.manager import KernelManager"]
        lines += ["KernelManager(kernel_name='python-gpu').start_kernel()", "input()"]
        code = "\n".join(lines)
        program = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=server.env)
        await until("it runs", lambda: [kernel.name for kernel in peer.kernels.values()] == ["python-gpu"])
        program.communicate(b"\n")
        _, listed = await server.api("GET", "/api/kernelspecs")
        argv = [word for found in listed["kernelspecs"].values() for word in found["spec"]["argv"]]
        assert "elastichub.notebook.bridge" not in argv, "none is a kernel of the server's own"
    finally:
        await server.stop()


async def test_a_gateway_that_comes_later_is_asked_again(specs, monkeypatch):
    specs.write({})
    answers, waited = [OSError("refused"), {}, {}, SPECS, SPECS], []

    async def list_all():
        if isinstance(answers[0], OSError):
            raise answers.pop(0)
        specs.write(answers.pop(0))

    async def sleep(seconds):
        waited.append(seconds)
        if not answers:
            raise asyncio.CancelledError

    monkeypatch.setattr(terminal.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await specs.keep_written(list_all)
    assert waited == [1, 2, 4, terminal.EVERY, terminal.EVERY]


async def test_a_directory_that_cannot_be_written_costs_no_page_its_kernels(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "file").write_text("")
    written = TerminalKernelSpecs(LOG, environ={"JUPYTER_PATH": f"{tmp_path}/file/elastichub"})
    assert "do not find the gateway's kernels" in caplog.text
    assert written.path.is_relative_to(tmp_path / "runtime"), "terminals do"
    (tmp_path / "runtime").write_text("")
    written.write(SPECS)
    assert "cannot be written for programs" in caplog.text


@pytest.mark.parametrize("local", [False, True], ids=["gateway", "mixed"])
async def test_a_notebook_made_elsewhere_runs(tmp_path, peer, local):
    server = Server(tmp_path, peer, local=local)
    await server.start()
    try:
        name = "python3" if not local else "python3.9"
        status, model = await server.api("POST", "/api/kernels", {"name": name})
        assert status == 201, model
        assert model["name"] in ({"python-gpu", "python3"} if local else {"python-gpu"})
        assert "started in its place" in server.log
        _, model = await server.api("POST", "/api/kernels", {"name": "nothing-like-it"})
        assert model["name"] == "nothing-like-it", "it is the gateway's to refuse"
    finally:
        await server.stop()


SPECS_THERE = {
    name: {"spec": {"language": language}}
    for name, language in {"b": "python", "a": "python", "r1": "R"}.items()
}


@pytest.mark.parametrize(
    "name, language, default, instead",
    [
        ("python3", "python", "b", "b"),
        ("python3", "python", "r1", "a"),
        ("a", "python", "b", "a"),
        ("ir", "r", "b", "r1"),
        ("julia-1.9", "julia", "b", "julia-1.9"),
    ],
)
def test_stand_in(name, language, default, instead):
    assert stand_in(name, language, SPECS_THERE, default) == instead
