"""Servers that the Hub has forgotten while the service was away are found and removed."""

import json
import os
import time

import pytest

from cluster import apply, away, back, kubectl, name_of, notebook, notebooks, objects, pods
from hub import until
from test_step import CONFIG, SERVICE

GRACE_SECONDS = 12

# A Hub that does not wait long for a service that is away.
FORGETFUL = (
    CONFIG
    + """
c.ElasticSpawner.stop_timeout = 3
"""
)


def orphans(mode):
    """What becomes of orphans, until the next."""
    settings = ["ELASTICHUB_ORPHANS_MODE-", "ELASTICHUB_ORPHANS_GRACE-"]
    if mode:
        grace = f"ELASTICHUB_ORPHANS_GRACE={GRACE_SECONDS}s"
        settings = [f"ELASTICHUB_ORPHANS_MODE={mode}", grace]
    kubectl("set", "env", "deployment/elastichub", *settings)


@pytest.fixture(scope="module")
def admin(make_hub):
    # What other Hubs have left here would have this one not believed.
    kubectl("delete", "jupyternotebooks", "--all")
    administrator = make_hub(more=FORGETFUL)
    apply(SERVICE.format(port=administrator.hub.port, address=os.environ["HUB_ADDRESS"]))
    yield administrator
    administrator.hub.kill()
    orphans(None)
    back()


def of_server(user, server):
    found = [n for n in notebooks(user) if n["spec"].get("server", "") == server]
    return found[0] if found else None


def test_a_user_that_the_hub_has_deleted_meanwhile(admin):
    stays, leaves = admin.person("stays"), admin.person("leaves")
    admin.start(stays)
    admin.start(leaves)
    admin.stop(leaves)
    name = name_of(notebook(leaves))
    homes = [name_of(c) for c in objects("persistentvolumeclaims", leaves)]
    away()
    orphans("remove")
    admin.remove(leaves)
    back()

    until(lambda: not notebooks(leaves), 60, admin.log)
    assert len(pods(stays)) == 1
    assert admin.model(stays)["ready"] is True
    assert of_server(stays, "") is not None
    assert [name_of(c) for c in objects("persistentvolumeclaims", leaves)] == homes
    events = kubectl("events", "--for", f"jupyternotebook/{name}")
    assert "HubUserGone" in events and "OrphanRemoved" in events, events


def test_a_server_whose_stop_the_hub_has_given_up(admin):
    """The Hub forgets the stop, too, since it restarts: only the leader ends the server."""
    stays, lost = admin.person("stays"), admin.person("lost")
    admin.start(stays)
    admin.start(lost)
    name = name_of(notebook(lost))
    homes = [name_of(c) for c in objects("persistentvolumeclaims", lost)]
    away()
    orphans("remove")
    assert admin.delete(lost)[0] in (202, 204)
    admin.gone(lost)
    assert len(pods(lost)) == 1
    admin.hub.kill()
    admin.hub.start()
    back()

    until(lambda: not pods(lost), 60, admin.log)
    spec = of_server(lost, "")["spec"]
    assert spec["stopped"] is True
    assert [name_of(c) for c in objects("persistentvolumeclaims", lost)] == homes
    assert admin.model(stays)["ready"] is True and len(pods(stays)) == 1
    events = kubectl("events", "--for", f"jupyternotebook/{name}")
    assert "HubServerStopped" in events and "OrphanStopped" in events, events
    admin.start(lost)
    assert name_of(of_server(lost, "")) == name and len(pods(lost)) == 1
    time.sleep(GRACE_SECONDS)
    assert admin.model(lost)["ready"] is True, "its next start is none"
    admin.stop(lost)
    admin.stop(stays)


def test_a_hub_that_is_away_removes_nothing(admin):
    user = admin.person("away")
    admin.start(user, "one")
    admin.hub.kill()
    try:
        time.sleep(2 * GRACE_SECONDS)
        conditions = of_server(user, "one")["status"]["conditions"]
        assert "Orphan" not in json.dumps(conditions)
        assert len(pods(user)) == 1
    finally:
        admin.hub.start()
    admin.ready(user, "one")
    admin.stop(user, "one")
