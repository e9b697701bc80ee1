"""What it takes to save and load the state of a kernel, beside dill, cloudpickle and pickle:
seconds on the clock and of CPU, memory that it takes besides, size. Each measurement in a process
of its own; the ways take turns, in random order; medians.

    python test/bench/park.py [-results DIRECTORY] [-rows ROWS] [-rounds ROUNDS]
"""

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
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
    if name == OURS:
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
    """One measurement, printed as JSON."""
    kernel = shell()
    import numpy
    import pandas

    assert numpy and pandas
    if step == "save":
        kernel.run_cell(TABLES if names == ["arrays"] else SETUP.format(rows=rows)).raise_error()
        if name == "pickle" and "points" in names:
            kernel.run_cell("del points, Point").raise_error()
            names = [each for each in names if each not in ("points", "Point")]
    save, load = way(name, kernel, path, names)
    reset_peak()
    before, spent, began = highest(), time.process_time(), time.perf_counter()
    report = save() if step == "save" else load()
    measured = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}
    if report is not None:
        assert report.document["outcome"] in ("saved", "loaded"), report
    measured["mb"] = highest() - before
    if step == "load" and names != ["arrays"]:
        kernel.run_cell(CHECK if name != "pickle" else CHECK.replace("len(points) == ", "0 < ")).raise_error()
    print(json.dumps(measured))


OURS = "elastichub"
WAYS = (OURS, "cloudpickle", "dill", "pickle")
NOTEBOOKS = {"a mixed notebook": NAMES, "1 GiB of arrays": ("arrays",)}


def main(options):
    packages = ("cloudpickle", "dill", "numpy", "pandas", "ipython")
    versions = {name: importlib.metadata.version(name) for name in packages}
    root = Path(__file__).resolve().parents[2]
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    described = subprocess.run(describe, capture_output=True, text=True, check=True)
    load = os.getloadavg()[0]
    machine = {
        **versions,
        "python": platform.python_version(),
        "elastichub": described.stdout.strip(),
        "cpus": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": f"{load:.1f}",
        "rows": str(options.rows),
        "rounds": str(options.rounds),
    }
    print("# " + ", ".join(f"{name} {value}" for name, value in machine.items()))
    figures = []
    for notebook, names in NOTEBOOKS.items():
        samples = {name: {"save": [], "load": [], "size": 0} for name in WAYS}
        for _ in range(options.rounds):
            for name in random.sample(WAYS, len(WAYS)):
                with tempfile.TemporaryDirectory() as directory:
                    path = os.path.join(directory, "state")
                    for step in ("save", "load"):
                        samples[name][step].append(measured(step, name, path, options.rows, names))
                    samples[name]["size"] = os.path.getsize(path) >> 20
        for name in WAYS:
            made = {step: medians(samples[name][step]) for step in ("save", "load")}
            figures.append({"notebook": notebook, "way": name, **made, "size": samples[name]["size"]})
            print(
                f"{notebook + ', ' + name:34}"
                + "".join(
                    f"{step} {of['seconds']:6.2f} s, CPU {of['cpu']:6.2f} s, {of['mb']:+6.0f} MB; "
                    for step, of in made.items()
                )
                + f"{samples[name]['size']} MB",
                flush=True,
            )
    if options.results:
        text = json.dumps({"machine": machine, "figures": figures}, indent=2)
        Path(options.results, "park.json").write_text(text + "\n")


def medians(samples):
    return {key: round(statistics.median(each[key] for each in samples), 3) for key in samples[0]}


def measured(step, name, path, rows, names):
    command = [sys.executable, __file__, "one", step, name, path, str(rows), *names]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


if sys.argv[1:2] == ["one"]:
    part(*sys.argv[2:5], int(sys.argv[5]), sys.argv[6:])
else:
    parser = argparse.ArgumentParser()
    parser.add_argument("-results")
    parser.add_argument("-rows", type=int, default=1_000_000)
    parser.add_argument("-rounds", type=int, default=5)
    main(parser.parse_args())
