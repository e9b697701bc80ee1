"""Widely used libraries, each with a cell that makes some of its objects and one that looks
whether they are right. What cannot come back may be lost, if it is named."""

LIBRARIES = {
    "polars": (
        "import polars as pl\ndf = pl.DataFrame({'a': [1, 2], 'b': ['x', None]}); lz = df.lazy().filter(pl.col('a') > 1)\npl.Config.set_tbl_rows(3)",
        "assert df['a'].to_list() == [1, 2] and lz.collect().height == 1 and pl.Config.state()['POLARS_FMT_MAX_ROWS'] == '3'",
    ),
    "pyarrow": (
        "import pyarrow as pa\nt = pa.table({'a': list(range(5)), 'b': list('abcde')}); s = t.schema; c = t['a']",
        "assert t.num_rows == 5 and t.schema == s and c.to_pylist() == [0, 1, 2, 3, 4]",
    ),
    "duckdb": (
        "import duckdb\ncon = duckdb.connect(); con.execute('create table t as select 1 a')",
        "assert con.execute('select a from t').fetchall() == [(1,)]",
    ),
    "xgboost": (
        "import xgboost as xgb, numpy as np\nX = np.random.default_rng(0).normal(size=(80, 3)); m = xgb.XGBClassifier(n_estimators=3).fit(X, X[:, 0] > 0); e = m.predict_proba(X)",
        "assert (m.predict_proba(X) == e).all()",
    ),
    "lightgbm": (
        "import lightgbm as lgb, numpy as np\nX = np.random.default_rng(0).normal(size=(80, 3)); m = lgb.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, X[:, 0]); e = m.predict(X)",
        "assert (m.predict(X) == e).all()",
    ),
    "networkx": (
        "import networkx as nx\ng = nx.karate_club_graph(); g.nodes[0]['w'] = [1]; sub = g.subgraph([0, 1, 2]); adj = g.adj",
        "assert g.number_of_edges() == 78 and len(sub) == 3\ng.nodes[1]['x'] = 5\nassert sub.nodes[1]['x'] == 5 and 1 in adj[0]",
    ),
    "sqlalchemy": (
        "import sqlalchemy as sa\nfrom sqlalchemy.orm import declarative_base, Session\nB = declarative_base()\nclass U(B):\n    __tablename__ = 'u'\n    id = sa.Column(sa.Integer, primary_key=True); n = sa.Column(sa.String)\nen = sa.create_engine('sqlite:///u.db'); B.metadata.create_all(en)\nq = sa.select(U).where(U.n == 'a'); md = sa.MetaData(); tb = sa.Table('z', md, sa.Column('a', sa.Integer))",
        "assert 'z' in md.tables and tb.c.a.name == 'a' and 'u.n' in str(q)\nwith en.connect() as c: assert c.execute(sa.text('select 1')).scalar() == 1",
    ),
    "statsmodels.api": (
        "import statsmodels.api as sm, numpy as np\nx = np.arange(20.); r = sm.OLS(x * 2 + np.sin(x), sm.add_constant(x)).fit(); e = r.params.copy()",
        "assert (r.params == e).all() and 'OLS' in str(r.summary())",
    ),
    "sympy": (
        "import sympy as sp\nx, y = sp.symbols('x y'); f = sp.integrate(sp.sin(x) * y, x); g = sp.lambdify(x, f.subs(y, 2)); M = sp.Matrix([[x, 1], [0, y]])",
        "assert f.diff(x) == sp.sin(x) * y and abs(g(0) + 2) < 1e-9 and M.det() == x * y and sp.Symbol('x') == x",
    ),
    "shapely": (
        "import shapely.geometry as sg\np = sg.Point(0, 0).buffer(1); l = sg.LineString([(0, 0), (2, 2)])",
        "assert p.intersects(l) and l.length > 2.8",
    ),
    "geopandas": (
        "import geopandas as gpd\nfrom shapely.geometry import Point\ng = gpd.GeoDataFrame({'a': [1, 2]}, geometry=[Point(0, 0), Point(1, 1)], crs=4326)",
        "assert g.crs.to_epsg() == 4326 and g.geometry.iloc[1].x == 1 and g.sindex is not None",
    ),
    "h5py": ("import h5py\nh = h5py.File('t.h5', 'w'); h['a'] = [1, 2]; d = h['a']", "assert d[0] == 1"),
    "zarr": ("import zarr\nz = zarr.open('t.zarr', mode='w', shape=(4,), dtype='i4'); z[:] = 3", "assert z[0] == 3"),
    "plotly": (
        "import plotly.graph_objects as go\nf = go.Figure(go.Bar(y=[1, 2])); f.update_layout(title='T')",
        "assert list(f.data[0].y) == [1, 2] and f.layout.title.text == 'T'",
    ),
    "bokeh": (
        "from bokeh.plotting import figure\np = figure(title='t'); p.line([1, 2], [3, 4])",
        "assert p.title.text == 't' and len(p.renderers) == 1",
    ),
    "altair": (
        "import altair as alt, pandas as pd\nc = alt.Chart(pd.DataFrame({'a': [1]})).mark_bar().encode(x='a:Q')",
        "assert c.to_dict()['encoding']['x']['field'] == 'a'",
    ),
    "cv2": (
        "import cv2, numpy as np\ni = cv2.resize(np.ones((4, 4, 3), 'u1'), (8, 8)); k = cv2.KeyPoint(1, 2, 3)",
        "assert i.shape == (8, 8, 3)\nassert k.size == 3",
    ),
    "seaborn": (
        "import seaborn as sns, pandas as pd\nsns.set_theme(style='dark')\na = sns.scatterplot(data=pd.DataFrame({'x': [1, 2], 'y': [3, 4]}), x='x', y='y')",
        "assert a.get_xlabel() == 'x'\na.figure.canvas.draw()",
    ),
    "scipy": (
        "import scipy.sparse as ss, scipy.interpolate as si, scipy.stats as st, numpy as np\nm = ss.random(20, 20, .2, format='csr', random_state=0); i = si.interp1d([0, 1, 2], [0, 1, 4]); d = st.norm(1, 2); t = m.T; k = __import__('scipy.spatial').spatial.cKDTree(np.eye(3))",
        "assert m.nnz == t.nnz and float(i(1.5)) == 2.5 and d.mean() == 1 and k.query([1, 0, 0])[1] == 0",
    ),
    "xarray": (
        "import xarray as xr, numpy as np\nd = xr.Dataset({'a': (('x', 'y'), np.ones((2, 3)))}, coords={'x': [1, 2]}); s = d['a'].sel(x=2)\nxr.set_options(display_width=70)",
        "assert d.a.shape == (2, 3) and float(s.sum()) == 3 and xr.get_options()['display_width'] == 70",
    ),
    "dask.array": (
        "import dask.array as da, dask\nx = da.ones((100, 100), chunks=50); y = (x + 1).sum(); z = dask.delayed(lambda a: a + 1)(4)",
        "assert y.compute() == 20000 and z.compute() == 5",
    ),
    "numba": (
        "import numba\n@numba.njit\ndef f(a): return a * 2\nf(3)\n@numba.vectorize\ndef v(a): return a + 1\nv(1.)",
        "assert f(4) == 8 and v(2.) == 3",
    ),
    "nltk": (
        "import nltk\nfrom nltk.stem import PorterStemmer\ns = PorterStemmer(); t = nltk.Tree('S', ['a', nltk.Tree('B', ['c'])]); fd = nltk.FreqDist('aab')",
        "assert s.stem('running') == 'run' and t[1].label() == 'B' and fd['a'] == 2",
    ),
    "tqdm": (
        "from tqdm.auto import tqdm\nimport io\nb = tqdm(total=5, file=io.StringIO()); b.update(2)",
        "assert b.n == 2\nb.update(1); b.close()",
    ),
    "rich": (
        "from rich.console import Console\nfrom rich.table import Table\nc = Console(); t = Table('a'); t.add_row('1')",
        "assert t.row_count == 1\nc.print(t)",
    ),
    "requests": (
        "import requests\ns = requests.Session(); s.headers['X'] = 'y'; p = requests.Request('GET', 'http://a/').prepare()",
        "assert s.headers['X'] == 'y' and p.url == 'http://a/' and s.adapters",
    ),
    "httpx": (
        "import httpx\nc = httpx.Client(headers={'x': 'y'}); r = httpx.Request('GET', 'http://a/')",
        "assert r.url == 'http://a/'\nassert c.headers['x'] == 'y'",
    ),
    "bs4": (
        "from bs4 import BeautifulSoup\nb = BeautifulSoup('<a><b>t</b></a>', 'html.parser'); t = b.find('b')",
        "assert b.a.b.text == 't'\nassert t.text == 't'",
    ),
    "lxml": ("from lxml import etree\ne = etree.fromstring('<a><b/></a>')", "assert e[0].tag == 'b'"),
    "PIL": (
        "from PIL import Image\ni = Image.new('RGB', (4, 4), (1, 2, 3)); i.info['k'] = 1",
        "assert i.getpixel((0, 0)) == (1, 2, 3) and i.size == (4, 4)",
    ),
    "pydantic": (
        "from pydantic import BaseModel, Field\nclass M(BaseModel):\n    a: int = 1\n    b: list[int] = Field(default_factory=list)\nm = M(a=2, b=[3])",
        "assert m.a == 2 and M(a='5').a == 5 and m.model_dump() == {'a': 2, 'b': [3]} and type(m) is M\ntry: M(a='x')\nexcept ValueError: pass\nelse: raise SystemError",
    ),
    "attrs": (
        "import attr, attrs\n@attrs.define\nclass A:\n    x: int\n    y: list = attr.Factory(list)\n@attrs.frozen\nclass F:\n    z: int = attrs.field(validator=attrs.validators.instance_of(int))\na, f = A(1), F(2); a.y.append(3)",
        "assert a == A(1, [3]) and f.z == 2 and attr.fields(A).x.name == 'x'\ntry: f.z = 3\nexcept attrs.exceptions.FrozenInstanceError: pass\nelse: raise SystemError",
    ),
    "skimage": (
        "from skimage import transform, draw\nimport numpy as np\nt = transform.AffineTransform(scale=(2, 2)); i = np.zeros((9, 9)); i[draw.disk((4, 4), 2)] = 1",
        "assert t.params[0, 0] == 2 and i.sum() == 9",
    ),
    "openpyxl": ("import openpyxl\nw = openpyxl.Workbook(); w.active['A1'] = 5", "assert w.active['A1'].value == 5"),
    "jinja2": (
        "import jinja2\ne = jinja2.Environment(); t = e.from_string('{{ a }}!')",
        "assert t.render(a=1) == '1!'",
    ),
    "tokenizers": (
        "from tokenizers import Tokenizer, models\nt = Tokenizer(models.WordLevel({'a': 0, '[UNK]': 1}, unk_token='[UNK]'))",
        "assert t.encode('a').ids == [0]",
    ),
    "pendulum": (
        "import pendulum\np = pendulum.datetime(2026, 1, 1, tz='Europe/Berlin')",
        "assert p.timezone.name == 'Europe/Berlin' and p.add(days=1).day == 2",
    ),
    "joblib": (
        "import joblib\nm = joblib.Memory('cache', verbose=0)\n@m.cache\ndef f(x): return x + 1\nf(1); p = joblib.Parallel(1)",
        "assert f(1) == 2\nassert p([joblib.delayed(abs)(-1)]) == [1]",
    ),
    "ipywidgets": ("import ipywidgets as w\ns = w.IntSlider(value=3); b = w.VBox([s])", "assert s.value == 3"),
    "regex": (
        "import regex\nr = regex.compile(r'\\p{L}+'); m = r.match('ab1')",
        "assert r.match('xyz').group() == 'xyz'\nassert m.group() == 'ab'",
    ),
    "toolz": (
        "import toolz\nf = toolz.compose(str, abs); c = toolz.curry(lambda a, b: a - b)(5)",
        "assert f(-3) == '3' and c(2) == 3",
    ),
    "more_itertools": (
        "import more_itertools as mi\np = mi.peekable([1, 2, 3]); next(p); c = mi.chunked([1, 2, 3], 2)",
        "assert p.peek() == 2\nassert next(c) == [1, 2]",
    ),
    "fsspec": (
        "import fsspec\nf = fsspec.filesystem('file'); o = fsspec.open('a.txt', 'w')",
        "assert f.exists('/')\nwith o as h: h.write('x')",
    ),
    "psutil": ("import psutil\np = psutil.Process()", "assert p.pid == __import__('os').getpid()"),
    "yaml": (
        "import yaml\nclass L(yaml.SafeLoader): pass\nL.add_constructor('!x', lambda l, n: 'X')",
        "assert yaml.load('!x a', L) == 'X'",
    ),
}
