"""Every kind of object, alone, all together, and over three generations."""

import importlib.util

import pytest
from kernels import LONG, PYTHONS, Kernel, Shells
from kinds import KINDS, PRELUDE
from kinds_torch import TORCH

long = pytest.mark.skipif(not LONG, reason="KEEP_LONG=1 runs it")
PRELOAD = ("numpy", "pandas", "sklearn.ensemble", "sklearn.pipeline", "matplotlib.pyplot")


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), PRELOAD)
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_alone(shells, kind, tmp_path):
    snapshot = str(tmp_path / "state")
    enter = f"import os; os.chdir({str(tmp_path)!r})"
    *made, saved = shells.job(
        ("run", enter), ("run", PRELUDE), ("run", kind.setup), ("save", snapshot, {"seconds": 60})
    )
    assert [error for _, error in made] == [None] * 3
    assert saved["outcome"] == "saved"
    loaded, (_, error) = shells.job(("load", snapshot), ("run", kind.check))
    assert loaded["outcome"] == "loaded"
    assert loaded["changed"] == [] and loaded["notes"] == []
    judge(kind, error, saved, loaded)


def judge(kind, error, saved, loaded):
    if kind.expect != "told":
        assert error is None
        return
    told = [*saved["lost"], *saved["holes"], *loaded["failed"]]
    assert told, "nothing says what could not be kept"
    assert all(each["why"] and each["type"] and each["cell"] for each in told)
    assert error.startswith(("ParkedObjectLost", "SystemError")), error


def test_together_in_a_kernel(tmp_path):
    together(KINDS, PYTHONS[0], tmp_path, generations=1)


@long
@pytest.mark.parametrize("python", PYTHONS)
def test_together_over_three_generations(python, tmp_path):
    together(KINDS, python, tmp_path)


@long
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_alone_in_a_kernel(kind, python, tmp_path):
    snapshot = str(tmp_path / "state")
    with Kernel(tmp_path, python) as kernel:
        assert [kernel.run(cell)[1] for cell in (PRELUDE, kind.setup)] == [None, None]
        saved = kernel.call("save", snapshot)
    with Kernel(tmp_path, python) as kernel:
        loaded = kernel.call("load", snapshot)
        judge(kind, kernel.run(kind.check)[1], saved, loaded)


@long
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not here")
def test_torch_over_three_generations(tmp_path):
    together(TORCH, PYTHONS[0], tmp_path)


def together(kinds, python, tmp_path, generations=3):
    snapshot = str(tmp_path / "state")
    names = set()
    kernel = Kernel(tmp_path, python)
    try:
        failed = {kind.name: kernel.run(kind.setup)[1] for kind in kinds}
        assert {name: error for name, error in failed.items() if error} == {}
        for _ in range(generations):
            saved = kernel.call("save", snapshot, {"seconds": 120})
            assert saved["outcome"] == "saved" and saved["state_lost"] == []
            names |= {each["name"] for each in [*saved["lost"], *saved["holes"]]}
            kernel.close()
            kernel = Kernel(tmp_path, python)
            loaded = kernel.call("load", snapshot)
            assert loaded["outcome"] == "loaded"
            assert loaded["changed"] == [] and loaded["notes"] == []
        results = {kind.name: (kind, kernel.run(kind.check, timeout=30)[1]) for kind in reversed(kinds)}
    finally:
        kernel.close()
    wrong = {name: error for name, (kind, error) in results.items() if error and kind.expect != "told"}
    assert wrong == {}
    silent = {
        name: error
        for name, (kind, error) in results.items()
        if kind.expect == "told" and not (error or "").startswith(("ParkedObjectLost", "SystemError"))
    }
    assert silent == {}
    assert names
