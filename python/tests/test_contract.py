"""The client says and understands exactly what the Go handler's tests have recorded."""

import asyncio
import json

import pytest

import elastichub.service
from double import EXCHANGES, PROBLEMS, answer, double
from elastichub import errors
from elastichub.errors import Problem, ServiceDown, SpawnRefused
from elastichub.service import ServerKey as K
from elastichub.service import Service

ODD = "org/ü+ser #1"
START = {
    "start": "s1",
    "options": {"cpu": "2", "memory": "2Gi", "image": "next"},
    "env": {
        "JUPYTERHUB_API_TOKEN": "secret",
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/researcher/",
    },
    "cmd": ["jupyterhub-singleuser"],
    "args": ["--debug"],
}

PERSON = "17@2026-01-02T03:04:05Z"

SIGN_IN = {
    "id_token": "an-id-token",
    "access_token": "an-access-token",
    "groups": ["ml-research"],
}


async def events(service, user, start):
    noted = []
    await service.events(
        K(user, ""), start, "", lambda *event: noted.append(event)
    )
    return noted


def field(name, code):
    return lambda p: (name, code) in [(e["field"], e["code"]) for e in p.errors]


# Name of an exchange → what makes the client send it, and what must come of it:
# a predicate on the result, or on the Problem of the given kind.
CALLS = {
    "options of a form": (
        lambda s: s.decode(
            K("researcher", ""), {"cpu": ["2"], "memory": ["4"], "image": ["next"]}
        ),
        lambda r: r == {"cpu": "2", "memory": "4Gi", "image": "next"},
    ),
    "form beyond the bounds": (
        lambda s: s.decode(
            K("analyst", ""),
            {"cpu": ["99"], "memory": ["-1"], "image": ["evil/image:latest"], "<b>": ["1"]},
        ),
        ("invalid-options", field("cpu", "above_max")),
    ),
    "form for an unknown user": (
        lambda s: s.decode(
            K("nobody", ""), {}),
        ("unknown-user", lambda p: p.status == 404),
    ),
    "form of a user with odd characters": (
        lambda s: s.decode(
            K(ODD, "café 1"), {"cpu": ["1"], "memory": ["2"], "image": ["stable"]}
        ),
        lambda r: r["memory"] == "2Gi",
    ),
    "no options mean the defaults": (
        lambda s: s.check(
            K("researcher", ""), {}),
        lambda r: r == {"cpu": "2", "memory": "2Gi", "image": "stable"},
    ),
    "stored options that mean nothing": (
        lambda s: s.check_stored(K("analyst", ""), {"profile": "x", "cpu": "99"}),
        lambda r: r == ({"cpu": "1", "memory": "1Gi", "image": "stable"}, ["cpu", "profile"]),
    ),
    "options beyond the bounds": (
        lambda s: s.check(
            K("analyst", ""), {"cpu": "99", "privileged": True}),
        ("invalid-options", field("privileged", "unknown")),
    ),
    "options with a sign-in": (
        lambda s: s.check(
            K("researcher", ""), {"cpu": "1"}, SIGN_IN),
        lambda r: r["cpu"] == "1",
    ),
    "form page of an unknown user": (
        lambda s: s.form(
            K("nobody", ""), sign_in={"groups": []}),
        ("unknown-user", lambda p: p.status == 404),
    ),
    "no policy": (
        lambda s: s.check(
            K("guest", ""), {}),
        ("no-policy", lambda p: not p.transient and "policy" in p.words()[0].lower()),
    ),
    "directory down": (
        lambda s: s.check(
            K("researcher", ""), {}),
        ("directory-unavailable", lambda p: not p.transient),
    ),
    "start": (
        lambda s: s.start(
            K("researcher", ""), START),
        lambda r: r["start"] == "s1" and not r["ready"],
    ),
    "start beyond the bounds": (
        lambda s: s.start(
            K("researcher", ""), {**START, "options": {"memory": "1Ti"}}
        ),
        ("invalid-options", field("memory", "above_max")),
    ),
    "start of a third server": (
        lambda s: s.start(
            K("researcher", "third"), {**START, "start": "s3"}),
        ("too-many-servers", lambda p: p.status == 409),
    ),
    "start that cannot be": (
        lambda s: s.start(
            K("researcher", ""),
            {"start": "a b", "options": {}, "env": {"A=B": "1"}, "cmd": [], "args": []},
        ),
        ("invalid-request", field("cmd", "missing")),
    ),
    "start with certificates that are none": (
        lambda s: s.start(
            K("researcher", ""),
            {"start": "s1", "cmd": ["jupyterhub-singleuser"], "ssl": {"key": "k", "cert": "c", "ca": ""}},
        ),
        ("invalid-request", field("ssl", "malformed")),
    ),
    "start with the certificate of another host": (
        lambda s: s.start(K("researcher", ""), START),
        ("other-host", lambda p: p.transient),
    ),
    "host": (
        lambda s: s.host(K("researcher", "second"), ["7@2026-01-02T03:04:05Z"]),
        lambda r: r == "127.0.0.1",
    ),
    "state of a ready server": (
        lambda s: s.state(
            K("researcher", "")),
        lambda r: r["url"] == "http://nb.hub.svc:8888" and r["ready"],
    ),
    "state of no server": (
        lambda s: s.state(
            K("researcher", "other")),
        lambda r: r is None,
    ),
    "all servers": (
        lambda s: s.snapshot(),
        lambda r: {
            key: r.find(key)["phase"]
            for key in (K("researcher", ""), K("researcher", "second"), K("analyst", ""), K(ODD, "café 1"))
        }
        == {
            ("researcher", "", ""): "Ready",
            ("researcher", "second", ""): "Stopped",
            ("analyst", "", ""): "Failed",
            (ODD, "café 1", ""): "Starting",
        },
    ),
    "all servers, not known yet": (lambda s: s.snapshot(), lambda r: r is None),
    "events of a start": (
        lambda s: events(s, "researcher", "s1"),
        lambda r: [(e[0], e[1], e[2]["progress"]) for e in r]
        == [("1", "progress", 10), ("2", "ready", 100)],
    ),
    "events of a failed start": (
        lambda s: events(s, "analyst", "s3"),
        lambda r: r[-1][1] == "failed"
        and r[-1][2]["message"] == "The image does not exist.",
    ),
    "stop": (lambda s: s.stop(
            K("researcher", "")), lambda r: r is None),
    "stop of a former start": (
        lambda s: s.stop(K("researcher", ""), "s0"),
        lambda r: r is None,
    ),
    "stop of no server": (lambda s: s.stop(
            K("researcher", "")), lambda r: r is None),
    "remove": (lambda s: s.remove(
            K("researcher", "")), lambda r: r is None),
    "rename": (
        lambda s: s.rename(K("researcher", "second", PERSON), "third"),
        lambda r: r is None,
    ),
    "rename of a running server": (
        lambda s: s.rename(K("researcher", "", PERSON), "third"),
        ("running", lambda p: p.status == 409 and not p.transient),
    ),
    "sign-in too old": (
        lambda s: s.check(K("researcher", ""), {}),
        ("sign-in-again", lambda p: "log out and in again" in p.words()[0]),
    ),
    "policy with a fault": (
        lambda s: s.check(K("researcher", ""), {}),
        ("invalid-policy", lambda p: "administrator" in p.words()[0]),
    ),
    "start while the former server is removed": (
        lambda s: s.start(K("researcher", ""), START),
        ("removing", lambda p: p.status == 503),
    ),
    "start whose home is perhaps somebody else's": (
        lambda s: s.start(K("researcher", ""), START),
        ("owner-unclear", lambda p: p.owner == "7@2026-01-02T03:04:05Z"),
    ),
    "start that takes too long": (
        lambda s: s.start(K("researcher", ""), START),
        ("deadline", lambda p: p.status == 504),
    ),
    "start that the cluster does not take": (
        lambda s: s.start(K("researcher", ""), START),
        ("cluster-busy", lambda p: p.transient),
    ),
    "start that fails unforeseen": (
        lambda s: s.start(K("researcher", ""), START),
        ("internal", lambda p: "node-7" not in str(p) + p.words()[0]),
    ),
    "state of somebody unreadable": (
        lambda s: s.state(K("researcher", "", "nobody")),
        ("malformed", lambda p: "hub_user" in p.words()[0]),
    ),
    "rename to a name that is taken": (
        lambda s: s.rename(K("researcher", "second", PERSON), "second"),
        ("name-taken", lambda p: p.status == 409),
    ),
    "events while the service shuts down": (
        lambda s: events(s, "researcher", "s1"),
        ("draining", lambda p: p.status == 503),
    ),
    "no token": (lambda s: s.snapshot(), lambda r: r is None),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_problem_has_what_the_contract_says(kind):
    expected = PROBLEMS[kind]
    problem = Problem(expected["status"], kind)
    refused = SpawnRefused(problem)
    assert refused.status_code == expected["hub"]["status"]
    assert problem.transient == expected["hub"]["again"]
    later = getattr(refused, "headers", None) or {}
    assert ("Retry-After" in later) == (refused.status_code == 503)
    _, reason = errors._REFUSALS.get(kind, (503, "service"))
    assert reason == expected["hub"]["reason"]
    if errors.SpawnException:
        assert refused.reason == reason


def test_no_refusal_is_of_a_kind_that_is_none():
    assert set(errors._REFUSALS) <= set(PROBLEMS)


def test_every_exchange_is_read():
    assert set(CALLS) == set(EXCHANGES)


@pytest.mark.parametrize("name", CALLS)
async def test_exchange(name):
    call, expected = CALLS[name]
    request = EXCHANGES[name]["request"]
    token = request.get("token", "the-token")
    async with double() as d:
        for kind in ("start", "state", "stop", "form", "options", "check", "servers", "events", "rename", "host"):
            d.will(**{kind: name})
        service = Service(d.url, lambda: token)
        if callable(expected):
            assert expected(await call(service))
        else:
            kind, right = expected
            with pytest.raises(Problem) as raised:
                await call(service)
            assert raised.value.kind == kind
            assert right(raised.value)
        (sent,) = d.requests
        assert (sent.method, sent.uri) == (request["method"], request["path"])
        assert sent.headers["Authorization"] == f"Bearer {token}".strip()
        if "body" in request:
            assert sent.headers["Content-Type"] == "application/json"
            assert json.loads(sent.body) == request["body"]
        else:
            assert sent.body == b""


@pytest.mark.parametrize(
    "answer",
    [
        (502, {"Content-Type": "text/html"}, "<h1>Bad gateway</h1>"),
        (500, {}, ""),
        (503, {"Content-Type": "application/problem+json"}, "[]"),
        (403, {}, '{"type": 5}'),
        (404, {}, "not found"),  # a wrong api_url must not look like "no server"
        (302, {"Location": "http://evil.example/"}, ""),
    ],
)
async def test_answers_of_somebody_else_are_problems_without_a_kind(answer):
    async with double() as d:
        d.will(state=answer, servers=answer)
        service = Service(d.url, lambda: "t")
        with pytest.raises(Problem) as raised:
            await service.state(K("u", ""))
        assert (raised.value.status, raised.value.kind) == (answer[0], "")
        assert await service.snapshot() is None


@pytest.mark.parametrize("body", ["", "null", "[]", '{"servers": [{}]}', "{"])
async def test_a_bulk_answer_that_is_none_says_nothing(body):
    async with double() as d:
        d.will(servers=(200, {}, body), state=(200, {}, body))
        with pytest.raises(Problem):
            await Service(d.url, lambda: "t").state(K("u", ""))
        assert await Service(d.url, lambda: "t").snapshot() is None


async def test_a_list_that_is_the_same_is_not_read_again(monkeypatch):
    monkeypatch.setattr(elastichub.service, "SNAPSHOT_INTERVAL", 0)
    state = {"user": "u", "server": "", "start": "s", "phase": "Ready", "ready": True, "stopped": False}
    same = answer({"servers": [state]})
    async with double() as d:  # which sends ETags, as every server of tornado's
        d.will(servers=[same, same, same, (503, {}, ""), same, answer({"servers": []})])
        service = Service(d.url, lambda: "t")
        first = await service.snapshot(newer_than=_later())
        assert first.find(K("u", ""))["start"] == "s"
        assert await service.snapshot(newer_than=_later()) is first
        assert await service.snapshot(newer_than=_later()) is first
        assert await service.snapshot(newer_than=_later()) is None
        assert await service.snapshot(newer_than=_later()) is first
        now = await service.snapshot(newer_than=_later())
        assert now is not first and now.find(K("u", "")) is None
        tags = [r.headers.get("If-None-Match") for r in d.of("servers")]
        assert tags[0] is None and tags[1] and len(set(tags[1:])) == 1


def _later():
    return asyncio.get_running_loop().time()


async def test_nobody_there():
    async with double() as d:
        pass
    service = Service(d.url, lambda: "t")
    with pytest.raises(ServiceDown):
        await service.state(K("u", ""))
    with pytest.raises(ServiceDown):
        await service.events(K("u", ""), "s", "", print)
    assert await service.snapshot() is None

    def unreadable():
        raise FileNotFoundError("token")

    with pytest.raises(ServiceDown):
        await Service(d.url, unreadable).state(K("u", ""))
