"""test/gpu/run.py, where there is no GPU: it says so, and what needs none is checked."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import LONG, Shells

SCRIPT = Path(__file__).resolve().parents[3] / "test" / "gpu" / "run.py"
TORCH = importlib.util.find_spec("torch") is not None


def run():
    return subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(TORCH, reason="torch is here")
def test_without_torch():
    done = run()
    assert done.returncode == 2, done.stderr
    assert "torch cannot be imported here" in done.stdout


@pytest.mark.skipif(not (TORCH and LONG), reason="KEEP_LONG=1 runs it, with torch")
def test_what_needs_no_gpu():
    import torch

    done = run()
    if torch.cuda.is_available():
        assert done.returncode == 0, done.stdout
        return
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.count("as it was ") == 4
    assert "no GPU here" in done.stdout


@pytest.mark.skipif(not TORCH, reason="torch is not here")
def test_a_device_that_is_not_here(tmp_path):
    shells = Shells(tmp_path, ("torch",))
    path = str(tmp_path / "state")
    # As if the tensor had been on a GPU: its storage says so while it is saved.
    lie = """
def lie(sys):
    kinds, kind = sys.modules['_elastichub_keep.reducing'].EXACT, sys.modules['_elastichub_keep.tensors'].Storage
    def reduce(saving, value, real=kinds[kind]):
        made, (buffer, _) = real(saving, value)
        return made, (buffer, 'cuda:1')
    kinds[kind] = reduce
lie(__import__('sys')); del lie
import torch
base = torch.arange(6.0); view = base[2:4]"""
    (_, error), saved = shells.job(("run", lie), ("save", path, {}))
    assert error is None and saved["outcome"] == "saved"
    check = "view.zero_(); assert base[2] == 0 and base.sum() == 10 and str(base.device) == 'cpu'"
    loaded, (printed, error) = shells.job(("load", path, {}), ("run", check))
    shells.close()
    assert error is None, printed
    assert loaded["failed"] == []
    assert [(each["name"], each["what"]) for each in loaded["again"]] == [
        ("base", "it was on cuda:1, which is not here, and is on cpu")
    ]
