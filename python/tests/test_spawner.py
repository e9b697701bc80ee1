"""The spawner against a service that says what the test tells it to."""

import asyncio
import json
import ssl
import subprocess
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from certipy import Certipy
from cryptography import x509
from jupyterhub import orm
from jupyterhub.spawner import Spawner as HubSpawner
from tornado import web
from traitlets.config import Config

import elastichub.service
import elastichub.spawner
from double import PROBLEMS, answer, double, recorded
from elastichub import ElasticSpawner
from elastichub.service import EventParser
from elastichub.spawner import StartLog


class Spawner(ElasticSpawner):
    """As the Hub's database and environment would make it."""

    def get_env(self):
        return {"JUPYTERHUB_API_TOKEN": "secret", "NUMBER": 5, **self.environment}


def spawner_at(url, user="researcher"):
    s = Spawner(api_url=url, service_token="t")
    s.user = SimpleNamespace(name=user, url="/user/x", escaped_name=user)
    s.handler = SimpleNamespace(
        settings={},
        request=SimpleNamespace(
            headers={"Accept-Language": "de"}, method="GET", query_arguments={}
        ),
    )
    return s


def in_database(s):
    """With a database of the Hub's that holds nothing."""
    s.user.db = orm.new_session_factory("sqlite:///:memory:")()
    return s


def asks(s, body):
    """The handler of a request to start a server, with this body."""
    s.handler.get_json_body = lambda: body
    return s


