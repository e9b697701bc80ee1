"""What cells print, as a notebook file holds it, and notebooks that have changed meanwhile."""

import copy
import re

import nbformat
import pytest

from elastichub.notebook.documents import merging
from elastichub.notebook.documents.cells import MAX_ERROR, Book, Stream
from peer import message


def as_jupyterlab(index, new, shown):
    """processText of JupyterLab 4.6 (packages/outputarea/src/model.ts): (text, index)."""
    begin = 0
    while True:
        found = re.compile(r"[\n\b\r]").search(new, begin)
        part = new[begin : found.start() if found else len(new)]
        shown = shown[:index] + part + shown[index + len(part) :]
        index += len(part)
        if not found:
            return shown, index
        begin = found.end()
        if found[0] == "\b":
            if index > 0 and shown[index - 1] != "\n":
                shown, index = shown[: index - 1] + shown[index + 1 :], index - 1
        elif found[0] == "\r":
            while index and shown[index - 1] != "\n":
                index -= 1
        else:
            shown += "\n"
            index = len(shown)


@pytest.mark.parametrize(
    "parts",
    [
        ["a\n", "b", "c\n", "d"],
        ["10%", "\r20%", "\r5%\n", "after"],
        ["abc\r", "x", "y", "\nnext"],
        ["abc\b\b", "x\n\b\bz"],
        ["abcdef\r", "xy\b", "z"],
        ["long line\rshort\n\n\r\r\nä€\b!"],
        ["a\r\nb\r\n", "\r", "c", "\n\n"],
    ],
)
def test_what_is_printed_over(parts):
    for restored in (False, True):
        stream, shown, index = Stream("stdout"), "", 0
        for part in parts:
            stream.write(part)
            shown, index = as_jupyterlab(index, part, shown)
            if restored:
                stream = Stream.restored(stream.kept())
            assert stream.output() == {"output_type": "stream", "name": "stdout", "text": shown}
            assert stream.size == len(shown.encode())


def stream(text, name="stdout"):
    return "stream", {"name": name, "text": text}


def show(text, display=None, kind="display_data", **more):
    transient = {"display_id": display} if display else {}
    return kind, {"data": {"text/plain": text}, "metadata": {}, "transient": transient, **more}


ERROR = ("error", {"ename": "E", "evalue": "v", "traceback": ["t"]})


class Page:
    def __init__(self, limit=1 << 20):
        self.book, self.number, self.limit = Book(), 0, limit

    def run(self, name, code="code", listed=True):
        return self.book.add(name, f"run {self.number} of {name}", code, listed, self.limit)

    def say(self, cell, *messages, epoch="e", number=None):
        for kind, content in messages:
            self.number += 1
            cell.take(message("iopub", kind, content), epoch, self.number if number is None else number)
        self.book.fold()
        return [o.get("text") or o.get("data", {}).get("text/plain") or o.get("ename") for o in cell.export()]


def test_outputs():
    page = Page()
    cell = page.run("a")
    assert page.say(cell, stream("1"), stream("2"), stream("3", "stderr"), stream("4")) == ["12", "3", "4"]
    assert page.say(cell, show("shown"), stream("5"), ERROR) == ["12", "3", "4", "shown", "5", "E"]
    assert page.say(cell, ("status", {}), ("execute_input", {"code": "x", "execution_count": 3})) == page.say(cell)
    assert cell.count is None, "it runs"
    page.say(cell, ("execute_reply", {"status": "ok", "execution_count": 3}))
    assert cell.count == 3
    for aborted in ({"status": "aborted"}, {"status": "error", "execution_count": 0}):
        page.say(cell, ("execute_reply", aborted))
        assert cell.count is None
    page.say(cell, show("42", kind="execute_result", execution_count=3))
    result = cell.export()[-1]
    shown = {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 3}
    assert result == {"output_type": "execute_result", **shown}
    # What is no message of a kernel's harms nobody.
    page.say(cell, ("stream", {}), ("error", {"traceback": 5}), ("update_display_data", {}))
    page.say(cell, ("display_data", {"data": 1, "transient": 2}), ("execute_reply", {"execution_count": "3"}))


def test_clear_output():
    page = Page()
    cell = page.run("a")
    assert page.say(cell, stream("1"), ("clear_output", {"wait": False})) == []
    assert page.say(cell, stream("1"), ("clear_output", {"wait": True})) == ["1"]
    assert page.say(cell, stream("2")) == ["2"]
    assert page.say(cell, ("clear_output", {"wait": True}), ("clear_output", {"wait": False}), stream("3")) == ["3"]
    assert cell.size == 1


def test_displays_that_are_updated():
    page = Page()
    first, second = page.run("a"), page.run("b")
    page.say(first, show("one", "d"), show("other", "e"))
    assert page.say(second, show("two", "d")) == ["two"]
    assert page.say(first) == ["two", "other"], "a name that is used again updates what has it"
    page.say(second, show("three", "d", kind="update_display_data"), show("?", "unknown", kind="update_display_data"))
    assert page.say(first) == ["three", "other"] and page.say(second) == ["three"]
    assert "display_id" not in str(first.export())
    # In order, whichever cell is looked at first.
    third = page.run("c")
    first.take(message("iopub", *show("new", "n")), "e", 100)
    third.take(message("iopub", *show("newer", "n", kind="update_display_data")), "e", 101)
    page.book.fold()
    assert page.say(first)[-1] == "newer"


