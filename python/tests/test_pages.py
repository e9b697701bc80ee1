"""What pages say of options in Python exists: `c.Class.option`, in blocks and in the text."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.serverapp import ServerApp
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.spawner import Spawner

from elastichub import ElasticSpawner
from elastichub.notebook.documents import DocumentKeeper

ROOT = Path(__file__).parents[2]
NOTES = ROOT / "charts/elastichub/templates/NOTES.txt"
PAGES = sorted(
    [NOTES]
    + [
        page
        for pattern in ("*.md", "*/README.md", "charts/*/README.md", "docs/**/*.md", "test/*/README.md")
        for page in ROOT.glob(pattern)
    ]
)
CLASSES = {
    cls.__name__: cls
    for cls in (
        JupyterHub,
        Authenticator,
        ConfigurableHTTPProxy,
        Spawner,
        ElasticSpawner,
        ServerApp,
        GatewayClient,
        DocumentKeeper,
    )
}
OPTION = re.compile(r"\bc\.([A-Za-z]\w*)\.(\w+)")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def options(page):
    return OPTION.findall(page.read_text())


def is_option(class_name, name):
    cls = CLASSES.get(class_name)
    # `config` tells options from what a class keeps to itself.
    return cls is not None and bool(cls.class_traits().get(name) and cls.class_traits()[name].metadata.get("config"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page):
    missing = [f"c.{cls}.{name}" for cls, name in options(page) if not is_option(cls, name)]
    assert not missing, f"{page.relative_to(ROOT)} names options that do not exist"


def test_what_counts_as_an_option():
    assert is_option("ElasticSpawner", "api_url") and is_option("ElasticSpawner", "args")
    assert not is_option("ElasticSpawner", "api_uri")
    assert not is_option("ElasticSpawner", "user")  # not for configurations
    assert not is_option("KubeSpawner", "image")
    assert sum(len(options(page)) for page in PAGES) > 20


def python_in(page):
    for indent, language, block in BLOCK.findall(page.read_text()):
        text = textwrap.dedent(block) if indent else block
        if language == "python":
            yield text
        elif language == "yaml":
            # zero-to-jupyterhub's values hold Python.
            for values in yaml.safe_load_all(text):
                hub = values.get("hub") if isinstance(values, dict) else None
                if isinstance(hub, dict):
                    yield from hub.get("extraConfig", {}).values()


def test_blocks_are_python():
    count = 0
    for page in PAGES:
        for text in python_in(page):
            compile(text, str(page), "exec")
            count += 1
    assert count > 7


def test_options_of_our_own_page_exist():
    section = (ROOT / "python/README.md").read_text().partition("| option |")[2].partition("\n\n")[0]
    names = [name for line in section.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert len(names) > 5
    assert [name for name in names if not is_option("ElasticSpawner", name)] == []
