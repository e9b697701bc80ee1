"""The notebook server's side: a jupyter_server extension for kernels at a gateway.

In jupyter_server_config.py:

    import elastichub.notebook
    elastichub.notebook.configure(c)

Nothing of JupyterHub is imported here.
"""

from __future__ import annotations

import hmac
import os

from .. import skew

__all__ = ["configure"]

# Bytes of a message of a page that are read. What is larger than a kernel takes is answered with an
# error; at this bound tornado, whose own is 10 MiB, hangs up.
MAX_MESSAGE = 256 << 20


def configure(c, environ=os.environ):
    """Sets jupyter_server's classes for the gateway that JUPYTER_GATEWAY_URL or
    c.GatewayClient.url names; without one the server only tells what it is at, and shows its
    metrics to who has the token that ELASTICHUB_METRICS_HASH_FILE has the hash of.
    ELASTICHUB_LOCAL_KERNELS=true offers the kernels of this server beside the gateway's."""
    local = environ.get("ELASTICHUB_LOCAL_KERNELS", "false")
    if local not in ("true", "false"):
        raise ValueError("ELASTICHUB_LOCAL_KERNELS must be true or false")
    if environ.get("ELASTICHUB_METRICS_HASH_FILE"):
        c.ServerApp.jpserver_extensions.update({"elastichub.notebook.metrics": True})
    here = "elastichub.notebook"
    app = c.ServerApp
    app.jpserver_extensions.update({here: True})
    if not (environ.get("JUPYTER_GATEWAY_URL") or c.GatewayClient.get("url")):
        return
    headers = c.GatewayClient.get("headers") or environ.get("JUPYTER_GATEWAY_HEADERS", "{}")
    c.GatewayClient.headers = skew.with_told(headers)
    if "tornado_settings" not in app:
        app.tornado_settings = {}
    if "websocket_max_message_size" not in app.tornado_settings:
        app.tornado_settings.update({"websocket_max_message_size": MAX_MESSAGE})
    token = environ.get("JUPYTERHUB_API_TOKEN")
    if token and "cookie_secret" not in app:
        # An open page goes on when the server is replaced: the Hub's token is that of one start,
        # and jupyter_server's own secret that of one container.
        app.cookie_secret = hmac.digest(token.encode(), b"cookies of the notebook server", "sha256")
    if environ.get("ELASTICHUB_GATEWAY_TOKEN_FILE") and "gateway_token_renewer_class" not in c.GatewayClient:
        c.GatewayClient.gateway_token_renewer_class = f"{here}.token.FileToken"
    if local == "false":
        app.kernel_spec_manager_class = f"{here}.mixing.GatewayKernelSpecs"
        app.kernel_manager_class = f"{here}.mixing.GatewayKernels"
        app.session_manager_class = f"{here}.sessions.LastingSessions"
        app.kernel_websocket_connection_class = f"{here}.connection.GatewayConnection"
        return
    app.kernel_spec_manager_class = f"{here}.mixing.MixedKernelSpecs"
    app.kernel_manager_class = f"{here}.mixing.MixedKernelManager"
    app.session_manager_class = f"{here}.sessions.LastingSessions"
    app.kernel_websocket_connection_class = f"{here}.mixing.MixedConnection"


def _jupyter_server_extension_points():
    return [{"module": "elastichub.notebook"}]


def _load_jupyter_server_extension(app):
    import asyncio

    from . import activity

    look = activity.add_handlers(app)

    def start():
        # Held by the application: the loop itself keeps weak references to tasks only.
        app.elastichub_busy = asyncio.ensure_future(look())

    app.io_loop.add_callback(start)
    if app.gateway_config.gateway_enabled:
        _load_for_gateway(app)


