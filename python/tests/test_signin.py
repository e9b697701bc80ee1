"""What the Hub knows of a sign-in reaches the service, if that is configured, and nobody else."""

import asyncio
import json
from types import SimpleNamespace

from conftest import TOKEN
from double import answer, double
from hub import Hub
from test_spawner import hurry, spawner_at, state  # noqa: F401 (hurry is a fixture)

CHOSEN = {"options": {"cpu": "2", "memory": "2Gi", "image": "stable"}}


def signed_in(url, auth_state):
    async def get_auth_state():
        return auth_state

    s = spawner_at(url)
    s.user.groups = [SimpleNamespace(name="staff"), SimpleNamespace(name="ml-research")]
    s.user.get_auth_state = get_auth_state
    s.cmd, s.user_options = ["run"], {"cpu": "2"}
    return s


async def sent(configure, auth_state=None):
    """The sign_in of every request that asks what the user may have."""
    async with double() as d:
        d.will(
            form=(200, {"Content-Type": "text/html"}, "<b>form</b>"),
            options=answer(CHOSEN),
            check=answer(CHOSEN),
            start="start",
            events="events of a start",
            state=lambda: answer(state(d.start)),
        )
        s = signed_in(d.url, auth_state)
        configure(s)
        assert await s.get_options_form() == "<b>form</b>"
        await s._decode_form({"cpu": ["2"]})
        await s._run_apply_user_options({"cpu": "2"})
        await s.start()
        asked = d.of("form") + d.of("options") + d.of("check") + d.of("start")
        assert len(asked) == 4
        for request in d.requests:
            assert "token" not in request.uri
        assert "a-secret" not in json.dumps(s.get_state())
        return [json.loads(r.body or "{}").get("sign_in") for r in asked]


async def test_nothing_is_sent_unasked():
    tokens = {"id_token": "a-secret", "access_token": "a-secret"}
    assert await sent(lambda s: None, tokens) == [None] * 4


async def test_groups_are_sent():
    def configure(s):
        s.send_groups = True

    assert await sent(configure) == [{"groups": ["ml-research", "staff"]}] * 4


async def test_the_tokens_asked_for_are_sent():
    def configure(s):
        s.send_tokens = ["id_token"]

    tokens = {"id_token": "a-secret", "access_token": "b", "refresh_token": "c"}
    assert await sent(configure, tokens) == [{"id_token": "a-secret"}] * 4
    for without in (None, {}, {"id_token": None}, {"id_token": {"jwt": "x"}}):
        assert await sent(configure, without) == [None] * 4


async def test_a_real_hub_sends_its_groups_and_tokens(tmp_path):
    async with double() as d:
        d.will(
            check=answer(CHOSEN),
            start="start",
            events="events of a failed start",
            state=lambda: answer(state(d.start, "Failed", message="no")),
            stop=(202, {}, ""),
            servers=answer({"servers": []}),
        )
        hub = Hub(tmp_path, d.url, TOKEN)
        with open(tmp_path / "jupyterhub_config.py", "a") as config:
            config.write("""
c.Authenticator.enable_auth_state = True
c.CryptKeeper.keys = ["0123456789abcdef" * 4]
c.JupyterHub.load_groups = {"ml-research": {"users": ["researcher"]}, "staff": {"users": ["researcher"]}}
c.ElasticSpawner.send_groups = True
c.ElasticSpawner.send_tokens = ["id_token"]
""")
        try:
            await asyncio.to_thread(hub.start)
            await asyncio.to_thread(hub.user, "researcher")
            tokens = {"id_token": "a-secret", "access_token": "b-secret"}
            status, text = await asyncio.to_thread(
                hub.api, "PATCH", "/users/researcher", {"auth_state": tokens}
            )
            assert status == 200, text
            await asyncio.to_thread(
                hub.api, "POST", "/users/researcher/server", hub.options({})
            )
            asked = d.of("check") + d.of("start")
            assert asked, hub.log
            for request in asked:
                assert json.loads(request.body)["sign_in"] == {
                    "groups": ["ml-research", "staff"],
                    "id_token": "a-secret",
                }
            assert "a-secret" not in hub.log
        finally:
            hub.kill()
