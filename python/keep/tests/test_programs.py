"""Random programs, with and without a park in between: they print the same.

KEEP_PROGRAMS says how many; a failing one is printed with its number, KEEP_SEED.
"""

import os
import random
import re

import pytest
from kernels import LONG, Shells

COUNT = int(os.environ.get("KEEP_PROGRAMS", "300" if LONG else "25"))
SEED = int(os.environ.get("KEEP_SEED", "0"))
CELLS = 24

START = """
import numpy as np, pandas as pd, random, collections, functools, itertools, copy, weakref
random.seed({seed}); np.random.seed({seed})
class Node:
    made = 0
    def __init__(self, v): self.v = v; self.links = []; Node.made += 1
    def __repr__(self): return f'N{{self.v}}'
class Count(dict):
    def __missing__(self, k): self[k] = 0; return 0
def counter():
    n = 0
    def inc(by=1):
        nonlocal n
        n += by
        return n
    return inc, (lambda: n)
x0, x1, x2, x3 = [1, 2], {{'a': [3]}}, Node(0), np.arange(12.)
f0, f1, f2 = (lambda *a: len(a)), len, str
"""
X = ("x0", "x1", "x2", "x3", "x4", "x5")
# Statements over variables A, B of any kind and a number N; what raises prints its error.
STATEMENTS = (
    "A = B",
    "A = [B, A, N]",
    "A = {'a': B, 'n': N}",
    "A = (A, B)",
    "A = Node(N)",
    "A = Node(N); A.links.append(B)",
    "A.links.append(B); A.v += N",
    "A.append(N)",
    "A.append(B)",
    "A['k'] = B; print(sorted(map(str, A)))",
    "A.update(z=N)",
    "A = np.arange(float(N + 4))",
    "A = B[1:]",
    "A = B[::-1]",
    "A = B.T",
    "A = B.reshape(2, -1)",
    "A[0] = N",
    "A[...] = N",
    "A = np.array([B, N, None], dtype=object)",
    "A = pd.DataFrame({'a': range(N + 1), 'b': list('xyzuvw' * 2)[:N + 1]})",
    "A = B['a']",
    "A = B.copy()",
    "A.iloc[0, 0] = N",
    "A.iloc[0] = N",
    "A, get_ = counter()",
    "A(); print(get_())",
    "print(A(N))",
    "A = functools.partial(f0, B, N)",
    "A = iter([1, 2, 3, N]); next(A)",
    "print(next(A))",
    "A = enumerate([B, N]); next(A)",
    "A = collections.deque([B, N], maxlen=3)",
    "A.rotate(1)",
    "A = collections.defaultdict(list, a=[B])",
    "A['q'].append(N)",
    "A = Count(a=N)",
    "print(A['miss'])",
    "A = set([N, 'a', (N,)])",
    "A.add(N)",
    "A = frozenset([N])",
    "A = random.Random(N)",
    "A = np.random.default_rng(N)",
    "print(A.random())",
    "print(random.random(), np.random.rand())",
    "A = copy.copy(B)",
    "keep_ = Node(N); A = weakref.ref(keep_)",
    "print(A() is keep_)",
    "keep_ = Node(N); A = weakref.WeakValueDictionary(a=keep_)",
    "print(len(A))",
    "def f0(*a): return (N, Node.made, len(a), type(x0).__name__)",
    "A = type('T', (Node,), {'n': N, 'both': property(lambda s: s.v + s.n)})(N)",
    "print(A.both)",
    "Node.made += N",
    "A = B.append",
    "A(N)",
    "A = {1: B}.items()",
    "print(len(list(A)))",
    "A = memoryview(bytearray(b'abcdef'))",
    "A[1] = N",
    "A = bytearray(b'xyz')",
    "A = range(N)",
    "A = ValueError(N); A.__cause__ = KeyError(B) if isinstance(B, str) else None",
    "print(A.args, A.__cause__)",
    "A = [N] * 3; x5 = A",
    "A = 'text' * N",
    "A = B is A",
    "np.add(A, N, out=A)",
)
SHOW = """
def show_(v, d=3, seen=()):
    if d == 0: return '.'
    t = type(v)
    if t in (int, str, float, bool, bytes, type(None)): return repr(v)[:60]
    if t in (list, tuple, collections.deque): return t.__name__ + str([show_(e, d - 1) for e in list(v)[:6]])
    if isinstance(v, dict): return t.__name__ + str([(show_(k), show_(e, d - 1)) for k, e in list(v.items())[:6]])
    if isinstance(v, np.ndarray): return f'{v.dtype}{v.shape}{v.flags.writeable}' + show_(v.tolist(), 3)
    if isinstance(v, (pd.DataFrame, pd.Series)): return f'{t.__name__}{v.shape}' + show_(v.to_dict(), 3)
    if isinstance(v, Node): return f'{t.__name__}({v.v}, {show_(v.links, d - 1)})'
    if isinstance(v, (set, frozenset)): return t.__name__ + str(sorted(map(str, v)))
    return t.__name__
vs_ = [x0, x1, x2, x3, globals().get('x4'), globals().get('x5')]
print([show_(v) for v in vs_], [[a is b for a in vs_] for b in vs_], f0(1), Node.made)
print([[isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.shares_memory(a, b) for a in vs_] for b in vs_])
"""


def program(seed):
    """Cells of two or three statements each."""
    draw = random.Random(seed)
    cells = [START.format(seed=seed)]
    for _ in range(CELLS):
        lines = []
        for _ in range(draw.randint(1, 3)):
            names = {"A": draw.choice(X), "B": draw.choice(X[:4]), "N": str(draw.randint(0, 5))}
            line = re.sub(r"\b[ABN]\b", lambda found, names=names: names[found.group()], draw.choice(STATEMENTS))
            lines.append(f"try:\n    {line}\nexcept Exception as e_:\n    print(type(e_).__name__, str(e_)[:50])")
        cells.append("\n".join(lines))
    return cells


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    made = Shells(tmp_path_factory.mktemp("shells"), ("numpy", "pandas"))
    yield made
    made.close()


def test_the_same_with_and_without_a_park(shells, tmp_path):
    told, parks = 0, 0
    for number in range(COUNT):
        seed = SEED + number
        cells = program(seed)
        cuts = sorted(random.Random(seed).sample(range(2, CELLS), 2))
        plain = run(shells, cells + [SHOW])
        got, start = [], 0
        for cut in (*cuts, None):
            steps = [("load", str(tmp_path / "state"))] if start else []
            steps += [("run", cell) for cell in (cells[start:cut] if cut else [*cells[start:], SHOW])]
            steps += [("save", str(tmp_path / "state"))] if cut else []
            results = shells.job(*steps)
            reports = [each for each in results if isinstance(each, dict)]
            told += sum(len(each.get(key, ())) for each in reports for key in ("lost", "holes", "failed", "changed"))
            got += [each for each in results if not isinstance(each, dict)]
            parks += cut is not None
            start = cut
        assert told == 0, (seed, reports)
        for cell, a, b in zip([*cells, SHOW], plain, got):
            assert normal(a) == normal(b), f"KEEP_SEED={seed} KEEP_PROGRAMS=1, parked after {cuts}, in cell\n{cell}"
    assert parks == 2 * COUNT, "the property was looked at"


def run(shells, cells):
    return shells.job(*(("run", cell) for cell in cells))


def normal(result):
    """Addresses differ."""
    return [re.sub(r"0x[0-9a-f]+", "0x", str(part)) for part in result]
