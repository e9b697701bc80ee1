"""A kernel gateway for tests: it speaks docs/resume-protocol.md, v1 or legacy, about kernels that
are a few lines of Python, and breaks connections where a test wants it."""

import asyncio
import json
import random
import uuid

from tornado import httpserver, netutil, web, websocket

from elastichub.notebook import frames
from elastichub.notebook.frames import RESUME, V1, Message

SPECS = {
    "python-gpu": {
        "name": "python-gpu",
        "spec": {
            "argv": [],
            "env": {},
            "display_name": "Python 3 (GPU)",
            "language": "python",
            "metadata": {},
        },
        "resources": {
            "logo-svg": "/kernelspecs/python-gpu/logo-svg.svg",
            "logo-64x64": "/kernelspecs/python-gpu/logo-64x64.png",
        },
    }
}


def message(channel, kind, content, parent=None, buffers=(), session="kernel", number=None, metadata=None):
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": kind,
        "session": session,
        "username": "",
        "date": "2026-01-01T00:00:00.000000Z",
        "version": "5.4",
    }
    if number is not None:
        header["n"] = number
    parts = [json.dumps(part).encode() for part in (header, parent or {}, metadata or {}, content)]
    return Message(channel, [*parts, *buffers])


class Apart(web.HTTPError):
    """The gateway does not work with the server's release."""

    def __init__(self, message):
        super().__init__(409)
        self.body = {"reason": "TooFarApart", "message": message}


class _Says:
    def write_error(self, status_code, **kwargs):
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, Apart):
            self.finish(error.body)
        else:
            super().write_error(status_code, **kwargs)


class Session:
    """What the agent keeps for one Jupyter session."""

    def __init__(self):
        self.log = []  # (number, message)
        self.next = 1
        self.taken = set()
        self.acked = 0
        self.sockets = set()

    def forget(self, acked):
        self.acked = max(self.acked, acked)
        self.log = [(n, m) for n, m in self.log if n > acked]


class Kernel:
    """One kernel with its agent. `executed` is the code it ran, in order."""

    def __init__(self, name="python-gpu"):
        self.id = str(uuid.uuid4())
        self.name = name
        self.kept = None  # the session that it is for, as the gateway keeps it
        self.own = True  # and not one of another server
        self.environment = ""  # of the user's own
        self.uid = str(uuid.uuid4())
        self.parked = False  # with its variables
        self.state = "idle"
        self.last_activity = "2026-01-01T00:00:00.000000Z"
        self.executed = []
        self.received = []  # every message that was taken, of any session
        self.asking = {}  # the header of the request that waits for input
        self.sessions = {}
        self.renew()

    def renew(self):
        """Another process of the agent: what was kept is gone."""
        self.epoch = uuid.uuid4().hex
        sockets = {name: s.sockets for name, s in self.sessions.items()}
        self.sessions = {}
        for name, there in sockets.items():
            self.session(name).sockets = there
            for socket in there:
                socket.hello()

    def model(self):
        return {
            "id": self.id,
            "name": self.name,
            "execution_state": self.state,
            "last_activity": self.last_activity,
            "connections": sum(len(s.sockets) for s in self.sessions.values()),
            "own": self.own,
            **({"environment": self.environment} if self.environment else {}),
        }

    def session(self, name):
        return self.sessions.setdefault(name, Session())

    def publish(self, name, made):
        """To one session."""
        session = self.session(name)
        number = session.next
        # Numbers may be missing.
        session.next += random.choice((1, 1, 1, 3))
        session.log.append((number, made))
        for socket in list(session.sockets):
            socket.pass_on(number, made)

    def take(self, name, taken):
        session = self.session(name)
        header = taken.header()
        if taken.parts[0] in session.taken:  # by header, to the byte
            return
        session.taken.add(taken.parts[0])
        self.received.append(taken)
        kind, content = header["msg_type"], taken.content()
        say = lambda *a, **k: self.publish(name, message(*a, **k))  # noqa: E731
        if kind == "input_reply":
            asked = taken.parent() or self.asking  # jupyter_client's clients name no parent
            say("iopub", "stream", {"name": "stdout", "text": content["value"]}, asked)
            self._finish(say, asked)
            return
        say("iopub", "status", {"execution_state": "busy"}, header)
        if kind == "execute_request":
            code = content["code"]
            self.executed.append(code)
            if code == "hang":
                return
            if code == "input":
                self.asking = header
                say("stdin", "input_request", {"prompt": "?", "password": False}, header)
                return
            for n in range(int(code.removeprefix("count ")) if code.startswith("count ") else 0):
                say("iopub", "stream", {"name": "stdout", "text": f"{n}\n"}, header)
            self._finish(say, header)
            return
        if kind == "comm_msg":
            say("iopub", "comm_msg", content, header, buffers=taken.parts[4:])
        elif kind.endswith("_request"):
            reply = {"status": "ok", "protocol_version": "5.4"}
            say(taken.channel, kind.removesuffix("request") + "reply", reply, header)
        say("iopub", "status", {"execution_state": "idle"}, header)

    def _finish(self, say, header):
        say("shell", "execute_reply", {"status": "ok", "execution_count": 1}, header)
        say("iopub", "status", {"execution_state": "idle"}, header)