def _load_for_gateway(app):
    import asyncio

    from . import ports
    from .connection import GatewayConnection, dial
    from .documents.api import KeptHandler
    from .leaving import Leaving, let_threads_end
    from .liveness import Watch, list_models
    from .mixing import USUAL
    from .sessions import PATIENCE, LastingSessions, list_states
    from .states import States
    from .terminal import TerminalKernelSpecs
    from .token import explain

    explain()
    manager = getattr(app.kernel_manager, "remote", app.kernel_manager)
    ports.add_handlers(app, manager)
    watch = Watch(manager, app.log)

    specs = getattr(app.kernel_spec_manager, "remote", app.kernel_spec_manager)
    # A server that has kernels of its own has a python3 among them.
    specs.terminal = TerminalKernelSpecs(app.log, usual=USUAL if specs is app.kernel_spec_manager else ())
    specs.terminal.announce()

    sessions = app.session_manager
    lasting = isinstance(sessions, LastingSessions)  # an image may have configured its own
    if lasting and not app.io_loop.asyncio_loop.is_running():
        # Before the first page asks for a kernel that it still has open.
        app.io_loop.run_sync(lambda: sessions.adopt_soon(PATIENCE))

    def is_watched():
        return bool(getattr(manager, "outliving", False)) and GatewayConnection.are_open()

    states = States(os.path.expanduser("~"), list_states, app.log)
    manager.changed = states.soon
    leaving = Leaving(list_models, is_watched, app.log)
    keeper = _document_keeper(app, manager)
    KeptHandler.install(app, keeper, manager)

    def start():
        let_threads_end()
        leaving.install()
        if keeper is not None:
            keeper.restore(dial)
        # Held by the application: the loop itself keeps weak references to tasks only.
        app.elastichub_states = asyncio.ensure_future(states.run())
        app.elastichub_watch = asyncio.ensure_future(watch.run())
        # Also since jupyter_server tells the default kernel before it asks for the kernelspecs.
        app.elastichub_specs = asyncio.ensure_future(
            specs.terminal.keep_written(app.kernel_spec_manager.get_all_specs)
        )
        if lasting and not sessions.adopted:
            app.elastichub_sessions = asyncio.ensure_future(sessions.keep_adopting())

    app.io_loop.add_callback(start)


def _document_keeper(app, manager):
    """Has documents kept whose page is closed, unless something stands in the way of it."""
    from functools import partial
    from pathlib import Path

    from jupyter_core.paths import jupyter_data_dir
    from jupyter_server.utils import url_path_join

    from .connection import GatewayConnection
    from .documents import DocumentKeeper, following, shared
    from .documents.contents import PagesContents
    from .documents.state import State

    reason = _taken(app)
    app.web_app.settings["elastichub"] = told = {"notebooks": None, "reason": reason}
    base = url_path_join(app.base_url, "elastichub/v1/documents")
    app.web_app.add_handlers(".*$", [(base, following.About), (url_path_join(base, "follow"), following.Follow)])
    if reason:
        return None
    state = State(Path(jupyter_data_dir()) / "elastichub" / "documents", app.log)
    pages = GatewayConnection.sessions
    find_shared = partial(shared.find, app)
    keeper = DocumentKeeper(app.contents_manager, app.session_manager, manager, pages, state, find_shared, parent=app)
    if not keeper.enabled:
        return None
    GatewayConnection.keeper = keeper
    told["notebooks"] = keeper.notebooks
    app.web_app.settings["contents_manager"] = PagesContents(app.contents_manager, keeper.notebooks)
    return keeper


def _taken(app):
    """Logs which classes of ours others have taken the place of, and what is lost by that. Returns
    why documents are not kept, or ""."""
    from .connection import GatewayConnection
    from .mixing import GatewayKernels, MixedConnection, MixedKernelManager
    from .sessions import LastingSessions

    not_kept = "output is lost when the connection to the gateway breaks or the page is closed"
    places = (
        (app.kernel_websocket_connection_class, (GatewayConnection, MixedConnection), not_kept),
        (type(app.kernel_manager), (GatewayKernels, MixedKernelManager), "kernels end with this server"),
        (type(app.session_manager), LastingSessions, "a server that replaces this one does not find its kernels"),
    )
    reason = ""
    for taken, ours, lost in places:
        if not issubclass(taken, ours):
            told = f"{taken.__module__}.{taken.__name__} is in the place of elastichub's class here: {lost}."
            app.log.warning("%s", told)
            if lost is not_kept:
                reason = told
    return reason
