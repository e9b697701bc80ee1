"""The state of an IPython kernel as one stream, and back.

Loaded into a kernel by boot.py under the name _elastichub_keep. begin, save, load and
busy are called by expressions of a silent execute_request; the repr of what they return
is a JSON document. Nothing of it is in the user's namespace.
"""

import json
import platform

# All of it at once: later, the user's own files or an empty sys.path may be in the way.
from . import background, debugger, loading, saving
from .session import Session
from .stream import FORMAT


class Report:
    """A document whose repr is JSON, since a reply carries the repr."""

    def __init__(self, document):
        self.document = document

    def __repr__(self):
        return json.dumps(self.document, separators=(",", ":"))


_session = None


def begin():
    """Notes what is there before the user's first cell. A second call changes nothing."""
    global _session
    if _session is None:
        _session = Session()
    return Report({"format": FORMAT, "python": platform.python_version()})


def busy():
    """What of the user's goes on beside the cells."""
    with debugger.away(_session.shell):
        return Report({"background": background.in_use(_session)})


def save(path, options=None):
    """Writes the state to a path, a FIFO or a file, or a descriptor. Options: seconds,
    record_seconds and max_bytes are limits of the snapshot, of a record and of its size."""
    with debugger.away(_session.shell):
        return Report(saving.save(_session, path, options or {}))


def load(path, options=None):
    """Reads the state. Options: without, numbers of records to leave out; progress, a path
    to which each record's number is written before it is made."""
    return Report(loading.load(_session, path, options or {}))
