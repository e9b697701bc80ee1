"""Kinds of objects, each with a cell that makes one and a cell that looks whether it is right.

same: it comes back equal, and what was shared is shared. again: it is made anew from what
describes it, and that is told. told: it cannot come back; it is named, and any use says so.
A check raises nothing in the new process for same and again.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    name: str
    what: str
    expect: str
    setup: str
    check: str


# What some kinds use of others, for each by itself.
PRELUDE = r"""
import collections, functools, os, random, socket, sqlite3, sys, threading
sys.path.insert(0, os.getcwd())
import numpy as np, pandas as pd
class Nd: pass
class ER(ValueError):
    def __init__(self, a, b): super().__init__(a); self.b = b
al_a = {'v': [1]}
"""

KINDS = [
    Kind(
        "scalars",
        "int, float nan, str, bytes, None, complex, bool, big int",
        "same",
        r"""
sc = (1, float('nan'), 'ß', b'\x00', None, 1j, True, 10**50)
""",
        r"""
assert sc[0]==1 and sc[1]!=sc[1] and sc[2]=='ß' and sc[7]==10**50
""",
    ),
    Kind(
        "containers",
        "list, dict, set, frozenset, deque, Counter, defaultdict(lambda), OrderedDict, ChainMap, SimpleNamespace, bytearray",
        "same",
        r"""
import collections, types
co = [[1],{'a':2},{3},frozenset([4]),collections.deque([5],maxlen=9),collections.Counter('aab'),collections.defaultdict(lambda: 7),collections.OrderedDict(x=1),collections.ChainMap({'p':1},{'q':2}),types.SimpleNamespace(z=1),bytearray(b'xy')]
""",
        r"""
assert co[4].maxlen==9 and co[5]['a']==2 and co[6]['new']==7 and co[9].z==1 and co[8]['q']==2 and co[10]==b'xy'
""",
    ),
    Kind(
        "stdlib",
        "datetime with a time zone, Decimal, Fraction, UUID, Path, re.Pattern, range, slice, Ellipsis, NotImplemented",
        "same",
        r"""
import datetime, decimal, fractions, uuid, pathlib, re
sl = [datetime.datetime(2026,1,1,tzinfo=datetime.timezone.utc), decimal.Decimal('1.10'), fractions.Fraction(1,3), uuid.UUID(int=5), pathlib.Path('/a')/'b', re.compile('a+',re.I), range(3), slice(1,2), ..., NotImplemented]
""",
        r"""
assert sl[5].match('AA') and sl[8] is ... and sl[9] is NotImplemented and str(sl[1])=='1.10'
""",
    ),
    Kind(
        "alias",
        "two names, one object; the same object inside others",
        "same",
        r"""
al_a = {'v': [1]}
al_b = al_a
al_c = [al_a, al_a['v']]
""",
        r"""
assert al_a is al_b and al_c[0] is al_a and al_c[1] is al_a['v']
al_b['v'].append(2); assert al_c[1]==[1,2]
""",
    ),
    Kind(
        "cycle",
        "self-referencing list and dict, cyclic instances",
        "same",
        r"""
cy = []; cy.append(cy)
cd = {}; cd['self'] = cd
class Nd:
    pass
n1, n2 = Nd(), Nd(); n1.o, n2.o = n2, n1
""",
        r"""
assert cy[0] is cy and cd['self'] is cd and n1.o.o is n1 and n2.o is n1
""",
    ),
    Kind(
        "hash-cycle",
        "objects with a __hash__ of their own in sets and as keys, in a cycle",
        "same",
        r"""
class HN:
    def __init__(self, i): self.i = i; self.nb = set(); self.w = {}
    def __hash__(self): return hash(self.i)
    def __eq__(self, o): return isinstance(o, HN) and self.i == o.i
hn = [HN(i) for i in range(5)]
for _h in hn:
    _h.nb.update(hn); _h.w.update({o: o.i for o in hn})
""",
        r"""
assert all(len(h.nb)==5 and h.w[hn[3]]==3 and hn[2] in h.nb for h in hn) and any(o is hn[4] for o in hn[0].nb)
""",
    ),
    Kind(
        "function",
        "def with defaults, kwonly, annotations, docstring, attributes",
        "same",
        r"""
