"""What is in the cluster, and one's files on a server."""

import json
import os
import subprocess
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

NAMESPACE = os.environ["HUB_NAMESPACE"]
HUB_USER = "elastichub.io/hub-user"
KINDS = ("jupyternotebooks", "deployments", "services", "secrets", "pods", "persistentvolumeclaims")


def kubectl(*arguments, stdin=None):
    command = [os.environ["KUBECTL"], "--namespace", NAMESPACE, *arguments]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


def apply(manifest):
    kubectl("apply", "--filename", "-", stdin=manifest)


def away():
    """Nothing of the service runs."""
    kubectl("scale", "deployment/elastichub", "--replicas=0")
    kubectl(
        "wait",
        "--for=delete",
        "pod",
        "--selector=app.kubernetes.io/component=service",
        "--timeout=60s",
    )


def back():
    kubectl("scale", "deployment/elastichub", "--replicas=1")
    kubectl("rollout", "status", "deployment/elastichub", "--timeout=60s")
    # The cluster's network follows a Pod that is ready some moments later.
    deadline = time.monotonic() + 30
    while not _answers(f"{os.environ['ELASTICHUB_URL']}/readyz"):
        assert time.monotonic() < deadline, "the service is ready and does not answer"
        time.sleep(0.2)


def _answers(url):
    try:
        with urlopen(url, timeout=3) as answer:
            return answer.status == 200
    except OSError:
        return False


def objects(kind, user):
    """The objects of a kind that bear the name of this user of the Hub."""
    items = json.loads(kubectl("get", kind, "--output", "json"))["items"]
    return [item for item in items if _user(item) == user]


def _user(item):
    annotations = item["metadata"].get("annotations", {})
    return annotations.get("hub.jupyter.org/username") or item.get("spec", {}).get("user")


def notebooks(user):
    return objects("jupyternotebooks", user)


def notebook(user):
    (only,) = notebooks(user)
    return only


def pods(user):
    """Those that are not on their way out."""
    return [p for p in objects("pods", user) if "deletionTimestamp" not in p["metadata"]]


def name_of(item):
    return item["metadata"]["name"]


def uid(item):
    return item["metadata"]["uid"]


def left_of(name):
    """Everything called after the JupyterNotebook of this name."""
    listed = kubectl("get", ",".join(KINDS), "--output", "name").split()
    return [found for found in listed if name in found]


def write_file(url, name, text):
    status, answer = _file("PUT", url, name, text.encode())
    assert status == 200, answer


def read_file(url, name):
    """None when there is no such file."""
    status, answer = _file("GET", url, name)
    assert status in (200, 404), answer
    return answer if status == 200 else None


def _file(method, url, name, text=None):
    """Asked again for a while: the cluster's network follows a Pod that is ready some moments later."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urlopen(Request(f"{url}/files/{name}", text, method=method), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            if time.monotonic() > deadline:
                there = kubectl("get", "pods,endpointslices", "--output", "wide")
                raise AssertionError(f"{url} does not answer: {error}\n{there}") from error
            time.sleep(0.2)