def state(start, phase="Ready", **more):
    return {
        "user": "researcher",
        "server": "",
        "start": start,
        "phase": phase,
        "ready": phase == "Ready",
        "stopped": phase == "Stopped",
        **({"url": "http://nb:8888"} if phase == "Ready" else {}),
        **more,
    }


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(elastichub.service, "SNAPSHOT_INTERVAL", 0.05)
    monkeypatch.setattr(elastichub.spawner, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(elastichub.spawner, "START_RETRY_SECONDS", 3)


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """A server's context with a certificate that nobody trusts."""
    made = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-keyout", made / "key", "-out", made / "cert", "-subj", "/CN=127.0.0.1"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "cert", made / "key")
    return context


# --- the form


async def test_form_comes_from_the_service_in_the_browsers_language():
    async with double() as d:
        d.will(form=(200, {"Content-Type": "text/html"}, "<b>form</b>"))
        s = spawner_at(d.url)
        assert await s.get_options_form() == "<b>form</b>"
        assert d.requests[0].uri.endswith("/form?server=&lang=de")
        s.handler = None  # as after a failed POST for a named server
        assert await s.get_options_form() == "<b>form</b>"
        assert d.requests[1].uri.endswith("/form?server=")


async def test_form_that_is_not_there_is_an_alert():
    async with double() as d:
        d.will(form="no policy")
        page = await spawner_at(d.url).get_options_form()
        assert 'role="alert"' in page and "policy" in page.lower()
    page = await spawner_at(d.url).get_options_form()
    assert 'role="alert"' in page and "cannot be reached" in page


async def test_form_of_a_hanging_service_is_an_alert_in_time(monkeypatch):
    monkeypatch.setattr(elastichub.service, "CHOICE_SECONDS", 0.5)
    hanging = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    began = time.monotonic()
    page = await spawner_at(f"http://127.0.0.1:{port}").get_options_form()
    assert "cannot be reached" in page
    assert time.monotonic() - began < 6
    hanging.close()


async def test_form_refusal_lists_faults_escaped():
    async with double() as d:
        d.will(options="form beyond the bounds")
        s = spawner_at(d.url)
        with pytest.raises(web.HTTPError) as raised:
            await s.run_options_from_form(
                {"cpu": ["99"], "notes_file": [SimpleNamespace(body=b"")]}
            )
        assert json.loads(d.requests[0].body) == {"form": {"cpu": ["99"]}}
    error = raised.value
    assert error.status_code == 422
    assert "cpu: At most 1" in error.jupyterhub_message
    assert "<strong>cpu</strong>: At most 1" in error.jupyterhub_html_message
    assert "&lt;b&gt;" in error.jupyterhub_html_message
    assert "<b>" not in error.jupyterhub_html_message


async def test_a_form_comes_back_once_to_the_request_that_sent_it():
    problem = {
        "type": "urn:elastichub:problem:invalid-options",
        "status": 422,
        "detail": "Some choices are not within what you may have.",
        "form": "<b>what was entered</b>",
    }
    plain = (200, {"Content-Type": "text/html"}, "<b>plain</b>")
    async with double() as d:
        d.will(options=answer(problem, 422), form=plain)
        s = spawner_at(d.url)

        async def post():
            """As SpawnHandler does."""
            try:
                await asyncio.ensure_future(s.run_options_from_form({"cpu": ["99"]}))
            except web.HTTPError as error:
                await asyncio.sleep(0)
                assert error.status_code == 422
                assert error.jupyterhub_message == error.jupyterhub_html_message == ""
                return await s.get_options_form()

        async def get():
            return await s.get_options_form()

        pages = await asyncio.gather(*(asyncio.ensure_future(f()) for f in (post, get, post)))
        assert pages == ["<b>what was entered</b>", "<b>plain</b>", "<b>what was entered</b>"]
        assert await s.get_options_form() == "<b>plain</b>"
        assert all(r.uri.endswith("/options?server=&form=true") for r in d.of("options"))


async def test_the_language_can_be_set():
    async with double() as d:
        d.will(form=(200, {"Content-Type": "text/html"}, ""))
        s = spawner_at(d.url)
        s.language = "ru"
        await s.get_options_form()
        assert d.requests[0].uri.endswith("/form?server=&lang=ru")


async def test_percent_signs_survive_the_way_to_the_user():
    problem = {
        "type": "urn:elastichub:problem:invalid-options",
        "status": 422,
        "detail": "100 % wrong %s",
    }
    async with double() as d:
        d.will(options=answer(problem, 422))
        with pytest.raises(web.HTTPError) as raised:
            await spawner_at(d.url).run_options_from_form({})
    assert raised.value.jupyterhub_message == "100 % wrong %s"
    assert "100 %" in str(raised.value)


@pytest.mark.parametrize(
    "query, link",
    [
        ({"cpu": ["2"], "utm": ["1"], "_xsrf": ["x"]}, {"cpu": ["2"]}),
        ({"cpu": ["99"], "memory": ["1", "2"]}, {"cpu": ["99"], "memory": ["1", "2"]}),
        ({"preset": ["Large"], "image": ["\ufffd"]}, {"image": ["\ufffd"], "preset": ["Large"]}),
        ({"lang": ["ru"]}, None),
        ({"_xsrf": ["x"]}, None),
    ],
)
async def test_a_link_fills_the_form_and_starts_nothing(query, link):
    async with double() as d:
        d.will(form=(200, {"Content-Type": "text/html"}, "<b>form</b>"))
        s = spawner_at(d.url)
        s.handler.request.method = "GET"
        s.handler.request.query_arguments = {
            name: [v.encode() for v in values] for name, values in query.items()
        }
        with pytest.raises(web.HTTPError) as raised:
            await s.options_from_query(query)
        assert raised.value.status_code == 200, "the form, and no error"
        assert raised.value.jupyterhub_message == ""
        assert d.requests == []
        assert await s.get_options_form() == "<b>form</b>"
        assert json.loads(d.requests[0].body or "{}") == ({"form": link} if link else {})
        s.handler.request.method = "POST"  # what is submitted says everything
        await s.get_options_form()
        assert not d.requests[1].body


# --- start


async def test_start_sends_everything_and_returns_the_url():
    async with double() as d:
        d.will(
            start="start",
            events="events of a start",
            state=lambda: answer(state(d.start)),
        )
        s = spawner_at(d.url)
        s.cmd, s.args, s.user_options = ["run"], ["--x"], {"cpu": "2"}
        viewer = asyncio.ensure_future(_all(s.progress()))
        await asyncio.sleep(0)  # it came before the start
        assert await s.start() == "http://nb:8888"
        assert json.loads(d.requests[0].body) == {
            "start": d.start,
            "options": {"cpu": "2"},
            "env": {"JUPYTERHUB_API_TOKEN": "secret", "NUMBER": "5"},
            "cmd": ["run"],
            "args": ["--x"],
        }
        assert s.get_state() == {
            "start": d.start,
            "url": "http://nb:8888",
            "user": "researcher",
            "server": "",
            "size": "2 CPU, 2Gi, next",
        }
        events = await viewer
        assert [e["message"] for e in events] == [
            "Server requested.",
            "The server answers.",
        ]
        assert [e["progress"] for e in events] == [10, 99]
        assert await _all(s.progress()) == events, "for every viewer"
        assert len(d.of("events")) == 1


async def _all(generator):
    return [item async for item in generator]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """(directory, bundle) of a Hub with internal_ssl."""
    directory = tmp_path_factory.mktemp("internal-ssl")
    bundles = Certipy(store_dir=str(directory)).trust_from_graph({"notebooks-ca": ["hub-ca"]})
    return str(directory), bundles["notebooks-ca"]


def with_internal_ssl(s, authorities):
    s.internal_ssl = True
    s.internal_certs_location, bundle = authorities
    s.internal_trust_bundles = {"notebooks-ca": bundle}
    s.trusted_alt_names = ["DNS:hub"]
    return s


async def test_internal_ssl_sends_a_certificate_for_the_host_that_the_service_tells(authorities):
    async with double() as d:
        moved = answer({"host": "jupyter-x.hub.svc"})
        again = answer({"host": "jupyter-x---0123.hub.svc"})
        d.will(
            host=[moved, again],
            start=["start with the certificate of another host", lambda: answer(state(d.start, "Starting"))],
            events="events of a start",
            state=lambda: answer(state(d.start)),
        )
        s = with_internal_ssl(spawner_at(d.url), authorities)
        assert await s.move_certs(await s.create_certs()) == {}
        await s.start()
        sent = [json.loads(request.body) for request in d.of("start")]
        assert sent[0]["start"] == sent[1]["start"]
        names = [
            x509.load_pem_x509_certificate(body["ssl"]["cert"].encode())
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value.get_values_for_type(x509.DNSName)
            for body in sent
        ]
        assert names == [["jupyter-x.hub.svc", "localhost"], ["jupyter-x---0123.hub.svc", "localhost"]]
        assert sent[0]["ssl"]["ca"] == Path(authorities[1]).read_text()
        assert not any(name.startswith("JUPYTERHUB_SSL") for name in sent[0]["env"])


async def test_internal_ssl_says_what_is_in_its_way(authorities):
    async with double() as d:
        d.will(host=answer({"type": "urn:elastichub:problem:no-route", "status": 404}, 404))
        s = with_internal_ssl(spawner_at(d.url), authorities)
        with pytest.raises(web.HTTPError) as raised:
            await s.start()
        assert raised.value.status_code == 400
        assert "does not support c.JupyterHub.internal_ssl" in raised.value.jupyterhub_message
        d.will(host=answer({"host": "jupyter-x.hub.svc"}))
        s.ssl_alt_names = ["jupyter.example.org"]
        with pytest.raises(web.HTTPError) as raised:
            await s.start()
        assert "c.Spawner.ssl_alt_names" in raised.value.jupyterhub_message
        assert not d.of("start")


async def test_the_size_is_shown_while_the_server_runs_and_is_no_option():
    async with double() as d:
        options = {"cpu": "2", "memory": "2Gi", "image": "next"}
        begun = lambda: answer(state(d.start, "Starting", options=options))  # noqa: E731
        d.will(start=begun, events="events of a start", state=lambda: answer(state(d.start)))
        s = spawner_at(d.url)
        s.user_options = {"cpu": "2"}
        await s.start()
        shown = {"cpu": "2", "profile": "2 CPU, 2Gi, next"}
        assert s.user_options == shown and "profile" not in str(d.of("start")[0].body)
        again = spawner_at(d.url)
        again.user_options = {"cpu": "2"}
        again.load_state(s.get_state())
        assert again.user_options == shown
        again.clear_state()
        assert again.user_options == {"cpu": "2"}
        again.user_options = {"profile": "somebody's own"}
        again.clear_state()
        assert again.user_options == {"profile": "somebody's own"}, "for the service to refuse"


@pytest.mark.parametrize("name, display, sent", [
    ("one", "My own ✓ server", "My own ✓ server"), ("one", "one", None), ("", "x", None), ("one", None, None)
])  # fmt: skip
async def test_what_a_named_server_is_called_is_told(monkeypatch, name, display, sent):
    async with double() as d:
        d.will(start="start", events="events of a start", state=lambda: answer(state(d.start)))
        monkeypatch.setattr(Spawner, "name", name, raising=False)
        monkeypatch.setattr(Spawner, "display_name", display, raising=False)
        await spawner_at(d.url).start()
        given = d.of("start")[0].arguments.get("display_name")
        assert given == (sent and [sent.encode()])


async def test_bind_address_is_the_pods():
    s = ElasticSpawner(api_url="http://x", service_token="t")
    assert (s.ip, s.port, s.env_keep) == ("0.0.0.0", 8888, [])


async def test_start_is_repeated_with_the_same_id_while_the_service_restarts(monkeypatch):
    monkeypatch.setattr(elastichub.spawner, "START_RETRY_SECONDS", 30)  # it is not for long
    async with double() as d:
        d.will(
            start=["all servers, not known yet", (502, {}, ""), "start"],
            events="events of a start",
            state=lambda: answer(state(d.start)),
        )
        await spawner_at(d.url).start()
        ids = [json.loads(r.body)["start"] for r in d.of("start")]
        assert len(ids) == 3 and len(set(ids)) == 1


@pytest.mark.parametrize("kind", ["deadline", "cluster-busy"])
@pytest.mark.parametrize("patience, starts", [(30, True), (-1, False)])
async def test_a_start_that_finds_all_busy_is_repeated_for_longer(monkeypatch, kind, patience, starts):
    monkeypatch.setattr(elastichub.spawner, "START_RETRY_SECONDS", -1)
    monkeypatch.setattr(elastichub.spawner, "START_BUSY_SECONDS", patience)
    busy = answer({"type": f"urn:elastichub:problem:{kind}", "status": 503, "transient": True}, 503)
    async with double() as d:
        d.will(
            start=[busy, busy, "start"],
            stop="stop of no server",
            events="events of a start",
            state=lambda: answer(state(d.start)),
        )
        s = spawner_at(d.url)
        if starts:
            await s.start()
        else:
            with pytest.raises(web.HTTPError):
                await s.start()
        assert len(d.of("start")) == (3 if starts else 1)


async def test_a_start_has_one_id_in_the_logs_of_hub_and_service(caplog):
    caplog.set_level("INFO", "traitlets")
    async with double() as d:
        d.will(
            start=[(503, {}, ""), "start"],
            events="events of a start",
            state=lambda: answer(state(d.start)),
            stop=(204, {}, ""),
            servers=answer({"servers": []}),
        )
        s = spawner_at(d.url)
        given = f"00-{'4b' * 16}-{'00f1' * 4}-01"
        s.handler.request.headers["traceparent"] = given
        await s.start()
        await s.poll()
        d.will(state=answer(state(d.start, "Stopped")))
        await s.stop()
        sent = {k: {r.headers["X-Request-Id"] for r in d.of(k)} for k in ("start", "events", "state", "stop")}
        assert sent == {key: {d.start} for key in sent}
        assert d.of("servers")[0].headers["X-Request-Id"] not in ("", d.start)
        assert [r.headers.get("traceparent") for r in d.of("start")] == [given, given]
        lines = [r.getMessage() for r in caplog.records if "researcher (" in r.getMessage()]
        assert len(lines) > 1 and all(f"(request {d.start})" in line for line in lines), lines
        s.handler.request.headers["traceparent"] = "00-evil"
        d.will(state=lambda: answer(state(d.start)))
        await s.start()
        assert d.of("start")[-1].headers.get("traceparent") is None


async def test_a_service_that_is_down_is_told_with_the_requests_id():
    s = spawner_at("http://127.0.0.1:1")
    with pytest.raises(elastichub.service.ServiceDown, match=r"\(request [0-9a-f]{32}\)"):
        await s._service.remove(s._key)


async def test_broken_streams_resume_and_polling_carries_on():
    one = 'id: 1\nevent: progress\ndata: {"progress": 10, "message": "one"}\n\n'
    two = 'id: 2\nevent: progress\ndata: {"progress": 20, "message": "two"}\n\n'
    sse = {"Content-Type": "text/event-stream"}
    async with double() as d:
        d.will(
            start="start",
            events=[(200, sse, one), (503, {}, ""), (200, sse, one + two)],
            state=[
                lambda: answer(state(d.start, "Starting")),
                (503, {}, ""),
                lambda: answer(state(d.start)),
            ],
        )
        s = spawner_at(d.url)
        assert await s.start() == "http://nb:8888"
        ids = [r.headers.get("Last-Event-ID") for r in d.of("events")]
        assert ids == [None, "1", "1"]
        # Repeated by a service that does not resume: shown once all the same.
        assert [e["message"] for e in await _all(s.progress())] == ["one", "two"]


async def test_a_failed_start_says_why_and_is_taken_away():
    async with double() as d:
        d.will(
            start="start",
            events="events of a failed start",
            state=lambda: answer(state(d.start, "Failed", message="No <such> image.")),
            stop="stop",
        )
        s = spawner_at(d.url)
        with pytest.raises(web.HTTPError) as raised:
            await s.start()
        assert raised.value.status_code == 500
        assert raised.value.jupyterhub_message == "No <such> image."
        assert raised.value.jupyterhub_html_message == "<p>No &lt;such&gt; image.</p>"
        assert len(d.of("stop")) == 1
        assert await s.poll() == 1, "the Hub need not stop it, nor wait for that"
        assert (await _all(s.progress()))[-1]["message"] == "The image does not exist."


async def test_a_server_removed_while_it_starts_is_a_failure():
    async with double() as d:
        d.will(
            start="start",
            events="state of no server",
            state="state of no server",
            stop="stop of no server",
        )
        with pytest.raises(web.HTTPError) as raised:
            await spawner_at(d.url).start()
        assert "removed" in raised.value.jupyterhub_message


@pytest.mark.parametrize("ends", [[], ["stop"]], ids=["by itself", "by the Hub"])
async def test_a_stop_does_not_overtake_the_start_that_it_ends(ends):
    """It would find nothing to stop, and the server would come up and stay."""
    order = []

    async def slowly():
        await asyncio.sleep(0.5)
        order.append("start")
        return recorded("start")

    def stopped():
        order.append("stop")
        return recorded("stop")

    async with double() as d:
        d.will(start=slowly, stop=stopped, state="state of no server")
        s = spawner_at(d.url)
        task = asyncio.ensure_future(s.start())
        while not d.of("start"):
            await asyncio.sleep(0.01)
        task.cancel()
        for end in ends:
            await getattr(s, end)()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert order[0] == "start" and set(order[1:]) == {"stop"}


async def test_a_cancelled_start_is_stopped_and_stays_cancelled():
    async with double() as d:
        d.will(
            start="start",
            events="events of a start",
            state=lambda: answer(state(d.start, "Starting")),
            stop="stop",
            servers=lambda: answer({"servers": [state(d.start, "Stopping")]}),
        )
        s = spawner_at(d.url)
        task = asyncio.ensure_future(s.start())
        while not d.of("state"):
            await asyncio.sleep(0.01)
        assert await s.poll() is None and not d.of("servers"), "it starts"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(d.of("stop")) == 1
        assert await s.poll() is None, "the Hub goes on with stop, and waits"


@pytest.mark.parametrize(
    "exchange, kind",
    [
        ("start beyond the bounds", "invalid-options"),
        ("no policy", "no-policy"),
        ("sign-in too old", "sign-in-again"),
        ("policy with a fault", "invalid-policy"),
        ("form for an unknown user", "unknown-user"),
        ("start of a third server", "too-many-servers"),
        ("start that cannot be", "invalid-request"),
        ("directory down", "directory-unavailable"),
        ("no token", "unauthenticated"),
    ],
)
@pytest.mark.parametrize("refused_by", ["start", "check"])
async def test_refusals_have_a_status_and_count_for_nothing(
    exchange, kind, refused_by
):
    async with double() as d:
        d.will(start=exchange, check=exchange, stop="stop of no server")
        s = spawner_at(d.url)
        s.handler.settings["failure_count"] = 2
        with pytest.raises(web.HTTPError) as raised:
            if refused_by == "start":
                await s.start()
            else:
                asks(s, {"memory": "1Ti"})
                await s._run_apply_user_options({"memory": "1Ti"})
        status = PROBLEMS[kind]["hub"]["status"]
        assert raised.value.status_code == status
        assert raised.value.jupyterhub_message in str(raised.value)
        later = getattr(raised.value, "headers", None) or {}
        assert ("Retry-After" in later) == (status == 503)
        if refused_by == "start":
            assert await s.poll() == 1, "nothing was started"
        else:
            assert not d.of("start")
        # JupyterHub 5 will add one, 6 will not.
        counted = elastichub.spawner.SpawnException is None
        assert s.handler.settings["failure_count"] == (1 if counted else 2)


async def test_a_variable_that_is_no_text_is_refused_by_its_name():
    async with double() as d:
        s = spawner_at(d.url)
        s.environment = {
            "KEY": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "hidden"}}},
            "DEBUG": True,
            "EMPTY": None,
            "FINE": "text",
        }
        with pytest.raises(web.HTTPError) as raised:
            await s.start()
        assert raised.value.status_code == 400
        message = raised.value.jupyterhub_message
        for part in ("KEY: is a dict", "DEBUG: is a bool", "EMPTY: is a NoneType"):
            assert part in message
        assert "secretKeyRef" in message, "where it belongs"
        assert "FINE" not in message and "hidden" not in message
        assert not d.of("start") and not d.of("stop")
        assert await s.poll() == 1, "nothing was started"


