"""What counts as use of this server.

jupyter_server takes every request to its API for use. JupyterLab asks for kernels, sessions, terminals
and files every ten seconds while its page is in front, so that a page which nobody looks at would keep its
server for ever. Here what only reads, or is sent unasked, is no use; what a person does in a page, its plugin tells.
"""

from __future__ import annotations

from datetime import datetime, timezone

from jupyter_server.utils import url_path_join
from tornado.web import OutputTransform

from .processes import last_input, process_of

# Read by last_activity() of jupyter_server, as all settings that end so.
_NOTED = "elastichub_last_activity"
# That of terminals counts what they print; they are looked at instead.
_PRINTED = "terminal_last_activity"
# What a page sends by itself although it does not only read: JupyterLab its layout, which it saves with every
# list of files, and jupyterlab-git the question what has changed.
_UNASKED = ("lab/api/workspaces", "git")


def install(app):
    """Has these requests be no use, also for the Hub, whom jupyterhub-singleuser tells of it."""
    base = app.base_url

    class NoUse(OutputTransform):
        """Says of a request what a client may say of it itself."""

        def __init__(self, request):
            super().__init__(request)
            if request.method in ("GET", "HEAD") or request.path.startswith(unasked):
                request.arguments.setdefault("no_track_activity", [b"1"])

    unasked = tuple(url_path_join(base, path, "/") for path in _UNASKED)
    app.web_app.add_transform(NoUse)


def note(app, at):
    """Somebody or something has used the server then."""
    settings = app.web_app.settings
    if at > settings.get(_NOTED, at.min.replace(tzinfo=timezone.utc)):
        settings[_NOTED] = at


def last_used(app):
    """When somebody, or something that was at work, last used the server."""
    settings = app.web_app.settings
    times = [settings["started"], app.kernel_manager.last_kernel_activity, *settings["last_activity_times"].values()]
    times += [at for key, at in settings.items() if key.endswith("_last_activity") and key != _PRINTED]
    return max([*times, *_typed(settings.get("terminal_manager"))])


def _typed(terminals):
    """When somebody has last typed into each."""
    for terminal in list(terminals.terminals.values()) if terminals is not None else ():
        process = process_of(terminal.ptyproc.pid)
        at = last_input(process) if process is not None else None
        if at is not None:
            yield datetime.fromtimestamp(at, timezone.utc)
