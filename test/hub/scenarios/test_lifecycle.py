"""S1 to S8 of an administrator: stops at any moment, a Hub that is killed, a service that is
away, refusals, what kubectl takes away, starts at once, odd names."""

import time
from urllib.parse import quote

import pytest

from cluster import away, back, kubectl, left_of, name_of, notebook, notebooks, objects, pods, uid
from conftest import MAJOR, after, at_once
from hub import until


def stopped_as_ever(user):
    """What a stop leaves: the object and what it owns, and no Pod."""
    until(lambda: not objects("pods", user), 30, lambda: kubectl("get", "pods"))
    assert notebook(user)["spec"]["stopped"] is True
    name = name_of(notebook(user))
    assert kubectl("get", "deployment", name, "--output", "jsonpath={.spec.replicas}") == "0"


def test_s1_a_stop_at_any_moment_of_a_start(admin):
    def interrupted(seconds):
        user = admin.person("s1")
        answers = at_once(
            lambda call: call(),
            [lambda: admin.post(user), lambda: after(seconds, admin.delete, user)],
        )
        assert answers[1][0] in (202, 204), answers
        admin.gone(user)
        if notebooks(user):  # the start had reached the service
            stopped_as_ever(user)
        admin.start(user)
        assert len(notebooks(user)) == len(pods(user)) == 1
        admin.stop(user)
        stopped_as_ever(user)

    at_once(interrupted, [0.1, 0.5, 1, 2])


def test_a_stopped_server_keeps_no_token(admin):
    user = admin.person("secret")
    admin.start(user)
    environment = notebook(user)["spec"]["envSecret"]

    def token():
        return kubectl(
            "get",
            "secret",
            environment,
            "--ignore-not-found",
            "--output",
            "jsonpath={.data.JUPYTERHUB_API_TOKEN}",
        )

    assert token()
    admin.stop(user)
    until(lambda: not token(), 10)
    admin.start(user)
    assert token()
    admin.stop(user)


def test_s2_a_hub_killed_during_starts_knows_them_all(admin):
    early, middle, late = users = [admin.person("s2") for _ in range(3)]
    begun = time.monotonic()
    for user, moment in ((early, 0), (middle, 1), (late, 1.8)):
        time.sleep(max(0, begun + moment - time.monotonic()))
        admin.hub.begin("POST", f"/users/{user}/server", admin.hub.options({}))
    time.sleep(max(0, begun + 2 - time.monotonic()))
    admin.hub.kill()
    time.sleep(3)
    admin.hub.start()
    for user in users:
        if user is late and not notebooks(user):
            assert admin.model(user) is None  # the request had not left
            continue
        admin.ready(user, seconds=20)
        assert len(notebooks(user)) == len(pods(user)) == 1
        admin.stop(user)
        stopped_as_ever(user)


def test_s3_a_hub_killed_during_stops_loses_nothing(admin):
    early, late = users = [admin.person("s3") for _ in range(2)]
    at_once(admin.start, users)
    admin.hub.begin("DELETE", f"/users/{early}/server")
    time.sleep(0.28)
    admin.hub.begin("DELETE", f"/users/{late}/server")
    time.sleep(0.02)
    admin.hub.kill()
    admin.hub.start()
    for user in users:
        agreed(admin, user)
        admin.stop(user)
        stopped_as_ever(user)


def agreed(admin, user):
    """Stopped in both places, or running and known in both."""

    def differ():
        return f"{admin.model(user)} {kubectl('get', 'pods')} {admin.log()}"

    until(lambda: (admin.model(user) is None) == (not pods(user)), 15, differ)


def test_s4_a_service_that_is_away(admin):
    staying, leaving = users = [admin.person("s4") for _ in range(2)]
    at_once(admin.start, users)
    before = [uid(pod) for pod in pods(staying)]
    away()
    admin.hub.kill()
    admin.hub.start()
    try:
        status, answer = admin.delete(leaving)
        assert status == 202, answer
        for _ in range(6):  # of its polls
            assert admin.model(staying)["ready"] is True
            time.sleep(1)
    finally:
        back()
    admin.gone(leaving)
    stopped_as_ever(leaving)
    assert admin.model(staying)["ready"] is True
    assert [uid(pod) for pod in pods(staying)] == before
    admin.stop(staying)