@pytest.mark.parametrize("where", ["environment", "args"])
async def test_what_is_no_text_is_refused(where):
    """As os.environ has what is no UTF-8. JSON would make another value of it."""
    async with double() as d:
        s = asks(spawner_at(d.url), {})
        setattr(s, where, {"ODD": "a\udcff"} if where == "environment" else ["a\udcff"])
        d.will(check="no options mean the defaults")
        with pytest.raises(web.HTTPError) as raised:
            await s.start()
        named = "ODD" if where == "environment" else "cmd and args"
        assert f"{named}: is not UTF-8." in raised.value.jupyterhub_message
        assert raised.value.status_code == 400
        assert not d.of("start") and await s.poll() == 1


async def test_a_request_that_is_too_large_names_the_variable():
    problem = {"type": "urn:elastichub:problem:too-large", "detail": "At most 1 MiB."}
    async with double() as d:
        s = spawner_at(d.url)
        s.environment = {"SMALL": "1", "HUGE": "ü" * (1 << 19)}
        d.will(start=answer(problem, 413))
        with pytest.raises(web.HTTPError) as raised:
            await s.start()
        assert raised.value.status_code == 413
        said = raised.value.jupyterhub_message
        assert said == "At most 1 MiB. HUGE: has 1048576 bytes, more than any other variable."


