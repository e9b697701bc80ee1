"""The state of a parked kernel on a machine with a GPU: tensors, their devices, random numbers.

    pip install ipykernel jupyter_client torch
    python test/gpu/run.py

Each check is a cell before a park and one in a kernel that came back, both real ones of
ipykernel with python/keep. Exit codes: 0 all is as it was, 1 something is not, 3 there is
no GPU here and nothing of one was checked (what needs none was), 2 a package is missing.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python" / "keep" / "tests"))

ALL_WELL, WRONG, MISSING, NO_GPU = 0, 1, 2, 3


class Check(NamedTuple):
    """Cells before and after the park; {device} in them is the device under test. gpus is how
    many must be there before; after is what CUDA_VISIBLE_DEVICES is in the kernel that comes back,
    or None for the same. told is what the load has to say, if anything."""

    name: str
    before: str
    after: str
    gpus: int = 0
    visible: "str | None" = None
    told: str = ""


TRAIN = """
import torch
torch.manual_seed(3)
torch.use_deterministic_algorithms(True)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = torch.nn.Linear(32, 64), torch.nn.Dropout(0.2), torch.nn.Linear(64, 4)
    def forward(self, x): return self.b(self.drop(torch.relu(self.a(x))))
net = Net().to("{device}")
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
x, y = torch.randn(128, 32, device="{device}"), torch.randint(4, (128,), device="{device}")
def step():
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(x), y)
    loss.backward(); optimizer.step(); scheduler.step()
    return loss.item()
