"""The outputs that a server has kept, and a notebook that somebody else has too. No I/O."""

from __future__ import annotations

import hashlib
import json
import re

_IDENTITY = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # of a cell, in nbformat 4.5


def find(notebook, cells):
    """The code cells of a notebook that stand for these, None where there is none.

    Before nbformat 4.5 cells have no ids in a file: then the next one with the same source is it.
    """
    code = [cell for cell in notebook.get("cells", []) if cell.get("cell_type") == "code"]
    known = {cell["id"]: cell for cell in code if "id" in cell}
    if known:
        return [known.get(cell.id) for cell in cells]
    found, begin = [], 0
    for cell in cells:
        there = [i for i in (*range(begin, len(code)), *range(begin)) if source(code[i]) == cell.code]
        found.append(code[there[0]] if there else None)
        begin = there[0] + 1 if there else begin
    return found


def source(cell):
    return _joined(cell.get("source", ""))


def _joined(value):
    return "".join(map(str, value)) if isinstance(value, list) else value


def _plain(outputs):
    """Outputs in one spelling: texts in a piece, without what is of no account."""
    plain = []
    for output in outputs:
        one = {name: value for name, value in output.items() if name not in ("transient", "metadata")}
        if "text" in one:
            one["text"] = _joined(one["text"])
        if isinstance(one.get("data"), dict):
            one["data"] = {kind: _joined(value) for kind, value in one["data"].items()}
        plain.append(one)
    return plain


def state(outputs, count):
    """A name for what a cell shows."""
    told = json.dumps([_plain(outputs), count], sort_keys=True, default=str)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def whole(notebook):
    """A name for all that a file has of a notebook."""
    cells = []
    for cell in notebook.get("cells", []):
        metadata = {name: value for name, value in cell.get("metadata", {}).items() if name != "trusted"}
        cells.append({**cell, "source": source(cell), "outputs": _plain(cell.get("outputs", [])), "metadata": metadata})
    told = json.dumps([notebook.get("metadata"), cells], sort_keys=True, default=str)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def common(outputs, others):
    """How many outputs are the same at the beginning."""
    pairs = enumerate(zip(_plain(outputs), _plain(others), strict=False))
    return next((i for i, (one, other) in pairs if one != other), min(len(outputs), len(others)))


def is_earlier(outputs, later):
    """Whether a cell that shows `later` has shown `outputs` on its way there, as far as one can see."""
    before, after = _plain(outputs), _plain(later)
    if not before or len(before) > len(after) or before[:-1] != after[: len(before) - 1]:
        return False
    last, same = before[-1], after[len(before) - 1]
    if last == same:
        return True
    streams = last.get("output_type") == same.get("output_type") == "stream"
    return streams and last.get("name") == same.get("name") and same["text"].startswith(last["text"])


def delta(outputs, later):
    """What makes `later` of outputs: (how many of them stay, text that the last of these gets, outputs
    that follow instead of the others)."""
    same, text = common(outputs, later), ""
    if same < len(outputs) and same < len(later) and is_earlier(outputs[same : same + 1], later[same : same + 1]):
        text = later[same]["text"][len(_joined(outputs[same]["text"])) :]
        same += 1
    return same, text, later[same:]


def write(there, cell):
    """Makes a notebook's cell show what was kept; reports whether that is news."""
    outputs = cell.export()
    if there.get("execution_count") == cell.count and _plain(there.get("outputs", [])) == _plain(outputs):
        return False
    there["outputs"], there["execution_count"] = outputs, cell.count
    there.setdefault("metadata", {})["trusted"] = True  # it was run here
    return True


def insert(notebook, cell, after):
    """Puts a cell that the notebook has not into it, behind the cell `after` or at the end."""
    new = {"cell_type": "code", "metadata": {}, "source": cell.code, "outputs": [], "execution_count": None}
    minor = (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) >= (4, 5)
    if minor and _IDENTITY.fullmatch(cell.id):
        new["id"] = cell.id
    cells = notebook.setdefault("cells", [])
    at = next((i + 1 for i, there in enumerate(cells) if there is after), len(cells))
    cells.insert(at, new)
    return new


def merge(notebook, cells, newer):
    """Makes a notebook show what was kept; reports whether that is news.

    newer(cell) says that the notebook was not saved since the cell was run: then it may lack the
    cell, or have its source of before.
    """
    news, after = False, None
    for cell, found in zip(cells, find(notebook, cells), strict=True):
        there = found
        if there is None:
            if not (cell.listed and newer(cell)):
                continue
            there = insert(notebook, cell, after)
            news = True
        elif newer(cell) and source(there) != cell.code:
            there["source"] = cell.code
            news = True
        news = write(there, cell) or news
        after = there
    return news