def test_variables_may_refer_to_each_other():
    s = spawner_at("http://x")
    s.environment = {
        "WHERE": "/scratch/$(NUMBER)/$(NOBODY)",
        "TEXT": "$$(NUMBER) $NUMBER $(date +%s) $$",
    }
    s.get_env = lambda: {"NUMBER": 5, "FROM_THE_HUB": "$(NUMBER)", **s.environment}
    assert s._variables() == {
        "NUMBER": "5",
        "FROM_THE_HUB": "$(NUMBER)",
        "WHERE": "/scratch/5/$(NOBODY)",
        "TEXT": "$(NUMBER) $NUMBER $(date +%s) $$",
    }


async def test_checked_options_are_what_starts():
    async with double() as d:
        d.will(check="no options mean the defaults")
        s = spawner_at(d.url)
        await s._run_apply_user_options({})
        assert s.user_options == {"cpu": "2", "memory": "2Gi", "image": "stable"}


def handler_6(s, body):
    """JupyterHub 6 has a body with the options in it; without, they are those kept."""
    s.handler.get_server_json_body = lambda: {"display_name": "Mine", "user_options": body}


@pytest.mark.parametrize(
    "sent, now",
    [
        (lambda s: asks(s, {"cpu": "1"}), True),
        (lambda s: asks(s, {}), True),
        (lambda s: asks(s, None), False),
        (lambda s: handler_6(s, {"cpu": "1"}), True),
        (lambda s: handler_6(s, None), False),
        (lambda s: setattr(s.handler.request, "method", "POST"), True),
        (lambda s: None, False),
        (lambda s: setattr(s, "handler", None), False),
    ],
    ids=["5", "5 empty", "5 none", "6", "6 none", "form", "page", "nobody"],
)
async def test_what_is_asked_now_is_told_from_what_was_kept(sent, now):
    async with double() as d:
        d.will(check="no options mean the defaults")
        s = spawner_at(d.url)
        sent(s)
        await s._run_apply_user_options({"cpu": "1"})
        assert ("stored" in d.of("check")[0].query_arguments) == (not now)


