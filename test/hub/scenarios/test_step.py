"""The Hub in step with what kubectl and the service do to its servers, and they with it."""

import json
import os
import time

import pytest

from cluster import (
    apply,
    kubectl,
    left_of,
    name_of,
    notebook,
    objects,
    pods,
    read_file,
    uid,
    write_file,
)
from hub import until

# Within these seconds the Hub knows, the end of a Pod included.
KNOWN_SECONDS = 15

# It polls once an hour, so that nothing here is its polling. The service finds it as "hub".
CONFIG = """
c.ElasticSpawner.poll_interval = 3600
c.JupyterHub.hub_connect_url = c.JupyterHub.hub_bind_url
c.JupyterHub.hub_bind_url = c.JupyterHub.hub_bind_url.replace("127.0.0.1", "0.0.0.0")
"""

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: hub}}
spec: {{ports: [{{port: 8081, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: hub-machine, labels: {{kubernetes.io/service-name: hub}}}}
addressType: IPv4
endpoints: [{{addresses: ["{address}"]}}]
ports: [{{port: {port}}}]
"""


@pytest.fixture(scope="module")
def admin(make_hub):
    administrator = make_hub(more=CONFIG)
    apply(SERVICE.format(port=administrator.hub.port, address=os.environ["HUB_ADDRESS"]))
    yield administrator
    administrator.hub.kill()


def patch(name, spec):
    kubectl("patch", "jupyternotebook", name, "--type=merge", "--patch", json.dumps({"spec": spec}))


def in_step(name):
    """The reason and the message of what the service says of the Hub, None if nothing."""
    nb = json.loads(kubectl("get", "jupyternotebook", name, "--output", "json"))
    found = [c for c in nb["status"].get("conditions", []) if c["type"] == "HubInStep"]
    return (found[0]["reason"], found[0]["message"]) if found else None


def stopped_by_kubectl(admin, user, server=""):
    """Its name, when the Hub knows that it is stopped."""
    (nb,) = [n for n in objects("jupyternotebooks", user) if n["spec"].get("server", "") == server]
    patch(name_of(nb), {"stopped": True})
    admin.gone(user, server, KNOWN_SECONDS)
    return name_of(nb)


def test_a_stop_and_a_start_by_kubectl(admin):
    user = admin.person("step")
    admin.start(user)
    first = notebook(user)["spec"]["start"]
    name = stopped_by_kubectl(admin, user)
    assert notebook(user)["spec"]["stopped"] is True

    patch(name, {"stopped": False})
    admin.ready(user, seconds=30)
    after = notebook(user)
    assert after["spec"]["start"] != first
    assert not after["spec"].get("stopped")
    assert "elastichub.io/start-asked" not in after["metadata"]["annotations"]
    assert len(pods(user)) == 1
    assert pods(user)[0]["metadata"]["annotations"]["elastichub.io/start"] == after["spec"]["start"]
    assert in_step(name) is None
    time.sleep(8)  # nothing else comes of it
    assert notebook(user)["spec"]["start"] == after["spec"]["start"]
    assert admin.model(user)["ready"] is True
    admin.stop(user)
    assert not pods(user)


def test_a_start_that_the_hub_refuses(admin):
    user = admin.person("step", "one-server")
    admin.start(user, "a")
    name = stopped_by_kubectl(admin, user, "a")
    admin.start(user, "b")
    patch(name, {"stopped": False})
    reason, message = until(lambda: in_step(name), 30, admin.log)
    assert reason == "HubRefused"
    assert "You run as many servers as you may have. Stop one first. The server stays" in message
    events = kubectl("events", "--for", f"jupyternotebook/{name}")
    assert message[:60] in events, events
    assert admin.model(user, "a") is None
    assert len(pods(user)) == 1
    admin.stop(user, "b")
    admin.start(user, "a")
    assert in_step(name) is None
    admin.stop(user, "a")


def test_a_start_while_the_hub_is_away(admin):
    user = admin.person("step")
    admin.start(user)
    name = name_of(notebook(user))
    admin.hub.kill()
    try:
        # Stopped and started again, and nobody hears of it.
        patch(name, {"stopped": True})
        until(lambda: not pods(user), 30)
        until(lambda: notebook(user)["status"]["phase"] == "Stopped", 30)
        patch(name, {"stopped": False})
        reason, _ = until(lambda: in_step(name), 30)
        assert reason == "HubUnavailable"
        assert notebook(user)["spec"]["stopped"] is True
        assert not pods(user)
    finally:
        admin.hub.start()
    admin.ready(user, seconds=90)
    assert len(pods(user)) == 1
    assert in_step(name) is None
    admin.stop(user)


def test_a_start_for_somebody_who_was_renamed(admin):
    user = admin.person("step")
    admin.start(user)
    name = stopped_by_kubectl(admin, user)
    renamed = admin.rename(user, f"{user}-new")
    newcomer = admin.user(user)
    patch(name, {"stopped": False})
    reason, _ = until(lambda: in_step(name), 30, admin.log)
    assert reason == "HubUserGone"
    assert admin.model(newcomer) is None
    admin.start(renamed)
    assert in_step(name) is None
    assert not admin.model(newcomer)
    # Renamed while it runs: what kubectl stops is known all the same.
    again = admin.rename(renamed, f"{user}-again")
    patch(name, {"stopped": True})
    admin.gone(again, seconds=KNOWN_SECONDS)


def test_a_notebook_that_kubectl_deletes(admin):
    user = admin.person("step", "homes")
    write_file(admin.start(user), "mark", user)
    (claim,) = objects("persistentvolumeclaims", user)
    time.sleep(10)  # what a start leaves unsettled
    name = name_of(notebook(user))
    kubectl("delete", "jupyternotebook", name)
    admin.gone(user, seconds=KNOWN_SECONDS)
    until(lambda: not pods(user), 30)
    assert read_file(admin.start(user), "mark") == user
    assert [uid(c) for c in objects("persistentvolumeclaims", user)] == [uid(claim)]
    admin.stop(user)
    admin.remove(user)
    until(lambda: not left_of(name), 30, lambda: left_of(name))


def test_an_automatic_stop_goes_through_the_hub(admin):
    user = admin.person("step", "short")
    admin.start(user)
    admin.gone(user, seconds=40)
    until(lambda: notebook(user)["status"]["phase"] == "Stopped", 30)
    nb = notebook(user)
    assert nb["status"]["reason"] == "StoppedMaxRun"
    assert nb["metadata"]["annotations"]["elastichub.io/stop-cause"] == "MaxRun"
    deleted = f"DELETE /hub/api/users/{user}/server"
    assert admin.hub.log.count(deleted) == 1, admin.log()
    admin.start(user)
    admin.stop(user)
