"""F3 to F6: whoever is renamed keeps server and files, and nobody else gets them."""

import shlex
import sqlite3
import time
from datetime import datetime

import pytest

from cluster import (
    HUB_USER,
    apply,
    away,
    back,
    kubectl,
    left_of,
    name_of,
    notebook,
    notebooks,
    objects,
    pods,
    read_file,
    uid,
    write_file,
)
from conftest import MAJOR
from hub import until

HOMES = "homes"


def claims(user):
    return objects("persistentvolumeclaims", user)


def mark(url, user):
    write_file(url, "marker", f"belongs to {user}")


def read_mark(url):
    return read_file(url, "marker")


def home_of(admin, word, group=HOMES):
    """A user with a stopped server whose home is marked."""
    user = admin.person(word, group)
    mark(admin.start(user), user)
    admin.stop(user)
    return user


def test_objects_say_whose_they_are(admin):
    user = admin.person("owner", HOMES)
    admin.start(user)
    notes = {
        item["metadata"]["annotations"].get(HUB_USER) for item in [notebook(user), *claims(user)]
    }
    assert len(notes) == 1, notes
    identity, _, created = notes.pop().partition("@")
    assert identity.isdigit()
    made = admin.hub.api("GET", f"/users/{user}")[1]["created"]
    apart = datetime.fromisoformat(created) - datetime.fromisoformat(made)
    assert abs(apart.total_seconds()) <= 1  # databases round
    assert notebook(user)["metadata"]["labels"]["elastichub.io/hub-user-id"] == identity
    admin.stop(user)


def test_f3_a_renamed_user_keeps_a_running_server(admin):
    old = admin.person("f3", HOMES)
    mark(admin.start(old), old)
    name, (pod,) = name_of(notebook(old)), pods(old)

    new = admin.rename(old, f"{old}-new")
    for _ in range(5):  # of the Hub's polls
        assert admin.model(new)["ready"] is True
        time.sleep(1)
    assert uid(pod) in kubectl("get", "pods", "--output", "jsonpath={.items[*].metadata.uid}")
    assert read_mark(admin.ready(new)) == f"belongs to {old}"

    # The Hub forgets everything that it did not write down.
    admin.hub.kill()
    admin.hub.start()
    assert admin.model(new)["ready"] is True

    admin.stop(new)
    until(lambda: not objects("pods", old) + objects("pods", new), 30)
    assert read_mark(admin.start(new)) == f"belongs to {old}"
    assert name_of(notebook(new)) == name
    assert notebook(new)["spec"]["user"] == new
    assert notebooks(old) == []
    assert len(pods(new)) == 1
    admin.stop(new)
    admin.remove(new)
    until(lambda: not left_of(name), 30, lambda: left_of(name))


def test_f3_a_renamed_user_deletes_what_was_started_before(admin):
    """Never started under the new name."""
    old = admin.person("f3", HOMES)
    admin.start(old)
    name = name_of(notebook(old))
    new = admin.rename(old, f"{old}-new")
    admin.stop(new)
    admin.remove(new)
    until(lambda: not left_of(name), 30, lambda: left_of(name))


def test_f4_a_renamed_user_keeps_the_home(admin):
    old = home_of(admin, "f4")
    name, (claim,) = name_of(notebook(old)), claims(old)

    new = admin.rename(old, f"{old}-new")
    assert read_mark(admin.start(new)) == f"belongs to {old}"
    assert name_of(notebook(new)) == name
    assert notebook(new)["spec"]["user"] == new
    assert notebooks(old) == []
    assert uid(claim) in kubectl("get", "pvc", "--output", "jsonpath={.items[*].metadata.uid}")
    assert len(claims(old) + claims(new)) == 1
    admin.stop(new)

    assert admin.rename(new, old) == old  # and back
    assert read_mark(admin.start(old)) == f"belongs to {old}"
    admin.stop(old)
    admin.remove(old)
    until(lambda: not left_of(name), 30, lambda: left_of(name))


@pytest.mark.parametrize("first", ["the former owner", "the newcomer"])
def test_f5_a_freed_name_comes_with_an_empty_home(admin, first):
    old = home_of(admin, "f5")
    renamed = admin.rename(old, f"{old}-new")
    if first == "the former owner":
        admin.start(renamed)
    newcomer = admin.user(old, HOMES)

    url = admin.start(newcomer)
    assert read_mark(url) is None
    mark(url, "the newcomer")
    own = admin.ready(renamed) if first == "the former owner" else admin.start(renamed)
    assert read_mark(own) == f"belongs to {old}"
    assert name_of(notebook(newcomer)) != name_of(notebook(renamed))
    assert (
        notebook(newcomer)["metadata"]["annotations"][HUB_USER]
        != notebook(renamed)["metadata"]["annotations"][HUB_USER]
    )

    # Neither takes the other's away.
    admin.stop(newcomer)
    assert admin.model(renamed)["ready"] is True
    admin.remove(newcomer)
    admin.stop(renamed)
    assert read_mark(admin.start(renamed)) == f"belongs to {old}"
    admin.stop(renamed)


