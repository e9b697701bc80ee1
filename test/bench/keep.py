"""What it takes to save and load the state of a kernel, beside dill and cloudpickle: seconds
of CPU, and the memory that it takes besides. Each way in a process of its own, thrice, the best.

    python test/bench/keep.py [ROWS]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOOT = Path(__file__).resolve().parents[2] / "python" / "keep" / "boot.py"
NAMES = ("frame", "floats", "view", "rows", "points", "Point", "both")
SETUP = """
import numpy as np, pandas as pd
n = {rows}
rng = np.random.default_rng(0)
frame = pd.DataFrame({{f'f{{i}}': rng.normal(size=n) for i in range(8)}})
frame['when'] = pd.date_range('2026-01-01', periods=n, freq='s')
frame['kind'] = pd.Categorical.from_codes(rng.integers(0, 5, n), list('abcde'))
frame['name'] = pd.array([f'name-{{i}}' for i in range(n)], dtype='object')
floats = rng.normal(size=(n // 4, 100)).astype('f4'); view = floats[10:20]
rows = [{{'id': i, 'name': f'n{{i}}', 'v': float(i)}} for i in range(n // 10)]
class Point:
    def __init__(self, i): self.i = i; self.xy = (i, i + 1)
points = [Point(i) for i in range(n // 10)]
both = [frame, floats, rows]
"""
CHECK = "assert both[1] is floats and len(points) == len(rows) and frame['name'].iloc[5] == 'name-5'"
TABLES = """
import numpy as np
arrays = [np.full(1 << 27, float(i), 'f4') for i in range(2)]
"""


def reset_peak():
    """The highest resident memory is counted from here."""
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")


def highest():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM"))


def shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell.instance(config=config)
    exec(BOOT.read_text(), {"__file__": str(BOOT)})
    sys.modules["_elastichub_keep"].begin()
    return made


def way(name, kernel, path, names):
    """How to save and to load."""
    keep = sys.modules["_elastichub_keep"]
    if name == "keep":
        return lambda: keep.save(path), lambda: keep.load(path)
    module = __import__(name)
    options = {} if name == "dill" else {"protocol": 5}

    def save():
        with open(path, "wb") as out:
            module.dump({each: kernel.user_ns[each] for each in names}, out, **options)

    def load():
        with open(path, "rb") as state:
            kernel.user_ns.update(module.load(state))

    return save, load


def part(step, name, path, rows, names):
    kernel = shell()
    import numpy
    import pandas

    assert numpy and pandas
    if step == "save":
        kernel.run_cell(TABLES if names == ["arrays"] else SETUP.format(rows=rows)).raise_error()
    save, load = way(name, kernel, path, names)
    reset_peak()
    before, began = highest(), time.process_time()
    report = save() if step == "save" else load()
    if report is not None:
        assert report.document["outcome"] in ("saved", "loaded"), report
    spent = time.process_time() - began
    extra = highest() - before
    if step == "load" and names != ["arrays"]:
        kernel.run_cell(CHECK).raise_error()
    print(json.dumps({"seconds": round(spent, 2), "MB": extra}))


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"# state of a kernel, {rows} rows; best of 3")
    print(f"{'':28}{'save s':>8}{'+MB':>7}{'load s':>8}{'file MB':>9}")
    for title, names in (("mixed", NAMES), ("1 GiB of arrays", ["arrays"])):
        for name in ("keep", "cloudpickle", "dill"):
            best = {}
            with tempfile.TemporaryDirectory() as directory:
                path = os.path.join(directory, "state")
                for step in ("save", "load"):
                    got = [measured(step, name, path, rows, names) for _ in range(3)]
                    best[step] = min(got, key=lambda each: each["seconds"])
                size = os.path.getsize(path) >> 20
            save, load = best["save"], best["load"]
            print(
                f"{title + ', ' + name:28}{save['seconds']:8.2f}{save['MB']:7}{load['seconds']:8.2f}{size:9}",
                flush=True,
            )


def measured(step, name, path, rows, names):
    command = [sys.executable, __file__, step, name, path, str(rows), *names]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


if len(sys.argv) > 2:
    part(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
else:
    main()
