"""What would come back wrong without a word, each with what went wrong in trials."""

import pytest
from kernels import Shells

PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), PRELOAD)
    yield made
    made.close()


@pytest.fixture
def parked(shells, tmp_path):
    """Runs cells, parks, and checks in another process: the reports of both."""

    def run(setup, check, generations=1, options=None):
        snapshot = str(tmp_path / "state")
        (_, error), saved = shells.job(("run", setup), ("save", snapshot, options or {}))
        assert error is None
        assert saved["outcome"] == "saved"
        for _ in range(generations - 1):
            loaded, again = shells.job(("load", snapshot), ("save", snapshot + "2"))
            assert loaded["outcome"] == "loaded" and again["outcome"] == "saved"
            snapshot += "2"
        loaded, (printed, error) = shells.job(("load", snapshot), ("run", check))
        assert loaded["outcome"] == "loaded"
        assert error is None, printed
        return saved, loaded

    return run


SAME = {
    "an object that is nothing but itself": (
        "mark = object(); marks = [mark, {'m': mark}]",
        "assert marks[0] is mark and marks[1]['m'] is mark and type(mark) is object",
    ),
    "an immutable with a __new__ of its own": (
        "class Doubled(float):\n    def __new__(cls, v): return super().__new__(cls, v * 2)\n"
        "class Pair(tuple):\n    def __new__(cls, a, b): return super().__new__(cls, (b, a))\n"
        "class Word(str):\n    def __new__(cls, v): return super().__new__(cls, v + '!')\n"
        "d, p, w = Doubled(1.5), Pair(1, 2), Word('a'); d.unit = 'm'\nz = Doubled(-0.0)",
        "import math\nassert d == 3.0 and d.unit == 'm' and p == (2, 1) and w == 'a!' and type(w) is Word\n"
        "assert math.copysign(1, z) == -1",
    ),
    "a dict, list and set with methods of their own": (
        "class Up(dict):\n    def __setitem__(self, k, v): self.count += 1; super().__setitem__(k, v * 2)\n"
        "class Log(list):\n    def append(self, v): super().append((v, v))\n    extend = append\n"
        "class Few(set):\n    def add(self, v): super().add(-v)\n"
        "u = Up(); u.count = 0; u['a'] = 1\nl = Log(); l.append(1)\nf = Few(); f.add(3)",
        "assert u == {'a': 2} and u.count == 1 and l == [(1, 1)] and f == {-3}",
    ),
    "a registry that subclasses enter": (
        "class Base:\n    known = []\n"
        "    def __init_subclass__(cls, **kw): super().__init_subclass__(**kw); Base.known.append(cls.__name__)\n"
        "class One(Base): pass\nclass Two(One): pass\nmade = Two()",
        "B = Base\nassert B.known == ['One', 'Two'], B.known\n"
        "class Three(B): pass\nassert B.known == ['One', 'Two', 'Three']",
    ),
    "a registry that a metaclass fills": (
        "seen = []\nclass Meta(type):\n"
        "    def __new__(m, n, b, d, **kw): seen.append(n); return super().__new__(m, n, b, d)\n"
        "    def __init__(c, n, b, d, **kw): super().__init__(n, b, d)\n"
        "class A(metaclass=Meta): pass\nclass B(A, tag=1): x = 5\nb = B()",
        "assert seen == ['A', 'B'], seen\nassert type(B) is Meta and b.x == 5\nclass C(A): pass\nassert seen[-1] == 'C'",
    ),
    "an enum whose members have attributes": (
        "import enum\nclass Planet(enum.Enum):\n    E = (5, 6)\n    F = (7, 8)\n    G = (5, 6)\n"
        "    def __init__(self, mass, radius): self.mass = mass; self.radius = radius\n"
        "    @property\n    def both(self): return self.mass + self.radius\np = Planet.F",
        "assert Planet.F.mass == 7 and p is Planet.F and p.both == 15 and Planet.G is Planet.E",
    ),
    "a class derived from one of collections, with an __init__ of its own": (
        "import collections as c\n"
        "class Recent(c.OrderedDict):\n    def __init__(self, size): super().__init__(); self.size = size\n"
        "    def __setitem__(self, k, v): super().__setitem__(k, v + 1)\n"
        "class Ring(c.deque):\n    def __init__(self, n, why): super().__init__(maxlen=n); self.why = why\n"
        "class Tree(c.defaultdict):\n    def __init__(self, up): super().__init__(list); self.up = up\n"
        "class Bag(c.Counter):\n    def __init__(self, name, of): super().__init__(of); self.name = name\n"
        "r = Recent(3); r['b'] = 1; r['a'] = 2; r['me'] = 0; q = Ring(2, 'w'); q.extend([1, 2, q])\n"
        "t = Tree(r); t['x'].append(t); b = Bag('n', 'aab')",
        "assert list(r.items()) == [('b', 2), ('a', 3), ('me', 1)] and r.size == 3\n"
        "assert q[1] is q and q.maxlen == 2 and q.why == 'w' and t['x'][0] is t and t.up is r and t['new'] == []\n"
        "assert b == {'a': 2, 'b': 1} and b.name == 'n' and type(b) is Bag",
    ),
    "what a pattern has found": (
        "import re\nm = re.compile('(a)(b)?').search('xxa', 1); f = list(re.finditer('a.', 'abac'))[1]",
        "assert m.groups() == ('a', None) and m.start() == 2 and m.pos == 1 and f.group() == 'ac' and f.span() == (2, 4)",
    ),
    "a variable of contexts": (
        "import contextvars as cv\na = cv.ContextVar('a'); b = cv.ContextVar('b', default=[1]); d = b.get()",
        "assert b.get() is d and a.name == 'a' and a.get(7) == 7",
    ),
    "rows and connections of sqlite": (
        "import sqlite3\ndb = sqlite3.connect(':memory:'); db.row_factory = sqlite3.Row\n"
        "row = db.execute('select 1 as a, \\'t\\' as \"b c\"').fetchone(); db.close()",
        "assert tuple(row) == (1, 't') and row['b c'] == 't' and row.keys() == ['a', 'b c']\n"
        "try: db.total_changes\nexcept sqlite3.ProgrammingError: pass\nelse: raise SystemError",
    ),
    "how cells are compiled": (
        "from __future__ import annotations\nclass Later:\n    def make(self) -> Nowhere: ...",
        "def f(x: AlsoNowhere): ...\nassert f.__annotations__ == {'x': 'AlsoNowhere'}",
    ),
    "another name of a magic": (
        "%alias_magic stamp time -p '-r'",
        "names = get_ipython().magics_manager.magics['line']['stamp']\n"
        "assert names.magic_name == 'time' and names.magic_params == '-r'",
    ),
    "locks of asyncio that somebody has waited for": (
        "import asyncio\nlimit = asyncio.Semaphore(1)\nasync def use():\n    async with limit: await asyncio.sleep(0)\n"
        "await asyncio.gather(use(), use())",
        "await asyncio.gather(use(), use())\nassert not limit.locked()",
    ),
    "slots, some of them private": (
        "class S:\n    __slots__ = ('a', '__b', '__dict__')\n"
        "    def __init__(self): self.a = 1; self.__b = 2; self.c = 3\n    def b(self): return self.__b\n"
        "class Frozen:\n    __slots__ = ('v',)\n    def __init__(self): object.__setattr__(self, 'v', 1)\n"
        "    def __setattr__(self, *a): raise AttributeError('frozen')\ns, f = S(), Frozen()",
        "assert s.a == 1 and s.b() == 2 and s.c == 3 and f.v == 1\nassert not hasattr(f, '__dict__')",
    ),
    "the globals of code that exec() ran": (
        "g = {'n': 1}\nexec('def f():\\n    global n\\n    n += 1\\n    return n', g)\nf = g['f']; f()",
        "assert f() == 3 and g['n'] == 3 and g['f'] is f",
    ),
    "the namespace itself, and what the process has one of": (
        "import sys, os, builtins\nns = globals(); paths = sys.path; env = os.environ; mods = sys.modules\n"
        "history = In; outputs = Out; bi = builtins.__dict__",
        "import sys, os, builtins\nassert ns is globals() and paths is sys.path and env is os.environ\n"
        "assert mods is sys.modules and history is In and outputs is Out and bi is builtins.__dict__",
    ),
    "methods of what a library has one of": (
        "from random import random as draw, seed\nfrom numpy.random import rand\nimport matplotlib.pyplot as plt\n"
        "rc = plt.rcParams",
        "import random, numpy, matplotlib\nrandom.seed(3); a = draw(); random.seed(3); assert random.random() == a\n"
        "numpy.random.seed(3); a = rand(); numpy.random.seed(3); assert numpy.random.rand() == a\n"
        "assert rc is matplotlib.rcParams",
    ),
    "a lambda of a library sees that library": (
        "import json.decoder\ncode = compile('hidden = lambda: NaN', 'x', 'exec')\n"
        "exec(code, vars(json.decoder)); f = json.decoder.hidden; del json.decoder.hidden",
        "import json.decoder\nassert f.__globals__ is vars(json.decoder)",
    ),
    "exceptions with their causes": (
        "class E(Exception):\n    def __init__(self, a, *, b): super().__init__(a); self.b = b\n"
        "class D(UnicodeDecodeError): pass\n"
        "try:\n    try: 1 / 0\n    except ZeroDivisionError as z: raise E('a', b=2) from z\nexcept E as e: err = e\n"
        "dec = D('utf-8', b'ab', 0, 1, 'why')",
        "assert err.b == 2 and isinstance(err.__cause__, ZeroDivisionError) and err.__suppress_context__\n"
        "assert dec.start == 0 and dec.reason == 'why' and dec.object == b'ab'",
    ),
    "views of dicts": (
        "d = {'a': 1}; keys, items = d.keys(), d.items()\nimport types\nproxy = types.MappingProxyType(d)",
        "d['b'] = 2\nassert list(keys) == ['a', 'b'] and ('b', 2) in items and proxy['b'] == 2",
    ),
    "arrays that own their memory, and all views of them": (
        "import numpy as np\na = np.arange(10.); b = a[::-1]; c = a[2:5]; f = np.asfortranarray(np.ones((3, 4))); ft = f[1:]\n"
        "t = np.array(['2026-01-01'] * 3, 'M8[s]'); tv = t[1:]; o = np.array([[1], 'x', None], object); ov = o[1:]\n"
        "s = np.zeros(3, [('x', 'i4'), ('y', 'f8')]); sx = s['x']; raw = a.view('u1')[3:7]; win = np.lib.stride_tricks.sliding_window_view(a, 3); z = np.zeros((0, 3)); e = a[3:3]\n"
        "by = bytearray(16); over = np.frombuffer(by, 'f8')\nro = np.arange(3); ro.flags.writeable = False",
        "assert a.flags.owndata and f.flags.owndata and t.flags.owndata and a.base is None\n"
        "a[0] = 7; assert b[-1] == 7\na[2] = 8; assert c[0] == 8\nf[1, 1] = 5; assert ft[0, 1] == 5 and ft.base is f\n"
        "t[1] = 0; assert tv[0] == t[1]\no[2] = 'n'; assert ov[1] == 'n'\ns['x'][1] = 4; assert sx[1] == 4\n"
        "raw[:] = 255; assert np.isnan(a[0]) or a[0] != 7\na[9] = 6; assert win[7, 2] == 6\nassert z.shape == (0, 3) and e.shape == (0,)\n"
        "over[0] = 1; assert bytes(by[:8]) != bytes(8)\nassert not ro.flags.writeable and a.flags.writeable\na.resize(20, refcheck=False)",
    ),
    "columns of one frame do not write into each other": (
        "import pandas as pd, numpy as np\ndf = pd.DataFrame(np.zeros((4, 3)), columns=list('abc'))\n"
        "x, y, both = df['a'], df['a'], df[['a', 'b']]",
        "x.iloc[0] = 9\nassert df.iloc[0, 0] == 0 and y.iloc[0] == 0 and both.iloc[0, 0] == 0",
    ),
    "texts of all sorts in an array of objects": (
        "import numpy as np\nn = 70000\na = np.array([str(i) for i in range(n)], object)\n"
        "a[5], a[6], a[7], a[8] = None, float('nan'), 'with\\0nul', 'lone \\ud800'\nm = a.reshape(2, -1); f = np.asfortranarray(m.copy())",
        "assert a[3] == '3' and a[5] is None and a[6] != a[6] and a[7] == 'with\\0nul' and a[8] == 'lone \\ud800'\n"
        "assert a[n - 1] == str(n - 1) and m[1, 0] == str(n // 2) and f[1, 0] == str(n // 2) and f[0, 1] == '1'",
    ),
    "settings that change what is printed": (
        "get_ipython().ast_node_interactivity = 'all'\n"
        "import locale, decimal, os, csv, time\ndecimal.getcontext().traps[decimal.DivisionByZero] = False\nos.umask(0o027)\n"
        "csv.field_size_limit(77)\nget_ipython().run_line_magic('precision', '3')\n"
        "class A: pass\nget_ipython().display_formatter.formatters['text/plain'].for_type(A, lambda o, p, c: p.text('an A'))\n"
        "import builtins\nbuiltins.everywhere = 5",
        "import decimal, os, csv\nassert get_ipython().ast_node_interactivity == 'all'\n"
        "assert decimal.Decimal(1) / 0 == decimal.Decimal('Infinity')\nm = os.umask(0); os.umask(m); assert m == 0o027\n"
        "assert csv.field_size_limit() == 77 and everywhere == 5\n"
        "d = get_ipython().display_formatter.format(A())[0]['text/plain']; assert d == 'an A', d\n"
        "d = get_ipython().display_formatter.format(1/3)[0]['text/plain']; assert d == '0.333', d",
    ),
    "a file is neither cut short nor made": (
        "w = open('w.txt', 'w'); w.write('one'); x = open('x.txt', 'x'); x.write('1'); b = open('b.bin', 'wb'); b.write(b'ab')\n"
        "with open('c.txt', 'w') as c: c.write('z')",
        "assert (w.mode, x.mode, b.mode) == ('w', 'x', 'wb') and c.closed and c.name == 'c.txt'\n"
        "for f, t in ((w, ' two'), (x, '2'), (b, b'cd')): f.write(t); f.close()\n"
        "assert open('w.txt').read() == 'one two' and open('x.txt').read() == '12' and open('b.bin').read() == 'abcd'\n"
        "import os\nos.remove('w.txt'); os.remove('x.txt'); os.remove('b.bin')",
    ),
    "what the last cells gave": (
        "get_ipython().run_cell('5 * 5', store_history=True); get_ipython().run_cell('6 * 6', store_history=True)\n"
        "__version__ = '1.0'; keep_ = _",
        "assert __version__ == '1.0' and _ is keep_ and keep_ == 36\nassert 25 in Out.values()",
    ),
}