async def test_kept_options_that_mean_nothing_give_way_and_are_told():
    async with double() as d:
        d.will(check="stored options that mean nothing")
        s = spawner_at(d.url)
        commits = []
        s.user.db = SimpleNamespace(commit=lambda: commits.append(1))
        kept = {"profile": "x", "cpu": "99", "memory": "1Gi"}
        s.orm_spawner = SimpleNamespace(user_options=kept, server=None, name="")
        s.clear_state()
        await s._run_apply_user_options(kept)
        assert s.user_options == {"cpu": "1", "memory": "1Gi", "image": "stable"}
        assert s.orm_spawner.user_options == {"memory": "1Gi"} and commits
        s._log.close()
        told = [event["message"] async for event in s.progress()]
        assert told == ["Options of an earlier start no longer count: cpu, profile."]


async def test_a_hub_that_checks_no_options_has_them_checked_at_the_start(monkeypatch):
    """JupyterHub before 5.3 knows no apply_user_options."""
    monkeypatch.delattr(HubSpawner, "_run_apply_user_options")
    async with double() as d:
        d.will(check="stored options that mean nothing", start="no token", stop="stop of no server")
        s = spawner_at(d.url)
        s.user_options = {"profile": "x"}
        with pytest.raises(web.HTTPError):
            await s.start()
        sent = json.loads(d.of("start")[0].body)["options"]
        assert sent == {"cpu": "1", "memory": "1Gi", "image": "stable"}


# --- poll


@pytest.mark.parametrize(
    "said",
    ["all servers, not known yet", "no token", (500, {}, ""), (200, {}, "{")],
)
async def test_unknown_is_running(said):
    async with double() as d:
        d.will(servers=said)
        assert await spawner_at(d.url).poll() is None
    assert await spawner_at(d.url).poll() is None, "nobody there"


@pytest.mark.parametrize(
    "phase, expected",
    [
        ("Pending", None),
        ("Starting", None),
        ("Ready", None),
        ("Stopping", None),
        ("Stopped", 0),
        ("Failed", 1),
        ("SomethingNew", None),
    ],
)
async def test_phases(phase, expected):
    async with double() as d:
        d.will(servers=answer({"servers": [state("s1", phase)]}))
        s = spawner_at(d.url)
        s.load_state({"start": "s1", "url": "http://nb:8888"})
        assert await s.poll() == expected
        s.load_state({})  # saved by nobody: a start was in flight
        assert await s.poll() == expected


async def test_absent_and_replaced_servers_have_ended(monkeypatch):
    monkeypatch.setattr(elastichub.spawner, "SETTLE_SECONDS", 2)
    async with double() as d:
        d.will(servers=answer({"servers": []}))
        assert await spawner_at(d.url).poll() == 0
    async with double() as d:
        d.will(servers=answer({"servers": [state("s2")]}))
        s = spawner_at(d.url)
        s.load_state({"start": "s1"})
        assert await s.poll() == 0
        s._changed_at = asyncio.get_running_loop().time()
        assert await s.poll() is None, "another replica may not know yet"
        await asyncio.sleep(2.1)
        assert await s.poll() == 0


async def test_a_new_spawner_knows_of_a_stop_that_is_over():
    async with double() as d:
        d.will(servers=answer({"servers": [state("s1")]}))
        s = spawner_at(d.url)
        s.load_state({"start": "s1"})
        assert await s.poll() is None
        d.will(stop="stop of no server", state="state of no server")
        d.will(servers=answer({"servers": [state("s1", "Stopped")]}))
        await s.stop()
        assert await spawner_at(d.url).poll() == 0, "what was read before the stop is not asked"


async def test_a_thousand_servers_are_one_request(monkeypatch):
    monkeypatch.setattr(elastichub.service, "SNAPSHOT_INTERVAL", 2)
    async with double() as d:
        d.will(servers=answer({"servers": [state("s1")]}))
        all_of_them = [spawner_at(d.url) for _ in range(1000)]
        assert set(await asyncio.gather(*(s.poll() for s in all_of_them))) == {None}
        assert len(d.requests) == 1
        await asyncio.sleep(2.1)
        await asyncio.gather(*(s.poll() for s in all_of_them))
        assert len(d.requests) == 2


class Watched:
    """A spawner as Service.watch knows one."""

    def __init__(self, doubtful=False):
        self.compared = []
        self.doubtful = doubtful

    def compare(self, servers):
        self.compared.append(servers)
        return self.doubtful


