"""A Hub with thousands of running servers, with ElasticSpawner and with KubeSpawner: how fast they
start, what they cost at rest, how soon a new Hub process knows them, and what an outage loses.

    fleet.py RESULTS SERVERS OUTAGE

KWOK says of every Pod that it runs, on a node that is none, at the address of one process that
answers for all: nothing of a server is measured but what Hub, spawner and cluster do for it. Each
Hub has the cluster to itself. `outage`, in the working directory, takes a number of seconds for which
the API server is stopped: connections stay open and nothing is delivered; `outage-over` says so.
"""

import concurrent.futures
import json
import statistics
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from ways import Elastic, Kube, directory, kubectl, less, machine, metrics, person, quantile

from hub import until

FIRST = 500  # that are started first, and timed
AT_ONCE = 100  # of them, which is the Hub's own limit
MIDST = 100  # starts in whose midst something fails
REST = 60.0  # seconds
POLLS = 30  # seconds between two looks of the Hub at each server
SETTLED = 300  # seconds after which what is wrong counts as that
PLACE = """
c.Spawner.poll_interval = {polls}
c.ElasticSpawner.poll_interval = {polls}
c.KubeSpawner.poll_interval = {polls}
c.JupyterHub.init_spawners_timeout = -1
c.KubeSpawner.node_selector = {{"type": "kwok"}}
c.KubeSpawner.tolerations = [{{"key": "kwok.x-k8s.io/node", "operator": "Exists"}}]
c.Spawner.start_timeout = 120
"""


def start(way, n):
    """Seconds until the Hub says that it is ready, None if it says that it failed."""
    began = time.monotonic()
    status, answer = way.hub.api("POST", f"/users/{person(n)}/server", timeout=300)
    if status not in (201, 202):
        print(f"{way.name}: {person(n)} was answered {status} {answer}", file=sys.stderr)
        return None
    if status == 202:
        try:
            until(lambda: (way.hub.server(person(n)) or {}).get("ready"), 180)
        except AssertionError:
            return None
    return time.monotonic() - began


def start_all(way, who):
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        times = list(pool.map(lambda n: start(way, n), who))
    good = [t for t in times if t is not None]
    return {
        "starts": len(times),
        "failed": len(times) - len(good),
        "seconds": round(time.monotonic() - began, 1),
        "p50": round(statistics.median(good or [0]), 2),
        "p95": round(quantile(good or [0], 0.95), 2),
    }


def listed(way):
    """What the Hub says of each user who has a server: True for ready, False for under way."""
    found = {}
    for offset in range(0, 1 << 20, 200):
        status, users = way.hub.api("GET", f"/users?limit=200&offset={offset}")
        if status != 200:
            raise SystemExit(f"{way.name}: the list of users was answered {status} {users}")
        for user in users:
            for server in user["servers"].values():
                found[user["name"]] = server["ready"]
        if len(users) < 200:
            return found
    raise AssertionError


def pods():
    """How many each user has that are not on their way out."""
    found = {}
    answer = kubectl("get", "pods", "-l", "component=singleuser-server", "--output=json")
    for pod in json.loads(answer)["items"]:
        if "deletionTimestamp" not in pod["metadata"]:
            user = pod["metadata"]["annotations"]["hub.jupyter.org/username"]
            found[user] = found.get(user, 0) + 1
    return found


def wrong(way, ran):
    """What has become of servers; ran are those that ran before."""
    known, there = listed(way), pods()
    return {
        "lost": len(
            {user for user in ran if user not in known}
            | {user for user, ready in known.items() if ready and user not in there}
        ),
        "doubled": sum(count > 1 for count in there.values()),
        "orphaned": len(set(there) - set(known)),
        "pending": sum(not ready for ready in known.values()),
    }


def settled(way, ran, who):
    """What is wrong in the end, after how many seconds nothing was, and how many of who run."""
    began = time.monotonic()
    while True:
        found = wrong(way, ran)
        took = time.monotonic() - began
        if not any(found.values()) or took > SETTLED:
            break
        time.sleep(5)
    there = listed(way)
    run = sum(there.get(person(n), False) for n in who)
    return {**found, "seconds": round(took), "starts": len(who), "run": run}


def at_rest(way, polls):
    time.sleep(10)
    before, began = way.spent(), time.monotonic()
    time.sleep(REST)
    minutes = (time.monotonic() - began) / 60
    spent = {key: round(value / minutes, 3) for key, value in less(way.spent(), before).items()}
    return {"polls": polls, "hubMiB": way.hub_memory(), "serviceMiB": service_memory(way), **spent}


def service_memory(way):
    if not isinstance(way, Elastic):
        return 0
    with urlopen(way.service, timeout=10) as answer:
        return round(metrics(answer.read().decode())["process_resident_memory_bytes"] / 2**20)


def restart(way, polls):
    """Kills the Hub, and says how long it took until a new one knew all its servers."""
    before = listed(way)
    way.hub.kill()
    way.configure(PLACE.format(polls=polls))
    began = time.monotonic()
    way.hub.start()
    up = time.monotonic() - began
    until(lambda: listed(way) == before, SETTLED)
    return {"servers": len(before), "up": round(up, 1), "known": round(time.monotonic() - began, 1)}


def begin(way, who):
    for n in who:
        way.hub.begin("POST", f"/users/{person(n)}/server")
    time.sleep(1.5)


def outage(way, who, seconds):
    ran = {user for user, ready in listed(way).items() if ready}
    begin(way, who)
    Path("outage").write_text(f"{seconds}\n")
    Path("outage-over").read_text()
    return {"what": f"API server away for {seconds} s", **settled(way, ran, who)}


def hub_away(way, who):
    ran = {user for user, ready in listed(way).items() if ready}
    begin(way, who)
    way.hub.kill()
    way.hub.start()
    return {"what": "Hub killed and started", **settled(way, ran, who)}


def measure(make, servers, seconds):
    way = make(directory(make.__name__.lower()), servers + 2 * MIDST, PLACE.format(polls=POLLS))
    start(way, 0)  # the first start imports, connects, and fills caches
    figures = {"way": way.name, "servers": servers}

    def note(what, found):
        figures[what] = found
        print(f"{way.name:12} {what}: {json.dumps(found)}", flush=True)

    first = min(FIRST, servers - 1)
    note("first", start_all(way, range(1, 1 + first)))
    note("further", start_all(way, range(1 + first, servers)))
    note("wrong", wrong(way, {person(n) for n in range(servers)}))
    note("polled", at_rest(way, POLLS))
    note("restart", restart(way, 0))
    note("unpolled", at_rest(way, 0))
    restart(way, POLLS)
    note("hubAway", hub_away(way, range(servers, servers + MIDST)))
    note("outage", outage(way, range(servers + MIDST, servers + 2 * MIDST), seconds))
    way.hub.kill()
    return figures


def clear():
    """Nothing of the former is left."""
    kubectl("delete", "jupyternotebooks", "--all", "--wait=false", timeout=600)
    kubectl("delete", "pods", "-l", "component=singleuser-server", "--wait=false", timeout=600)
    until(lambda: not pods(), 600)


def main(results, servers, seconds):
    about = machine()
    figures = []
    for make in (Elastic, Kube):
        figures.append(measure(make, servers, seconds))
        clear()
    text = json.dumps({"machine": about, "figures": figures}, indent=2)
    Path(results, "fleet.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
