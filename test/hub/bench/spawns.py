"""What a start and a stop of a server cost the Hub, the service and the API server, and how long
a start takes, with ElasticSpawner and with KubeSpawner.

    spawns.py RESULTS

Two Hubs on this machine, each with its spawner, start the same image in the same namespace of the
cluster, in turns. The server in it answers at once. What is counted is from the first request until
SETTLE after the last answer, less what the same time costs when nothing is started.
"""

import concurrent.futures
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from hub import Hub, until

NAMESPACE = os.environ["HUB_NAMESPACE"]
URL = os.environ["ELASTICHUB_URL"]
TOKEN = Path(os.environ["ELASTICHUB_TOKEN_FILE"]).read_text()
KUBECTL = (os.environ["KUBECTL"], "--namespace", NAMESPACE)
TICK = os.sysconf("SC_CLK_TCK")
SETTLE = 5.0  # seconds, until what follows an answer has been done
REST = 20.0  # seconds in which it is seen what nothing costs
# How many at once, how often.
ROUNDS = ((1, 10), (20, 3), (100, 1))
OURS, THEIRS = "elastichub", "KubeSpawner"

COMMON = """
c.JupyterHub.concurrent_spawn_limit = 0
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


class Way:
    """A Hub with its spawner."""

    def __init__(self, name, hub):
        self.name, self.hub = name, hub
        hub.start()
        for n in range(max(count for count, _ in ROUNDS)):
            hub.user(person(n))

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
    def __init__(self, directory):
        super().__init__(OURS, Hub(directory, URL, TOKEN, slow_spawn_timeout=300, more=ELASTIC))
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
    def __init__(self, directory):
        self.noted = directory / "requests"
        more = KUBE.format(
            namespace=NAMESPACE, image=os.environ["SERVER_IMAGE"], noted=str(self.noted)
        )
        super().__init__(THEIRS, Hub(directory, URL, TOKEN, slow_spawn_timeout=300, more=more))

    def requests(self):
        methods = self.noted.read_text().split()
        reads = sum(method in READS for method in methods)
        return {"serviceCPU": 0.0, "writes": len(methods) - reads, "reads": reads}


READS = ("GET", "HEAD")


def person(n):
    return f"bench-{n}"


def kubectl(*arguments):
    return subprocess.run(
        [*KUBECTL, *arguments], stdout=subprocess.PIPE, text=True, timeout=120, check=True
    ).stdout


def cluster_metrics():
    return kubectl("get", "--raw", "/metrics")


def metrics(text):
    """Those that are wanted: all requests that the API server has answered, those that a client
    has sent, CPU."""
    found = {"requests": 0.0, "client writes": 0.0, "client reads": 0.0}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == "process_cpu_seconds_total":
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


def at_rest(way):
    before, began = way.spent(), time.monotonic()
    time.sleep(REST)
    took = time.monotonic() - began
    return {key: value / took for key, value in less(way.spent(), before).items()}


def measured(way, idle, job, count):
    """Seconds of each of count at once, and what one of them cost."""
    before, began = way.spent(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        seconds = list(pool.map(job, range(count)))
    time.sleep(SETTLE)
    spent = less(way.spent(), before, idle, time.monotonic() - began)
    return seconds, {key: value / count for key, value in spent.items()}


def gone():
    """Until no server's Pod is left, so that the next ones have the node to themselves."""
    until(
        lambda: not kubectl("get", "pods", "-l", "component=singleuser-server", "--output=name"),
        180,
    )


def quantile(samples, q):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def main(results):
    ways = [Elastic(directory("elastic")), Kube(directory("kube"))]
    machine = {
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
    print("# " + ", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    for way in ways:  # the first start imports, connects, and fills caches
        way.start(0)
        way.stop(0)
    gone()
    idle = {way.name: at_rest(way) for way in ways}
    figures = []
    for count, rounds in ROUNDS:
        samples = {way.name: ([], [], [], []) for way in ways}
        for _ in range(rounds):
            for way in ways:
                seconds, start = measured(way, idle[way.name], way.start, count)
                stopped, stop = measured(way, idle[way.name], way.stop, count)
                gone()
                times, starts, stop_times, stops = samples[way.name]
                times += seconds
                stop_times += stopped
                starts.append(start)
                stops.append(stop)
        for name, (times, starts, stop_times, stops) in samples.items():
            figures.append(
                {
                    "way": name,
                    "atOnce": count,
                    "rounds": rounds,
                    "p50": round(statistics.median(times), 3),
                    "p95": round(quantile(times, 0.95), 3),
                    "stopP50": round(statistics.median(stop_times), 3),
                    "start": middle(starts),
                    "stop": middle(stops),
                }
            )
            print(f"{name:12} {count:3} at once: {json.dumps(figures[-1])}", flush=True)
    for way in ways:
        with contextlib.suppress(OSError):
            way.hub.kill()
    text = json.dumps({"machine": machine, "figures": figures}, indent=2)
    Path(results, "spawns.json").write_text(text + "\n")


def directory(name):
    made = Path.cwd() / name
    made.mkdir()
    return made


def middle(samples):
    return {key: round(statistics.median(each[key] for each in samples), 4) for key in samples[0]}


if __name__ == "__main__":
    main(sys.argv[1])
