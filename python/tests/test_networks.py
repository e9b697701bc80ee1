"""A person's way to their server where the Hub is not at the root of an address without TLS: a real
JupyterHub, its real proxy, real servers."""

import sys
from urllib.parse import urljoin, urlsplit

import pytest

from conftest import TOKEN, TestService
from hub import Hub, until
from networks import Browser, CompanyProxy, HubProxy, certificate, free_port, literal
from test_form import Page

# What most programs do that know of proxies, and jupyterhub-singleuser does with pycurl: first with the
# Hub, then with the world outside.
ASK_FIRST = """
import os, sys, urllib.request
urllib.request.urlopen(os.environ["JUPYTERHUB_API_URL"] + "/").read()
urllib.request.urlopen("http://outside.example/").read()
os.execvp("jupyterhub-singleuser", ["jupyterhub-singleuser"] + sys.argv[1:])
"""

CONFIG = """
from jupyterhub.proxy import ConfigurableHTTPProxy
c.JupyterHub.proxy_class = ConfigurableHTTPProxy
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "{proxy.api_url}"
c.ConfigurableHTTPProxy.auth_token = "{proxy.token}"
c.JupyterHub.hub_bind_url = "{hub}"
c.JupyterHub.bind_url = "{bound}"
# JupyterLab takes longest of all to start, and has no part in this.
c.ElasticSpawner.args = ["--allow-root", "--ServerApp.jpserver_extensions={{'jupyterlab': False}}"]
c.ElasticSpawner.notebook_dir = "{home}"
c.ElasticSpawner.http_timeout = 120
c.Spawner.environment = {{"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp"}}
"""


class Network:
    """A Hub and its proxy at an address, and a browser."""

    def __init__(self, binary, directory, ip, public, more="", options=(), ca=None):
        """public is where browsers find it, and options are the proxy's."""
        port = free_port(ip)
        self.url = public.format(port=port)
        at, path = literal(ip), urlsplit(self.url).path
        hub = f"http://{at}:{free_port(ip)}"
        self.service = TestService(binary, directory / "service.log", {"TESTSERVICE_IP": ip})
        self.proxy = HubProxy(directory, ip, port, hub, f"{hub}{path}hub/error", *options)
        # TLS and names are the proxy's affair.
        home = directory / "home"
        home.mkdir()
        (home / "diary.txt").write_text("mine")
        config = CONFIG.format(proxy=self.proxy, home=home, hub=hub, bound=f"http://{at}:{port}{path}")
        self.hub = Hub(directory, self.service.url, TOKEN, more=config + more.format(port=port))
        self.hub.url = f"{hub}{path}hub"
        self.hub.start()
        self.browser = Browser((ip, port), ca)

    def close(self):
        self.hub.kill()
        self.proxy.close()
        self.service.close()


@pytest.fixture
def network(service_binary, tmp_path):
    made = []

    def make(*args, **kwargs):
        made.append(Network(service_binary, tmp_path, *args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()


def journey(network):
    """From signing in to the server's API; (address, headers, text) of that."""
    browser, hub = network.browser, network.hub
    at, _, _ = browser.open(network.url)
    xsrf = next(c.value for c in browser.cookies if c.name == "_xsrf")
    browser.open(at, {"username": "researcher", "password": "x", "_xsrf": xsrf})
    at, _, text = browser.open(network.url + "hub/spawn")
    page = Page(200, text)
    assert page.fields["cpu"] == "2", text
    browser.open(urljoin(at, page.action), page.fields)
    until(lambda: (hub.server("researcher") or {}).get("ready"), 120, lambda: hub.log)
    _, _, text = browser.open(network.url + "hub/user-redirect/files/diary.txt")  # by the Hub's OAuth
    assert text == "mine"
    return browser.open(network.url + "hub/user-redirect/api/kernels")


def test_below_a_path_with_tls_behind_a_company_proxy(network, tmp_path):
    company = CompanyProxy()
    ca, crt, key = certificate(tmp_path, "jupyter.example.org")
    made = network(
        "127.0.0.1",
        "https://jupyter.example.org:{port}/jhub/",
        f"""
import os
for name in ("HTTP_PROXY", "HTTPS_PROXY"):
    os.environ[name] = os.environ[name.lower()] = {company.url!r}
for name in ("NO_PROXY", "no_proxy"):
    os.environ.pop(name, None)
c.JupyterHub.public_url = "https://jupyter.example.org:{{port}}/jhub/"
c.Spawner.environment |= {{{{"HTTP_PROXY": {company.url!r}, "https_proxy": {company.url!r}}}}}
c.Spawner.cmd = [{sys.executable!r}, "-c", {ASK_FIRST!r}]
""",
        options=("--ssl-cert", crt, "--ssl-key", key),
        ca=ca,
    )
    at, headers, kernels = journey(made)
    assert (urlsplit(at).path, kernels) == ("/jhub/user/researcher/api/kernels", "[]")
    assert made.browser.cookie("jupyterhub-user-researcher", "/jhub/user/researcher/").secure
    assert "frame-ancestors" in headers["Content-Security-Policy"]
    assert company.asked == ["GET http://outside.example/"], "the Hub and the service are in the cluster"
    company.close()
