"""Snapshots of other releases and other versions of Python.

python test_versions.py makes the snapshot of this release; it is kept with it, and those of
former releases stay.
"""

import sys
from pathlib import Path

import pytest
from kernels import LONG, PYTHONS, Kernel, Shells

SNAPSHOTS = Path(__file__).with_name("snapshots")
SETUP = """
import collections, datetime, numpy as np, threading
number, text, both = 5, 'ß', [1, {'a': (2, None)}]
both.append(both)
when = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
array = np.arange(1000.); view = array[::2]; names = np.array(['n%d' % i for i in range(100)], dtype=object)
counts = collections.Counter('aab'); lock = threading.Lock()
def add(a, b=number): return a + b
class Point:
    def __init__(self, x): self.x = x
    def double(self): return self.x * 2
point = Point(4); gen = (i for i in [1])
"""
DATA = """
assert number == 5 and text == 'ß' and both[1] == {'a': (2, None)} and both[2] is both and when.year == 2026
array[0] = 9
assert view[0] == 9 and names[99] == 'n99' and counts['a'] == 2 and not lock.locked()
try: next(gen)
except Exception as error: assert type(error).__name__ == 'ParkedObjectLost'
else: raise SystemError
"""
CODE = "assert add(1) == 6 and point.double() == 8 and type(point) is Point"
NO_CODE = """
for use in (lambda: add(1), lambda: point.double()):
    try: use()
    except Exception as error: assert 'another version of Python' in str(error), error
    else: raise SystemError
"""


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), ("numpy",))
    yield made
    made.close()


@pytest.mark.parametrize("snapshot", sorted(SNAPSHOTS.iterdir()), ids=lambda path: path.name)
def test_snapshots_of_former_releases_load(shells, snapshot):
    same = snapshot.name.endswith(f"py{sys.version_info[0]}{sys.version_info[1]}")
    code = CODE if same else NO_CODE
    loaded, (printed, error), (_, second) = shells.job(("load", str(snapshot)), ("run", DATA), ("run", code))
    assert loaded["outcome"] == "loaded" and loaded["changed"] == []
    assert (error, second) == (None, None), printed
    assert bool(loaded["failed"]) != same


def test_an_image_with_another_minor_version(shells, tmp_path):
    """Data is there, and of code it is said why not. The interpreter only says that it is another."""
    path = str(tmp_path / "state")
    other = "__import__('_elastichub_keep').remake.MAGIC = b'none'"
    (_, error), saved = shells.job(("run", SETUP), ("save", path, {}))
    assert error is None and saved["outcome"] == "saved"
    steps = ("run", other), ("load", path), ("run", DATA), ("run", NO_CODE)
    (_, set_up), loaded, (printed, error), (_, second) = shells.job(*steps)
    assert set_up is None
    assert loaded["outcome"] == "loaded" and loaded["changed"] == []
    assert (error, second) == (None, None), printed
    assert {each["name"] for each in loaded["failed"]} >= {"add", "Point"}


@pytest.mark.skipif(not LONG or len(PYTHONS) < 2, reason="KEEP_LONG=1 and KEEP_PYTHONS of two versions run it")
def test_data_crosses_versions(tmp_path):
    for save, load in (PYTHONS[:2], PYTHONS[1::-1]):
        with Kernel(tmp_path, save) as kernel:
            assert kernel.run(SETUP)[1] is None
            assert kernel.call("save", str(tmp_path / "state"))["outcome"] == "saved"
        with Kernel(tmp_path, load) as kernel:
            loaded = kernel.call("load", str(tmp_path / "state"))
            assert loaded["outcome"] == "loaded" and loaded["failed"]
            assert [kernel.run(cell)[1] for cell in (DATA, NO_CODE)] == [None, None]


if __name__ == "__main__":
    version = f"{sys.version_info[0]}{sys.version_info[1]}"
    # Nothing of this machine: a snapshot has the paths that were added.
    plain = "import sys; sys.path[:] = sys.modules['_elastichub_keep']._session.path = []\ndel sys"
    made = Shells("/tmp", ("numpy",))
    *_, report = made.job(("run", SETUP), ("run", plain), ("save", str(SNAPSHOTS / f"0.2.0-format1-py{version}")))
    made.close()
    print(report)
