"""F1 and F2: the Hub and the service, connected as README tells, and wrongly."""

import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest
from jupyterhub.spawner import Spawner

from cluster import notebooks
from conftest import TOKEN, URL
from elastichub import ElasticSpawner
from hub import until
from wire import Wire

# What a Hub's start may take until it says what is wrong.
REFUSED_SECONDS = 5


@pytest.fixture(scope="module")
def wire():
    target = urlsplit(URL)
    relay = Wire(target.hostname, target.port)
    yield relay
    relay.close()


def test_f1_no_trait_of_ours_is_one_of_the_hubs():
    # user_options is the Hub's, and only read with more care.
    ours = set(ElasticSpawner.class_own_traits()) - {"user_options"}
    assert ours & set(dir(Spawner)) == set()


@pytest.mark.parametrize("trait", ["service_token", "api_token"])
def test_f1_a_token_in_the_configuration(make_hub, wire, trait):
    """As README told, and tells: the service gets this token and never the user's."""
    wire.open()
    wire.sent = b""
    admin = make_hub(
        wire.url,
        f'c.ElasticSpawner.{trait} = "{TOKEN}"\nc.ElasticSpawner.service_token_file = ""\n',
    )
    user = admin.person("f1")
    for _ in range(2):  # the Hub sets its own api_token before a start and empties it after a stop
        admin.start(user)
        admin.stop(user)
    assert wire.credentials() == {f"Bearer {TOKEN}"}
    admin.hub.kill()


def refused(admin, user, said, seconds=REFUSED_SECONDS):
    """A start answers 503 with these words in time, and leaves nothing to wait for."""
    began = time.monotonic()
    status, answer = admin.post(user)
    took = time.monotonic() - began
    assert status == 503, answer
    assert said in answer["message"].lower(), answer
    assert took < seconds
    assert admin.model(user) is None
    assert notebooks(user) == []


# How it is brought, what the person reads, within how many seconds. A service that is
# silent may be waiting for its directory, which has five.
FAULTS = {
    "nobody listens": (lambda wire, hub: wire.close(), "reach", REFUSED_SECONDS),
    "nobody answers": (lambda wire, hub: wire.open("silent"), "reach", 2 * REFUSED_SECONDS),
    "somebody else answers": (lambda wire, hub: wire.open("other"), "address", REFUSED_SECONDS),
    "the token is another": (
        lambda wire, hub: (hub.directory / "token").write_text("x" * 32),
        "token",
        REFUSED_SECONDS,
    ),
}


@pytest.fixture(scope="module")
def faulty(make_hub, wire):
    return make_hub(wire.url)


@pytest.mark.parametrize("fault", FAULTS)
def test_f2_a_start_says_what_is_wrong_and_leaves_the_server_free(faulty, wire, fault):
    wire.open()
    user = faulty.person("f2")
    bring, *expected = FAULTS[fault]
    bring(wire, faulty.hub)
    try:
        refused(faulty, user, *expected)
        refused(faulty, user, *expected)  # not pending, and the same again
    finally:
        wire.open()
        (faulty.hub.directory / "token").write_text(TOKEN)
    faulty.start(user)  # at once
    assert len(notebooks(user)) == 1
    faulty.stop(user)


def test_f2_a_wrong_certificate(make_hub, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    admin = make_hub(f"https://localhost:{server.server_port}")
    try:
        user = admin.person("f2")
        refused(admin, user, "certificate")
        refused(admin, user, "certificate")
    finally:
        admin.hub.kill()
        server.shutdown()


def test_f2_what_was_never_started_is_not_stopped(faulty, wire):
    """The Hub asks poll, hears that nothing runs, and goes on at once."""
    wire.close()
    try:
        user = faulty.person("f2")
        refused(faulty, user, "reach")
        for _ in range(3):
            status, answer = faulty.delete(user)
            assert status == 204, answer
            assert faulty.model(user) is None
    finally:
        wire.open()
    until(lambda: faulty.post(user)[0] in (201, 400), 10)
    faulty.stop(user)
