"""The token of a server that runs is changed, at a real jupyter_server."""

import json

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from elastichub.notebook import link, token
from notebookserver import Browser, Server
from peer import Peer


def rewrite(file, text):
    """As the kubelet does it: the file is another one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_what_a_file_is_taken_for(tmp_path):
    file = tmp_path / "token"
    assert token.read("", "before") == "before"
    assert token.read(str(file), "before") == "before"
    for nothing in ("", " \n", "x" * 8193):
        file.write_text(nothing)
        assert token.read(str(file), "before") == "before"
    file.write_bytes(b"\xff")
    assert token.read(str(file), "before") == "before"
    file.write_text(" after\n")
    assert token.read(str(file), "before") == "after"


async def asked(server, method, path, body):
    """(status, text of the answer)"""
    body = None if body is None else json.dumps(body)
    request = HTTPRequest(server.url + path, method=method, headers={"Authorization": "token t"}, body=body)
    answer = await AsyncHTTPClient().fetch(request, raise_error=False)
    return answer.code, answer.body.decode()


HASTY = """
from elastichub.notebook import link
link.UNKNOWN = 1
link.REFUSED_PAUSE = 0.5
"""


async def started(tmp_path):
    file = tmp_path / "token"
    file.write_text("secret")
    peer = Peer()
    peer.start()
    server = Server(tmp_path, peer, local=False, config=HASTY)
    server.env["ELASTICHUB_GATEWAY_TOKEN_FILE"] = str(file)
    await server.start()
    return file, peer, server


async def test_nobody_notices_that_a_token_is_changed(tmp_path):
    file, peer, server = await started(tmp_path)
    try:
        kernel = await server.kernel()
        page = await Browser(server, kernel).open()
        first = page.run("count 3")
        await page.answer(first)

        peer.tokens = {"secret", "another"}  # both count
        rewrite(file, "another\n")
        peer.cut_all()
        second = page.run("count 3")
        await page.answer(second)
        peer.tokens = {"another"}  # the former one's time is over
        peer.cut_all()
        third = page.run("count 3")
        await page.answer(third)
        assert await server.kernel() != kernel
        status, kernels = await server.api("GET", "/api/kernels")
        assert status == 200
        assert len(kernels) == 2
        status, specs = await server.api("GET", "/api/kernelspecs")
        assert status == 200
        assert "python-gpu" in specs["kernelspecs"]
    finally:
        await server.stop()
        peer.kill()


async def test_a_page_is_told_to_restart_the_server_when_its_token_counts_no_more(tmp_path):
    file, peer, server = await started(tmp_path)
    try:
        kernel = await server.kernel()
        page = await Browser(server, kernel).open()
        first = page.run("count 3")
        await page.answer(first)
        peer.tokens = {"another"}
        peer.cut_all()
        sentence = link.NOT_KNOWN[1]
        for method, path, body in (("GET", "/api/kernelspecs", None), ("POST", "/api/kernels", {"name": "python-gpu"})):
            status, said = await asked(server, method, path, body)
            assert status == 503, path
            assert sentence in said, path
            assert "Error from Gateway" not in said
        lost = page.run("count 3")
        [reply] = await page.answer(lost)
        assert (reply.content()["ename"], reply.content()["evalue"]) == link.NOT_KNOWN

        rewrite(file, "another")  # it was signed anew after all
        mended = page.run("count 3")
        await page.answer(mended)
        assert (await server.api("GET", "/api/kernelspecs"))[0] == 200
    finally:
        await server.stop()
        peer.kill()
