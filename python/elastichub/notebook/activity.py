"""What this server is at, when it will be stopped, and until when somebody wants it kept.

elastichub's controllers tell the second some minutes before, and ask for the others before they stop it
for idleness. What they grant is bounded by its policies; a server has no right to change anything of
itself. A page shows when it is stopped, says that it is wanted, and tells when its person did something.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from .. import skew
from . import use
from .busy import Busy

STEP = timedelta(hours=1)  # how much longer it is kept each time that somebody asks
SLACK = timedelta(seconds=1)  # between two clocks of one machine
PATH = "elastichub/v1/activity"
IDLE, LONGEST_RUN = "Idle", "MaxRun"  # causes


class Stop:
    """The stop that this server was told of."""

    def __init__(self, at, idle_since, keep, cause=IDLE):
        self.at = at
        self.idle_since = idle_since  # None: it is stopped whoever uses it
        self.keep = keep  # for how much longer in all it may be kept
        self.cause = cause


class Keeping:
    """What one server knows of its stop. last_used() is when somebody last used it."""

    def __init__(self, last_used, clock=lambda: datetime.now(timezone.utc)):
        self._last_used = last_used
        self._clock = clock
        self._stop: Stop | None = None
        self.until: datetime | None = None  # somebody wants it kept

    def told(self, stop):
        self._stop = stop

    def coming(self):
        """The stop, if nothing has happened since it was told of that puts it off."""
        stop, now = self._stop, self._clock()
        if stop is None or stop.at <= now:
            return None
        if stop.idle_since is None:
            return stop
        if self._last_used() > stop.idle_since + SLACK:
            return None
        if self.until is not None and self.until >= stop.at:
            return None
        return stop

    def keep(self):
        """Another hour, or what is left; also for somebody who was told of a stop and has put it off
        by coming back. Returns until when, or None if nothing is left or no stop was told."""
        stop, now = self._stop, self._clock()
        if stop is None or stop.idle_since is None:
            return None
        begin = max(now, self.until or now)
        until = begin + min(STEP, stop.keep)
        if until <= max(begin, stop.at):
            return None
        stop.keep -= until - begin
        self.until = until
        return until

    def kept_until(self):
        return self.until if self.until is not None and self.until > self._clock() else None

    def told_of(self):
        """As JSON."""
        stop = self.coming()
        until = self.kept_until()
        return {
            "snoozedUntil": until and _text(until),
            "stopAt": stop and _text(stop.at),
            "cause": stop and stop.cause,
            "canKeep": stop is not None and stop.idle_since is not None and self._clock() + stop.keep > stop.at,
        }


def _text(instant, to="seconds"):
    return instant.astimezone(timezone.utc).isoformat(timespec=to).replace("+00:00", "Z")


def _instant(text):
    """Go writes up to nine digits of a second, of which Python 3.9 reads six."""
    if not isinstance(text, str):
        raise ValueError("no time")
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        head += "." + rest[:digits][:6].ljust(6, "0") + rest[digits:]
    instant = datetime.fromisoformat(head)
    if instant.tzinfo is None:
        raise ValueError("no zone")
    return instant


def add_handlers(app):
    """Returns what is to run while the server does."""
    use.install(app)
    keeping, busy = Keeping(lambda: use.last_used(app)), Busy(app)
    base = url_path_join(app.base_url, PATH)
    told = {"keeping": keeping, "app": app}
    handlers = [
        (base, About, {**told, "busy": busy}),
        (url_path_join(base, "page"), Page, told),
        (url_path_join(base, "snooze"), Snooze, told),
    ]
    app.web_app.add_handlers(".*$", handlers)
    return busy.run


class _Handler(APIHandler):
    """None of its requests is activity: a page that looks would keep its server for ever."""

    auth_resource = "server"
    _track_activity = False

    def initialize(self, keeping, app):
        super().initialize()
        self.keeping, self.app = keeping, app


class About(_Handler):
    """For the controllers."""

    def initialize(self, keeping, app, busy=None):
        super().initialize(keeping, app)
        self.busy = busy
        self.set_header(skew.HEADER, skew.told(skew.GATEWAY_PROTOCOL))

    @web.authenticated
    @authorized
    async def get(self):
        busy = await self.busy.all()
        used = _text(use.last_used(self.app), "microseconds")
        self.finish(json.dumps({**self.keeping.told_of(), "busy": busy, "lastActivity": used}))

    @web.authenticated
    @authorized
    async def put(self):
        try:
            said = self.get_json_body() or {}
            keep = timedelta(seconds=max(0, int(said["keepSeconds"])))
            cause = said.get("cause", IDLE)
            idle_since = None if cause == LONGEST_RUN else _instant(said["idleSince"])
            self.keeping.told(Stop(_instant(said["stopAt"]), idle_since, keep, cause))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise web.HTTPError(400, "stopAt, idleSince and keepSeconds are wanted") from error
        self.finish("{}")


class Page(_Handler):
    """For pages, which look every few seconds."""

    @web.authenticated
    @authorized
    async def post(self):
        try:
            ago = (self.get_json_body() or {}).get("usedSecondsAgo")
            if ago is not None:
                now = datetime.now(timezone.utc)
                use.note(self.app, now - timedelta(seconds=max(0.0, float(ago))))
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise web.HTTPError(400, "usedSecondsAgo is a number, or null") from error
        self.finish(json.dumps(self.keeping.told_of()))


class Snooze(_Handler):
    @web.authenticated
    @authorized
    async def post(self):
        if self.keeping.keep() is None:
            raise web.HTTPError(409, "This server cannot be kept any longer.")
        self.finish(json.dumps(self.keeping.told_of()))
