"""Sessions whose kernels outlive this server.

A notebook server is replaced while its user works: its node is drained, its image changes, it runs
out of memory. The gateway's kernels go on meanwhile. What jupyter_server knows of them ends with
it: which there are, and which document each belongs to. So the gateway keeps that with each kernel,
is told of every change here, and is asked for it when the next server starts.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server.gateway.gateway_client import GatewayClient, gateway_request
from jupyter_server.services.sessions.sessionmanager import SessionManager
from jupyter_server.utils import url_path_join
from tornado.escape import json_decode, json_encode, url_escape
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

OUTLIVING = "outliving"  # what a gateway says of itself at /api
PATIENCE = 10.0  # seconds that a start of this server waits for the gateway
GLANCE = 2.0  # seconds that a new session waits for it
PAUSE, MAX_PAUSE = 1.0, 30.0  # seconds between attempts to tell the gateway
AGAIN = 2.0  # seconds between attempts to ask it


async def list_states():
    """What the gateway says of which kernels this notebook's home may keep variables; None if it
    does not know. Error: HTTPError if it does not answer."""
    try:
        return await _call("GET", "/api/states")
    except HTTPError as error:
        if not _refused(error):
            raise
        return None


async def _call(method, path, body=None):
    """What the gateway answers. Error: HTTPError, of the gateway's own or for want of one."""
    options: dict[str, Any] = {"method": method}
    if body is not None:
        options |= {"headers": {"Content-Type": "application/json"}, "body": json_encode(body)}
    response = await gateway_request(
        url_path_join(GatewayClient.instance().url or "", path), **options
    )
    return json_decode(response.body)


def _refused(error):
    """The status of an answer that will not be another one when it is asked for again, or 0.

    jupyter_server says 404 also for a gateway whose name is not found."""
    answered = isinstance(error, HTTPError) and isinstance(error.__cause__, HTTPClientError)
    code = error.status_code if answered else 0
    return code if 400 <= code < 500 and code not in (401, 408, 429) else 0


class LastingSessions(SessionManager):
    """jupyter_server's sessions, and at the gateway those of its kernels."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.adopted = False
        self._away = False  # and the log says so
        self._untold: dict[str, None] = {}  # sessions of which the gateway is to be told, in order
        self._telling: asyncio.Future | None = None

    @property
    def _remote(self):
        return getattr(self.kernel_manager, "remote", self.kernel_manager)

    async def adopt(self):
        """Takes over the kernels and sessions that a former server of this notebook has left at the
        gateway. Error: HTTPError if the gateway does not answer."""
        if self.adopted:
            return
        try:
            about = await _call("GET", "/api")
        except HTTPError as error:
            if not _refused(error):
                raise
            about = {}  # another gateway, which has no such thing
        self._remote.outliving = OUTLIVING in about.get("features", ())
        if self._remote.outliving:
            kernels = await _call("GET", "/api/kernels")
            sessions = await _call("GET", "/api/sessions")
            await self._remote.adopt([model for model in kernels if model.get("own")])
            for session in sessions:
                self._enter(session)
        self.adopted = True

    def _enter(self, session):
        identity, kernel = session["id"], session["kernel"]["id"]
        if kernel not in self._remote:
            return
        self.cursor.execute(
            "SELECT 1 FROM session WHERE path=? AND session_id<>?", (session["path"], identity)
        )
        if self.cursor.fetchone() is not None:
            self.log.warning("%s has been opened with another kernel meanwhile", session["path"])
            return
        self.cursor.execute("DELETE FROM session WHERE session_id=?", (identity,))
        self.cursor.execute(
            "INSERT INTO session VALUES (?,?,?,?,?)",
            (identity, session["path"], session["name"], session["type"], kernel),
        )
        self.log.info("session %s of a former server goes on: %s", identity, session["path"])

    async def adopt_soon(self, patience):
        """Adopts if the gateway answers within `patience` seconds; reports whether it is done."""
        try:
            await asyncio.wait_for(self.adopt(), patience)
        except Exception as error:  # noqa: BLE001 - local kernels work without it
            tell = self.log.debug if self._away else self.log.warning
            self._away = True
            tell("the gateway does not say which kernels there are: %r", error)
        return self.adopted

    async def keep_adopting(self):
        """For a gateway that was away when this server started."""
        while not await self.adopt_soon(PATIENCE):
            await asyncio.sleep(AGAIN)

    async def list_sessions(self):
        self._remote.check_known()
        return await super().list_sessions()

    async def session_exists(self, path):
        # A document whose kernel goes on is not to get a second one.
        if not self.adopted:
            await self.adopt_soon(GLANCE)
        return await super().session_exists(path)

    async def start_kernel_for_session(self, session_id, *args, **kwargs):
        # Called with what jupyter_server's own takes, by release: to begin, and to change kernels.
        return await self._return_as(session_id, kwargs.get("kernel_name")) or (
            await super().start_kernel_for_session(session_id, *args, **kwargs)
        )

    async def _return_as(self, session_id, name):
        """Has a parked kernel of which variables are kept return as another kernelspec. Gives its
        id, or None if the session gets another kernel."""
        self.cursor.execute("SELECT kernel_id FROM session WHERE session_id=?", (session_id,))
        row = self.cursor.fetchone()
        if row is None or not name or row["kernel_id"] not in self._remote or not self._remote.outliving:
            return None
        path = f"/api/kernels/{url_escape(row['kernel_id'])}/return"
        try:
            await _call("POST", path, {"name": name, "kept": True})
        except HTTPError as error:
            if not _refused(error):
                raise
            self.log.info("%s does not return as %s: %s", row["kernel_id"], name, error)
            return None
        return row["kernel_id"]

    async def save_session(self, session_id, path=None, name=None, type=None, kernel_id=None):
        model = await super().save_session(session_id, path, name, type, kernel_id)
        self._tell(session_id)
        return model

    async def update_session(self, session_id, **kwargs):
        await super().update_session(session_id, **kwargs)
        self._tell(session_id)

    def _tell(self, session_id):
        self._untold[session_id] = None
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell_all())

    async def _tell_all(self):
        pause = PAUSE
        while self._untold:
            session_id = next(iter(self._untold))
            del self._untold[session_id]
            try:
                await self._tell_one(session_id)
                pause = PAUSE
            except Exception as error:  # noqa: BLE001 - it is tried again
                self.log.info("the gateway was not told of session %s: %r", session_id, error)
                if not _refused(error):
                    self._untold.setdefault(session_id)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MAX_PAUSE)

    async def _tell_one(self, session_id):
        """Makes the gateway's session what this server's is now."""
        self.cursor.execute("SELECT * FROM session WHERE session_id=?", (session_id,))
        row = self.cursor.fetchone()
        if row is None or row["kernel_id"] not in self._remote:
            return  # its kernel's end was its own
        await self.adopt()
        if not self._remote.outliving:
            return
        told = {"path": row["path"], "name": row["name"], "type": row["type"]}
        told["kernel"] = {"id": row["kernel_id"]}
        try:
            await _call("PATCH", f"/api/sessions/{url_escape(session_id)}", told)
        except HTTPError as error:
            if _refused(error) != 404:
                raise
            await _call("POST", "/api/sessions", {"id": session_id, **told})
