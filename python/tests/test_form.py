"""The form in the spawn page of a real JupyterHub, as a browser without scripts sees it."""

import http.client
import threading
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from conftest import TOKEN
from hub import Hub, until


@pytest.fixture
def hub(service, tmp_path):
    running = Hub(tmp_path, service.url, TOKEN)
    running.start()
    yield running
    running.kill()


class Page(HTMLParser):
    """What a browser would send, and what the page says."""

    def __init__(self, status, text):
        super().__init__()
        self.status, self.text = status, text
        self.action, self.fields, self.lang = "", {}, ""
        self.location = ""
        self.alerts = []
        self._alert = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag == "form" and a.get("id") == "spawn_form":
            self.action = a["action"]
        if a.get("id") == "eh-form":
            self.lang = a["lang"]
        if tag == "input" and a.get("name") and ("checked" in a or a["type"] != "radio"):
            self.fields[a["name"]] = a.get("value", "")
        if {"alert", "alert-danger"} <= set(a.get("class", "").split()):
            self._alert = ""

    def handle_data(self, data):
        if self._alert is not None:
            self._alert += data

    def handle_endtag(self, tag):
        if self._alert is not None and tag in ("p", "div"):
            self.alerts.append(" ".join(self._alert.split()))
            self._alert = None


class Browser:
    """One connection, kept, with cookies."""

    def __init__(self, hub, user, languages=""):
        self._connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=60)
        self._languages = languages
        self._cookies = {}
        self.get("/hub/login")
        self.post(
            "/hub/login",
            {"username": user, "password": "x", "_xsrf": self._cookies["_xsrf"]},
        )

    def get(self, path):
        return self._page("GET", path, None)

    def post(self, path, fields):
        return self._page("POST", path, urlencode(fields, doseq=True))

    def _page(self, method, path, body):
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}
        if self._languages:
            headers["Accept-Language"] = self._languages
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        for line in answer.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self._cookies[name] = morsel.value
        page = Page(answer.status, text)
        page.location = answer.headers.get("Location", "")
        return page


def test_a_refused_form_returns_as_it_was_entered_in_its_language(hub):
    browser = Browser(hub, "researcher", "ru-RU,ru;q=0.9,en;q=0.5")
    page = browser.get("/hub/spawn/researcher")
    assert (page.status, page.lang) == (200, "ru"), page.text
    assert page.fields == {"lang": "ru", "cpu": "2", "memory": "2", "image": "stable"}

    page.fields |= {"cpu": "64", "image": "next"}
    refused = browser.post(page.action, page.fields)
    assert refused.status == 422
    assert refused.fields == page.fields
    assert refused.lang == "ru"
    assert len(refused.alerts) == 1, "the form says it, and the Hub not once more"
    assert "Максимум для вашей группы: 4 ядра." in refused.alerts[0]
    assert hub.server("researcher") is None

    # The same connection gets no form of an earlier request.
    again = browser.get("/hub/spawn/researcher")
    assert (again.status, again.fields["cpu"], again.alerts) == (200, "2", [])

    refused.fields["cpu"] = "3"
    assert browser.post(refused.action, refused.fields).status == 302
    server = until(lambda: hub.server("researcher"), 60, lambda: hub.log)
    options = {"cpu": "3", "memory": "2Gi", "image": "next"}
    assert server["user_options"] == {**options, "profile": "3 CPU, 2Gi, next"}


def test_a_refused_form_of_a_named_server_is_that_servers(hub):
    browser = Browser(hub, "researcher")
    page = browser.get("/hub/spawn/researcher/second")
    assert "server “second”" in page.text
    refused = browser.post(page.action, page.fields | {"memory": "999"})
    assert (refused.status, refused.fields["memory"]) == (422, "999"), refused.text
    assert "server “second”" in refused.text
    assert "Your group may have at most 8 GiB." in refused.alerts[0]


@pytest.mark.parametrize("server", ["", "/second"])
def test_a_link_of_anybodys_starts_nothing_and_fills_the_form(hub, server):
    """A page anywhere may send the browser there."""
    browser = Browser(hub, "researcher", "ru")
    at = "/hub/spawn/researcher" + server
    for query, fields in (
        ("cpu=3&image=next", {"cpu": "3", "memory": "2", "image": "next"}),
        ("lang=en", {"cpu": "2", "memory": "2", "image": "stable"}),
        ("utm=1&memory=4&_xsrf=x", {"cpu": "2", "memory": "4", "image": "stable"}),
        ("cpu=%22%3E%3Cscript%3E", {"cpu": "", "memory": "2", "image": "stable"}),
        ("cpu=3&next=https://example.org/", {"cpu": "3", "memory": "2", "image": "stable"}),
    ):
        page = browser.get(f"{at}?{query}")
        assert page.status == 200, query
        assert page.fields | {"lang": "ru"} == {"lang": "ru", **fields} or "%22" in query, query
        assert "<script>" not in page.text.partition('name="cpu"')[2][:200]
        assert hub.server("researcher", server[1:]) is None, query
    page = browser.get(f"{at}?cpu=3&image=next")
    assert browser.post(page.action, page.fields).status == 302
    started = until(lambda: hub.server("researcher", server[1:]), 60, lambda: hub.log)
    options = {"cpu": "3", "memory": "2Gi", "image": "next"}
    assert started["user_options"] == {**options, "profile": "3 CPU, 2Gi, next"}


