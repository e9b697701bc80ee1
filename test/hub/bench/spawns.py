"""What a start and a stop of a server cost the Hub, the service and the API server, and how long
a start takes, with ElasticSpawner and with KubeSpawner.

    spawns.py RESULTS

Two Hubs on this machine, each with its spawner, start the same image in the same namespace of the
cluster, in turns. The server in it answers at once. What is counted is from the first request until
SETTLE after the last answer, less what the same time costs when nothing is started. A third Hub
has a spawner that only waits as long.
"""

import concurrent.futures
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path

from ways import Bare, Elastic, Kube, directory, kubectl, less, machine, quantile

from hub import until

SETTLE = 5.0  # seconds, until what follows an answer has been done
REST = 20.0  # seconds in which it is seen what nothing costs
RUNNING = 60.0  # seconds in which it is seen what the most servers cost while they run
# How many at once, how often.
ROUNDS = ((1, 10), (20, 3), (100, 1))


def at_rest(way, seconds=REST):
    """What a second costs."""
    before, began = way.spent(), time.monotonic()
    time.sleep(seconds)
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


def main(results):
    people = max(count for count, _ in ROUNDS)
    ways = [
        Elastic(directory("elastic"), people),
        Kube(directory("kube"), people),
        Bare(directory("bare"), people),
    ]
    about = machine()
    for way in ways:  # the first start imports, connects, and fills caches
        way.start(0)
        way.stop(0)
    gone()
    idle = {way.name: at_rest(way) for way in ways}
    figures, running = [], {}
    for count, rounds in ROUNDS:
        samples = {way.name: ([], [], [], []) for way in ways}
        for _ in range(rounds):
            for way in ways:
                seconds, start = measured(way, idle[way.name], way.start, count)
                if (count, rounds) == ROUNDS[-1]:
                    spent = less(at_rest(way, RUNNING), idle[way.name])
                    running[way.name] = {key: 60 * value / count for key, value in spent.items()}
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
                    **({"minute": middle([running[name]])} if name in running else {}),
                }
            )
            print(f"{name:12} {count:3} at once: {json.dumps(figures[-1])}", flush=True)
    for way in ways:
        with contextlib.suppress(OSError):
            way.hub.kill()
    text = json.dumps({"machine": about, "figures": figures}, indent=2)
    Path(results, "spawns.json").write_text(text + "\n")


def middle(samples):
    return {key: round(statistics.median(each[key] for each in samples), 6) for key in samples[0]}


if __name__ == "__main__":
    main(sys.argv[1])
