"""A real Hub on this machine, the real service and real Pods."""

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import jupyterhub
import pytest

from hub import Hub, until

URL = os.environ["ELASTICHUB_URL"]
TOKEN = Path(os.environ["ELASTICHUB_TOKEN_FILE"]).read_text()
MAJOR = jupyterhub.version_info[0]

# The Hub's own groups decide what its users may have.
CONFIG = """
c.ElasticSpawner.send_groups = True
c.ElasticSpawner.cmd = ["/server"]
c.ElasticSpawner.args = []
c.JupyterHub.load_roles[0]["scopes"] += ["admin:groups"]
"""

_numbers = itertools.count(1)


class Administrator:
    """Somebody who works with a Hub's REST API."""

    def __init__(self, hub):
        self.hub = hub

    def log(self):
        """The end of the Hub's, without the questions of the tests."""
        lines = [line for line in self.hub.log.splitlines() if "200 GET /hub/api/" not in line]
        return "\n".join(lines[-40:])

    def person(self, word, *groups):
        """A new user of the Hub with a name that nobody in the cluster has had."""
        return self.user(f"{word}-{next(_numbers)}", *groups)

    def user(self, name, *groups):
        status, answer = self.hub.api("POST", f"/users/{quote(name)}")
        assert status == 201, answer
        for group in groups:
            self.hub.api("POST", f"/groups/{group}")  # or it is there
            members = {"users": [answer["name"]]}
            status, model = self.hub.api("POST", f"/groups/{group}/users", members)
            assert status == 200, model
        return answer["name"]

    def post(self, user, server="", options=None):
        return self.hub.api("POST", _server(user, server), self.hub.options(options or {}))

    def delete(self, user, server="", remove=False):
        return self.hub.api("DELETE", _server(user, server), {"remove": True} if remove else None)

    def start(self, user, server=""):
        """Until it is ready; the address of its pages."""
        status, answer = self.post(user, server)
        assert status in (201, 202), (user, server, status, answer)
        return self.ready(user, server)

    def ready(self, user, server="", seconds=60):
        model = until(lambda: self._ready(user, server), seconds, self.log)
        # The Hub does not write it down if it is killed during the start.
        return model["state"].get("url")

    def _ready(self, user, server):
        model = self.model(user, server)
        return model if model and model["ready"] else None

    def model(self, user, server=""):
        """What the Hub knows of a server, None when it knows of none that runs or starts."""
        model = self.hub.api("GET", f"/users/{quote(user, safe='')}")[1]["servers"].get(server)
        return model if model and (model["ready"] or model["pending"]) else None

    def stop(self, user, server=""):
        status, answer = self.delete(user, server)
        assert status in (202, 204), answer
        self.gone(user, server)

    def gone(self, user, server="", seconds=30):
        until(lambda: self.model(user, server) is None, seconds, self.log)

    def rename(self, user, name):
        status, answer = self.hub.api("PATCH", f"/users/{user}", {"name": name})
        assert status == 200, answer
        return name

    def remove(self, user):
        status, answer = self.hub.api("DELETE", f"/users/{user}")
        assert status == 204, answer


def _server(user, server):
    path = f"/users/{quote(user, safe='')}/server"
    return f"{path}s/{quote(server, safe='')}" if server else path


@pytest.fixture(scope="session")
def make_hub(tmp_path_factory):
    """make_hub(api_url, more) runs a Hub until the end of the session."""
    running = []

    def make(api_url=URL, more="", **settings):
        directory = tmp_path_factory.mktemp("hub")
        hub = Hub(directory, api_url, TOKEN, more=CONFIG + more, **settings)
        running.append(hub)
        hub.start()
        return Administrator(hub)

    yield make
    for hub in running:
        hub.kill()


@pytest.fixture(scope="session")
def admin(make_hub):
    return make_hub()


def at_once(function, arguments):
    """function(argument) of all at the same time, results in order."""
    with ThreadPoolExecutor(max_workers=max(1, len(arguments))) as pool:
        return list(pool.map(function, arguments))


def after(seconds, function, *arguments):
    time.sleep(seconds)
    return function(*arguments)
