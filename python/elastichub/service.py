"""A client of the spawner API (hubapi/openapi.yaml), shared by all spawners of a Hub."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import uuid
from typing import NamedTuple
from urllib.parse import quote, urlencode

from tornado.log import app_log

from .connections import Connections, Interrupted, NoAnswer, NotConnected
from .errors import Down, Problem, ServiceDown
from .skew import HEADER, HUB_PROTOCOL, KIND, told

PREFIX = "/api/spawner/v1"

CONNECT_SECONDS = 3
# Longer than the service's own deadlines, so that its answer is the one to be read:
# 5 s for a directory, 10 s for any request.
CHOICE_SECONDS = 7
REQUEST_SECONDS = 12
SNAPSHOT_SECONDS = 5
# A stream is renewed at this interval. Abandoned ones end by it, and a silent
# break costs no more than it: every renewal is followed by a look at the state.
STREAM_SECONDS = 25
# At most one bulk request in this time, whatever the number of servers.
SNAPSHOT_INTERVAL = 1.0
# How often it is looked for servers that have ended, for all of a Hub's at once.
WATCH_SECONDS = 3
# How long a start that was given up is looked for while there is none: its request may be
# carried out late. One that runs is asked to stop until it does.
GIVEN_UP_SECONDS = 120
MAX_EVENT_BYTES = 64 << 10

# What is read of a server's state.
STATE = frozenset(("start", "phase", "ready", "stopped"))


class ServerKey(NamedTuple):
    """Names a server. hub_user, id@time, says who the user is whatever they are called."""

    user: str
    server: str
    hub_user: str = ""


class Service:
    """One per event loop, address and token."""

    def __init__(self, url, token, ca_file=None):
        """token is a callable, so that a token file can change under a running Hub."""
        self.url = url.rstrip("/")
        self._token = token
        self._calls = Connections(self.url, ca_file or None, 256)
        self._streams = Connections(self.url, ca_file or None, 4096)
        self._servers = None
        self._last: tuple[Snapshot | None, str] = (None, "")  # the last Snapshot that was read, and its ETag
        self._servers_began = float("-inf")
        self._refreshing = None
        self._running = set()
        # Of those the ones that may have ended: they are looked at whether anything changed or not.
        self._doubtful = set()
        self._compared: Snapshot | None = None
        self._given_up = {}  # start → (key, until when it is looked for)
        self.stops = 0  # that the Hub waits for now
        self._watching = None
        self._apart = ""  # why the service refuses this class
        self._ended: dict[ServerKey, float] = {}  # when they did of late, oldest first

    # --- choices

    # sign_in is what the Hub knows of the user's sign-in, where groups come from it.

    async def form(self, key, languages="", sign_in=None, link=None):
        """link holds the choices that the form begins with."""
        query = {"server": key.server, **({"lang": languages} if languages else {})}
        body = {**({"form": link} if link else {}), **_with(sign_in)}
        method = "POST" if body else "GET"
        page = await self._call(
            method, key, "form", query, body or None, seconds=CHOICE_SECONDS
        )
        return page.decode(errors="replace")

    async def decode(self, key, form, again=False, sign_in=None):
        """With again, a Problem of the choices has the form that shows its errors."""
        query = {"server": key.server, **({"form": "true"} if again else {})}
        body = {"form": form, **_with(sign_in)}
        return (await self._options(key, "options", query, body))["options"]

    async def check(self, key, options, sign_in=None):
        query, body = {"server": key.server}, {"options": options, **_with(sign_in)}
        return (await self._options(key, "options/check", query, body))["options"]

    async def check_stored(self, key, options, sign_in=None):
        """(options, dropped): what is left of options that the Hub has kept, and the
        names of those that mean nothing now, which the defaults stand for."""
        query = {"server": key.server, "stored": "true"}
        body = {"options": options, **_with(sign_in)}
        answer = await self._options(key, "options/check", query, body)
        return answer["options"], [fault["field"] for fault in answer.get("dropped", [])]

    async def _options(self, key, path, query, body):
        answer = await self._call("POST", key, path, query, body, CHOICE_SECONDS)
        return _parsed(answer, {"options"})

    # --- servers

    # What belongs to a start has the id of that in the logs of the service, too.

    async def start(self, key, request, others=(), display_name="", trace=None):
        """others are Hub users who are known to be somebody else; trace are headers that say
        which trace the start belongs to."""
        query = _query_of(key, others)
        if display_name:
            query["display_name"] = display_name
        answer = await self._call(
            "PUT", key, "server", query, request, named=request["start"], trace=trace
        )
        return _parsed(answer, STATE)

    async def host(self, key, others=()):
        """The host of the server's address, whether there is the server or not."""
        query = _query_of(key, others)
        return _parsed(await self._call("GET", key, "server/host", query), {"host"})["host"]

    async def state(self, key, start=""):
        """The state as of now, None when there is no such server. start is the one that it is
        asked for, which may be over."""
        try:
            answer = await self._call("GET", key, "server", {"name": key.server}, named=start)
            return _parsed(answer, STATE)
        except Problem as problem:
            if problem.kind == "no-server":
                return None
            raise

    async def stop(self, key, start=""):
        """With a start, another one runs on."""
        query = {"name": key.server, **({"start": start} if start else {})}
        await self._delete(key, query, start)

    async def remove(self, key):
        await self._delete(key, {"name": key.server, "forever": "true"})

    async def _delete(self, key, query, start=""):
        try:
            await self._call("DELETE", key, "server", query, named=start)
        except Problem as problem:
            if problem.kind != "no-server":
                raise

    async def rename(self, key, to):
        """Give a stopped server another name; it keeps all that it has."""
        await self._call("POST", key, "server/rename", {"name": key.server, "to": to}, once=True)

    async def events(self, key, start, after, note):
        """Call note(id, type, data) for each event of a start, for a while.

        Returns when a final event came, the stream ended, or it is time to renew it.
        """
        parser = EventParser(note)
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = after
        try:
            await self._fetch(
                self._streams,
                "GET",
                _path(key, "server/events", {"name": key.server, "start": start}),
                headers=headers,
                named=start,
                seconds=STREAM_SECONDS,
                feed=parser.feed,
            )
        except ServiceDown:
            if not parser.fed:
                raise

    # --- all servers at once

    def ended(self, key):
        """This server has been stopped: what was read before says nothing of it any more."""
        now = _now()
        self._ended.pop(key, None)
        self._ended[key] = now
        for other, at in list(self._ended.items()):
            if at > now - SNAPSHOT_INTERVAL - WATCH_SECONDS:
                break
            del self._ended[other]  # nobody is given a Snapshot as old as that

    def ended_at(self, key):
        """When it was said to have ended (loop time), or long ago."""
        return self._ended.get(key, float("-inf"))

    async def snapshot(self, newer_than=float("-inf")):
        """A Snapshot as of a request begun after newer_than (loop time).

        None when the service is down or does not know yet: nothing may be concluded.
        Whoever asks while the servers are watched gets what was seen of them then.
        """
        fresh = max(newer_than, _now() - SNAPSHOT_INTERVAL - (WATCH_SECONDS if self._watches() else 0))
        while self._servers_began < fresh:
            if self._refreshing is None:
                self._refreshing = asyncio.ensure_future(self._refresh())
            await asyncio.shield(self._refreshing)
        return self._servers

    async def _refresh(self):
        try:
            await asyncio.sleep(self._servers_began + SNAPSHOT_INTERVAL - _now())
            began = _now()
            try:
                servers = await self._read_servers()
            except (Problem, ServiceDown, KeyError, TypeError):
                servers = None
            self._servers, self._servers_began = servers, began
        finally:
            self._refreshing = None

    async def _read_servers(self):
        """What is as it was is not read again: there may be thousands of servers."""
        known, tag = self._last
        try:
            answer = await self._respond(
                self._calls,
                "GET",
                f"{PREFIX}/servers",
                seconds=SNAPSHOT_SECONDS,
                headers={"If-None-Match": tag} if tag else {},
            )
        except Problem as problem:
            if problem.status == 304 and known is not None:
                return known
            raise
        servers = Snapshot(_parsed(answer.body, {"servers"})["servers"])
        self._last = (servers, answer.headers.get("etag", ""))
        return servers

    # --- what ends without the Hub

    def watch(self, spawner):
        """Call spawner.compare(snapshot), which says whether it is to be looked at again
        though nothing changes, until unwatch: now and whenever something has changed."""
        self._running.add(spawner)
        self._doubtful.add(spawner)
        self._go_on_watching()

    def unwatch(self, spawner):
        self._running.discard(spawner)
        self._doubtful.discard(spawner)

    def give_up(self, key, start):
        """Have a start end that begins after all, or runs on, some time after nobody waits for it."""
        self._given_up[start] = key, _now() + GIVEN_UP_SECONDS
        self._go_on_watching()

    def _watches(self):
        return self._watching is not None and not self._watching.done()

    def _go_on_watching(self):
        if not self._watches():
            self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self):
        while self._running or self._given_up:
            await asyncio.sleep(WATCH_SECONDS)
            servers = await self.snapshot(newer_than=_now() - SNAPSHOT_INTERVAL)
            if servers is not None:
                self._compare(servers)
                await self._end_given_up(servers)

    def _compare(self, servers):
        """What the service has not changed since is as it was."""
        some = self._running if servers is not self._compared else self._doubtful
        self._doubtful = {spawner for spawner in list(some) if spawner.compare(servers)}
        self._compared = servers

    async def _end_given_up(self, servers):
        for start, (key, until) in list(self._given_up.items()):
            state = servers.of(start)
            if state is not None and not state["stopped"] and state["phase"] != "Stopping":
                try:
                    await self.stop(key, start)
                except (Problem, ServiceDown):
                    continue  # once more at the next look
            elif _now() > until:
                del self._given_up[start]

    # --- HTTP

    async def _call(
        self, method, key, path, query, body=None, seconds=None, once=False, named="", trace=None
    ):
        headers = {**(trace or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
            # The service bounds bytes: what needs no escape has none. Halves of surrogate
            # pairs, as a client may send them in options, are for it to refuse.
            body = json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")
        elif method == "POST":
            body = b""
        return await self._fetch(
            self._calls,
            method,
            _path(key, path, query),
            seconds=seconds or REQUEST_SECONDS,
            headers=headers,
            body=body,
            once=once,
            named=named,
        )

    async def _fetch(self, connections, method, path, **more):
        """The body of a successful answer. Raises Problem or ServiceDown, nothing else."""
        return (await self._respond(connections, method, path, **more)).body

    async def _respond(self, connections, method, path, *, seconds, headers=None, named="", **more):
        """As _fetch, the answer itself. The service logs the request under its name, which what
        is raised tells, too."""
        named = named or uuid.uuid4().hex
        try:
            token = self._token()
        except OSError as error:
            raise ServiceDown(Down.TOKEN, str(error)) from None
        try:
            answer = await connections.ask(
                method,
                path,
                {
                    "Authorization": f"Bearer {token}",
                    "X-Request-Id": named,
                    HEADER: told(HUB_PROTOCOL),
                    **(headers or {}),
                },
                connect_seconds=CONNECT_SECONDS,
                seconds=seconds,
                **more,
            )
        except NotConnected as error:
            why = Down.ADDRESS if error.late else _why(error.cause)
            raise ServiceDown(why, f"{error} (request {named})") from None
        except NoAnswer as error:
            raise ServiceDown(Down.SILENT, f"{error} (request {named})") from None
        except Interrupted as error:
            raise ServiceDown(Down.BROKEN, f"{error} (request {named})") from None
        if not 200 <= answer.status < 300:
            problem = Problem.parse(answer.status, answer.body)
            self._tell_apart(problem if problem.kind == KIND else None)
            raise problem
        self._tell_apart(None)
        return answer

    def _tell_apart(self, problem):
        """Logs that the service refuses this class, when that is news: it is asked every few seconds."""
        detail = problem.detail if problem else ""
        if detail and detail != self._apart:
            app_log.error("%s", detail)
        self._apart = detail


def _query_of(key, others):
    """The query that names a server; others are Hub users who are known to be somebody else."""
    return {"name": key.server, **({"others": ",".join(others)} if others else {})}


def _why(error):
    """Of an error from a connection that was not made."""
    # Closed before the certificate came: nothing is known of it.
    if isinstance(error, (ConnectionError, ssl.SSLEOFError)):
        return Down.ADDRESS
    if isinstance(error, ssl.SSLError):
        return Down.CERTIFICATE
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return Down.NAME
    if isinstance(error, FileNotFoundError):  # the CA file: the token has been read
        return Down.CERTIFICATE
    # tornado has no number for a connection of which it knows only that it is closed.
    if error.errno in (None, errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Down.ADDRESS
    return Down.BROKEN


class Snapshot:
    """The states of all servers, as the service lists them."""

    def __init__(self, states):
        self._by_start, self._by_person, self._by_name = {}, {}, {}
        for state in states:
            _has(state, STATE)
            self._by_start[state["start"]] = state
            self._by_person[state.get("hub_user") or None, state["server"]] = state
            self._by_name[state["user"], state["server"]] = state

    def of(self, start):
        """The state of a start, None for none."""
        return self._by_start.get(start)

    def find(self, key):
        """The state of a server whose start is not known, None for none."""
        found = self._by_person.get((key.hub_user, key.server))
        if found is None:
            found = self._by_name.get((key.user, key.server))
            if found and key.hub_user and found.get("hub_user"):
                return None  # somebody else's, who has had the name
        return found


class EventParser:
    """Server-sent events, as far as this API uses them (WHATWG HTML, 9.2.6)."""

    def __init__(self, note):
        self._note = note
        self.rest = b""
        self._fields = {}
        self.fed = False

    def feed(self, chunk):
        self.fed = True
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        if len(self.rest) > MAX_EVENT_BYTES:
            self.rest = b""
        for line in lines:
            if not line:
                self._dispatch()
            else:
                name, _, value = line.partition(b":")
                if name in (b"id", b"event", b"data"):
                    value = value.removeprefix(b" ")
                    self._fields[name] = value.decode(errors="replace")

    def _dispatch(self):
        fields, self._fields = self._fields, {}
        try:
            data = json.loads(fields[b"data"])
        except (KeyError, ValueError):
            return
        if isinstance(data, dict):
            self._note(fields.get(b"id", ""), fields.get(b"event", "message"), data)


def _with(sign_in):
    return {"sign_in": sign_in} if sign_in else {}


def _path(key, path, query):
    segment = quote(key.user, safe="")
    if not segment.strip("."):  # "." and ".." would be taken for steps in the path
        segment = segment.replace(".", "%2E")
    if key.hub_user:
        query = {**query, "hub_user": key.hub_user}
    return f"{PREFIX}/users/{segment}/{path}?{urlencode(query)}"


def _parsed(answer, keys):
    """An object with these keys. Anything else came from somebody else."""
    try:
        return _has(json.loads(answer), keys)
    except ValueError:
        raise Problem(502) from None


def _has(value, keys):
    if not isinstance(value, dict) or not value.keys() >= keys:
        raise Problem(502)
    return value


def _now():
    return asyncio.get_running_loop().time()