def fu(a, b=[1], *, c=3, **kw) -> int:
    'doc'
    return a+b[0]+c
fu.tag = 'T'
""",
        r"""
assert fu(1)==5 and fu.__doc__=='doc' and fu.tag=='T' and fu.__kwdefaults__=={'c':3} and fu.__module__=='__main__'
""",
    ),
    Kind(
        "fn-globals",
        "a function sees globals assigned after the return",
        "same",
        r"""
gl_x = 1
def gl_f(): return gl_x
def gl_set(v):
    global gl_x
    gl_x = v
""",
        r"""
assert gl_f()==1
gl_x = 42
assert gl_f()==42, gl_f()
gl_set(43)
assert gl_x==43
""",
    ),
    Kind(
        "closure",
        "two closures share one cell",
        "same",
        r"""
def cl_mk():
    n = 0
    def inc():
        nonlocal n
        n += 1
        return n
    def get(): return n
    return inc, get
cl_inc, cl_get = cl_mk(); cl_inc(); cl_inc()
""",
        r"""
assert cl_get()==2
cl_inc()
assert cl_get()==3, cl_get()
""",
    ),
    Kind(
        "lambda",
        "lambda, in a dict, in a default argument",
        "same",
        r"""
la = {'f': lambda x, y=(lambda: 5): x + y()}
""",
        r"""
assert la['f'](1)==6
""",
    ),
    Kind(
        "recursion",
        "recursive and mutually recursive functions, forward reference",
        "same",
        r"""
def ev(n): return n==0 or od(n-1)
def od(n): return n!=0 and ev(n-1)
def fact(n): return 1 if n<2 else n*fact(n-1)
""",
        r"""
assert ev(10) and od(7) and fact(5)==120
""",
    ),
    Kind(
        "decorated",
        "functools.wraps, contextmanager, partial, lru_cache, singledispatch, bound method, staticmethod",
        "same",
        r"""
import functools, contextlib
def deco(f):
    @functools.wraps(f)
    def w(*a): return f(*a)*2
    return w
@deco
def d1(x): return x
@contextlib.contextmanager
def d2():
    yield 9
d3 = functools.partial(d1, 4)
@functools.lru_cache(maxsize=7)
def d4(x): return x+1
d4(1)
@functools.singledispatch
def d5(x): return 'o'
@d5.register
def _(x: int): return 'i'
d6 = [].append
d7 = 'a,b'.split
""",
        r"""
assert d1(2)==4 and d3()==8 and d4(1)==2 and (sys.version_info < (3, 9) or d4.cache_parameters()['maxsize']==7) and d5(1)=='i' and d5('')=='o' and d7(',')==['a','b']
with d2() as q: assert q==9
""",
    ),
    Kind(
        "class",
        "class defined in a cell: super, property, classmethod, staticmethod, __slots__, class attribute",
        "same",
        r"""
class CA:
    reg = []
    def __init__(self, v): self.v = v; CA.reg.append(v)
    @property
    def p(self): return self.v*2
    @classmethod
    def mk(cls, v): return cls(v)
    @staticmethod
    def s(): return 's'
class CB(CA):
    __slots__ = ('w',)
    def __init__(self, v): super().__init__(v); self.w = 5
ca, cb = CA.mk(1), CB(2)
""",
        r"""
assert isinstance(cb, CA) and type(ca) is CA and type(cb) is CB and cb.p==4 and cb.w==5 and CA.reg==[1,2] and CA.s()=='s'
CB(3); assert CA.reg==[1,2,3] and CA.__module__=='__main__'
""",
    ),
    Kind(
        "class-kinds",
        "dataclass, Enum, Flag, NamedTuple, ABC, Protocol, Generic, TypedDict, metaclass, exception",
        "same",
        r"""
import dataclasses, enum, typing, abc
@dataclasses.dataclass(frozen=True, order=True)
class DC:
    a: int
    b: list = dataclasses.field(default_factory=list)
class EN(enum.Enum):
    R = 1
    G = 2
class FL(enum.Flag):
    A = enum.auto(); B = enum.auto()
class NT(typing.NamedTuple):
    x: int
    y: str = 'q'
