"""A Hub with internal_ssl: Pods that take connections only from who shows a certificate."""

import base64
import json
import ssl
from urllib.request import urlopen

import pytest

from cluster import kubectl, notebook, objects, pods
from hub import until

CONFIG = "\nc.JupyterHub.internal_ssl = True\n"


@pytest.fixture(scope="module")
def secure(make_hub):
    return make_hub(more=CONFIG)


def as_proxy(hub):
    """What the Hub's proxy connects to servers with."""
    made = hub.directory / "internal-ssl"
    context = ssl.create_default_context(cafile=made / "proxy-client-ca_trust.crt")
    context.load_cert_chain(
        made / "proxy-client" / "proxy-client.crt", made / "proxy-client" / "proxy-client.key"
    )
    return context


def secret_of(user):
    return notebook(user)["spec"].get("sslSecret")


def there(secret):
    return kubectl("get", "secret", secret, "--ignore-not-found", "--output", "name").strip()


def test_servers_of_a_hub_with_internal_ssl(secure):
    user = secure.person("ssl")
    address = secure.start(user)  # the Hub itself has asked the server over TLS
    assert address.startswith("https://")
    assert notebook(user)["status"]["url"] == address
    page = f"{address}/user/{user}/env"
    with urlopen(page, context=as_proxy(secure.hub), timeout=10) as answer:
        variables = json.load(answer)
    assert variables["JUPYTERHUB_SSL_KEYFILE"] == "/etc/elastichub/ssl/tls.key"
    assert variables["JUPYTERHUB_API_URL"].startswith("https://")
    made = secure.hub.directory / "internal-ssl"
    bare = ssl.create_default_context(cafile=made / "notebooks-ca" / "notebooks-ca.crt")
    with pytest.raises(OSError):
        urlopen(page, context=bare, timeout=10)

    secret = secret_of(user)
    held = json.loads(kubectl("get", "secret", secret, "--output", "json"))
    assert set(held["data"]) == {"tls.key", "tls.crt", "ca.crt", "client.key", "client.crt"}
    assert held["metadata"]["ownerReferences"][0]["name"] == notebook(user)["metadata"]["name"]
    (pod,) = pods(user)
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "elastichub-ssl"]
    assert {item["key"] for item in volume["secret"]["items"]} == {"tls.key", "tls.crt", "ca.crt"}
    certificate = base64.b64decode(held["data"]["tls.crt"])

    secure.hub.kill()
    secure.hub.start()
    assert secure.ready(user) == address

    secure.stop(user)
    until(lambda: not there(secret), 10)
    secure.start(user)
    held = json.loads(kubectl("get", "secret", secret, "--output", "json"))
    assert base64.b64decode(held["data"]["tls.crt"]) != certificate, "every start has its own"
    secure.stop(user)
    until(lambda: not objects("pods", user), 30)