@pytest.mark.parametrize("generations", (1, 3))
@pytest.mark.parametrize("name", SAME)
def test_same(parked, name, generations):
    saved, loaded = parked(*SAME[name], generations)
    assert saved["lost"] == [] and saved["holes"] == [] and saved["state_lost"] == []
    assert loaded["failed"] == [] and loaded["changed"] == [] and loaded["notes"] == []


RAISES = '\ntry:\n    {use}\n    raise SystemError\nexcept BaseException as e:\n    assert type(e).__name__ == "ParkedObjectLost", """{use}"""'


def test_an_object_of_a_library_has_no_holes(parked):
    """Also where the hole was met in a record before, or in a dict of the user's."""
    setup = (
        "import socket, queue, functools\ns = socket.socket()\nq = queue.Queue(); q.put(s)\n"
        "mine = {'s': s, 'rows': [1, 2]}\nlater = queue.Queue(); later.put(mine)\n"
        "two = [s, s]\nfine = queue.Queue(); fine.put(1)"
    )
    check = (
        "assert mine['rows'] == [1, 2] and fine.get() == 1"
        + RAISES.format(use="q.get_nowait()")
        + RAISES.format(use="later.get_nowait()")
        + RAISES.format(use="mine['s'].send(b'')")
        + RAISES.format(use="two[1].send(b'')")
        + RAISES.format(use="f'{s}'")
        + "\nrepr(s), repr(mine)"
    )
    saved, _ = parked(setup, check, generations=2)
    assert {each["name"] for each in saved["lost"]} == {"s", "q", "later"}
    assert {each["name"] for each in saved["holes"]} == {"mine", "two"}
    assert not saved["whole"]


