"""A server that is told when it will be stopped for idleness, and kept by hand: by its rule, and over HTTP
at a real jupyter_server, as controllers and pages ask."""

from datetime import datetime, timedelta, timezone

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from elastichub.notebook.activity import LONGEST_RUN, Keeping, Stop, _instant
from notebookserver import Server
from peer import Peer

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Clock:
    def __init__(self):
        self.now, self.used = NOON, NOON - HOUR
        self.keeping = Keeping(lambda: self.used, lambda: self.now)

    def tell(self, after=5 * MINUTE, keep=4 * HOUR):
        self.keeping.told(Stop(self.now + after, self.used, keep))


def test_a_stop_is_coming_until_the_server_is_used():
    clock = Clock()
    nothing = {"snoozedUntil": None, "stopAt": None, "cause": None, "canKeep": False}
    assert clock.keeping.told_of() == nothing and clock.keeping.keep() is None
    clock.tell()
    told = {"stopAt": "2026-03-01T12:05:00Z", "cause": "Idle", "canKeep": True}
    assert clock.keeping.told_of() == {**nothing, **told}
    clock.used = clock.now
    assert clock.keeping.told_of() == nothing
    clock.tell()
    assert clock.keeping.coming()
    clock.now += 5 * MINUTE
    assert clock.keeping.told_of() == nothing, "it has not come"


def test_it_is_kept_hour_by_hour_as_long_as_is_allowed():
    clock = Clock()
    clock.tell(keep=90 * MINUTE)
    assert clock.keeping.keep() == NOON + HOUR
    told = clock.keeping.told_of()
    assert (told["snoozedUntil"], told["stopAt"], told["canKeep"]) == ("2026-03-01T13:00:00Z", None, False)
    assert clock.keeping.keep() == NOON + 90 * MINUTE, "what is left"
    assert clock.keeping.keep() is None
    clock.now += 88 * MINUTE
    clock.tell(2 * MINUTE, timedelta())  # as the controllers count it
    told = clock.keeping.told_of()
    assert (told["canKeep"], clock.keeping.keep()) == (False, None)
    clock.now += 2 * MINUTE
    assert clock.keeping.told_of()["snoozedUntil"] is None


def test_whoever_comes_back_may_keep_it_too():
    clock = Clock()
    clock.tell()
    clock.used = clock.now + MINUTE
    assert clock.keeping.coming() is None and clock.keeping.keep() == NOON + HOUR


def test_the_longest_run_ends_whoever_uses_it():
    clock = Clock()
    clock.keeping.until = NOON + HOUR
    clock.keeping.told(Stop(NOON + 5 * MINUTE, None, 4 * HOUR, LONGEST_RUN))
    clock.used = NOON + MINUTE
    told = clock.keeping.told_of()
    assert (told["stopAt"], told["cause"], told["canKeep"]) == ("2026-03-01T12:05:00Z", "MaxRun", False)
    assert clock.keeping.keep() is None
    clock.now += 5 * MINUTE
    assert clock.keeping.coming() is None


def test_less_than_it_would_run_anyway_is_nothing():
    clock = Clock()
    clock.tell(5 * MINUTE, 4 * MINUTE)
    assert not clock.keeping.told_of()["canKeep"] and clock.keeping.keep() is None


def test_times_as_go_writes_them():
    assert _instant("2026-03-01T12:00:00.123456789Z") == NOON + timedelta(microseconds=123456)
    assert _instant("2026-03-01T14:00:00.5+02:00") == NOON + timedelta(seconds=0.5)
    for bad in ("", "noon", "2026-03-01T12:00:00", None, 7):
        with pytest.raises(ValueError):
            _instant(bad)


@pytest.fixture
async def server(tmp_path):
    peer = Peer()
    peer.start()
    server = Server(tmp_path, peer, local=False)
    await server.start()
    yield server
    await server.stop()
    peer.kill()
    assert "Traceback" not in server.log, server.log


async def test_a_real_server(server):
    path = "/elastichub/v1/activity"
    now = datetime.now(timezone.utc)
    assert (await server.api("POST", path + "/snooze"))[0] == 409
    used = await server.last_activity()
    told = {"stopAt": (now + 4 * MINUTE).isoformat(), "idleSince": (used + MINUTE).isoformat(), "keepSeconds": 5400}
    assert await server.api("PUT", path, told) == (200, {})
    _, said = await server.api("GET", path)
    assert said["canKeep"] and _instant(said["stopAt"]) == (now + 4 * MINUTE).replace(microsecond=0)
    code, said = await server.api("POST", path + "/snooze")
    assert code == 200 and HOUR - MINUTE < _instant(said["snoozedUntil"]) - now < HOUR + MINUTE
    code, asked = await server.api("GET", path)
    assert asked["busy"] is not None and {key: asked[key] for key in said} == said
    assert (await server.api("POST", path + "/page", {}))[1] == said
    run = {"stopAt": told["stopAt"], "keepSeconds": 0, "cause": "MaxRun"}
    assert await server.api("PUT", path, run) == (200, {})
    assert (await server.api("POST", path + "/page", {}))[1]["cause"] == "MaxRun"
    assert (await server.api("POST", path + "/snooze"))[0] == 409
    assert await server.last_activity() == used, "to look is no activity"

    for bad in ({}, [], {**told, "stopAt": "soon"}, {**told, "keepSeconds": 1 << 80}, {**told, "keepSeconds": None}):
        assert (await server.api("PUT", path, bad))[0] == 400
    for method, where in (("GET", path), ("PUT", path), ("POST", path + "/snooze")):
        with pytest.raises(HTTPClientError) as refused:
            body = None if method == "GET" else "{}"
            await AsyncHTTPClient().fetch(HTTPRequest(server.url + where, method, body=body))
        assert refused.value.code == 403, (method, where)
