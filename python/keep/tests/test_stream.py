"""The stream as other programs read it, and what happens when it breaks."""

import json
import os
import signal
import struct
import threading
import time

import pytest
from kernels import BOOT, Kernel, Shells, expression

PRELOAD = ("numpy",)


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), PRELOAD)
    yield made
    made.close()


def frames(data):
    """As docs/parking-format.md has them."""
    at, found = 0, []
    while at < len(data):
        kind, size = struct.unpack_from("<cQ", data, at)
        found.append((kind.decode(), data[at + 9 : at + 9 + size]))
        at += 9 + size
    assert at == len(data)
    return found


def saved_as(shells, path, code, options=None):
    (printed, error), report = shells.job(("run", code), ("save", str(path), options or {}))
    assert error is None, printed
    return report


def test_frames(shells, tmp_path):
    path = tmp_path / "state"
    code = "import numpy as np\na = np.arange(1 << 18)\nb = [a, bytes(3)]\ng = [(i for i in [1]), 2]"
    report = saved_as(shells, path, code)
    assert report["bytes"] == path.stat().st_size
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    got = frames(path.read_bytes())
    kinds = "".join(kind for kind, _ in got)
    assert kinds[0] == "H" and kinds[-1] == "Z" and set(kinds) <= set("HRPABQEXZ")
    header, end = json.loads(got[0][1]), json.loads(got[-1][1])
    assert header["format"] == 1 and header["python"].count(".") == 2 and header["variables"] >= 4
    assert end["variables"] == report["variables"] and end["facts"]["a"][1] == "(262144,)"
    records, current = {}, None
    for kind, payload in got:
        if kind == "R":
            current = json.loads(payload)
            records[current["n"]] = [current, ""]
        elif current:
            records[current["n"]][1] += kind
    assert records["a"][0] == {"i": records["a"][0]["i"], "k": "variable", "n": "a", "t": "numpy.ndarray", "c": 1}
    assert records["a"][1] == "ABPE", "the buffer is a frame of its own, from where the array lies"
    assert records["b"][1] == "PE", "what was written is not written again"
    assert records["g"][1][-1] == "E"
    assert kinds.count("X") == 1, "the first try of g is void"
    large = next(payload for kind, payload in got if kind == "B")
    assert len(large) == 8 << 18


def test_refuses_what_is_no_whole_snapshot(shells, tmp_path):
    path = tmp_path / "state"
    saved_as(shells, path, "a = 1\nb = list(range(1000))")
    data = path.read_bytes()
    other = data.replace(b'"format":1', b'"format":9', 1)
    for name, broken in {"ends": data[:-200], "format": other, "empty": b"", "noise": os.urandom(100)}.items():
        path.write_bytes(broken)
        loaded, (printed, error) = shells.job(("load", str(path)), ("run", "print('a' in globals())"))
        assert loaded["outcome"] == "broken", name
        assert printed == "False\n" and error is None, "the namespace is as it was"


def test_limits(shells, tmp_path):
    path = tmp_path / "state"
    code = (
        "import time\nclass Slow:\n    def __reduce__(self): time.sleep(30)\n"
        "class Deaf:\n    def __reduce__(self):\n"
        "        for _ in range(20):\n            try: time.sleep(.5)\n            except: pass\n"
        "        return int, ()\n"
        "before, slow, after = 1, Slow(), 2"
    )
    report = saved_as(shells, path, code, {"record_seconds": 0.5})
    assert report["outcome"] == "saved" and report["seconds"] < 5
    assert [(each["name"], each["why"]) for each in report["lost"]] == [("slow", "it took too long to write it")]
    report = saved_as(shells, path, code, {"seconds": 1})
    assert report["outcome"] == "deadline" and report["seconds"] < 3
    report = saved_as(shells, path, "import numpy\na = numpy.ones(1 << 20)", {"max_bytes": 1 << 20})
    assert report["outcome"] == "too large"
    report = saved_as(shells, path, "import gc\nx = 1", {"max_bytes": 1 << 20})
    assert report["outcome"] == "saved"


def test_signals_and_switches_are_as_they_were(shells, tmp_path):
    code = (
        "import signal, gc, sys\nrang = []\nsignal.signal(signal.SIGALRM, lambda *a: rang.append(1))\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\nsignal.setitimer(signal.ITIMER_REAL, 1.5)\n"
        "was = signal.getsignal(signal.SIGINT), sys.getrecursionlimit()"
    )
    check = (
        "import time; time.sleep(2)\nassert rang == [1]\nassert gc.isenabled()\n"
        "assert (signal.getsignal(signal.SIGINT), sys.getrecursionlimit()) == was\n"
        "assert signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL"
    )
    (_, error), _, (printed, checked) = shells.job(("run", code), ("save", str(tmp_path / "s"), {}), ("run", check))
    assert error is None and checked is None, printed


def test_a_full_volume_and_a_reader_that_goes(shells, tmp_path):
    code = "import signal, numpy\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\na = numpy.ones(1 << 20)"
    (_, error), full, (printed, _) = shells.job(("run", code), ("save", "/dev/full", {}), ("run", "print(a.sum())"))
    assert error is None and full["outcome"] == "failed" and "space" in full["error"]
    assert printed == "1048576.0\n"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def read_a_little():
        with fifo.open("rb") as pipe:
            pipe.read(1 << 20)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    (_, error), gone, (printed, _) = shells.job(("run", code), ("save", str(fifo), {}), ("run", "print(a.sum())"))
    reader.join()
    assert error is None and gone["outcome"] == "failed" and "pipe" in gone["error"].lower()
    assert printed == "1048576.0\n", "the kernel goes on"


