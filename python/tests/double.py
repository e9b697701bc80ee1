"""A service that says what a test tells it to, in the words of testdata/contract."""

import inspect
import json
from contextlib import asynccontextmanager

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from conftest import CONTRACT

EXCHANGES = {
    exchange["name"]: exchange
    for exchange in json.loads((CONTRACT / "exchanges.json").read_text())
}

# By kind: what the service answers with, and what the Hub makes of it.
PROBLEMS = {
    problem["kind"]: problem
    for problem in json.loads((CONTRACT / "problems.json").read_text())
}


def recorded(name):
    """(status, headers, text) of an exchange."""
    response = EXCHANGES[name]["response"]
    text = response.get("text", "")
    if "body" in response:
        text = json.dumps(response["body"])
    return response["status"], response.get("headers", {}), text


def answer(body, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(body)


class Double:
    """Every kind of request has a list of answers, of which the last one stays."""

    def __init__(self):
        self.requests = []
        self.url = ""
        self._answers = {}

    def will(self, **kinds):
        """kind=answer or kind=[answer, …]: the name of an exchange, (status, headers, text),
        or a function that makes one of these, or a coroutine of one."""
        for kind, answers in kinds.items():
            self._answers[kind] = answers if isinstance(answers, list) else [answers]

    def of(self, kind):
        return [r for r in self.requests if _kind(r) == kind]

    @property
    def start(self):
        """The id of the start that was asked for."""
        return json.loads(self.of("start")[-1].body)["start"]

    def next(self, request):
        self.requests.append(request)
        answers = self._answers[_kind(request)]
        given = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(given):
            given = given()
        return recorded(given) if isinstance(given, str) else given


def _kind(request):
    last = request.path.rsplit("/", 1)[1]
    if last == "server":
        return {"PUT": "start", "GET": "state", "DELETE": "stop"}[request.method]
    return last


@asynccontextmanager
async def double(tls=None):
    d = Double()

    class Handler(RequestHandler):
        async def answer(self):
            given = d.next(self.request)
            status, headers, text = await given if inspect.isawaitable(given) else given
            self.set_status(status)
            self.clear_header("Content-Type")
            for name, value in headers.items():
                self.set_header(name, value)
            self.finish(text or None)

        get = post = put = delete = answer

    socket, port = bind_unused_port()
    server = HTTPServer(Application([(".*", Handler)]), ssl_options=tls)
    server.add_socket(socket)
    d.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield d
    finally:
        server.stop()
        await server.close_all_connections()