class AB(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class AC(AB):
    def f(self): return 1
T = typing.TypeVar('T')
class GE(typing.Generic[T]):
    def __init__(self, v: T): self.v = v
class ME(type):
    def __new__(m, n, b, d): d['stamp'] = 1; return super().__new__(m, n, b, d)
class MC(metaclass=ME): pass
class ER(ValueError):
    def __init__(self, a, b): super().__init__(a); self.b = b
Pt = collections.namedtuple('Pt','x y')
ck = [DC(1,[2]), EN.R, FL.A|FL.B, NT(1), AC(), GE(3), MC(), Pt(1,2)]
""",
        r"""
assert ck[0]==DC(1,[2]) and ck[1] is EN.R and EN(2) is EN.G and ck[2]==FL.A|FL.B and ck[3].y=='q' and isinstance(ck[4],AB) and ck[5].v==3 and MC.stamp==1 and type(ck[7]) is Pt
try:
    AB(); raise SystemError
except TypeError: pass
assert GE[int] is not None and type(MC) is ME
""",
    ),
    Kind(
        "exception",
        "an exception instance with a class from a cell",
        "same",
        r"""
try:
    raise ER('m', 2)
except ER as _e: ex = _e
""",
        r"""
assert isinstance(ex, ER) and ex.args==('m',) and ex.b==2
""",
    ),
    Kind(
        "modules",
        "import as, from-import, submodule, module in a dict",
        "same",
        r"""
import numpy as np, os.path as osp
from json import dumps as jd
import xml.dom.minidom
mo = {'m': np, 's': xml.dom}
""",
        r"""
import sys
assert np is sys.modules['numpy'] and osp is sys.modules['os.path'] and jd([1])=='[1]' and mo['m'] is np and xml.dom.minidom.parseString('<a/>')
""",
    ),
    Kind(
        "np-view",
        "a numpy view writes through to its base",
        "same",
        r"""
import numpy as np
vw_a = np.arange(12.).reshape(3,4)
vw_b = vw_a[1]
vw_c = vw_a.T
vw_d = vw_a[::2, 1:3]
""",
        r"""
vw_b[0] = 99
assert vw_a[1,0]==99, 'view lost'
assert vw_c[0,1]==99
vw_d[0,0] = -1
assert vw_a[0,1]==-1
""",
    ),
    Kind(
        "np-kinds",
        "structured, object, 0-d, Fortran, readonly, masked, datetime64, numpy scalars",
        "same",
        r"""
nk = [np.zeros(3, dtype=[('a','i4'),('b','U3')]), np.array([{},[1]],dtype=object), np.array(5), np.asfortranarray(np.ones((2,3))), np.ma.masked_array([1,2],[0,1]), np.array(['2026-01-01'],'M8[D]'), np.float32(1.5), np.dtype('f8')]
nk[0].flags.writeable = False
""",
        r"""
assert nk[3].flags.f_contiguous and nk[1][1]==[1] and nk[4].mask[1] and type(nk[6]) is np.float32 and not nk[0].flags.writeable and nk[2].shape==()
""",
    ),
    Kind(
        "pandas",
        "DataFrame with categorical, dates, strings, MultiIndex, groupby result, attrs",
        "same",
        r"""
import pandas as pd
pf = pd.DataFrame({'a':[1,2,3],'b':pd.Categorical(['x','y','x']),'d':pd.date_range('2026-01-01',periods=3,tz='UTC'),'s':['p',None,'q']})
pf.attrs['k'] = 1
pm = pf.set_index(['b','s'])
pg = pf.groupby('b',observed=True)
ps = pf['a']
""",
        r"""
assert pf['b'].cat.categories.tolist()==['x','y'] and pf['d'].dt.tz is not None and pf.attrs=={'k':1} and pm.index.nlevels==2 and pg['a'].sum().tolist()==[4,2]
""",
    ),
    Kind(
        "pandas-cow",
        "a shallow copy does not write through (copy on write is kept)",
        "same",
        r"""
pc1 = pd.DataFrame({'a': np.arange(5.)})
pc2 = pc1.copy(deep=False)
pc3 = pc1['a']
""",
        r"""
if pd.__version__ >= '3':
    pc2.iloc[0,0] = 100.
    assert pc1.iloc[0,0]==0., 'COW broken'
    pc1.iloc[1,0] = 50.
    assert pc3.iloc[1]==1. and pc2.iloc[1,0]==1.
""",
    ),
    Kind(
        "sklearn",
        "fitted random forest, pipeline with a FunctionTransformer(lambda)",
        "same",
        r"""
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
Xs = np.random.default_rng(0).normal(size=(300,6)); ys = (Xs[:,0]>0).astype(int)
rf = RandomForestClassifier(20, random_state=0).fit(Xs, ys)
pi = make_pipeline(FunctionTransformer(lambda X: X*2), StandardScaler(), RandomForestClassifier(5, random_state=1)).fit(Xs, ys)
rf_e, pi_e = rf.predict_proba(Xs), pi.predict_proba(Xs)
""",
        r"""
assert (rf.predict_proba(Xs)==rf_e).all() and (pi.predict_proba(Xs)==pi_e).all()
""",
    ),
    Kind(
        "mpl",
        "matplotlib figure and axes objects, rcParams",
        "same",
        r"""
import matplotlib; matplotlib.use('agg')
import matplotlib.pyplot as plt
plt.rcParams['lines.linewidth'] = 3.25
fg, ax = plt.subplots(); ln, = ax.plot([1,2,3])
""",
        r"""
import matplotlib.pyplot as plt
assert plt.rcParams['lines.linewidth']==3.25, 'rc'
assert fg.axes[0] is ax and ax.lines[0] is ln
ax.plot([3,2,1]); fg.canvas.draw()
""",
    ),
    Kind(
        "env",
        "cwd, os.environ, sys.path, warnings filter, pandas option, numpy printoptions, recursion limit, decimal context",
        "same",
        r"""
import os, sys, warnings, decimal
os.makedirs('wd', exist_ok=True); os.chdir('wd'); wd_ = os.getcwd(); os.environ['PARK_X'] = 'y'; os.environ.pop('LS_COLORS', None); sys.path.insert(0, wd_); pd.set_option('display.max_rows', 7); np.set_printoptions(precision=3); sys.setrecursionlimit(4321); warnings.simplefilter('ignore', FutureWarning); decimal.getcontext().prec = 50
""",
        r"""
import os, sys, warnings, decimal
bad = []
if os.getcwd()!=wd_ or os.path.basename(wd_)!='wd': bad.append('cwd')
if os.environ.get('PARK_X')!='y': bad.append('environ')
if wd_ not in sys.path: bad.append('sys.path')
if pd.get_option('display.max_rows')!=7: bad.append('pandas option')
if np.get_printoptions()['precision']!=3: bad.append('printoptions')
if sys.getrecursionlimit()!=4321: bad.append('recursionlimit')
if not any(f[0]=='ignore' and f[2] is FutureWarning for f in warnings.filters): bad.append('warnings')
if decimal.getcontext().prec!=50: bad.append('decimal')
assert not bad, bad
""",
    ),
    Kind(
        "usermodule",
        "a module of the user's own from the working directory, with state",
        "same",
        r"""
open('mymod.py','w').write('STATE = {"n": 0}\nclass M:\n    def hi(self): return 1\ndef bump(): STATE["n"] += 1\n')
import mymod
mm = mymod.M(); mymod.bump()
""",
        r"""
import mymod
assert mm.hi()==1 and type(mm) is mymod.M
assert mymod.STATE['n']==1, 'module state'
""",
    ),
    Kind(
        "ipython",
        "In, Out, _, execution count, %alias-free magic defined in a cell, event hook",
        "same",
        r"""
from IPython.core.magic import register_line_magic
@register_line_magic
def hello(line): return 'hi '+line
ip_hits = []
def ip_hook(*a): ip_hits.append(1)
get_ipython().events.register('post_run_cell', ip_hook)
""",
        r"""
bad = []
if get_ipython().run_line_magic('hello','x') != 'hi x': bad.append('magic')
if len(In) < 3: bad.append('In')
if get_ipython().execution_count < 3: bad.append('count')
if not any(getattr(c,'__name__','')=='ip_hook' for c in get_ipython().events.callbacks['post_run_cell']): bad.append('hook')
assert not bad, bad
""",
    ),
    Kind(
        "source",
        "inspect.getsource and tracebacks show the cell's code",
        "same",
        r"""
def src_f(x):
    return 1/x  # here
""",
        r"""
import inspect, traceback
assert 'here' in inspect.getsource(src_f)
try: src_f(0)
except ZeroDivisionError: assert '# here' in traceback.format_exc()
""",
    ),
    Kind(
        "weakref",
        "weakref.ref to an object that lives, WeakValueDictionary",
        "same",
        r"""
import weakref
wr_o = Nd(); wr = weakref.ref(wr_o); wd = weakref.WeakValueDictionary(k=wr_o)
""",
        r"""
assert wr() is wr_o and wd['k'] is wr_o
""",
    ),
    Kind(
        "iterators",
        "list iterator and enumerate half way, itertools.count, zip, dict views",
        "same",
        r"""
import itertools
it1 = iter([1,2,3]); next(it1)
it2 = enumerate('abc'); next(it2)
it3 = itertools.count(5); next(it3)
it4 = zip([1,2],[3,4]); next(it4)
it5 = {'a':1}.items()
""",
        r"""
assert next(it1)==2 and next(it2)==(1,'b') and next(it3)==6 and next(it4)==(2,4) and list(it5)==[('a',1)]
""",
    ),
    Kind(
        "sync",
        "Lock, RLock, Event, Condition, Queue with items, threading.local",
        "again",
        r"""
import threading, queue
sy = dict(l=threading.Lock(), r=threading.RLock(), e=threading.Event(), q=queue.Queue(), c=threading.Condition())
sy['e'].set(); sy['q'].put(11)
""",
        r"""
assert sy['e'].is_set() and sy['q'].get_nowait()==11
with sy['r']: pass
with sy['c']: pass
assert not sy['l'].locked()
""",
    ),
    Kind(
        "logger",
        "logging.Logger with a handler, level",
        "same",
        r"""
import logging
lg = logging.getLogger('park.t'); lg.setLevel(logging.DEBUG); lg.addHandler(logging.NullHandler())
""",
        r"""
import logging
assert lg is logging.getLogger('park.t')
assert lg.level==logging.DEBUG and lg.handlers, 'config'
""",
    ),
    Kind(
        "file-read",
        "file open for reading, at a position",
        "again",
        r"""
open('t.txt','w').write('hello\nworld\n')
fr = open('t.txt'); fr.readline()
""",
        r"""
assert fr.readline()=='world\n'
""",
    ),
    Kind(
        "file-write",
        "file open for appending or writing",
        "again",
        r"""
fw = open('o.txt','w'); fw.write('one\n')
""",
        r"""
fw.write('two\n'); fw.flush(); assert open('o.txt').read()=='one\ntwo\n'
""",
    ),
    Kind(
        "sqlite-file",
        "sqlite3 connection to a file",
        "again",
        r"""
import sqlite3
sf = sqlite3.connect('d.db'); sf.execute('create table if not exists t(a)'); sf.execute('insert into t values(7)'); sf.commit(); sf.row_factory = sqlite3.Row
""",
        r"""
assert sf.execute('select a from t').fetchone()['a']==7
""",
    ),
    Kind(
        "sqlite-mem",
        "sqlite3 connection to :memory:",
        "again",
        r"""
sm = sqlite3.connect(':memory:'); sm.execute('create table t(a)'); sm.execute('insert into t values(8)'); sm.commit()
""",
        r"""
assert sm.execute('select a from t').fetchone()[0]==8
""",
    ),
    Kind(
        "spent",
        "what is over: a closed file, an exhausted generator, a process that has ended",
        "same",
        r"""
with open('t3.txt','w') as spf: spf.write('x')
spg = (i for i in [1]); list(spg)
import subprocess
spp = subprocess.run(['true']); spq = subprocess.Popen(['false']); spq.wait()
""",
        r"""
assert spf.closed and next(spg, 5)==5 and spp.returncode==0 and spq.returncode==1 and spq.poll()==1
""",
    ),
    Kind(
        "generator",
        "generator half way",
        "told",
        r"""
ge = (i for i in range(9)); next(ge)
""",
        r"""
assert next(ge)==1
""",
    ),
    Kind(
        "thread",
        "thread that runs",
        "told",
        r"""
th = threading.Thread(target=threading.Event().wait, daemon=True); th.start()
""",
        r"""
assert th.is_alive()
""",
    ),
    Kind(
        "process",
        "subprocess.Popen",
        "told",
        r"""
import subprocess
po = subprocess.Popen(['sleep','1000'])
""",
        r"""
assert po.poll() is None
""",
    ),
    Kind(
        "socket",
        "socket, connected",
        "told",
        r"""
import socket
so = socket.socketpair()
""",
        r"""
so[0].send(b'x')
""",
    ),
    Kind(
        "async",
        "coroutine, asyncio.Task, async generator",
        "told",
        r"""
import asyncio
async def co_f():
    await asyncio.sleep(1000)
as_t = asyncio.get_event_loop().create_task(co_f()) if asyncio.get_event_loop().is_running() else None
as_c = co_f()
""",
        r"""
raise SystemError
""",
    ),
    Kind(
        "mixed",
        "an object that holds something that cannot come back keeps the rest",
        "same",
        r"""
class Repo:
    def __init__(self): self.rows = list(range(1000)); self.lock = threading.Lock(); self.gen = (i for i in [1])
rp = Repo()
mx = {'data': [1,2,3], 'sock': socket.socket()}
""",
        r"""
assert len(rp.rows)==1000 and isinstance(rp, Repo)
with rp.lock: pass
assert mx['data']==[1,2,3]
""",
    ),
    Kind(
        "bad-reduce",
        "an object whose pickling raises, and one whose unpickling raises",
        "same",
        r"""
class B1:
    def __reduce__(self): raise RuntimeError('no')
class B2:
    def __reduce__(self): return (int, ('x',))
br1, br2 = B1(), [1, B2()]
br3 = {'after': al_a}
""",
        r"""
assert br2[0]==1
assert br3['after'] is al_a
""",
    ),
    Kind(
        "getattr",
        "a class with __getattr__ that raises or recurses",
        "same",
        r"""
class GA:
    def __init__(self): self.d = {'x': 1}
    def __getattr__(self, n): return self.d[n]
ga = GA()
""",
        r"""
assert ga.x==1 and ga.d=={'x':1}
""",
    ),
    Kind(
        "memoryview",
        "memoryview and mmap-backed array",
        "again",
        r"""
mv = memoryview(bytearray(b'abc'))
mm_ = np.memmap('mm.bin', dtype='f8', mode='w+', shape=(10,)); mm_[3] = 4; mm_.flush()
""",
        r"""
assert bytes(mv)==b'abc'
assert mm_[3]==4
""",
    ),
    Kind(
        "deep",
        "deeply nested list (5,000)",
        "same",
        r"""
dn = []
for _i in range(5000): dn = [dn]
""",
        r"""
d, n = dn, 0
while d: d, n = d[0], n+1
assert n==5000
""",
    ),
    Kind(
        "big-text",
        "200,000 small objects",
        "same",
        r"""
bt = [{'id': i, 'name': 'n%d' % i} for i in range(200_000)]
""",
        r"""
assert len(bt)==200000 and bt[-1]['name']=='n199999'
""",
    ),
    Kind(
        "private",
        "names with an underscore",
        "same",
        r"""
_priv = 3
__dunderish = 4
""",
        r"""
assert _priv==3 and __dunderish==4
""",
    ),
    Kind(
        "shadow",
        "a builtin that was shadowed",
        "same",
        r"""
list_ = list
sum = lambda *a: 'mine'
""",
        r"""
assert sum(1)=='mine'
del sum
assert sum([1])==1
""",
    ),
    Kind(
        "np-rng",
        "numpy Generator, legacy global state, random module state, seeded sequence goes on",
        "same",
        r"""
import random
rg = np.random.default_rng(7); rg.random(5)
np.random.seed(3); np.random.rand(4); random.seed(5); random.random()
rg_expect = (np.random.default_rng(7).random(6)[5], )
st_np = np.random.get_state(); nx_np = np.random.rand(); np.random.set_state(st_np)
st_r = random.getstate(); nx_r = random.random(); random.setstate(st_r); del st_np, st_r
""",
        r"""
import random
assert rg.random()==rg_expect[0]
assert np.random.rand()==nx_np, 'legacy rng'
assert random.random()==nx_r, 'random'
""",
    ),
]
