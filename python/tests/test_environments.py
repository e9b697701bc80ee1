"""The environments of a home as kernels: what is found, how it is called, and where it runs."""

import asyncio
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tornado.web import HTTPError

from elastichub.notebook.environments import MOST, Environments
from notebookserver import Browser, Server
from peer import SPECS, Peer, until


def make(home, relative, ipykernel=True, python="/usr/bin/python3", config="version = 3.11.2\n", conda=False):
    """An environment as its maker leaves it."""
    path = Path(home) / relative
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "python").symlink_to(python)
    library = path / "lib" / "python3.11" / "site-packages"
    library.mkdir(parents=True)
    if ipykernel:
        (library / "ipykernel_launcher.py").touch()
    if conda:
        (path / "conda-meta").mkdir()
    else:
        (path / "pyvenv.cfg").write_text(config)
    return path


def offering(below, **more):
    spec = SPECS["python-gpu"]
    metadata = {"elastichub": {"resources": {"nvidia.com/gpu": "1"}, "environmentsBelow": str(below)}}
    return {**spec, "spec": {**spec["spec"], "metadata": metadata, **more}}


def test_what_people_have_is_found(tmp_path):
    home = tmp_path / "home"
    made = [
        "env",
        "project/.venv",
        ".venvs/price",
        ".virtualenvs/old",
        "micromamba/envs/torch",
        "envs/größe 2",
        ".conda/envs/c",
    ]
    for name in made:
        make(home, name, conda="conda" in name or "mamba" in name)
    deep = make(home, "a/b/c/deep")
    (home / "envs" / "linked").symlink_to(deep)
    listed = make(home, "x/y/listed", conda=True)
    outside = make(tmp_path, "opt/elsewhere", conda=True)
    (home / ".conda" / "environments.txt").write_text(
        f"{listed}\n{outside}\nrelative\n{home}/gone\n{home}/../opt/elsewhere\n"
    )
    (home / "no" / "bin").mkdir(parents=True)
    (home / "half").mkdir()
    (home / "half" / "pyvenv.cfg").touch()
    found = Environments(home, environ={"MAMBA_ROOT_PREFIX": "mamba"}).all()
    assert sorted(one.relative for one in found.values()) == sorted([*made, "envs/linked", "x/y/listed"])
    assert {slug for slug in found if "/" in slug or " " in slug} == set()
    assert found[".venvs.price"].label == "price"
    assert found["project..venv"].label == "project/.venv"
    (odd,) = [one for one in found.values() if one.relative == "envs/größe 2"]
    assert odd.slug.startswith("envs.gr--e-2-")
    assert odd.slug == Environments(home, environ={}).all()[odd.slug].slug, "in the next server, too"


def test_names_are_not_shared(tmp_path):
    for name in ("a.b", "a/b", "a b", "a-b"):
        make(tmp_path, f"envs/{name}")
    make(tmp_path, "envs-a")
    make(tmp_path, "a/.venv")
    slugs = list(Environments(tmp_path, environ={}).all())
    assert len(slugs) == len(set(slugs)) == 5, slugs  # a/b is too deep


def test_a_home_full_of_them_is_bounded(tmp_path):
    for n in range(MOST + 5):
        make(tmp_path, f"envs/e{n}")
    assert len(Environments(tmp_path, environ={}).all()) == MOST


def test_what_is_wrong_is_said(tmp_path):
    make(tmp_path, "bare", ipykernel=False)
    make(tmp_path, "it's", ipykernel=False)
    make(tmp_path, "sees", ipykernel=False, config="include-system-site-packages = true\n")
    make(tmp_path, "moved", python="/nowhere/python3.12")
    found = {one.relative: one for one in Environments(tmp_path, environ={}).all().values()}
    assert "uv pip install --python ~/bare ipykernel" in found["bare"].fault
    assert "--python ~/'it'\\''s' ipykernel" in found["it's"].fault
    assert found["sees"].local_fault == found["sees"].fault == found["moved"].fault == ""
    assert "made with a Python at /nowhere/python3.12, which this server" in found["moved"].local_fault
    assert "uv venv --clear --managed-python ~/moved" in found["moved"].local_fault


