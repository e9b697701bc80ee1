"""What the tests share: the real spawner API as a process, and a real JupyterHub."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "testdata" / "contract"
BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef0123456789abcdef"


def missing(what):
    """A laptop may go without; CI may not."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="session")
def service_binary(tmp_path_factory):
    if not shutil.which("go"):
        missing("go")
    binary = tmp_path_factory.mktemp("service") / "testservice"
    subprocess.run(
        ["go", "build", "-o", binary, "./hubapi/internal/testservice"],
        cwd=ROOT,
        check=True,
    )
    return binary


class TestService:
    """The Go handler over servers that are processes of this machine."""

    __test__ = False

    def __init__(self, binary, log, environment=()):
        self._log = Path(log).open("wb")  # noqa: SIM115 - until close
        self._process = subprocess.Popen(
            [binary, CONTRACT, TOKEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # jupyterhub-singleuser is beside this Python.
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **dict(environment)},
        )
        self.url = self._process.stdout.readline().strip()
        assert self.url, Path(log).read_text()

    def turn(self, switch):
        with urlopen(Request(f"{self.url}/test/{switch}", method="POST")) as answer:
            assert answer.status == 204

    def pause(self):
        """It accepts connections and answers nothing."""
        self._process.send_signal(19)

    def resume(self):
        self._process.send_signal(18)

    def close(self):
        self.resume()
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._log.close()


@pytest.fixture
def service(service_binary, tmp_path):
    running = TestService(service_binary, tmp_path / "service.log")
    yield running
    running.close()
