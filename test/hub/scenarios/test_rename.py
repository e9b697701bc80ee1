"""F3 to F6: whoever is renamed keeps server and files, and nobody else gets them."""

import time

import pytest
from cluster import (
    HUB_USER,
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


def home_of(admin, word):
    """A user with a stopped server whose home is marked."""
    user = admin.person(word, HOMES)
    mark(admin.start(user), user)
    admin.stop(user)
    return user


def hub_user(admin, user):
    model = admin.hub.api("GET", f"/users/{user}")[1]
    return model["created"]


def test_objects_say_whose_they_are(admin):
    user = admin.person("owner", HOMES)
    admin.start(user)
    notes = {item["metadata"]["annotations"].get(HUB_USER) for item in [notebook(user), *claims(user)]}
    assert len(notes) == 1, notes
    identity, _, created = notes.pop().partition("@")
    assert identity.isdigit()
    assert created[:19] == hub_user(admin, user)[:19]
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
    assert notebooks(old) == [] and claims(old) == []
    assert [uid(c) for c in claims(new)] == [uid(claim)]
    admin.stop(new)

    back = admin.rename(new, old)
    assert read_mark(admin.start(back)) == f"belongs to {old}"
    admin.stop(back)
    admin.remove(back)
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
    assert notebook(newcomer)["metadata"]["annotations"][HUB_USER] != notebook(renamed)["metadata"]["annotations"][HUB_USER]

    # Neither takes the other's away.
    admin.stop(newcomer)
    assert admin.model(renamed)["ready"] is True
    admin.remove(newcomer)
    admin.stop(renamed)
    assert read_mark(admin.start(renamed)) == f"belongs to {old}"
    admin.stop(renamed)


def test_f5_a_user_who_is_made_anew_has_an_empty_home(admin):
    """Deleted in the Hub while the service was away: the home was left behind."""
    user = home_of(admin, "f5")
    kubectl("scale", "deployment/elastichub", "--replicas=0")
    kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=service", "--timeout=60s")
    try:
        admin.remove(user)
    finally:
        kubectl("scale", "deployment/elastichub", "--replicas=1")
        kubectl("rollout", "status", "deployment/elastichub", "--timeout=60s")
    again = admin.user(user, HOMES)
    status, answer = until(lambda: _settled(admin.post(again)), 30)
    if status == 409:
        assert again in answer["message"], answer
    else:
        assert read_mark(admin.ready(again)) is None
        admin.stop(again)


def _settled(answer):
    return answer if answer[0] != 503 else None


def test_f5_a_hub_made_anew_does_not_guess(admin, make_hub):
    """Its ids start again; the home is handed over by the command that the refusal names."""
    user = home_of(admin, "f5")
    another = make_hub()
    another.user(user, HOMES)
    status, answer = another.post(user)
    assert status == 409, answer
    assert "kubectl" in answer["message"], answer
    assert another.model(user) is None

    command = answer["message"][answer["message"].index("kubectl ") :].split(". ")[0].strip("`.").split()
    kubectl(*command[1:])
    assert read_mark(another.start(user)) == f"belongs to {user}"
    another.stop(user)
    another.hub.kill()


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
