"""Notebooks that pages share by jupyter-collaboration.

While some page has such a notebook open, and for a minute after that, what counts is not the file
but a document in this server's memory, which pages see at once and jupyter-collaboration saves.
"""

from __future__ import annotations

from . import merging


async def find(app, path):
    """The shared document of a notebook; None if there is none, as without jupyter-collaboration."""
    for extension in app.extension_manager.extension_apps.get("jupyter_server_ydoc", ()):
        try:
            return await extension.get_document(path=path, content_type="notebook", file_format="json", copy=False)
        except RuntimeError:  # nothing is shared yet, or any more
            return None
    return None


def write(document, cells):
    """Makes a shared document (jupyter_ydoc.YNotebook) show what was kept. It has every cell that a
    page has, so that one that is not there was removed."""
    there = {shared.get("id"): shared for shared in document.ycells}
    with document.ydoc.transaction():
        for cell in cells:
            if cell.id in there:
                _show(there[cell.id], cell)


def _show(shared, cell):
    _replace(shared["outputs"], cell.export())
    if shared.get("execution_count") != cell.count:
        shared["execution_count"] = cell.count
    if cell.done and shared.get("execution_state") == "running":  # says the page that has gone
        shared["execution_state"] = "idle"


def _replace(shared, outputs):
    """Changes as little as possible: whoever reads it is sent what changes."""
    theirs = shared.to_py()
    same, text, rest = merging.delta(theirs, outputs)
    if text:
        printed = shared[same - 1]["text"]
        printed += text
    if same < len(theirs):
        del shared[same:]
    shared.extend([_output(output) for output in rest])


def _output(output):
    from pycrdt import Map, Text  # comes with jupyter-collaboration

    return Map({**output, "text": Text(output["text"])} if output["output_type"] == "stream" else output)
