"""A Hub with ElasticSpawner, one with KubeSpawner, one whose spawner only waits as long as a Pod
takes, and what they and the API server have spent."""

import importlib.metadata
import json
import os
import platform
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

from hub import Hub, until

NAMESPACE = os.environ["HUB_NAMESPACE"]
URL = os.environ["ELASTICHUB_URL"]
TOKEN = Path(os.environ["ELASTICHUB_TOKEN_FILE"]).read_text()
KUBECTL = (os.environ["KUBECTL"], "--namespace", NAMESPACE)
TICK = os.sysconf("SC_CLK_TCK")
OURS, THEIRS, BARE = "elastichub", "KubeSpawner", "the Hub alone"

# The Hub would hash a configured token 16,384 times for every request that comes with it.
COMMON = """
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.trust_user_provided_tokens = True
c.Spawner.poll_interval = 30
"""
ELASTIC = (
    COMMON
    + """
c.ElasticSpawner.send_groups = True
c.ElasticSpawner.cmd = ["/server"]
c.ElasticSpawner.args = []
c.ElasticSpawner.poll_interval = 30
"""
)
# As much of CPU and memory as the policy gives. Its requests are noted in a file, one line each.
KUBE = (
    COMMON
    + """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.namespace = {namespace!r}
c.KubeSpawner.image = {image!r}
c.KubeSpawner.cmd = ["/server"]
c.KubeSpawner.http_timeout = 60
c.KubeSpawner.cpu_limit, c.KubeSpawner.cpu_guarantee = 0.5, 0.005
c.KubeSpawner.mem_limit, c.KubeSpawner.mem_guarantee = "64M", "7M"
c.KubeSpawner.uid, c.KubeSpawner.gid, c.KubeSpawner.allow_privilege_escalation = 1000, 100, False

from kubernetes_asyncio.client import rest
_request = rest.RESTClientObject.request
_noted = open({noted!r}, "a", buffering=1)
async def _note(self, method, url, *arguments, **named):
    _noted.write(method + "\\n")
    return await _request(self, method, url, *arguments, **named)
rest.RESTClientObject.request = _note
"""
)

NONE = (
    COMMON
    + """
import asyncio
from jupyterhub.spawner import Spawner
class NoSpawner(Spawner):
    runs = False
    async def start(self):
        self.get_env(), self.get_args()
        await asyncio.sleep(1.5)
        self.runs = True
        return {url!r}
    async def poll(self):
        return None if self.runs else 0
    async def stop(self, now=False):
        await asyncio.sleep(1)
        self.runs = False
c.JupyterHub.spawner_class = NoSpawner
"""
)