async def test_what_has_not_changed_is_not_compared_again(monkeypatch):
    monkeypatch.setattr(elastichub.service, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(elastichub.service, "SNAPSHOT_INTERVAL", 0.01)
    async with double() as d:
        same = answer({"servers": [state("s1")]})
        d.will(servers=same)
        service = spawner_at(d.url)._service
        sure, doubtful = Watched(), Watched(doubtful=True)
        service.watch(sure)
        service.watch(doubtful)
        await _until(lambda: len(doubtful.compared) > 3)
        assert len(sure.compared) == 1
        late = Watched()
        service.watch(late)
        await _until(lambda: late.compared)
        d.will(servers=answer({"servers": [state("s1", "Stopped")]}))
        await _until(lambda: len(sure.compared) == 2)
        assert sure.compared[1].of("s1")["phase"] == "Stopped"
        for one in (sure, doubtful, late):
            service.unwatch(one)
        await _until(lambda: not service._watches())


async def test_polls_ask_for_nothing_while_the_servers_are_watched(monkeypatch):
    monkeypatch.setattr(elastichub.service, "SNAPSHOT_INTERVAL", 0)
    async with double() as d:
        d.will(servers=answer({"servers": [state("s1")]}))
        s = spawner_at(d.url)
        s.load_state({"start": "s1"})
        s._service.watch(Watched())
        assert await s.poll() is None
        assert [await s.poll() for _ in range(9)] == [None] * 9
        assert len(d.requests) == 1
        s._changed_at = asyncio.get_running_loop().time()  # what was seen before says nothing
        assert await s.poll() is None
        assert len(d.requests) == 2


async def _until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# --- after a restart of the Hub


async def test_a_start_in_flight_is_adopted():
    async with double() as d:
        d.will(
            state=[answer(state("s1", "Starting")), answer(state("s1"))],
            events=(200, {}, ""),
        )
        s = spawner_at(d.url)
        s.load_state({})
        assert await s.get_url() == "http://nb:8888"
        assert s.get_state() == {
            "start": "s1",
            "url": "http://nb:8888",
            "user": "researcher",
            "server": "",
        }


async def test_get_url_never_raises(monkeypatch):
    monkeypatch.setattr(
        Spawner, "server", SimpleNamespace(url="http://database:1"), raising=False
    )
    async with double() as d:
        d.will(state=answer(state("s1", "Failed")), events=(200, {}, ""))
        assert await spawner_at(d.url).get_url() == "http://database:1"
    assert await spawner_at(d.url).get_url() == "http://database:1", "nobody there"


# --- stop


async def test_stop_waits_until_it_is_gone():
    async with double() as d:
        stopping, stopped = (answer(state("s1", p)) for p in ("Stopping", "Stopped"))
        d.will(stop="stop", state=[stopping, stopping, stopped])
        await spawner_at(d.url).stop()
        assert (len(d.of("stop")), len(d.of("state"))) == (1, 3)


async def test_many_stops_share_the_looks_that_a_hub_takes(monkeypatch):
    monkeypatch.setattr("elastichub.spawner.STOP_LOOKS", 10)
    loop = asyncio.get_running_loop()
    async with double() as d:
        stopping, stopped = (answer(state("s1", p)) for p in ("Stopping", "Stopped"))
        spawners = [spawner_at(d.url, f"user-{n}") for n in range(10)]
        d.will(stop="stop", state=[stopping] * 25 + [stopped])
        began = loop.time()
        await asyncio.gather(*(s.stop() for s in spawners))
        assert loop.time() - began > 2, "each is looked at at once, after 0.25 s, and then once a second"
        assert len(d.of("state")) == 35


async def test_stop_ends_what_somebody_starts_meanwhile():
    async with double() as d:
        started, stopping, stopped = (
            answer(state("s1", p)) for p in ("Starting", "Stopping", "Stopped")
        )
        d.will(stop="stop", state=[stopping, started, stopping, stopped])
        await spawner_at(d.url).stop()
        assert (len(d.of("stop")), len(d.of("state"))) == (2, 4)


async def test_stop_outlasts_an_outage_and_gives_up_in_time():
    async with double() as d:
        d.will(
            stop=[(502, {}, ""), "stop"],
            state=[(502, {}, ""), answer(state("s1", "Stopped"))],
        )
        await spawner_at(d.url).stop()
        assert (len(d.of("stop")), len(d.of("state"))) == (2, 2)
    async with double() as d:
        d.will(stop="stop", state=answer(state("s1")))
        s = in_database(spawner_at(d.url))
        s.stop_timeout = 1
        with pytest.raises(TimeoutError):
            await s.stop()


async def test_a_stop_that_was_given_up_is_asked_for_until_that_start_has_ended(monkeypatch):
    monkeypatch.setattr(elastichub.service, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(elastichub.service, "GIVEN_UP_SECONDS", 0)
    async with double() as d:
        runs = answer({"servers": [state("s1")]})
        d.will(
            stop=[(502, {}, "")] * 3 + ["stop"],
            servers=[(502, {}, ""), runs, runs, runs, answer({"servers": [state("s2")]})],
        )
        s = in_database(spawner_at(d.url))
        s.load_state({"start": "s1"})
        s.stop_timeout = 0
        with pytest.raises(TimeoutError):
            await s.stop()
        while s._service._given_up:
            await asyncio.sleep(0.05)
        assert [r.arguments["start"] for r in d.of("stop")] == [[b"s1"]] * 4


async def test_delete_forever_removes_the_volumes():
    async with double() as d:
        d.will(stop="remove")
        await spawner_at(d.url).delete_forever()
        assert d.requests[0].uri.endswith("/server?name=&forever=true")


# --- events


def test_events_are_read_whatever_the_chunks():
    text = (
        "retry: 1000\n\n: keep-alive\n\nid: 1\nevent: progress\n"
        'data: {"message": "é"}\n\nid: 2\ndata: nonsense\n\nid: 3\ndata:{"a":1}\n\nid: 4\n'
    ).encode()
    for size in range(1, len(text)):
        noted = []
        parser = EventParser(lambda *event: noted.append(event))
        for at in range(0, len(text), size):
            parser.feed(text[at : at + size])
        assert noted == [("1", "progress", {"message": "é"}), ("3", "message", {"a": 1})]


def test_an_endless_line_costs_bounded_memory():
    parser = EventParser(print)
    for _ in range(1000):
        parser.feed(b"x" * 10_000)
    assert len(parser.rest) <= elastichub.service.MAX_EVENT_BYTES


def test_configuration_faults_are_told():
    async def use():
        return ElasticSpawner(api_url="http://x")._service

    with pytest.raises(ValueError, match="service_token"):
        asyncio.run(use())


# --- names of options


def test_no_option_or_attribute_of_ours_is_one_of_the_hubs():
    """JupyterHub sets attributes of its Spawner at any time: ours must have other names."""
    hubs = HubSpawner()
    overridden = {"user_options"}  # on purpose: what it holds is the Hub's
    own = set(ElasticSpawner.class_own_traits()) - overridden
    assert "service_token" in own
    assert not own & set(hubs.traits())
    assert not own & set(dir(HubSpawner))
    ours = ElasticSpawner()
    attributes = set(vars(ours)) - set(vars(hubs))
    assert "_start_id" in attributes
    assert not attributes & set(dir(HubSpawner))


def test_a_token_of_a_former_configuration_is_taken_and_never_the_users():
    for section in ("ElasticSpawner", "Spawner"):
        config = Config()
        config[section].api_token = "the service's"
        s = ElasticSpawner(config=config, api_url="http://x")
        s.api_token = "the user's"
        expected = "the service's" if section == "ElasticSpawner" else ""
        assert s.service_token == expected, section
    s = ElasticSpawner(api_url="http://x", api_token_file="/a/file")
    assert s.service_token_file == "/a/file"


async def test_the_users_token_is_never_sent_to_the_service():
    async with double() as d:
        d.will(check="no options mean the defaults", start="start", stop="stop of no server")
        d.will(servers=answer({"servers": []}))
        s = spawner_at(d.url)
        s.api_token = "the user's"
        await s._run_apply_user_options({})
        await s.poll()
        assert len(d.requests) > 1
        for request in d.requests:
            assert request.headers["Authorization"] == "Bearer t"


# --- a service that cannot be used


async def refusal_of(s):
    """What a start says, and the seconds it took, as JupyterHub goes about it."""
    s.clear_state()
    began = time.monotonic()
    with pytest.raises(web.HTTPError) as raised:
        await s._run_apply_user_options({})
        await s.start()
    assert await s.poll() == 1, "nothing runs, so there is nothing to stop"
    return raised.value, time.monotonic() - began


@pytest.mark.parametrize(
    "fault, named",
    [
        ("down", "c.ElasticSpawner.api_url"),
        ("no such host", "c.ElasticSpawner.api_url"),
        ("another service", "c.ElasticSpawner.api_url"),
        ("wrong token", "c.ElasticSpawner.service_token"),
        ("no token file", "c.ElasticSpawner.service_token_file"),
        ("wrong certificate", "c.ElasticSpawner.ca_file"),
        ("no CA file", "c.ElasticSpawner.ca_file"),
        ("plain HTTP", "c.ElasticSpawner.ca_file"),
        ("closed at once", "c.ElasticSpawner.api_url"),
    ],
)
async def test_a_start_names_what_is_wrong_and_leaves_nothing(fault, named, tls, tmp_path):
    async def plain(_, writer):
        # As Go's server answers what is no HTTP.
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async def shut(_, writer):
        writer.close()

    other = await asyncio.start_server(shut if fault == "closed at once" else plain, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with double() as d, double(tls) as secure, other:
        d.will(check=(404, {"Content-Type": "text/html"}, "<h1>Not found</h1>"))
        url = {
            "down": "http://127.0.0.1:1",
            "no such host": "http://elastichub.invalid:8080",
            "wrong certificate": secure.url,
            "no CA file": secure.url,
            "plain HTTP": f"https://127.0.0.1:{port}",
            "closed at once": f"https://127.0.0.1:{port}",
        }.get(fault, d.url)
        s = spawner_at(url)
        if fault == "wrong token":
            problem = {"type": "urn:elastichub:problem:unauthenticated", "status": 401}
            d.will(check=answer(problem, 401))
        if fault == "no token file":
            s.service_token_file = str(tmp_path / "none")
        if fault == "no CA file":
            s.ca_file = str(tmp_path / "none")
        error, seconds = await refusal_of(s)
        assert error.status_code == 503
        assert named in error.jupyterhub_message
        assert seconds < 10, "JupyterHub would call it slow"
        assert not d.of("stop")


async def test_a_start_that_was_perhaps_delivered_is_taken_back(monkeypatch):
    monkeypatch.setattr(elastichub.spawner, "START_RETRY_SECONDS", 0)
    async with double() as d:
        d.will(start=(500, {}, ""), stop="stop of no server")
        s = spawner_at(d.url)
        s.clear_state()
        with pytest.raises(web.HTTPError):
            await s.start()
        assert len(d.of("stop")) == 1
        assert await s.poll() == 1


async def test_a_start_that_begins_after_it_was_given_up_is_ended(monkeypatch):
    monkeypatch.setattr(elastichub.spawner, "START_RETRY_SECONDS", 0)
    monkeypatch.setattr(elastichub.service, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(elastichub.service, "GIVEN_UP_SECONDS", 1)
    async with double() as d:
        late = [answer({"servers": []}), lambda: answer({"servers": [state(d.start, "Starting")]})]
        gone = lambda: answer({"servers": [state(d.start, "Stopped")]})  # noqa: E731
        d.will(
            start=(500, {}, ""),
            stop=["stop of no server", (502, {}, ""), "stop"],
            servers=[*late, late[1], gone],
        )
        s = spawner_at(d.url)
        with pytest.raises(web.HTTPError):
            await s.start()
        while s._service._given_up:
            await asyncio.sleep(0.05)
        assert [r.arguments["start"] for r in d.of("stop")] == [[d.start.encode()]] * 3


async def test_a_stop_names_the_start_that_it_ends():
    """A request of it that comes late does not end the next one."""
    async with double() as d:
        d.will(
            stop="stop",
            state=[answer(state("s2", "Starting")), answer(state("s2", "Stopped"))],
        )
        s = spawner_at(d.url)
        s.load_state({"start": "s1", "url": "http://nb:8888"})
        await s.stop()
        assert [r.arguments.get("start") for r in d.of("stop")] == [[b"s1"], [b"s2"]]


async def test_a_stop_that_is_refused_is_not_asked_for_until_the_end(monkeypatch):
    monkeypatch.setattr(elastichub.spawner, "STOP_REFUSED_SECONDS", 0.5)
    async with double() as d:
        problem = {"type": "urn:elastichub:problem:unauthenticated", "status": 401}
        d.will(stop=answer(problem, 401))
        s = in_database(spawner_at(d.url))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await s.stop()
        assert time.monotonic() - began < 9


# --- options in the Hub's database


@pytest.mark.parametrize("stored", [["cpu", "99"], b"hello", "cpu=99", 5, True])
async def test_whatever_the_database_holds_a_spawner_can_be_made(stored):
    commits = []
    row = SimpleNamespace(user_options=stored, state=None, server=None, name="")
    user = SimpleNamespace(
        name="researcher", db=SimpleNamespace(commit=lambda: commits.append(1))
    )
    s = ElasticSpawner(user_options=stored, user=user)
    s.orm_spawner = row
    assert s.user_options == {}
    # Sent now, JupyterHub 5 has stored it before anybody looks at it.
    s = spawner_at("http://127.0.0.1:1")
    s.user.db, s.orm_spawner = user.db, row
    asks(s, stored)
    s.user_options = stored
    with pytest.raises(web.HTTPError) as raised:
        await s._run_apply_user_options(s.user_options)
    assert raised.value.status_code == 422
    assert "JSON object" in raised.value.jupyterhub_message
    assert row.user_options is None and commits, "the next start asks for the defaults"


async def test_refused_options_are_not_the_next_starts():
    async with double() as d:
        d.will(check="options beyond the bounds")
        s = spawner_at(d.url)
        row = SimpleNamespace(user_options={"cpu": "99"}, server=None, name="")
        s.orm_spawner, s.user.db = row, SimpleNamespace(commit=lambda: None)
        asks(s, {"cpu": "99"})
        with pytest.raises(web.HTTPError):
            await s._run_apply_user_options({"cpu": "99"})
        assert row.user_options is None


# --- whose server it is


def person(number, created):
    return SimpleNamespace(id=number, created=created)


def test_a_person_is_an_id_and_a_time_in_whole_seconds():
    made = datetime(2026, 1, 2, 3, 4, 5)
    s = spawner_at("http://x")
    assert s._hub_user == "", "no row, as in tests of others"
    for microseconds, second in ((0, "05"), (499_999, "05"), (500_000, "06")):
        s.user.orm_user = person(17, made.replace(microsecond=microseconds))
        assert s._hub_user == f"17@2026-01-02T03:04:{second}Z"
    s.user.orm_user = person(1, None)
    assert s._hub_user == "1@1970-01-01T00:00:00Z"


async def test_a_renamed_users_server_is_found_stopped_and_polled(monkeypatch):
    async with double() as d:
        s = spawner_at(d.url)
        s.user.orm_user = person(17, datetime(2026, 1, 2, 3, 4, 5))
        who = "17@2026-01-02T03:04:05Z"
        s.load_state({"start": "s1", "url": "http://nb:8888", "user": "alice", "server": ""})
        s.user.name = "alicia"
        newcomers = state("n1", user="alice", hub_user="42@2026-05-01T00:00:00Z")
        mine = state("s1", user="alice", hub_user=who)
        d.will(servers=answer({"servers": [mine, newcomers]}))
        assert await s.poll() is None
        d.will(stop=(202, {}, ""), state=answer(state("s1", "Stopped", user="alice")))
        await s.stop()
        (stop,) = d.of("stop")
        assert "/users/alice/server?" in stop.uri and "hub_user=17%40" in stop.uri
        s.clear_state()
        d.will(
            start=lambda: answer(state(d.start, "Pending", user="alicia")),
            events=(200, {}, ""),
            state=lambda: answer(state(d.start, user="alicia")),
        )
        await s.start()
        assert "/users/alicia/server?" in d.of("start")[0].uri


async def test_a_home_of_somebody_whom_the_hub_knows_is_passed_by():
    made = datetime(2026, 1, 2, 3, 4, 5)
    unclear = {
        "type": "urn:elastichub:problem:owner-unclear",
        "status": 409,
        "detail": "The home volume claim-alice …",
        "owner": "12@2026-01-02T03:04:05Z",
    }

    class Users:
        """As much of SQLAlchemy's query as is used."""

        def __init__(self, rows):
            self.rows = rows

        def query(self, _):
            return self

        def filter_by(self, id):
            return Users([row for row in self.rows if row.id == id])

        def one_or_none(self):
            return self.rows[0] if self.rows else None

    for rows, starts in (
        ([person(12, made)], 2),
        ([person(12, made.replace(second=6))], 2),  # another rounding
        ([person(12, made.replace(minute=9))], 1),  # another database
        ([], 1),
    ):
        async with double() as d:
            d.will(
                start=[
                    answer(unclear, 409),
                    lambda: answer(state(d.start, "Pending")),
                ],
                events=(200, {}, ""),
                state=lambda: answer(state(d.start)),
            )
            s = spawner_at(d.url)
            s.user.orm_user, s.user.db = person(42, made), Users(rows)
            if starts == 2:
                await s.start()
                assert "others=12%40" in d.of("start")[1].uri
            else:
                with pytest.raises(web.HTTPError) as raised:
                    await s.start()
                assert raised.value.status_code == 409
                assert "claim-alice" in raised.value.jupyterhub_message
            assert len(d.of("start")) == starts


async def test_a_rename_that_is_refused_is_prevented():
    async with double() as d:
        d.will(rename="rename of a running server")
        s = spawner_at(d.url)
        with pytest.raises(web.HTTPError) as raised:
            await s.rename("one", "two")
        assert raised.value.status_code == 409
        assert "name=one&to=two" in d.requests[0].uri
        d.will(rename="rename")
        await s.rename("one", "two")


async def test_the_bar_moves_between_two_events():
    log = StartLog()
    log.note("1", "progress", {"progress": 45, "message": "Pulling image lab:1"})
    log.note("1", "progress", {"progress": 45, "message": "Pulling image lab:1"})
    for percent in (50, 49, 50, 54):
        log.note("1", "progress", {"progress": percent, "message": ""})
    log.note("2", "progress", {"progress": 65, "message": "Image pulled in 40.0 s"})
    log.close()
    assert [event async for event in log.follow()] == [
        {"message": "Pulling image lab:1", "progress": 45},
        {"progress": 50},
        {"progress": 54},
        {"message": "Image pulled in 40.0 s", "progress": 65},
    ]
    assert log.last_id == "2"