def hand_over(answer):
    """Do as the refusal says."""
    command = shlex.split(answer["message"][answer["message"].index("kubectl ") :])
    kubectl(*command[1:])


def test_f5_a_user_who_was_deleted_unnoticed_leaves_no_home_to_a_namesake(admin):
    """The service was away: nobody can tell any more whose the home is."""
    user = home_of(admin, "f5")
    away()
    try:
        admin.remove(user)
    finally:
        back()
    again = admin.user(user, HOMES)
    status, answer = admin.post(again)
    assert status == 409, answer
    assert admin.model(again) is None


def test_f5_a_hub_made_anew_does_not_guess(admin, make_hub):
    """Its ids start again; the home is handed over by the command that the refusal names."""
    user = home_of(admin, "f5")
    another = make_hub()
    another.user(user, HOMES)
    status, answer = another.post(user)
    assert status == 409, answer
    assert another.model(user) is None
    hand_over(answer)
    assert read_mark(another.start(user)) == f"belongs to {user}"
    another.stop(user)
    another.hub.kill()


@pytest.mark.parametrize("group", [HOMES, "claims"])
def test_f5_a_home_made_before_homes_knew_their_owner(admin, group):
    """It is the user's of its name, if the user is older; renames are followed from then on."""
    user = home_of(admin, "f5", group)
    forget = [f"{HUB_USER}-", "elastichub.io/claim-template-"]
    for kind, item in [
        ("jupyternotebook", notebook(user)),
        *(("persistentvolumeclaim", c) for c in claims(user)),
    ]:
        kubectl("annotate", kind, name_of(item), *forget)
        kubectl("label", kind, name_of(item), "elastichub.io/hub-user-id-")
    assert read_mark(admin.start(user)) == f"belongs to {user}"
    admin.stop(user)
    renamed = admin.rename(user, f"{user}-new")
    newcomer = admin.user(user, group)
    assert read_mark(admin.start(newcomer)) is None
    assert read_mark(admin.start(renamed)) == f"belongs to {user}"
    admin.stop(newcomer)
    admin.stop(renamed)


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: claim-{user}
  annotations: {{hub.jupyter.org/username: {user}, hub.jupyter.org/servername: ""}}
  labels: {{app.kubernetes.io/managed-by: kubespawner, hub.jupyter.org/username: {user}}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 16Mi}}}}
"""


def test_f5_a_claim_of_kubespawner(admin):
    user = admin.person("f5", "claims")
    time.sleep(1)  # times have a second's precision
    apply(CLAIM.format(user=user))
    (claim,) = claims(user)
    mark(admin.start(user), user)
    assert [uid(c) for c in claims(user)] == [uid(claim)]
    admin.stop(user)

    renamed = admin.rename(user, f"{user}-new")
    newcomer = admin.user(user, "claims")
    assert read_mark(admin.start(newcomer)) is None
    assert read_mark(admin.start(renamed)) == f"belongs to {user}"
    admin.stop(newcomer)
    admin.stop(renamed)
    admin.remove(renamed)
    assert uid(claim) in kubectl("get", "pvc", "--output", "jsonpath={.items[*].metadata.uid}")


def test_f5_a_claim_of_kubespawner_older_than_the_user(admin, make_hub):
    """Somebody of that name had it before."""
    user = f"{admin.person('f5')}-later"
    apply(CLAIM.format(user=user))
    later = make_hub()
    later.user(user, "claims")
    later.hub.kill()
    # As if the user were made in five minutes: clocks may differ by one.
    with sqlite3.connect(later.hub.directory / "hub.sqlite") as database:
        database.execute(
            "UPDATE users SET created = datetime('now', '+5 minutes') WHERE name = ?", [user]
        )
    database.close()
    later.hub.start()
    status, answer = later.post(user)
    assert status == 409, answer
    hand_over(answer)
    later.start(user)
    later.stop(user)
    later.hub.kill()


@pytest.mark.skipif(MAJOR < 6, reason="JupyterHub 5 cannot rename servers")
def test_f6_a_renamed_server_keeps_the_home(admin):
    user = admin.person("f6", HOMES)
    mark(admin.start(user, "one"), user)
    status, answer = admin.hub.api("PATCH", f"/users/{user}/servers/one", {"name": "two"})
    assert status == 400, answer  # the Hub's own: it is active
    admin.stop(user, "one")
    name = name_of(notebook(user))

    status, answer = admin.hub.api("PATCH", f"/users/{user}/servers/one", {"name": "two"})
    assert status == 200, answer
    assert notebook(user)["spec"]["server"] == "two"
    assert read_mark(admin.start(user, "two")) == f"belongs to {user}"
    assert name_of(notebook(user)) == name

    # The freed name is a server of its own.
    assert read_mark(admin.start(user, "one")) is None
    assert len(notebooks(user)) == 2
    for server in ("one", "two"):
        admin.stop(user, server)
        status, answer = admin.delete(user, server, remove=True)
        assert status == 204, answer
    until(lambda: not notebooks(user) and not claims(user), 30)