def test_a_hole_concerns_nothing_that_does_not_hold_it(parked):
    """Functions refer to the namespace, and by it to everything."""
    setup = (
        "import socket, queue\nmine = {'s': socket.socket()}\ndef f(): return 1\nclass A:\n    def g(self): return f()\n"
        "q = queue.Queue(); q.put(f); q.put(A()); p = queue.Queue(); p.put(lambda: mine)"
    )
    saved, _ = parked(setup, "assert q.get()() == 1 and q.get().g() == 1 and 's' in p.get()()", generations=2)
    assert saved["lost"] == [] and [each["name"] for each in saved["holes"]] == ["mine"]


def test_what_is_left_out(parked):
    setup = "__elastichub_skip__ = ['secret']\nsecret = 'S3CR3T'\nother = 1"
    saved, _ = parked(setup, "assert other == 1" + RAISES.format(use="secret.upper()"), generations=2)
    assert [each["name"] for each in saved["skipped"]] == ["secret"]
    assert saved["whole"]


def test_a_file_that_is_gone_or_shorter(shells, tmp_path):
    gone, shorter = tmp_path / "gone", tmp_path / "shorter"
    setup = "".join(
        f"open({str(p)!r}, 'w').write('abc'); {p.name} = open({str(p)!r}); {p.name}.read()\n" for p in (gone, shorter)
    )
    snapshot = str(tmp_path / "state")
    (_, error), saved = shells.job(("run", setup), ("save", snapshot))
    assert error is None and saved["lost"] == []
    gone.unlink()
    shorter.write_text("a")
    loaded, (printed, error) = shells.job(("load", snapshot), ("run", RAISES.format(use="gone.read()")))
    assert error is None, printed
    assert {each["name"] for each in loaded["failed"]} == {"gone", "shorter"}
    assert "shorter" in next(each["why"] for each in loaded["failed"] if each["name"] == "shorter")


