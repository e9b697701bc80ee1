"""How torch's tensors are taken apart: one buffer for each storage, so that views stay views.

A storage on a GPU goes through the CPU's memory, one at a time.
"""

import pickle

from . import remake
from .lost import NotKept
from .reducing import exact, named


@named("torch.Tensor", "torch._tensor.Tensor")
def tensor(saving, value):
    import torch

    if type(value) is torch.nn.Parameter and value.is_leaf:
        state = (dict(value.__dict__), value.grad)
        return remake.parameter, (value.data, value.requires_grad), state, None, None, remake.tensor_state
    if not value.is_leaf:
        raise NotKept("it is part of a graph; detach() it")
    if type(value) is not torch.Tensor or not _is_plain(value):
        return saving.standard(value)
    kept = _storage(saving, value.untyped_storage())
    args = (kept, value.dtype, value.storage_offset(), tuple(value.size()), value.stride(), value.requires_grad)
    if getattr(value, "_backward_hooks", None):
        raise NotKept("it has hooks")
    return remake.tensor, args, (dict(value.__dict__), value.grad), None, None, remake.tensor_state


def _is_plain(value):
    import torch

    if value.layout != torch.strided or value.is_quantized or value.is_conj() or value.is_neg():
        return False
    return value.device.type in ("cpu", "cuda")


class Storage:
    """Stands for a storage: torch makes a new object whenever it is asked for one."""

    def __init__(self, value):
        self.value = value


def _storage(saving, value):
    key = value._cdata
    if key not in saving.storages:
        saving.storages[key] = Storage(value)
    return saving.storages[key]


@exact(Storage)
def storage(saving, value):
    import torch

    kept = value.value
    device = str(kept.device)
    if not kept.nbytes():
        return remake.empty_storage, (device,)
    if device == "cpu":
        owner = saving.arrays.get(kept.data_ptr())
        if owner is not None and owner.nbytes == kept.nbytes():
            return remake.storage_of_array, (owner,)  # by torch.from_numpy
    flat = torch.empty(0, dtype=torch.uint8).set_(kept if device == "cpu" else kept.cpu())
    buffer = pickle.PickleBuffer(flat.numpy())
    saving.writer.hint(buffer, {"as": "torch"})
    return remake.storage, (saving.writer.ours(buffer), device)


@named("torch.optim.optimizer.Optimizer")
def optimizer(saving, value):
    """Its own state leaves out what was registered or replaced on the instance."""
    parts = saving.standard(value)
    if isinstance(parts, str) or len(parts) < 3 or not isinstance(parts[2], dict):
        return parts
    besides = {name: each for name, each in value.__dict__.items() if name not in parts[2]}
    return parts[0], parts[1], (parts[2], besides), None, None, remake.optimizer_state


@named("torch.storage.UntypedStorage", "torch.UntypedStorage")
def untyped(saving, value):
    return remake.same, (_storage(saving, value),)