class Way:
    """A Hub with its spawner, and some people."""

    def __init__(self, name, hub, people, more=""):
        """more is configuration that may change, see configure."""
        self.name, self.hub = name, hub
        self._config = hub.directory / "jupyterhub_config.py"
        self._own = self._config.read_text()
        self.configure(more)
        hub.start()
        names = [person(n) for n in range(people)]
        status, answer = hub.api("POST", "/users", {"usernames": names})
        if status != 201:
            raise SystemExit(f"{name}: users were answered {status} {answer}")

    def configure(self, more):
        """For the Hub's next process."""
        self._config.write_text(self._own + more)

    def hub_memory(self):
        """MiB of resident memory."""
        pages = Path(f"/proc/{self.hub.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20

    def hub_cpu(self):
        fields = Path(f"/proc/{self.hub.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def start(self, n):
        """Seconds until the Hub says that the server is ready."""
        began = time.monotonic()
        status, answer = self.hub.api("POST", f"/users/{person(n)}/server")
        if status != 201:
            raise SystemExit(f"{self.name}: a start was answered {status} {answer}\n{self.hub.log}")
        return time.monotonic() - began

    def stop(self, n):
        began = time.monotonic()
        status, answer = self.hub.api("DELETE", f"/users/{person(n)}/server")
        if status not in (202, 204):
            raise SystemExit(f"{self.name}: a stop was answered {status} {answer}")
        until(lambda: self.hub.server(person(n)) is None, 120)
        return time.monotonic() - began

    def spent(self):
        """Seconds of CPU, and requests, up to now."""
        cluster, own = metrics(cluster_metrics()), self.requests()
        return {
            "hubCPU": self.hub_cpu(),
            "apiCPU": cluster["process_cpu_seconds_total"],
            "requests": cluster["requests"],
            **own,
        }


class Elastic(Way):
    def __init__(self, directory, people, more=""):
        hub = Hub(directory, URL, TOKEN, slow_spawn_timeout=300, more=ELASTIC)
        super().__init__(OURS, hub, people, more)
        (pod,) = json.loads(
            kubectl("get", "pods", "-l", "app.kubernetes.io/component=service", "--output=json")
        )["items"]
        self.service = f"http://{pod['status']['podIP']}:9090/metrics"

    def requests(self):
        with urlopen(self.service, timeout=10) as answer:
            found = metrics(answer.read().decode())
        return {
            "serviceCPU": found["process_cpu_seconds_total"],
            "writes": found["client writes"],
            "reads": found["client reads"],
        }


class Kube(Way):
    def __init__(self, directory, people, more=""):
        self.noted = directory / "requests"
        own = KUBE.format(
            namespace=NAMESPACE, image=os.environ["SERVER_IMAGE"], noted=str(self.noted)
        )
        hub = Hub(directory, URL, TOKEN, slow_spawn_timeout=300, more=own)
        super().__init__(THEIRS, hub, people, more)

    def requests(self):
        methods = self.noted.read_text().split()
        reads = sum(method in READS for method in methods)
        return {"serviceCPU": 0.0, "writes": len(methods) - reads, "reads": reads}


class Bare(Way):
    """What it spends, a Hub spends with any spawner."""

    def __init__(self, directory, people, more=""):
        answering = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=answering.serve_forever, daemon=True).start()
        own = NONE.format(url=f"http://127.0.0.1:{answering.server_port}")
        hub = Hub(directory, URL, TOKEN, slow_spawn_timeout=300, more=own)
        super().__init__(BARE, hub, people, more)

    def requests(self):
        return {"serviceCPU": 0.0, "writes": 0.0, "reads": 0.0}


class Answer(BaseHTTPRequestHandler):
    """Of the one server that all of Bare's are."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


READS = ("GET", "HEAD")


def person(n):
    return f"bench-{n}"


def kubectl(*arguments, timeout=120):
    return subprocess.run(
        [*KUBECTL, *arguments], stdout=subprocess.PIPE, text=True, timeout=timeout, check=True
    ).stdout


def cluster_metrics():
    return kubectl("get", "--raw", "/metrics")


def metrics(text):
    """Those that are wanted: all requests that the API server has answered, those that a client
    has sent, CPU, memory."""
    found = {"requests": 0.0, "client writes": 0.0, "client reads": 0.0}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name in ("process_cpu_seconds_total", "process_resident_memory_bytes"):
            found[name] = float(value)
        elif name.startswith("apiserver_request_total{"):
            found["requests"] += float(value)
        elif name.startswith("rest_client_requests_total{"):
            method = name.split('method="')[1].split('"')[0]
            found["client reads" if method in READS else "client writes"] += float(value)
    return found


def less(after, before, idle=None, seconds=0.0):
    """What was spent between the two, less what that time costs at rest."""
    return {
        key: after[key] - before[key] - (idle[key] * seconds if idle else 0.0) for key in before
    }


def machine():
    """What was measured, on what; it is printed, too."""
    about = {
        **{
            name: importlib.metadata.version(name)
            for name in ("jupyterhub", "jupyterhub-kubespawner")
        },
        "python": platform.python_version(),
        "elastichub": os.environ["VERSION"],
        "cpus": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
    print("# " + ", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    return about


def quantile(samples, q):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def directory(name):
    made = Path.cwd() / name
    made.mkdir()
    return made
