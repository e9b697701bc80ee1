"""What programs outside of the notebook server ask about documents."""

from __future__ import annotations

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web


class KeptHandler(APIHandler):
    """Whether the server writes what a kernel prints while no page has its notebook open."""

    def initialize(self, keeper, manager):
        """manager is that of the gateway's kernels; keeper is None where nothing is kept."""
        self._keeper = keeper
        self._manager = manager

    @classmethod
    def install(cls, app, keeper, manager):
        """Serves it below the server's base URL."""
        path = url_path_join(app.web_app.settings["base_url"], "elastichub/v1/documents/kernels/([^/]+)")
        app.web_app.add_handlers(".*$", [(path, cls, {"keeper": keeper, "manager": manager})])

    @web.authenticated
    async def get(self, kernel):
        """Answers {"kept": bool}; a kernel that is not the gateway's is not kept."""
        self.finish({"kept": self._keeper is not None and kernel in self._manager})
