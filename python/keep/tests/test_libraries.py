"""Widely used libraries: what cannot come back is named, and nothing comes back wrong."""

import importlib.util

import pytest
from kernels import LONG, Shells
from libraries import LIBRARIES

pytestmark = pytest.mark.skipif(not LONG, reason="KEEP_LONG=1 runs it")


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), ("numpy", "pandas", "matplotlib.pyplot"))
    yield made
    made.close()


@pytest.mark.parametrize("generations", (1, 2))
@pytest.mark.parametrize("name", LIBRARIES)
def test_library(shells, name, generations, tmp_path):
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not here")
    setup, check = LIBRARIES[name]
    snapshot = str(tmp_path / "state")
    _, (printed, error), saved = shells.job(
        ("run", f"import os; os.chdir({str(tmp_path)!r})"), ("run", setup), ("save", snapshot, {"seconds": 60})
    )
    assert error is None, printed
    assert saved["outcome"] == "saved"
    for _ in range(generations - 1):
        shells.job(("load", snapshot), ("save", snapshot + "2", {}))
        snapshot += "2"
    loaded, *results = shells.job(("load", snapshot), *(("run", line) for line in parts(check)))
    assert loaded["outcome"] == "loaded" and loaded["changed"] == []
    told = {each["name"] for key in ("lost", "holes", "still_lost", "failed") for each in loaded[key]}
    print(name, sorted(told), [each["why"] for each in loaded["lost"] + loaded["failed"]])
    for printed, error in results:
        assert error is None or (error.startswith("ParkedObjectLost") and told), (error, printed, loaded)


def parts(check):
    """Statements by themselves, so that one about what is lost hides no other."""
    import ast

    tree = ast.parse(check)
    return [ast.unparse(statement) for statement in tree.body]