def test_the_users_own_path_and_files_are_not_in_the_way(shells, tmp_path):
    """Nothing is imported for a save that the kernel's start has not imported."""
    for name in ("csv", "uuid", "dis", "pickletools", "plistlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemError('a file of the same name')")
    setup = f"import sys, os\nos.chdir({str(tmp_path)!r}); sys.path[:] = [{str(tmp_path)!r}]\nx = 1"
    (_, error), saved = shells.job(("run", setup), ("save", str(tmp_path / "state")))
    assert error is None and saved["outcome"] == "saved"


def test_a_file_that_goes_through_something_else_is_told(parked, tmp_path):
    path = str(tmp_path / "t.gz")
    setup = f"import gzip\nw = gzip.open({path!r}, 'wt'); w.write('a\\nb\\n'); w.close(); r = gzip.open({path!r}, 'rt'); r.readline()"
    saved, _ = parked(setup, "assert w.closed")
    assert [(each["name"], each["why"]) for each in saved["lost"]] == [("r", "it goes through a GzipFile")]


def test_an_open_transaction_is_told(parked):
    setup = "import sqlite3\nc = sqlite3.connect('t.db'); c.execute('create table if not exists t(a)'); c.execute('insert into t values(1)')"
    saved, _ = parked(setup, "pass")
    assert saved["lost"][0]["why"] == "a transaction is open"


