"""Whole notebooks, as people write them, with parks and returns in new processes, and
without any: they show the same.

What is compared is what each cell prints and shows, and its error. Only this is made equal
first: addresses of objects (0x7f...), and the process in the names of cells' files (ipykernel_123).

Each process is a shell that is forked from one that has imported large libraries, and is
parked after every third cell, in the long run after every cell. The long run takes
kernels, too, that have imported nothing, and compares all that they publish.
"""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from kernels import LONG, Kernel, Shells

PRELOAD = (
    "matplotlib.pyplot",
    "networkx",
    "numpy",
    "pandas",
    "PIL.ImageDraw",
    "polars",
    "scipy.signal",
    "scipy.stats",
    "seaborn",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sqlite3",
    "statsmodels.api",
    "statsmodels.formula.api",
    "statsmodels.tsa.arima.model",
    "sympy",
)
NOTEBOOKS = sorted(Path(__file__).with_name("notebooks").glob("*.md"))
STRIDE = 1 if LONG else 3
LIMITS = {"seconds": 60}


def cells(notebook):
    return re.findall(r"^```python\n(.*?)^```$", notebook.read_text(), re.M | re.S)


def said(notebook, what):
    """What a notebook says of itself before its cells. needs: a library without which it is left
    out, one that the tests do not install. lost: names of what cannot come back, and is not used."""
    found = re.search(rf"^{what}: (.+)$", notebook.read_text(), re.M)
    return found[1].split() if found else []


def needs(notebook):
    for library in said(notebook, "needs"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not here")


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), PRELOAD)
    yield made
    made.close()


def test_they_are_notebooks():
    assert len(NOTEBOOKS) >= 20
    assert {each.stem: len(cells(each)) for each in NOTEBOOKS if not 8 <= len(cells(each)) <= 15} == {}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_the_same_with_and_without_parks(notebook, shells, tmp_path):
    needs(notebook)
    all_cells, state = cells(notebook), str(tmp_path / "state")
    enter = ("enter", directory(tmp_path))
    plain = shells.job(enter, *(("run", cell) for cell in all_cells))[1:]
    enter = ("enter", directory(tmp_path))
    for number in range(0, len(all_cells), STRIDE):
        load = [("load", state, {})] if number else []
        part = all_cells[number : number + STRIDE]
        results = shells.job(enter, *load, *(("run", cell) for cell in part), ("save", state, LIMITS))[1:]
        reports(notebook, number, results.pop(), *(results.pop(0) for _ in load))
        for at, cell in enumerate(part):
            compare(notebook, number, cell, results[at], plain[number + at])


@pytest.mark.skipif(not LONG, reason="KEEP_LONG=1 runs it")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_in_kernels_that_are_parked_after_every_cell(notebook, tmp_path):
    needs(notebook)
    all_cells, state = cells(notebook), str(tmp_path / "state")
    cwd = Path(directory(tmp_path))
    with Kernel(cwd, boot=False) as kernel:
        plain = [kernel.shown(cell) for cell in all_cells]
    cwd = Path(directory(tmp_path))
    for number, (cell, expected) in enumerate(zip(all_cells, plain)):
        with Kernel(cwd) as kernel:
            loaded = [kernel.call("load", state)] if number else []
            got = kernel.shown(cell)
            reports(notebook, number, kernel.call("save", state, LIMITS), *loaded)
            compare(notebook, number, cell, got, expected)


def directory(tmp_path):
    """An empty one, always of the same name: notebooks print it."""
    made = tmp_path / "home"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    return str(made)


def reports(notebook, number, saved, loaded=None):
    """Nothing is lost. What is said to be made again is compared by what it shows."""
    assert saved["outcome"] == "saved", (notebook.stem, number, saved)
    told = [each for key in ("lost", "holes", "state_lost", "still_lost") for each in saved[key]]
    if loaded is not None:
        assert loaded["outcome"] == "loaded", (notebook.stem, number, loaded)
        told += [*loaded["failed"], *loaded["changed"]]
        assert loaded["notes"] == [], (notebook.stem, number)
    told = [each for each in told if each["name"] not in said(notebook, "lost")]
    assert told == [], (notebook.stem, number)


def compare(notebook, number, cell, got, expected):
    assert normal(got) == normal(expected), f"{notebook.stem}, parked before cell {number + 1}:\n{cell}"


def normal(shown):
    if isinstance(shown, str):
        return re.sub(r"0x[0-9a-f]{6,}|ipykernel_\d+", "", shown)
    if isinstance(shown, dict):
        return {key: normal(value) for key, value in shown.items()}
    return [normal(each) for each in shown] if isinstance(shown, list) else shown