@pytest.mark.parametrize("deferred", [False, True])
def test_s5_refusals_cost_nothing(admin, make_hub, deferred):
    # A Hub exits after three failures in a row.
    patient = make_hub(slow_spawn_timeout=0) if deferred else admin
    user = patient.person("s5", "one-server")
    patient.start(user)
    greedy = patient.person("s5")

    for _ in range(6):
        for who, server, options, refusal, said in (
            (user, "more", {}, 409, "server"),
            (greedy, "", {"cpu": "99"}, 422, "cpu"),
        ):
            status, answer = patient.post(who, server, options)
            if deferred:  # or refused already, which the Hub answers with 201 or the refusal
                assert status in (201, 202, refusal), answer
            else:
                assert (status, said in answer["message"]) == (refusal, True), answer
            patient.gone(who, server)
    time.sleep(3)  # it would exit two seconds after it had decided to
    assert patient.hub.process.poll() is None, patient.hub.log
    assert [name_of(nb) for nb in notebooks(user)] == [f"jupyter-{user}"]
    assert notebooks(greedy) == []
    patient.stop(user)


def test_s6_a_pod_that_is_deleted_is_replaced(admin):
    user = admin.person("s6")
    admin.start(user)
    (pod,) = pods(user)
    kubectl("delete", "pod", name_of(pod), "--wait=false")

    def replaced():
        assert admin.model(user)["ready"] is True
        return [p for p in pods(user) if uid(p) != uid(pod) and _is_ready(p)]

    until(replaced, 30)
    admin.stop(user)
    stopped_as_ever(user)


def _is_ready(pod):
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_s6b_a_notebook_that_is_deleted_is_known_at_the_next_poll(admin):
    user = admin.person("s6b")
    admin.start(user)
    kubectl("delete", "jupyternotebook", name_of(notebook(user)))
    # Polls are a second apart, and within ten of its start no server is taken for lost.
    admin.gone(user, seconds=15)
    until(lambda: not pods(user), 30)
    admin.start(user)
    admin.stop(user)


def test_s7_three_starts_at_once_are_one(admin):
    user = admin.person("s7")
    answers = at_once(admin.post, [user] * 3)
    assert {status for status, _ in answers} <= {201, 202}, answers
    admin.ready(user)
    assert len(notebooks(user)) == len(pods(user)) == 1
    admin.stop(user)


SERVERS = [
    "a.b",
    "x" * 60,
    "x" * 250,
    "Ünïcode-名前",
    "with space",
    "A",
    "a",
    "a--b",
    "..",
    "-",
    "%2e",
    "🚀",
]
# JupyterHub 6 makes these of whatever it is given, and takes nothing else.
SLUGS = ["a", "a-b", "x" * 30]
USERS = ["s8@example.org", "s8-müller", "S8-Capitals", "s8_under_score", "s8" + "y" * 68]


def test_s8_odd_names(admin):
    for name in {*USERS, *map(str.lower, USERS)}:  # that are left of an attempt before
        until(lambda name=name: admin.hub.api("DELETE", f"/users/{quote(name, safe='')}")[0] in (204, 404), 60)
    user = admin.person("s8")
    servers = SERVERS if MAJOR < 6 else SLUGS
    people = at_once(admin.user, USERS)
    everything = [(user, server) for server in servers] + [(person, "") for person in people]
    at_once(lambda one: admin.start(*one), everything)

    names = {name_of(nb) for person in [user, *people] for nb in notebooks(person)}
    assert len(names) == len(everything)
    at_once(lambda one: admin.stop(*one), everything)
    for server in servers:
        status, answer = admin.delete(user, server, remove=True)
        assert status == 204, answer
    for person in people:
        status, answer = admin.hub.api("DELETE", f"/users/{quote(person, safe='')}")
        assert status == 204, answer
    until(
        lambda: not [left for name in names for left in left_of(name)],
        30,
        lambda: kubectl("get", "all"),
    )

    refused = ["a/b"] if MAJOR < 6 else [server for server in SERVERS if server not in SLUGS]
    for server in refused:
        status, answer = admin.post(user, server)
        assert status in (400, 404), (server, answer)
        assert notebooks(user) == []
