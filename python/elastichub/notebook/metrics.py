"""Jupyter's metrics, <base>/metrics, for who has the token of the monitoring.

A person's token or cookie opens them as ever. The monitoring's token opens them alone: it is looked at
before anybody signs in, and is not shown to the Hub. This server has its hash, in a file that changes
with the token; who reads that, its owner for one, does not have the token.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import prometheus_client
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import PrometheusMetricsHandler
from jupyter_server.utils import url_path_join

VARIABLE = "ELASTICHUB_METRICS_HASH_FILE"  # names the file: SHA-256 of the token, in hexadecimal
SHORTEST = 16  # characters of a token


class Token:
    def __init__(self, file):
        self._file = Path(file)

    def opens(self, header):
        """header is an Authorization of a request, or None."""
        scheme, _, shown = (header or "").partition(" ")
        if scheme.lower() != "bearer" or len(shown) < SHORTEST:
            return False
        try:
            wanted = self._file.read_text().strip().lower()
        except (OSError, ValueError):
            return False
        return hmac.compare_digest(hashlib.sha256(shown.encode()).hexdigest().encode(), wanted.encode())


class Metrics(PrometheusMetricsHandler):
    def initialize(self, monitoring):
        super().initialize()
        self.monitoring = monitoring
        self.opened = False

    async def prepare(self, **redirecting):
        if self.request.method == "GET" and self.monitoring.opens(self.request.headers.get("Authorization")):
            self.opened = True
            self.current_user = self._jupyter_current_user = None
            return
        await super().prepare(**redirecting)

    @allow_unauthenticated  # else who is unknown is sent to the page where people sign in
    def get(self):
        if not self.opened:
            super().get()
            return
        self.set_header("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        self.write(prometheus_client.generate_latest(prometheus_client.REGISTRY))


def _jupyter_server_extension_points():
    return [{"module": "elastichub.notebook.metrics"}]


def _load_jupyter_server_extension(app):
    if file := os.environ.get(VARIABLE):
        place = url_path_join(app.base_url, "metrics")
        app.web_app.add_handlers(".*$", [(place, Metrics, {"monitoring": Token(file)})])