def test_through_a_fifo_both_ways(shells, tmp_path):
    fifo, received = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    saved_as(shells, fifo, "import numpy\na = numpy.arange(1 << 20)\nb = a[5:]")
    reader.join()
    writer = threading.Thread(target=lambda: fifo.write_bytes(received[0]))
    writer.start()
    loaded, (printed, _) = shells.job(("load", str(fifo)), ("run", "a[5] = 7; print(b[0], len(b))"))
    writer.join()
    assert loaded["outcome"] == "loaded" and printed == "7 1048571\n"


def test_without_a_record_that_kills(shells, tmp_path):
    """The progress names the record; without it, the others are what they were, and what
    shared an object with it says so."""
    path, progress = tmp_path / "state", tmp_path / "progress"
    code = (
        "import os, queue\nclass Boom:\n    def __reduce__(self): return os._exit, (7,)\n"
        "shared = ['s']\nfirst = [1, shared]\nboom = ['b', Boom(), ['inner']]\nlast = {'x': shared, 'y': 2}\n"
        "inner = boom[2]\nq = queue.Queue(); q.put(inner)\nend = [first, 5]\nlate = [os._exit.__name__, os.getpid]"
    )
    saved_as(shells, path, code)
    assert shells.job(("load", str(path), {"progress": str(progress)})) is None, "the process has died"
    died = json.loads(progress.read_text().splitlines()[-1])
    assert died["n"] == "boom"
    check = (
        "assert shared == ['s'] and first[1] is shared and last['x'] is shared and last['y'] == 2 and end[0] is first\n"
        "import os; assert late == ['_exit', os.getpid]\n"
        "for use in (lambda: boom[0], lambda: inner[0], lambda: q.get_nowait()):\n"
        "    try: use()\n    except Exception as e: assert type(e).__name__ == 'ParkedObjectLost', e\n"
        "    else: raise SystemError('no word')"
    )
    loaded, (printed, error) = shells.job(("load", str(path), {"without": [died["i"]]}), ("run", check))
    assert error is None, printed
    assert {"boom", "inner"} <= {each["name"] for each in loaded["failed"]}, "what hung on it is named"
    assert all(set(each) == {"name", "type", "cell", "why"} and each["why"] for each in loaded["failed"])


def test_a_cell_that_comes_while_it_saves(tmp_path):
    """By SIGINT to the main thread, as an interrupt request does it."""
    code = (
        "import numpy as np\nrows = [{'i': i, 'n': str(i)} for i in range(400000)]\n"
        "class P:\n    def __init__(self, i): self.i = i\nps = [P(i) for i in range(200000)]\n"
        "arrays = [np.full(1 << 22, float(i)) for i in range(6)]"
    )
    waits = []
    with Kernel(tmp_path) as kernel:
        assert kernel.run(code)[1] is None
        for delay in (0.05, 0.15, 0.3, 0.5):
            message = kernel.ask(expression("save", str(tmp_path / "state"), {}))
            time.sleep(delay)
            began = time.perf_counter()
            os.kill(kernel.pid, signal.SIGINT)
            found = kernel.answer(message)
            waits.append(time.perf_counter() - began)
            report = json.loads(found["data"]["text/plain"]) if found["status"] == "ok" else found
            assert report.get("outcome") in ("interrupted", "saved") or report.get("ename") == "KeyboardInterrupt"
        printed, error = kernel.run("import gc; print(len(rows), ps[7].i, arrays[5][0], gc.isenabled())")
        assert (printed, error) == ("400000 7 5.0 True\n", None)
    assert sorted(waits)[len(waits) // 2] < 2, waits


def test_clients_see_nothing(tmp_path):
    with Kernel(tmp_path) as kernel:
        kernel.run("x = 41")
        assert kernel.run("x + 1")[0] == "42"
        kernel.call("busy")
        kernel.call("save", str(tmp_path / "state"), {})
        seen = []
        message = kernel.ask(expression("busy"))
        while not seen or seen[-1] != "idle":
            got = kernel.client.get_iopub_msg(timeout=20)
            if got["parent_header"].get("msg_id") == message:
                seen.append(got["content"].get("execution_state", got["msg_type"]))
        kernel.answer(message)
        assert seen == ["busy", "idle"]
        printed, _ = kernel.run("print(_, len(In), [n for n in globals() if 'elastichub' in n or 'keep' in n])")
        assert printed == "42 4 []\n"


def test_begin_costs_little(tmp_path):
    with Kernel(tmp_path, boot=False) as kernel:
        kernel.silent("1")
        began = time.perf_counter()
        kernel.silent(f"exec(open({BOOT!r}).read(), {{'__file__': {BOOT!r}}})")
        kernel.call("begin")
        assert time.perf_counter() - began < 1


def test_a_limit_of_memory_just_above_the_state(tmp_path):
    """A kernel that fills its memory to five sixths is saved without another fifth of it."""
    size = 512 << 20
    with Kernel(tmp_path) as kernel:
        setup = f"import numpy, resource\na = numpy.ones({size} // 8)\nb = a[1:]"
        assert kernel.run(setup)[1] is None
        limit = (
            "used = 4096 * int(open('/proc/self/statm').read().split()[0])\n"
            f"resource.setrlimit(resource.RLIMIT_AS, (used + {size} // 5, resource.RLIM_INFINITY))\n"
            f"try: numpy.ones({size} // 8)\n"
            "except MemoryError: print('no room for another')"
        )
        assert kernel.run(limit) == ("no room for another\n", None)
        saved = kernel.call("save", str(tmp_path / "state"))
        assert (saved["outcome"], saved["whole"]) == ("saved", True), saved
        assert saved["bytes"] > size
        assert kernel.run("print(a.sum() == len(a), b[0])") == ("True 1.0\n", None)