def test_a_value_that_comes_back_different_is_told(shells, tmp_path):
    snapshot = str(tmp_path / "state")
    setup = "class A:\n    def __reduce__(self): return (A, ())\na = A(); a.x = 1\nb = [1, 2]"
    (_, error), saved = shells.job(("run", setup), ("save", snapshot))
    assert error is None and saved["lost"] == []
    (loaded,) = shells.job(("load", snapshot))
    assert [each["name"] for each in loaded["changed"]] == ["a"]


def test_the_cell_that_made_it(shells, tmp_path):
    snapshot = str(tmp_path / "state")
    *_, saved = shells.job(("run", "x = 1"), ("run", "g = (i for i in [1])"), ("run", "x += 1"), ("save", snapshot))
    assert [(each["name"], each["cell"]) for each in saved["lost"]] == [("g", 2)]
    _, (_, error), again = shells.job(("load", snapshot), ("run", "next(g)"), ("save", snapshot + "2"))
    assert "(In [2])" in error and error.startswith("ParkedObjectLost: this generator could not be kept")
    assert again["whole"] and [each["name"] for each in again["still_lost"]] == ["g"]


def test_what_goes_on_beside_the_cells(shells):
    setup = (
        "import threading, subprocess, time, concurrent.futures\n"
        "p = concurrent.futures.ThreadPoolExecutor(1); p.submit(int).result(); time.sleep(.1)"
    )
    (_, error), quiet = shells.job(("run", setup), ("busy",))
    assert error is None and quiet["background"] == []
    setup = (
        "import threading, subprocess\n"
        "t = threading.Thread(target=threading.Event().wait, name='mine', daemon=True); t.start()\n"
        "s = subprocess.Popen(['sleep', '5']); d = subprocess.Popen(['true']); import time; time.sleep(.2)"
    )
    (_, error), busy, _ = shells.job(("run", setup), ("busy",), ("run", "s.kill(); s.wait()"))
    assert error is None
    assert [(each["kind"], each["name"]) for each in busy["background"]] == [("thread", "mine"), ("process", "sleep 5")]