def test_bounds():
    page = Page(limit=100)
    cell = page.run("a")
    told = "[1 kB of further output are not kept: the page was closed.]\n"
    assert page.say(cell, stream("ä" * 60), stream("more")) == ["ä" * 50, told]
    assert cell.dropped == 24 and cell.size == 100
    assert page.say(cell, ERROR)[1] == "E", "an error is kept all the same"
    assert page.say(cell, ("clear_output", {}), stream("fits")) == ["fits"]
    huge = ("error", {"ename": "E", "evalue": "v" * (2 * MAX_ERROR), "traceback": ["t"]})
    page.say(cell, huge)
    assert len(cell.export()[1]["evalue"]) == MAX_ERROR
    for i in range(100):
        assert len(page.say(cell, stream(f"\r{i:80}"))) < 5, "what is printed over takes no room"
    page = Page(limit=10)
    assert page.say(page.run("a"), stream("x" * 3_000_000))[-1].startswith("[3.0 MB of")


def test_what_is_told_again_counts_once():
    page = Page()
    cell = page.run("a")
    assert page.say(cell, stream("1"), number=5) == ["1"]
    assert page.say(cell, stream("1"), number=5) == page.say(cell, stream("0"), number=4) == ["1"]
    assert page.say(cell, stream("of the gateway"), number=0) == ["1of the gateway"]
    assert page.say(cell, stream("2"), number=1, epoch="another") == ["1of the gateway2"]
    again = page.run("a")
    assert page.say(cell, stream("late")) and again.export() == [], "it is run anew"


def test_what_the_next_server_knows():
    page = Page()
    page.book.path = "a.ipynb"
    cell, other = page.run("a"), page.run("b")
    page.say(cell, show("one", "d"), stream("10%\r"), ("execute_reply", {"execution_count": 2}))
    page.say(cell, ("clear_output", {"wait": True}))
    page.say(other, stream("x" * 2000))
    book = Book.restored(nbformat.from_dict(page.book.kept()), 1 << 20)
    assert book.kept() == page.book.kept()
    page.book = book
    cell, other = book.cells.values()
    page.say(other, show("two", "d", kind="update_display_data"))
    assert cell.export()[0]["data"] == {"text/plain": "two"} and cell.count == 2
    assert page.say(cell, stream("new")) == ["new"]
    with pytest.raises(KeyError):
        Book.restored({"path": ""}, 10)


def notebook(*cells, minor=5):
    """cells: (id, source)."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id=name) for name, source in cells])
    made.cells.insert(0, nbformat.v4.new_markdown_cell("words"))
    made.nbformat_minor = minor
    if minor < 5:
        for cell in made.cells:
            del cell["id"]
    return made


@pytest.mark.parametrize("minor", [4, 5])
def test_cells_are_found(minor):
    there = notebook(("a", "same"), ("b", "same"), ("c", "other"), minor=minor)
    page = Page()
    cells = [page.run(name, code) for name, code in (("a", "same"), ("b", "same"), ("c", "other"), ("d", "none"))]
    for cell in cells:
        page.say(cell, stream(cell.id))
    assert merging.merge(there, cells, lambda _: False)
    assert [o["text"] for c in there.cells[1:] for o in c.outputs] == ["a", "b", "c"]
    before = copy.deepcopy(there)
    assert not merging.merge(there, cells, lambda _: False) and there == before
    nbformat.validate(there)
    # A cell that the file has not yet comes behind the one that was run before it.
    assert merging.merge(there, [*cells[:2], cells[3]], lambda _: True)
    assert [c["source"] for c in there.cells] == ["words", "same", "same", "none", "other"]
    assert there.cells[3]["outputs"][0]["text"] == "d"
    nbformat.validate(nbformat.from_dict(there))


def test_sources_that_were_not_saved():
    page = Page()
    for newer, source in ((True, "new"), (False, "old")):
        there = notebook(("a", "old"))
        merging.merge(there, [page.run("a", "new")], lambda _, newer=newer: newer)
        assert there.cells[1].source == source
    assert not merging.merge(notebook(), [page.run("of a console", listed=False)], lambda _: True)


def test_what_was_there_earlier():
    def text(string, name="stdout"):
        return {"output_type": "stream", "name": name, "text": string}

    one = {"output_type": "display_data", "data": {"text/plain": "1"}, "metadata": {}}
    for before, after, earlier in (
        ([], [text("a")], False),  # cleared, for all one knows
        ([text("a")], [text("ab")], True),
        ([text(["a", "b"])], [text("abc"), one], True),
        ([text("b")], [text("ab")], False),
        ([text("a", "stderr")], [text("ab")], False),
        ([text("a"), one], [text("a"), one, text("b")], True),
        ([text("a"), one, text("b")], [text("a"), one], False),
        ([one], [text("a")], False),
        ([{**one, "data": {"text/plain": ["1"]}, "metadata": {"trusted": True}}], [one], True),
    ):
        assert merging.is_earlier(before, after) is earlier, (before, after)
    assert merging.state([text("ab")], 1) == merging.state([text(["a", "b"])], 1) != merging.state([text("ab")], 2)
