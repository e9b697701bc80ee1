"""Kinds of torch's objects, as kinds.py has them."""

from kinds import Kind

TORCH = [
    Kind(
        "tensor-view",
        "views share storage",
        "same",
        r"""
import torch
t = torch.arange(12.).reshape(3,4); t1 = t[1]; tT = t.T; td = t.detach()
""",
        r"""
t1[0] = 99
assert t[1,0]==99 and tT[0,1]==99 and td[1,0]==99
""",
    ),
    Kind(
        "dtypes",
        "bf16, half, bool, int8, complex, empty, 0-d, device and dtype objects",
        "same",
        r"""
dt = [torch.ones(2,dtype=torch.bfloat16), torch.ones(2).half(), torch.tensor([True]), torch.ones(1,dtype=torch.int8), torch.ones(1,dtype=torch.complex64), torch.empty(0), torch.tensor(3.), torch.device('cpu'), torch.float16]
""",
        r"""
assert dt[0].dtype==torch.bfloat16 and dt[6].item()==3. and dt[7].type=='cpu' and dt[8] is torch.float16
""",
    ),
    Kind(
        "train",
        "model from a cell, Adam, scheduler: the next steps are the same to the bit",
        "same",
        r"""
torch.manual_seed(0)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__(); self.a = torch.nn.Linear(8,16); self.b = torch.nn.Linear(16,1); self.drop = torch.nn.Dropout(.3); self.register_buffer('m', torch.zeros(3))
    def forward(self, x): return self.b(self.drop(torch.relu(self.a(x))))
net = Net(); opt = torch.optim.Adam(net.parameters(), lr=1e-2); sch = torch.optim.lr_scheduler.StepLR(opt, 3, .5)
xb, yb = torch.randn(64,8), torch.randn(64,1)
def step():
    opt.zero_grad(); l = torch.nn.functional.mse_loss(net(xb), yb); l.backward(); opt.step(); sch.step(); return l.item()
for _ in range(5): step()
import copy
tr = (copy.deepcopy(net.state_dict()), copy.deepcopy(opt.state_dict()), copy.deepcopy(sch.state_dict()), torch.get_rng_state())
tr_expect = [step() for _ in range(4)]
net.load_state_dict(tr[0]); opt.load_state_dict(tr[1]); sch.load_state_dict(tr[2]); torch.set_rng_state(tr[3]); tr_rng = tr[3]; del tr
""",
        r"""
assert opt.param_groups[0]['params'][0] is net.a.weight, 'identity'
torch.set_rng_state(tr_rng)
got = [step() for _ in range(4)]
assert got==tr_expect, (got, tr_expect)
""",
    ),
    Kind(
        "tied",
        "tied weights stay tied",
        "same",
        r"""
e = torch.nn.Embedding(5,4); o = torch.nn.Linear(4,5,bias=False); o.weight = e.weight
""",
        r"""
assert o.weight is e.weight
with torch.no_grad(): e.weight[0,0] = 7
assert o.weight[0,0]==7
""",
    ),
    Kind(
        "grad",
        "gradients, requires_grad",
        "same",
        r"""
pg = torch.nn.Parameter(torch.ones(3)); (pg*2).sum().backward(); rq = torch.ones(2, requires_grad=True)
""",
        r"""
assert pg.grad.tolist()==[2,2,2] and rq.requires_grad and isinstance(pg, torch.nn.Parameter)
""",
    ),
    Kind(
        "graph",
        "a tensor that is part of a graph",
        "told",
        r"""
gl = (pg*3).sum()
""",
        r"""
gl.backward()
""",
    ),
    Kind(
        "graph-in",
        "a list of losses some of which are part of a graph keeps the rest",
        "same",
        r"""
ls = {'hist': [1.0, 2.0], 'last': (pg*3).sum()}
""",
        r"""
assert ls['hist']==[1.0,2.0]
""",
    ),
    Kind(
        "hook",
        "forward hook with a lambda, module in a dict",
        "same",
        r"""
hk = []
hm = torch.nn.Linear(2,2); hm.register_forward_hook(lambda m, i, o: hk.append(1)); hd = {'m': hm}
""",
        r"""
hd['m'](torch.ones(1,2)); assert hk==[1]
""",
    ),
    Kind(
        "loader",
        "DataLoader over a dataset from a cell",
        "same",
        r"""
class DS(torch.utils.data.Dataset):
    def __len__(self): return 10
    def __getitem__(self, i): return torch.tensor([i])
ld = torch.utils.data.DataLoader(DS(), batch_size=4, shuffle=True)
""",
        r"""
assert sum(b.numel() for b in ld)==10
""",
    ),
    Kind(
        "loader-iter",
        "an iterator half way through a DataLoader",
        "told",
        r"""
li = iter(ld); next(li)
""",
        r"""
next(li)
""",
    ),
    Kind(
        "from-numpy",
        "torch.from_numpy shares memory with its array",
        "same",
        r"""
import numpy as np
fa = np.zeros(4); fb = torch.from_numpy(fa)
""",
        r"""
fa[0] = 5
assert fb[0]==5
""",
    ),
    Kind(
        "generator",
        "torch.Generator",
        "same",
        r"""
gn = torch.Generator().manual_seed(3); torch.rand(2, generator=gn)
gn_e = torch.Generator().manual_seed(3); torch.rand(2, generator=gn_e); gn_e = torch.rand(1, generator=gn_e).item()
""",
        r"""
assert torch.rand(1, generator=gn).item()==gn_e
""",
    ),
    Kind(
        "sparse",
        "sparse tensor, packed sequence",
        "same",
        r"""
sp = torch.eye(3).to_sparse(); ps = torch.nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
""",
        r"""
assert sp.to_dense().sum()==3 and ps.batch_sizes.tolist()==[2,1]
""",
    ),
    Kind(
        "seed",
        "the global random state goes on",
        "same",
        r"""
torch.manual_seed(11); torch.rand(3)
sd = torch.get_rng_state(); sd_e = torch.rand(1).item(); torch.set_rng_state(sd); del sd
""",
        r"""
assert torch.rand(1).item()==sd_e
""",
    ),
]