for _ in range(3): step()
"""

CHECKS = [
    Check(
        "views share their storage, and the device is the one it was",
        'import torch\nbase = torch.arange(12.0, device="{device}").reshape(3, 4); row, col = base[1], base[:, 2]\n'
        "held = {'row': row, 'same': base}; half = base.to(torch.bfloat16); none = torch.empty(0, device='{device}')",
        "row.zero_(); assert base[1].sum() == 0 and col[1] == 0 and held['same'] is base and held['row'] is row\n"
        "devices = {str(t.device) for t in (base, row, col, half, none)}\n"
        "assert devices == {str(torch.empty(0, device='{device}').device)}\n"
        "assert half.dtype == torch.bfloat16 and half.sum() == 66 and base.untyped_storage().nbytes() == 48",
    ),
    Check(
        "random numbers of the device go on",
        'import torch\ntorch.manual_seed(5); torch.rand(3, device="{device}")\nseen = torch.get_rng_state()\n'
        'cuda = "{device}".startswith("cuda")\nstate = torch.cuda.get_rng_state() if cuda else seen\n'
        'expected = torch.rand(5, device="{device}").cpu()\n'
        "torch.set_rng_state(seen)\nif cuda: torch.cuda.set_rng_state(state)\n"
        'own = torch.Generator("{device}").manual_seed(8); torch.rand(2, device="{device}", generator=own)\n'
        'kept = own.get_state(); then = torch.rand(4, device="{device}", generator=own).cpu(); own.set_state(kept)',
        'assert torch.equal(torch.rand(5, device="{device}").cpu(), expected)\n'
        'assert torch.equal(torch.rand(4, device="{device}", generator=own).cpu(), then)',
    ),
    Check(
        "training goes on to the bit",
        TRAIN
        + "\nimport copy\nbefore = [p.detach().clone() for p in net.parameters()]\n"
        + 'rng = torch.get_rng_state(); cuda = torch.cuda.get_rng_state() if "{device}".startswith("cuda") else None\n'
        + "saved = copy.deepcopy((net.state_dict(), optimizer.state_dict(), scheduler.state_dict()))\n"
        + "expected = [step() for _ in range(4)]; ends = [p.detach().cpu().clone() for p in net.parameters()]\n"
        + "net.load_state_dict(saved[0]); optimizer.load_state_dict(saved[1]); scheduler.load_state_dict(saved[2])\n"
        + "torch.set_rng_state(rng)\nif cuda is not None: torch.cuda.set_rng_state(cuda)",
        "torch.use_deterministic_algorithms(True)\n"
        "assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))\n"
        "assert optimizer.param_groups[0]['params'][0] is net.a.weight and scheduler.optimizer is optimizer\n"
        "assert [step() for _ in range(4)] == expected\n"
        "assert all(torch.equal(a, b.cpu()) for a, b in zip(ends, net.parameters()))",
    ),
    Check(
        "tied weights and gradients",
        'import torch\na = torch.nn.Linear(4, 4, device="{device}"); b = torch.nn.Linear(4, 4, device="{device}")\n'
        'b.weight = a.weight; (a(torch.ones(2, 4, device="{device}")).sum()).backward(); grad = a.weight.grad.clone()',
        "assert b.weight is a.weight and torch.equal(b.weight.grad, grad)\n"
        "assert grad.device.type == '{device}'.partition(':')[0]",
    ),
    Check(
        "each tensor on the GPU that it had",
        "import torch\nparts = [torch.full((3,), float(i), device=f'cuda:{i}') for i in range(2)]",
        "assert [str(p.device) for p in parts] == ['cuda:0', 'cuda:1'] and [p[0].item() for p in parts] == [0.0, 1.0]",
        gpus=2,
    ),
    Check(
        "fewer GPUs than before: the first",
        "import torch\nparts = [torch.full((3,), float(i), device=f'cuda:{i}') for i in range(2)]",
        "assert {str(p.device) for p in parts} == {'cuda:0'} and [p[0].item() for p in parts] == [0.0, 1.0]",
        gpus=2,
        visible="0",
        told="cuda:1",
    ),
    Check(
        "no GPU any more: the CPU",
        TRAIN,
        "assert str(x.device) == 'cpu' and str(net.a.weight.device) == 'cpu' and step() > 0",
        gpus=1,
        visible="",
        told="cuda:0",
    ),
]


def run(check, device, python):
    """What is wrong, or None."""
    from kernels import Kernel

    with tempfile.TemporaryDirectory() as directory:
        state = str(Path(directory) / "state")
        with Kernel(Path(directory), python) as kernel:
            printed, error = kernel.run(check.before.replace("{device}", device))
            if error:
                return f"before the park: {error} {printed}"
            saved = kernel.call("save", state)
        if saved["outcome"] != "saved" or not saved["whole"]:
            return f"saved: {saved}"
        if check.visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = check.visible
        try:
            with Kernel(Path(directory), python) as kernel:
                loaded = kernel.call("load", state)
                printed, error = kernel.run(check.after.replace("{device}", device))
        finally:
            if check.visible is not None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
        if loaded["outcome"] != "loaded" or loaded["failed"] or loaded["changed"]:
            return f"loaded: {loaded}"
        if check.told and check.told not in [each["name"] for each in loaded["again"]]:
            return f"it is not told of {check.told}: {loaded['again']}"
        return f"after the return: {error} {printed}" if error else None


def gpus(python):
    """How many GPUs torch sees, and their names; None if there is no torch."""
    code = (
        "import torch\nprint(torch.__version__)\n"
        "for i in range(torch.cuda.device_count()): print(torch.cuda.get_device_name(i))"
    )
    # With torch's deterministic algorithms, cuBLAS wants this in every kernel.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    found = subprocess.run([python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.splitlines() if found.returncode == 0 else None


def main(python=sys.executable):
    found = gpus(python)
    if found is None:
        print("torch cannot be imported here: pip install ipykernel jupyter_client torch")
        return MISSING
    version, *names = found
    print(f"torch {version}, {len(names)} GPUs {', '.join(names)}")
    wrong = 0
    for device in ["cpu", *(["cuda:0"] if names else [])]:
        for check in CHECKS:
            if check.gpus > (len(names) if device != "cpu" else 0):
                if device != "cpu":
                    print(f"left out   {device}: {check.name}: it needs {check.gpus} GPUs")
                continue
            if check.gpus and device == "cpu":
                continue
            problem = run(check, device, python)
            wrong += problem is not None
            said = "as it was " if problem is None else "NOT AS IT WAS"
            print(f"{said} {device}: {check.name}{'' if problem is None else ': ' + problem}", flush=True)
    if wrong:
        return WRONG
    if not names:
        print("no GPU here: what was checked is on the CPU, and says nothing of a GPU")
        return NO_GPU
    return ALL_WELL


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
