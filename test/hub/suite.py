"""A pytest plugin that puts JupyterHub's own tests on ElasticSpawner.

The tests' mock spawners, made for local processes, become subclasses of ElasticSpawner
which start Pods through the real service. Those that replace start, stop or poll are Pods
that listen late, never, or end at once. not_applicable.yaml says what cannot apply.
"""

import os
import subprocess
from pathlib import Path
from typing import ClassVar

import jupyterhub
import jupyterhub.spawner
import pytest
import yaml
from traitlets import default

from elastichub import ElasticSpawner

VERSION = jupyterhub.__version__
# What the service knows; the tests make other options up.
OPTIONS = {"cpu", "memory", "image"}


class Service:
    """The client of the service, kept from what these tests make up."""

    def __init__(self, service, spawner):
        self._service = service
        self._spawner = spawner

    def __getattr__(self, name):
        return getattr(self._service, name)

    async def check(self, key, options, *more):
        """The Hub keeps what the test chose, without the service's defaults."""
        await self._service.check(key, _known(options), *more)
        return options

    async def check_stored(self, key, options, *more):
        """As check."""
        _, dropped = await self._service.check_stored(key, _known(options), *more)
        return options, dropped

    async def start(self, key, request, *more):
        command, choice = self._spawner.in_pod()
        options = {**choice, **_known(request["options"])}
        request = {**request, "options": options, "cmd": command}
        answer = await self._service.start(key, request, *more)
        return {**answer, "options": {}}  # the tests know what they chose, and nothing beside


def _known(options):
    return {name: value for name, value in options.items() if name in OPTIONS}


class SuiteSpawner(ElasticSpawner):
    """The base of the mock spawners, in the place of SimpleLocalProcessSpawner."""

    server_flags = ()

    @default("api_url")
    def _url_of_the_service(self):
        return os.environ["ELASTICHUB_URL"]

    @default("service_token_file")
    def _token_of_the_service(self):
        return os.environ["ELASTICHUB_TOKEN_FILE"]

    @default("send_groups")
    def _anybody(self):
        return True

    @default("options_form")
    def _no_form(self):
        return ""

    @default("options_from_form")
    def _as_it_comes(self):
        return lambda form: form

    async def options_from_query(self, query):
        return self.options_from_form(query)

    @property
    def _service(self):
        return Service(super()._service, self)

    def in_pod(self):
        """(command, options) instead of a Python of this machine."""
        if "jupyterhub.singleuser" in self.cmd:
            return ["jupyterhub-singleuser"], {"image": "notebook", "memory": "512Mi"}
        return ["/server", *self.server_flags], {"image": "server"}

    def user_env(self, env):
        return env

    def get_env(self):
        return self.user_env(super().get_env())

    # The tests look for a pid in the state and for nothing else.
    _states: ClassVar = {}

    def get_state(self):
        state = super().get_state()
        if not state:
            return state
        self._states[self.orm_spawner.id] = state
        return {"pid": 0}

    def load_state(self, state):
        super().load_state(self._states.get(self.orm_spawner.id, {}) if state else state)


_local = jupyterhub.spawner.SimpleLocalProcessSpawner
jupyterhub.spawner.SimpleLocalProcessSpawner = SuiteSpawner
try:
    from jupyterhub.tests import mocking
finally:
    jupyterhub.spawner.SimpleLocalProcessSpawner = _local


class Slow(mocking.MockSpawner):
    """Listens late and takes its time to end. A test may say when it begins."""

    delay = 2
    _start_future = None

    @property
    def server_flags(self):
        return ("-listen-after", f"{self.delay}s", "-linger", f"{self.delay}s")

    async def start(self):
        if self._start_future is not None:
            await self._start_future
        return await super().start()


class Never(mocking.MockSpawner):
    """Never listens."""

    server_flags = ("-never-listen",)

    @default("start_timeout")
    def _short(self):
        return 2


class Bad(mocking.MockSpawner):
    """Ends at once."""

    server_flags = ("-fail", "I don't work!")


class SlowBad(mocking.MockSpawner):
    """Ends after a moment."""

    server_flags = ("-listen-after", "500ms", "-fail", "I don't work!")


mocking.SlowSpawner = Slow
mocking.NeverSpawner = Never
mocking.BadSpawner = Bad
mocking.SlowBadSpawner = SlowBad


class Hub(mocking.MockHub):
    """Pods reach it."""

    @default("hub_ip")
    def _everywhere(self):
        return "0.0.0.0"

    @default("hub_connect_ip")
    def _from_pods(self):
        return os.environ["HUB_ADDRESS"]


mocking.MockHub = Hub


@pytest.fixture(scope="module", autouse=True)
def empty_namespace():
    """Every module has a Hub with a database of its own, and a namespace belongs to one Hub."""
    yield
    subprocess.run(
        [
            os.environ["KUBECTL"],
            "--namespace",
            os.environ["HUB_NAMESPACE"],
            *("delete", "jupyternotebooks", "--all"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


# --- what does not apply


def _not_applicable():
    """{module::test: reason} of this release."""
    text = (Path(__file__).parent / "not_applicable.yaml").read_text()
    releases = yaml.safe_load(text)
    return {**releases["all"], **releases.get(VERSION.split(".")[0], {})}


def _names(item):
    """module::test, with and without parameters."""
    module = item.module.__name__.rpartition(".")[2]
    return {f"{module}::{item.name}", f"{module}::{item.originalname}"}


class Selection:
    def __init__(self):
        self.left_out = 0

    def pytest_collection_modifyitems(self, config, items):
        listed = _not_applicable()
        modules = {item.module.__name__.rpartition(".")[2] for item in items}
        found = set()
        left_out = []
        for item in items:
            for name in _names(item) & listed.keys():
                found.add(name)
                left_out.append(item)
        gone = {name for name in listed.keys() - found if name.split("::")[0] in modules}
        if gone and not config.option.keyword:
            raise pytest.UsageError(
                f"no such test in JupyterHub {VERSION}: {', '.join(sorted(gone))}"
            )
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        self.left_out = len(left_out)

    def pytest_terminal_summary(self, terminalreporter):
        stats = {kind: len(found) for kind, found in terminalreporter.stats.items()}
        failed = stats.get("failed", 0) + stats.get("error", 0)
        for report in terminalreporter.stats.get("rerun", []):
            terminalreporter.line(f"failed once, and was run again: {report.nodeid}")
        # run.sh sums these.
        terminalreporter.line(
            f"counted: {stats.get('passed', 0)} passed, {failed} failed, {self.left_out} not applicable"
        )


def pytest_configure(config):
    config.pluginmanager.register(Selection())