def test_only_what_the_gateway_opens(tmp_path):
    make(tmp_path, "env")
    make(tmp_path, "bare", ipykernel=False)
    environments = Environments(tmp_path, environ={})
    assert environments.at_gateway(SPECS, True) == {}
    assert environments.at_gateway({"python-gpu": offering("/elsewhere")}, True) == {}
    assert list(environments.at_gateway({"python-gpu": offering(tmp_path)}, False)) == ["python-gpu.env.env"]
    opened = {"a": offering(tmp_path), "b": offering(tmp_path)}
    assert list(environments.at_gateway(opened, True)) == ["a.env.bare", "a.env.env", "b.env.env"]
    made = environments.at_gateway(opened, True)
    assert made["a.env.bare"]["spec"]["display_name"] == "bare needs ipykernel · Python 3 (GPU)"
    assert made["a.env.env"]["spec"]["metadata"]["elastichub"]["environment"] == "env"
    assert opened["a"]["spec"]["display_name"] == "Python 3 (GPU)", "the gateway's own is as it was"
    assert environments.of_kernel("a.env.env")[0] == "a"
    assert environments.of_kernel("python-gpu") is None
    for name, status, says in (
        ("a.env.bare", 400, "has no ipykernel"),
        ("a.env.gone", 404, "is not in your home"),
        ("env.gone", 404, "no environment"),
    ):
        with pytest.raises(HTTPError, match=says) as error:
            environments.of_kernel(name)
        assert error.value.status_code == status


@pytest.fixture
async def peer():
    peer = Peer()
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture(params=[False, True], ids=["gateway", "mixed"])
async def server(request, tmp_path, peer):
    server = Server(tmp_path, peer, local=request.param)
    await server.start()
    yield server
    await server.stop()


async def test_environments_in_a_server(server, peer):
    home = server.directory / "home"
    peer.specs = {"python-gpu": offering(home)}
    make(home, "envs/bare", ipykernel=False)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "envs" / "price"], check=True)
    library = Path(
        subprocess.check_output(
            [
                home / "envs" / "price" / "bin" / "python",
                "-c",
                "import sysconfig; print(sysconfig.get_paths()['purelib'])",
            ],
            text=True,
        ).strip()
    )
    theirs = Path(sysconfig.get_paths()["purelib"])
    for each in theirs.iterdir():
        (library / each.name).symlink_to(each)

    async def listed():
        return (await server.api("GET", "/api/kernelspecs"))[1]["kernelspecs"]

    name = "python-gpu.env.envs.price"
    for _ in range(100):
        specs = await listed()
        if name in specs:
            break
        await asyncio.sleep(0.1)
    assert specs[name]["spec"]["display_name"] == "price · Python 3 (GPU)"
    assert (await server.api("GET", f"/api/kernelspecs/{name}"))[1]["name"] == name
    assert (await server.api("GET", specs[name]["resources"]["logo-svg"]))[0] == 200
    bare = [n for n in specs if "bare" in n]
    assert bare == (["env.envs.bare"] if server.local else ["python-gpu.env.envs.bare"]), "once"
    status, said = await server.api("POST", "/api/kernels", {"name": bare[0]})
    assert status == 400, said
    status, said = await server.api("POST", "/api/kernels", {"name": "python-gpu.env.gone"})
    assert status == 404, said
    assert not peer.kernels

    # At the gateway: the kernelspec's name, the directory, and the page reads the name it asked for.
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": name}}
    _, session = await server.api("POST", "/api/sessions", body)
    kernel = session["kernel"]
    assert kernel["name"] == name
    there = peer.kernels[kernel["id"]]
    assert (there.name, there.environment) == ("python-gpu", str(home / "envs" / "price"))
    assert [k["name"] for k in (await server.api("GET", "/api/kernels"))[1]] == [name]
    plain = peer.kernels[await server.kernel()]
    assert (plain.name, plain.environment) == ("python-gpu", "")

    # A terminal's programs find it, too.
    kernels = next((server.directory / "runtime" / "elastichub").iterdir()) / "kernels"
    assert (kernels / name / "kernel.json").exists()

    if server.local:
        kernel = await server.kernel("env.envs.price")
        assert kernel not in peer.kernels
        browser = await Browser(server, kernel, subprotocol=None).open()
        run = browser.run("import os, sys; print(sys.prefix, os.environ['VIRTUAL_ENV'])")
        await browser.answer(run)
        await until("it is printed", lambda: browser.text(run))
        assert browser.text(run).split() == [os.fspath(home / "envs" / "price")] * 2
        await browser.close()

    # The next server of the notebook calls it so again.
    if not server.local:
        await until("the gateway knows the session", lambda: there.kept)
        server.process.terminate()
        server.process.wait(20)
        await server.start()
        _, sessions = await server.api("GET", "/api/sessions")
        assert [s["kernel"]["name"] for s in sessions] == [name]
    assert "Traceback" not in server.log, server.log