def test_fewer_gpus_than_before(shells, tmp_path):
    """What was on a GPU that is not there is told of. No GPU is at hand, nor torch: both are played."""
    torch = (
        "import sys, types\n"
        "class device:\n"
        "    def __init__(self, name, index=None):\n"
        "        self.type, _, number = name.partition(':')\n"
        "        self.index = int(number) if number else index\n"
        "    def __str__(self): return self.type if self.index is None else f'{self.type}:{self.index}'\n"
        "def empty(n, dtype, device): return types.SimpleNamespace(untyped_storage=lambda: str(device))\n"
        "sys.modules['torch'] = types.SimpleNamespace(device=device, uint8=0, empty=empty, cuda=types.SimpleNamespace(device_count=lambda: {count}))\n"
    )
    setup = (
        "class Storage:\n"
        "    def __init__(self, device): self.device = device\n"
        "    def __reduce__(self): return sys.modules['_elastichub_keep'].remake.empty_storage, (self.device,)\n"
        "import sys\nfirst, second, none = Storage('cuda:0'), Storage('cuda:1'), Storage('cpu')"
    )
    path = str(tmp_path / "state")
    (_, error), saved = shells.job(("run", setup), ("save", path, {}))
    assert error is None and saved["whole"]
    for count, where, told in (
        (2, "cuda:0 cuda:1 cpu", {}),
        (1, "cuda:0 cuda:0 cpu", {"second": "it was on cuda:1, which is not here, and is on cuda:0"}),
        (0, "cpu cpu cpu", {n: f"it was on cuda:{i}, which is not here, and is on cpu" for i, n in enumerate(["first", "second"])}),
    ):
        (_, error), loaded, (printed, _) = shells.job(
            ("run", torch.replace("{count}", str(count))), ("load", path), ("run", "print(first, second, none)")
        )
        assert error is None and loaded["outcome"] == "loaded", loaded
        assert printed == where + "\n"
        assert {each["name"]: each["what"] for each in loaded["again"]} == told
