"""What of remote kernels counts as activity of this server.

A Hub's culler goes by the last activity that jupyterhub-singleuser reports, and that by
jupyter_server's `last_kernel_activity`, which nothing updates for kernels at a gateway: a notebook
whose GPU computes for a night would be stopped, and its kernels with it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone

from jupyter_server.gateway.gateway_client import GatewayClient, gateway_request
from jupyter_server.utils import url_path_join
from tornado.escape import json_decode

LOOK_EVERY = 60.0  # seconds

# Clients send these by themselves.
_UNASKED = {"kernel_info_request", "comm_info_request", "debug_request"}
# Somebody waits for a kernel that is starting, in the queue too.
_AT_WORK = {"busy", "starting", "restarting"}


def counts(kind):
    """Whether a request of this type, and what a kernel says about it, is activity."""
    return bool(kind) and kind not in _UNASKED


def note(manager, at=None):
    """There was activity of one of the manager's kernels."""
    at = at or datetime.now(timezone.utc)
    if at > manager.last_kernel_activity:
        manager.last_kernel_activity = at


def judge(models, mine, now):
    """(last activity or None, ids at work) of the kernels `mine` in a gateway's list."""
    latest, working = None, set()
    for model in models:
        if not isinstance(model, dict) or model.get("id") not in mine:
            continue
        if model.get("execution_state") in _AT_WORK:
            working.add(model["id"])
        try:
            at = datetime.fromisoformat(str(model.get("last_activity")).replace("Z", "+00:00"))
            at = min(at, now)  # their clock may be ahead
        except (ValueError, TypeError):
            continue
        latest = max(latest or at, at)
    return (now if working else latest), working


async def list_models():
    """The kernels that the gateway lists."""
    client = GatewayClient.instance()
    response = await gateway_request(
        url_path_join(client.url or "", client.kernels_endpoint), method="GET"
    )
    return json_decode(response.body)


class Watch:
    """Looks at the gateway's kernels also while no browser is there."""

    def __init__(self, manager, log, fetch=list_models, clock=lambda: datetime.now(timezone.utc)):
        self._manager = manager
        self._log = log
        self._fetch = fetch
        self._clock = clock
        self._working = set()  # at the last look

    async def run(self):
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self):
        mine = set(self._manager.list_kernel_ids())
        if not mine:
            return
        try:
            latest, self._working = judge(await self._fetch(), mine, self._clock())
        except Exception as error:  # noqa: BLE001 - it looks again
            # Nothing may be concluded: what was at work goes on.
            self._log.warning("the gateway's kernels cannot be listed: %r", error)
            latest = self._clock() if self._working & mine else None
        if latest:
            note(self._manager, latest)
