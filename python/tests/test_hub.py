"""A real JupyterHub, the real handler of the spawner API, real notebook servers."""

import json
import sqlite3
import ssl
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import jupyterhub
import pytest

from conftest import TOKEN
from elastichub.service import SNAPSHOT_SECONDS, WATCH_SECONDS
from hub import API_TOKEN, Hub, until


@pytest.fixture
def hub(service, tmp_path):
    # Starts return at once, so that progress can be watched.
    running = Hub(tmp_path, service.url, TOKEN, slow_spawn_timeout=0)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def patient_hub(service, tmp_path):
    """Waits for refusals and answers with them, as a Hub does by default."""
    running = Hub(tmp_path, service.url, TOKEN)
    running.start()
    yield running
    running.kill()


def start(hub, user):
    hub.user(user)
    status, text = hub.api("POST", f"/users/{user}/server", hub.options({}))
    assert status in (201, 202), text
    until(lambda: (hub.server(user) or {}).get("ready"), 120, lambda: hub.log)


def test_start_progress_running_stop(hub):
    hub.user("researcher")
    options = {"cpu": "2", "memory": "2Gi", "image": "next"}
    status, text = hub.api("POST", "/users/researcher/server", hub.options(options))
    assert status == 202, text

    events = hub.progress("researcher")
    messages = [event["message"] for event in events]
    assert "Server requested." in messages and "The server answers." in messages, events
    assert events[-1].get("ready") is True, events
    percents = [event["progress"] for event in events if "progress" in event]
    assert percents == sorted(percents)

    server = until(lambda: hub.server("researcher"), 60)
    assert server["ready"] is True
    # What the admin page of JupyterHub 6 shows of them, and the database has not.
    assert server["user_options"] == {**options, "profile": "2 CPU, 2Gi, next"}
    assert stored_options(hub, "researcher") == options
    assert set(server["state"]) == {"start", "url", "user", "server", "size"}
    with urlopen(server["state"]["url"] + "/user/researcher/api") as answer:
        assert answer.status == 200 and b"version" in answer.read()

    status, text = hub.api("DELETE", "/users/researcher/server")
    assert status in (202, 204), text
    until(lambda: hub.server("researcher") is None, 60, lambda: hub.log)
    with pytest.raises(OSError):
        urlopen(server["state"]["url"] + "/user/researcher/api", timeout=2)


def test_refusals_name_field_and_bound_and_count_for_nothing(patient_hub, service):
    hub = patient_hub
    hub.user("analyst")
    # One more than the limit at which the Hub would exit.
    for _ in range(4):
        status, answer = hub.api(
            "POST", "/users/analyst/server", hub.options({"cpu": "99"})
        )
        assert status == 422, answer
        assert "cpu: At most 1" in answer["message"]
        assert hub.server("analyst") is None
    for options, said in (
        ({"memory": "-1Gi"}, "memory"),
        ({"image": "evil/image:latest"}, "image"),
        ({"privileged": True}, "privileged"),
    ):
        status, answer = hub.api("POST", "/users/analyst/server", hub.options(options))
        assert (status, said in answer["message"]) == (422, True), answer

    hub.user("guest")
    status, answer = hub.api("POST", "/users/guest/server", hub.options({}))
    assert (status, "policy" in answer["message"].lower()) == (403, True), answer

    service.turn("directory/down")
    began = time.monotonic()
    status, answer = hub.api("POST", "/users/analyst/server", hub.options({}))
    assert (status, "directory" in answer["message"]) == (503, True), answer
    assert time.monotonic() - began < 5

    service.turn("directory/up")
    time.sleep(3)  # the Hub exits two seconds after it has decided to
    assert hub.process.poll() is None, hub.log
    assert "Aborting due to" not in hub.log
    start(hub, "analyst")


def test_a_service_that_is_down_stops_nothing(hub, service):
    start(hub, "analyst")
    for fault, repair in (
        (service.pause, service.resume),
        (lambda: service.turn("synced/no"), lambda: service.turn("synced/yes")),
    ):
        fault()
        try:
            time.sleep(9)  # several polls, time-outs included
            assert hub.server("analyst")["ready"] is True, hub.log
            # The Hub restarts, and polls before it knows anything.
            hub.kill()
            hub.start()
            assert hub.server("analyst")["ready"] is True, hub.log
        finally:
            repair()
        time.sleep(2)
        assert hub.server("analyst")["ready"] is True, hub.log