class Channels(_Says, websocket.WebSocketHandler):
    max_message_size = 1 << 30

    @property
    def peer(self):
        return self.application.settings["peer"]

    def select_subprotocol(self, offered):
        return next((p for p in self.peer.speaks if p in offered), None)

    def prepare(self):
        self.peer.dialled += 1
        self.peer.check(self.request)
        if self.path_args[0] not in self.peer.kernels:
            self.set_status(404)
            self.finish({"reason": "NotFound", "message": "There is no such kernel."})

    def open(self, kernel_id):
        self.peer.open.add(self)
        self.kernel = self.peer.kernels[kernel_id]
        self.name = self.get_query_argument("session_id")
        self.session = self.kernel.session(self.name)
        self.session.sockets.add(self)
        self.budget = self.peer.budget()
        self.hello()
        if self.selected_subprotocol == RESUME:
            after = self.session.acked
            if self.get_query_argument("epoch", None) == self.kernel.epoch:
                after = int(self.get_query_argument("resume"))
                self.session.forget(after)
            for number, kept in list(self.session.log):
                if number > after:
                    self.pass_on(number, kept)

    def hello(self):
        if self.selected_subprotocol == RESUME:
            self.session = self.kernel.session(self.name)
            epoch = {"epoch": self.kernel.epoch, "next": self.session.next}
            self._write(json.dumps({"hello": epoch}))

    def pass_on(self, number, made):
        if self.selected_subprotocol == RESUME:
            self._write(number.to_bytes(8, "little") + frames.v1(made))
        else:
            self._write(frames.frame(self.selected_subprotocol, made))

    def _write(self, frame):
        if self.ws_connection is None or self.stream_closed():
            return
        self.budget -= 1
        if self.budget == 0 and isinstance(frame, bytes) and len(frame) > 200:
            # Half of a frame, and the end.
            raw = b"\x82\x7f" + len(frame).to_bytes(8, "big") + frame[: len(frame) // 2]
            self.ws_connection.stream.write(raw)
            self.cut()
        elif self.budget <= 0:
            self.cut()
        else:
            self.write_message(frame, binary=isinstance(frame, bytes))

    def stream_closed(self):
        return self.ws_connection.stream.closed()

    def cut(self):
        """As with kill -9."""
        if self.ws_connection is not None:
            self.ws_connection.stream.close()

    def on_message(self, frame):
        self.budget -= 1
        if self.stream_closed():
            return  # what was read before the end
        if self.peer.limit and len(frame) > self.peer.limit:
            self.close(1009, "too large")
        elif self.budget <= 0 and random.random() < 0.5:
            self.cut()  # it had not been passed on
        elif self.selected_subprotocol == RESUME and isinstance(frame, str):
            ack = json.loads(frame)
            if ack["epoch"] == self.kernel.epoch:
                assert ack["ack"] < self.session.next, "acknowledged what was never sent"
                self.session.forget(ack["ack"])
        else:
            subprotocol = V1 if self.selected_subprotocol == RESUME else self.selected_subprotocol
            self.kernel.take(self.name, frames.parse(subprotocol, frame))

    def on_close(self):
        self.peer.open.discard(self)
        if hasattr(self, "session"):
            self.kernel.session(self.name).sockets.discard(self)


class Rest(_Says, web.RequestHandler):
    @property
    def kernels(self):
        return self.application.settings["peer"].kernels

    def prepare(self):
        if self.application.settings["peer"].failing:
            raise web.HTTPError(503)
        self.application.settings["peer"].check(self.request)

    def get(self, kernel_id=None):
        if kernel_id is None:
            self.finish(json.dumps([k.model() for k in self.kernels.values()]))
        elif kernel_id in self.kernels:
            self.finish(self.kernels[kernel_id].model())
        else:
            raise web.HTTPError(404)

    def post(self, kernel_id=None, action=None):
        if kernel_id is None:
            body = json.loads(self.request.body)
            kernel = Kernel(body["name"])
            kernel.environment = body["env"].get("KERNEL_OWN_ENVIRONMENT", "")
            self.kernels[kernel.id] = kernel
            self.set_status(201)
            self.finish(kernel.model())
            return
        if action == "return":
            kernel, body = self.kernels[kernel_id], json.loads(self.request.body)
            if body["name"] not in SPECS:
                raise web.HTTPError(404)
            if not (kernel.parked and body["kept"]):
                raise web.HTTPError(409)
            kernel.parked, kernel.name = False, body["name"]
            self.finish(kernel.model())
        self.application.settings["peer"].actions.append((action, kernel_id))

    def delete(self, kernel_id):
        if self.application.settings["peer"].refusing:
            raise web.HTTPError(401)
        self.kernels.pop(kernel_id, None)
        self.set_status(204)


class About(_Says, web.RequestHandler):
    def get(self):
        self.finish({"version": "elastichub", "features": self.application.settings["peer"].features})


class States(_Says, web.RequestHandler):
    def get(self):
        peer = self.application.settings["peer"]
        if peer.failing:
            raise web.HTTPError(503)
        if not peer.tells:
            raise web.HTTPError(404)
        peer.told = {k.uid for k in peer.kernels.values()}
        self.finish({"holder": peer.holder, "kernels": sorted(peer.told)})


class Sessions(_Says, web.RequestHandler):
    """What kernels are for, each session with a kernel of its own."""

    def prepare(self):
        self.peer = self.application.settings["peer"]
        if self.peer.failing:
            raise web.HTTPError(503)

    def _find(self, kernel_id):
        if kernel_id not in self.peer.kernels:
            raise web.HTTPError(404)
        return self.peer.kernels[kernel_id]

    def _answer(self, kernel):
        self.finish({**kernel.kept, "kernel": kernel.model()})

    def get(self):
        kernels = [k for k in self.peer.kernels.values() if k.kept]
        self.finish(json.dumps([{**k.kept, "kernel": k.model()} for k in kernels]))

    def post(self):
        body = json.loads(self.request.body)
        kernel = self._find(body["kernel"]["id"])
        if kernel.kept:
            raise web.HTTPError(409)
        kernel.kept = {name: body[name] or "" for name in ("id", "path", "name", "type")}
        self.set_status(201)
        self._answer(kernel)

    def patch(self, session_id):
        body = json.loads(self.request.body)
        found = [k for k in self.peer.kernels.values() if k.kept and k.kept["id"] == session_id]
        if not found:
            raise web.HTTPError(404)
        kernel = self._find(body["kernel"]["id"])
        kept = found[0].kept
        if kernel is not found[0]:
            if kernel.kept:
                raise web.HTTPError(409)
            del self.peer.kernels[found[0].id]
        changed = {n: body[n] for n in ("path", "name", "type") if body.get(n) is not None}
        kernel.kept = {**kept, **changed}
        self._answer(kernel)


class Specs(_Says, web.RequestHandler):
    def get(self, name=None):
        peer = self.application.settings["peer"]
        if peer.failing:
            raise web.HTTPError(503)
        peer.check(self.request)
        specs = {**SPECS, **peer.specs}
        if name is None:
            self.finish({"default": "python-gpu", "kernelspecs": specs})
        elif name in specs:
            self.finish(specs[name])
        else:
            raise web.HTTPError(404)


class Logo(_Says, web.RequestHandler):
    def get(self, name, file):
        if file != "logo-svg.svg":
            raise web.HTTPError(404)
        self.set_header("Content-Type", "image/svg+xml")
        self.finish("<svg/>")


class Peer:
    """`budget()` says after how many frames a new connection breaks."""

    def __init__(self):
        self.kernels = {}
        self.features = ["outliving"]
        self.specs = {}
        self.actions = []
        self.more = []  # routes of a test
        self.holder = "gateway/notebook"
        self.tells = True  # which kernels there are
        self.told = set()  # when it was last asked for them
        self.open = set()
        self.dialled = 0
        self.failing = False
        self.tokens = {"secret"}  # that count
        self.refusing = False
        self.apart = ""  # why the server's release is refused
        self.version = ""  # what the server has told of itself
        self.limit = 0
        self.speaks = [RESUME, V1]
        self.budget = lambda: 1 << 60
        self.port = None

    def check(self, request):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "token" or token not in self.tokens:
            raise web.HTTPError(401)
        self.version = request.headers.get("X-Elastichub-Version", "")
        if self.apart:
            raise Apart(self.apart)

    def start(self):
        one = r"/api/kernels/([^/]+)"
        self._application = web.Application(
            [
                (r"/api/kernelspecs(?:/([^/]+))?", Specs),
                (r"/kernelspecs/([^/]+)/(.+)", Logo),
                (r"/api", About),
                (r"/api/states", States),
                (r"/api/sessions", Sessions),
                (r"/api/sessions/([^/]+)", Sessions),
                (r"/api/kernels", Rest),
                (one, Rest),
                (one + "/(restart|interrupt|return)", Rest),
                (one + "/channels", Channels),
                *self.more,
            ],
            peer=self,
            log_function=lambda _: None,
        )
        self._listen(0)

    def _listen(self, port):
        sockets = netutil.bind_sockets(port, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self._server = httpserver.HTTPServer(self._application)
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{self.port}"

    def kill(self):
        """Nobody listens, every connection is broken."""
        self._server.stop()
        for socket in list(self.open):
            socket.cut()

    def back(self):
        self._listen(self.port)

    def cut_all(self):
        for socket in list(self.open):
            socket.cut()

    def add(self, kernel=None):
        kernel = kernel or Kernel()
        self.kernels[kernel.id] = kernel
        return kernel


async def until(what, probe, seconds=60):
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (value := probe()):
        assert loop.time() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)
    return value