def test_two_people_get_their_own_faults(hub):
    """The Hub asks one spawner for the form of another; nothing may cross."""
    pages = {}

    def send(user, cpu):
        browser = Browser(hub, user)
        page = browser.get(f"/hub/spawn/{user}")
        for _ in range(10):
            refused = browser.post(page.action, page.fields | {"cpu": cpu})
            pages.setdefault(user, []).append((refused.status, refused.fields["cpu"]))

    people = [("researcher", "77"), ("analyst", "88")]
    threads = [threading.Thread(target=send, args=p) for p in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user, cpu in people:
        assert pages[user] == [(422, cpu)] * 10


def test_a_link_that_asks_too_much_shows_the_form_and_why(hub):
    browser = Browser(hub, "analyst", "zh-CN")
    page = browser.get("/hub/spawn/analyst?cpu=99&memory=1&image=stable")
    assert page.status == 200, "the form, as a link fills it in"
    assert len(page.alerts) == 1
    assert (page.lang, page.fields["cpu"]) == ("zh-Hans", "99")
    assert hub.server("analyst") is None


def test_what_no_browser_sends(hub):
    browser = Browser(hub, "researcher")
    page = browser.get("/hub/spawn/researcher")
    good = {"cpu": "1", "memory": "1", "image": "stable"}
    for fields in (
        good | {"cpu": ["1", "1"]},
        good | {"cpu": "-1"},
        good | {"cpu": "1e1"},
        good | {"cpu": "NaN"},
        good | {"memory": "９"},
        good | {"memory": "0x10"},
        good | {"memory": "9" * 10000},
        good | {"memory": ""},
        good | {"image": "Stable"},
        good | {"image": "ѕtable"},
        good | {"image": "stable\0"},
        good | {"image": "<script>alert(1)</script>"},
        good | {"preset": "large"},
        good | {"gpu": "8"},
        good | {"lang": "ru", "Lang": "ru"},
        {"cpu": "1"},
        {"x" * 5000: "1"},
        {f"f{i}": "1" for i in range(500)},
    ):
        refused = browser.post(page.action, fields)
        assert refused.status == 422, fields
        assert len(refused.alerts) == 1, refused.text
        assert refused.alerts[0]
        assert "<script>alert" not in refused.text
        assert hub.server("researcher") is None
    assert hub.process.poll() is None, hub.log


SLOW_REFRESH = """
import asyncio

from jupyterhub.auth import DummyAuthenticator

class SlowRefresh(DummyAuthenticator):
    async def refresh_user(self, user, handler=None, **kwargs):
        await asyncio.sleep(0.3)
        return True

c.JupyterHub.authenticator_class = SlowRefresh
c.Authenticator.refresh_pre_spawn = True
"""


@pytest.mark.parametrize("more", ["", SLOW_REFRESH], ids=["", "slow refresh"])
def test_of_two_submits_at_once_one_counts(service, tmp_path, more):
    hub = Hub(tmp_path, service.url, TOKEN, more=more)
    hub.start()
    try:
        submit_twice_at_once(hub)
    finally:
        hub.kill()


def submit_twice_at_once(hub):
    browsers = [Browser(hub, "researcher") for _ in range(2)]
    pages = [b.get("/hub/spawn/researcher") for b in browsers]
    answers = [None, None]

    def send(i):
        fields = pages[i].fields | {"cpu": str(i + 1)}
        answers[i] = browsers[i].post(pages[i].action, fields)

    threads = [threading.Thread(target=send, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 302 in [answer.status for answer in answers]
    for answer in answers:
        if answer.status == 400:  # it came when the first one had begun already: the Hub's own word
            assert "researcher is pending spawn" in answer.text
            continue
        assert answer.status == 302, answer.text
        assert answer.location.startswith("/hub/spawn-pending/researcher")
    server = until(lambda: hub.server("researcher"), 60, lambda: hub.log)
    assert server["user_options"]["cpu"] in ("1", "2")
    until(lambda: (hub.server("researcher") or {}).get("ready"), 120, lambda: hub.log)
    assert hub.process.poll() is None, hub.log


def test_the_language_can_be_set(service, tmp_path):
    hub = Hub(tmp_path, service.url, TOKEN)
    with open(tmp_path / "jupyterhub_config.py", "a") as config:
        config.write('c.ElasticSpawner.language = "zh"\n')
    hub.start()
    try:
        page = Browser(hub, "analyst", "ru").get("/hub/spawn/analyst")
        assert page.lang == "zh-Hans"
        refused = Browser(hub, "guest", "ru").get("/hub/spawn/guest")
        assert "没有策略" in refused.alerts[0]
        assert "cpu" not in refused.fields
    finally:
        hub.kill()