def test_a_server_that_ended_is_noticed(hub, service):
    start(hub, "analyst")
    request = Request(
        f"{service.url}/api/spawner/v1/users/analyst/server?name=",
        method="DELETE",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with urlopen(request) as answer:
        assert answer.status == 202
    until(lambda: hub.server("analyst") is None, 60, lambda: hub.log)


@pytest.fixture
def hasty_hub(service, tmp_path):
    """Does not wait long for a server to stop."""
    more = "\nc.ElasticSpawner.stop_timeout = 1\n"
    running = Hub(tmp_path, service.url, TOKEN, more=more)
    running.start()
    yield running
    running.kill()


def tokens_of_servers(hub):
    with closing(sqlite3.connect(hub.directory / "hub.sqlite")) as db:
        found = db.execute("SELECT count(*) FROM api_tokens WHERE note LIKE 'Server at %'")
        return found.fetchone()[0]


def runs(url, user):
    try:
        with urlopen(f"{url}/user/{user}/api", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_server_whose_stop_was_given_up_is_stopped_later(hasty_hub):
    hub = hasty_hub
    start(hub, "analyst")
    url = hub.server("analyst")["state"]["url"]
    assert tokens_of_servers(hub) == 1
    token = hub.directory / "token"
    token.write_text("wrong\n")  # the service refuses whatever it is asked for
    assert hub.api("DELETE", "/users/analyst/server")[0] in (202, 204)
    until(lambda: hub.server("analyst") is None, 30, lambda: hub.log)
    assert "did not stop in time" in hub.log and runs(url, "analyst")
    # By this spawner/orphans tells that the Hub has given it up.
    _, person = hub.api("GET", "/users/analyst?include_stopped_servers=1")
    listed = {k: person["servers"][""][k] for k in ("stopped", "ready", "pending", "started")}
    assert listed == {"stopped": True, "ready": False, "pending": None, "started": None}
    assert tokens_of_servers(hub) == 0

    token.write_text(TOKEN + "\n")
    until(lambda: not runs(url, "analyst"), 4 * WATCH_SECONDS, lambda: hub.log)
    start(hub, "analyst")  # the next start is none of that stop's
    time.sleep(2 * WATCH_SECONDS)
    assert hub.server("analyst")["ready"] is True, hub.log


def test_a_server_that_is_started_again_after_its_stop_was_given_up_runs(hasty_hub, service):
    hub = hasty_hub
    start(hub, "analyst")
    service.turn("synced/no")  # nothing is known of servers, so that none is looked for
    token = hub.directory / "token"
    token.write_text("wrong\n")
    assert hub.api("DELETE", "/users/analyst/server")[0] in (202, 204)
    until(lambda: hub.server("analyst") is None, 30, lambda: hub.log)
    token.write_text(TOKEN + "\n")
    service.turn("synced/yes")
    start(hub, "analyst")
    time.sleep(3 * WATCH_SECONDS)
    assert hub.server("analyst")["ready"] is True, hub.log
    assert runs(hub.server("analyst")["state"]["url"], "analyst")


# What a role of JupyterHub 6 may give one by one.
SCOPES = """
scopes = {
    "starter": ["start:servers!user=analyst"],
    "stopper": ["delete:servers!user=analyst"],
    "reader": ["read:servers!user=analyst"],
}
c.JupyterHub.services += [{"name": n, "api_token": n * 8} for n in scopes]
c.JupyterHub.load_roles += [
    {"name": n, "services": [n], "scopes": s} for n, s in scopes.items()
]
"""


@pytest.mark.skipif(jupyterhub.version_info[0] < 6, reason="start:servers is new in JupyterHub 6")
def test_who_may_start_servers_and_nothing_else(service, tmp_path):
    """In JupyterHub 6 start:servers is a scope of its own: it starts what a policy allows."""
    hub = Hub(tmp_path, service.url, TOKEN, more=SCOPES)
    hub.start()
    try:
        for user in ("analyst", "researcher"):
            hub.user(user)

        def by(who, method, path, body=None):
            return hub.api(method, path, body, token=who * 8)

        own, others = "/users/analyst/server", "/users/researcher/server"
        for who in ("stopper", "reader"):
            assert by(who, "POST", own, hub.options({}))[0] in (403, 404)
        status, answer = by("starter", "POST", own, hub.options({"cpu": "99"}))
        assert (status, "cpu: At most 1" in str(answer)) == (422, True), answer
        assert by("starter", "POST", others, hub.options({}))[0] in (403, 404)
        assert hub.server("analyst") is None and hub.server("researcher") is None

        status, answer = by("starter", "POST", own, hub.options({"cpu": "1"}))
        assert status in (201, 202), answer
        until(lambda: (hub.server("analyst") or {}).get("ready"), 120, lambda: hub.log)
        assert hub.server("analyst")["user_options"]["cpu"] == "1"
        for who in ("starter", "reader"):
            assert by(who, "DELETE", own)[0] in (403, 404)
        assert by("starter", "GET", "/users/analyst")[0] in (403, 404)
        assert by("reader", "GET", "/users/analyst")[1]["servers"][""]["ready"] is True
        assert by("stopper", "DELETE", own)[0] in (202, 204)
        until(lambda: hub.server("analyst") is None, 60, lambda: hub.log)
    finally:
        hub.kill()


@pytest.fixture
def lazy_hub(service, tmp_path):
    """Polls once an hour."""
    more = "\nc.ElasticSpawner.poll_interval = 3600\n"
    running = Hub(tmp_path, service.url, TOKEN, more=more)
    running.start()
    yield running
    running.kill()


@pytest.mark.parametrize("taken_away", [False, True])
def test_what_ends_without_the_hub_is_known_within_seconds(lazy_hub, service, taken_away):
    hub = lazy_hub
    start(hub, "analyst")
    if taken_away:  # the Hub has restarted, and the service is silent for a while
        hub.kill()
        hub.start()
        service.pause()
        time.sleep(WATCH_SECONDS + SNAPSHOT_SECONDS + 1)
        assert hub.server("analyst")["ready"] is True, hub.log
        service.resume()
    query = "name=&forever=true" if taken_away else "name="
    request = Request(
        f"{service.url}/api/spawner/v1/users/analyst/server?{query}",
        method="DELETE",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with urlopen(request) as answer:
        assert answer.status in (202, 204)
    until(lambda: hub.server("analyst") is None, 10, lambda: hub.log)
    start(hub, "analyst")  # the next one is watched as well, and left alone
    time.sleep(2 * WATCH_SECONDS)
    assert hub.server("analyst")["ready"] is True, hub.log


def test_no_body_keeps_the_hub_from_starting_again(patient_hub):
    """JupyterHub 5 stores what a client sends before anybody has looked at it."""
    hub = patient_hub
    for user, body in (
        ("one", ["cpu", "99"]),
        ("two", hub.options({"__jupyterhub_bytes__": True, "data": "aGVsbG8="})),
        ("three", "cpu=99"),
        ("analyst", hub.options({"__jupyterhub_bytes__": True, "data": "aGVsbG8="})),
    ):
        hub.user(user)
        status, answer = hub.api("POST", f"/users/{user}/server", body)
        assert 400 <= status < 500, answer
    hub.kill()
    hub.start()
    start(hub, "analyst")  # without a body: what was refused is nobody's wish
    for user in ("one", "two", "three"):
        status, answer = hub.api("DELETE", f"/users/{user}")
        assert status == 204, answer


def stored_options(hub, user):
    with closing(sqlite3.connect(hub.directory / "hub.sqlite")) as db:
        (found,) = db.execute(
            "SELECT user_options FROM spawners, users WHERE user_id = users.id AND users.name = ?",
            (user,),
        ).fetchone()
    return json.loads(found)


def store_options(hub, user, options):
    """As a Hub of another spawner has left them in its database."""
    hub.kill()
    with closing(sqlite3.connect(hub.directory / "hub.sqlite")) as db, db:
        changed = db.execute(
            "UPDATE spawners SET user_options = ? WHERE user_id ="
            " (SELECT id FROM users WHERE name = ?)",
            (json.dumps(options), user),
        )
        assert changed.rowcount == 1
    hub.start()


def test_options_of_a_former_spawner_are_nobodys_wish(hub):
    start(hub, "analyst")
    assert hub.api("DELETE", "/users/analyst/server")[0] in (202, 204)
    until(lambda: hub.server("analyst") is None, 60, lambda: hub.log)
    store_options(hub, "analyst", {"profile": "x", "image": "registry.example/lab:1", "cpu": "1"})

    status, text = hub.api("POST", "/users/analyst/server")
    assert status == 202, text
    told = [event.get("message", "") for event in hub.progress("analyst")]
    assert any("no longer count: image, profile" in message for message in told), told
    server = until(lambda: hub.server("analyst"), 60, lambda: hub.log)
    assert server["ready"] is True
    assert server["user_options"] == {
        "cpu": "1",
        "memory": "1Gi",
        "image": "stable",
        "profile": "1 CPU, 1Gi, stable",
    }


def test_what_is_asked_for_now_is_refused_and_not_the_next_starts(patient_hub):
    hub = patient_hub
    hub.user("analyst")
    status, answer = hub.api("POST", "/users/analyst/server", hub.options({"profile": "x"}))
    assert (status, "profile" in answer["message"]) == (422, True), answer
    status, text = hub.api("POST", "/users/analyst/server")
    assert status in (201, 202), text
    until(lambda: (hub.server("analyst") or {}).get("ready"), 120, lambda: hub.log)
    assert hub.server("analyst")["user_options"]["memory"] == "1Gi"


def test_running_servers_are_found_whatever_the_state_says(hub):
    """That of no release, of KubeSpawner, of a release that kept no names, and what is none."""
    servers = {}
    for user, name, kept in (
        ("researcher", "", None),
        ("researcher", "one", {"pod_name": "jupyter-researcher", "pvc_name": "claim-researcher"}),
        ("analyst", "", {"start": 5, "url": None, "user": [], "server": {}, "size": 1}),
    ):
        hub.user(user)
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        assert hub.api("POST", path, hub.options({}))[0] in (201, 202)
        ready = lambda: (hub.server(user, name) or {}).get("ready")  # noqa: E731
        until(ready, 120, lambda: hub.log)
        servers[user, name] = path, hub.server(user, name)["state"]["url"], kept
    hub.kill()
    with closing(sqlite3.connect(hub.directory / "hub.sqlite")) as db, db:
        for (user, name), (_, _, kept) in servers.items():
            db.execute(
                "UPDATE spawners SET state = ? WHERE name = ? AND user_id ="
                " (SELECT id FROM users WHERE name = ?)",
                (json.dumps(kept), name, user),
            )
    hub.start()
    time.sleep(4)  # several polls
    for (user, name), (path, url, _) in servers.items():
        assert hub.server(user, name)["ready"] is True, hub.log
        at = f"{url}/user/{user}/{name}".rstrip("/") + "/api"
        with urlopen(at) as answer:
            assert answer.status == 200
        assert hub.api("DELETE", path)[0] in (202, 204)
        until(lambda: hub.server(user, name) is None, 60, lambda: hub.log)
        with pytest.raises(OSError):
            urlopen(at, timeout=2)


ODD_ENVIRONMENT = {
    "LINES": "one\ntwo\r\n\ttabbed",
    "QUOTES": "it's \"$(so)\" `$HOME` \\\\",
    "EMPTY": "",
    "dotted.na-me": "=a=b ü 名",
    "LONG": "é" * 60_000,
}

ENVIRONMENT = f"""
odd = {ODD_ENVIRONMENT!r}
too_much = {{
    "five": {{"LONG": "a" * 131_072}},
    "one": {{f"A{{n}}": "a" * 100_000 for n in range(6)}},
    "two": {{"HUGE": "\\x01" * 1_000_000}},
    "three": {{"NUL": "a\\x00b"}},
    "four": {{"1X": "a"}},
}}

def whose(spawner):
    spawner.environment = too_much.get(spawner.name, odd)

c.ElasticSpawner.pre_spawn_hook = whose
c.ElasticSpawner.args = ["--allow-root", "--ServerApp.extra=$(HOME) 'a' \\"b\\"\\n", "--ServerApp.more=ü"]
"""


def test_environment_and_arguments_arrive_whole_or_are_refused_by_name(service, tmp_path):
    hub = Hub(tmp_path, service.url, TOKEN, more=ENVIRONMENT)
    hub.start()
    try:
        hub.user("researcher")
        for server, said in (
            ("five", "LONG: has 131077 bytes with its name; Linux gives a program at most"),
            ("one", " bytes together, the most is 524288; the largest is A0 with 100003"),
            ("two", "HUGE: has 1000000 bytes, more than any other variable."),
            ("three", "NUL: a value must not contain NUL"),
            ("four", '"1X": the name of a variable must be'),
        ):
            path = f"/users/researcher/servers/{server}"
            status, answer = hub.api("POST", path, hub.options({}))
            assert said in answer["message"], (status, answer)
            assert 400 <= status < 500, answer
            assert hub.server("researcher", server) is None, server
        hub.user("analyst")
        assert hub.api("POST", "/users/analyst/server", hub.options({}))[0] in (201, 202)
        environment, arguments = until(lambda: process_of(hub, "analyst"), 60, lambda: hub.log)
        assert ODD_ENVIRONMENT.items() <= environment.items()
        assert arguments[-2:] == ["--ServerApp.extra=$(HOME) 'a' \"b\"\n", "--ServerApp.more=ü"]
    finally:
        hub.kill()


def process_of(hub, user):
    """(environment, arguments) of a user's server of this Hub, None for none."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().decode().split("\0")
            arguments = (process / "cmdline").read_bytes().decode().split("\0")[:-1]
        except (OSError, UnicodeDecodeError):
            continue
        environment = dict(v.split("=", 1) for v in variables if "=" in v)
        at = urlsplit(environment.get("JUPYTERHUB_API_URL", ""))
        if environment.get("JUPYTERHUB_USER") == user and at.port == hub.port:
            return environment, arguments
    return None


def certificate_of(hub, component):
    """What a part of the Hub connects to servers with: "proxy-client" or "hub-internal"."""
    made, authority = hub.directory / "internal-ssl", component.replace("internal", "ca").replace("client", "client-ca")
    context = ssl.create_default_context(cafile=made / f"{authority}_trust.crt")
    context.load_cert_chain(made / component / f"{component}.crt", made / component / f"{component}.key")
    return context


def asked_by_elastichub(service, user):
    """When the server was used, as the controllers ask it."""
    with urlopen(f"{service.url}/test/asked/{user}", timeout=30) as answer:
        return answer.read()


def test_internal_ssl(service, tmp_path):
    """A server over TLS of both sides, a Hub that is started again, a stop."""
    hub = Hub(tmp_path, service.url, TOKEN, more="\nc.JupyterHub.internal_ssl = True\n")
    hub.start()
    try:
        start(hub, "analyst")
        address = hub.server("analyst")["state"]["url"]
        assert address.startswith("https://127.0.0.1:")
        page = f"{address}/user/analyst/api/status"
        known = Request(page, headers={"Authorization": f"token {API_TOKEN}"})
        for component in ("proxy-client", "hub-internal"):
            # The server asks the Hub whose token it is, and shows its own certificate to it.
            with urlopen(known, context=certificate_of(hub, component), timeout=30) as answer:
                assert "last_activity" in json.load(answer)
        without = ssl.create_default_context(cafile=tmp_path / "internal-ssl" / "notebooks-ca" / "notebooks-ca.crt")
        with pytest.raises(OSError):
            urlopen(known, context=without, timeout=30)
        assert asked_by_elastichub(service, "analyst").startswith(b"20")
        variables, _ = process_of(hub, "analyst")
        assert not list(Path(variables["JUPYTERHUB_SSL_KEYFILE"]).parent.glob("client*"))
        assert not list((tmp_path / "internal-ssl").glob("user-*")), "nothing is left in the Hub's directory"

        hub.kill()
        hub.start()
        until(lambda: (hub.server("analyst") or {}).get("ready"), 60, lambda: hub.log)
        assert hub.server("analyst")["state"]["url"] == address
        with urlopen(known, context=certificate_of(hub, "hub-internal"), timeout=30) as answer:
            assert answer.status == 200

        status, text = hub.api("DELETE", "/users/analyst/server")
        assert status in (202, 204), text
        until(lambda: hub.server("analyst") is None, 60, lambda: hub.log)
        assert not Path(variables["JUPYTERHUB_SSL_KEYFILE"]).exists()
    finally:
        hub.kill()


def test_a_renamed_user_keeps_the_server(hub):
    start(hub, "analyst")
    before = hub.server("analyst")["state"]
    status, answer = hub.api("PATCH", "/users/analyst", {"name": "researcher"})
    assert status == 200, answer
    time.sleep(4)  # several polls
    assert hub.server("researcher")["state"] == before
    hub.kill()
    hub.start()
    assert hub.server("researcher")["ready"] is True, hub.log
    status, answer = hub.api("DELETE", "/users/researcher/server")
    assert status in (202, 204), answer
    until(lambda: hub.server("researcher") is None, 60, lambda: hub.log)
    with pytest.raises(OSError):
        urlopen(before["url"] + "/user/analyst/api", timeout=2)
