"""The processes ("ranks") that train one model together: who is who, and what they exchange.

The settings' batch size is that of all ranks together. Each rank loads and encodes its share of a batch
(`supcon.training.sampler`), and the result is what one process would compute. torchrun starts the ranks and tells them
of each other by environment variables. In a process that is alone every function here costs nothing and returns its
argument.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supcon.losses.distributed import Shares
from supcon.training.job import in_job

Value = TypeVar("Value")

_TIMEOUT = timedelta(days=7)  # ranks may wait long for the first one; a rank that dies is noticed at once all the same


def join(device: torch.device) -> None:
    """Join the process group of the job, if this process belongs to a job."""
    if in_job() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_TIMEOUT)


def leave() -> None:
    """Leave the process group, at the end."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Say whether this is the process that writes and prints."""
    return rank() == 0


def broadcast(value: Value) -> Value:
    """Return the first rank's `value`, on all ranks."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def mean(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the means of `metrics` over ranks; every rank must give the same names in the same order."""
    if world_size() == 1:
        return dict(metrics)
    values = torch.tensor(list(metrics.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(metrics, (values / world_size()).tolist(), strict=True))


@torch.no_grad()
def average_buffers(*modules: nn.Module) -> None:
    """Replace the floating-point buffers (batch norm's running statistics) by their means over ranks."""
    if world_size() == 1:
        return
    for buffer in (buffer for module in modules for buffer in module.buffers()):
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= world_size()


def parallel(model: nn.ModuleDict) -> nn.ModuleDict:
    """Return `model` with parts whose gradients are averaged over ranks in the backward pass.

    Each part is a DistributedDataParallel of its own, because the parts do not run in one forward pass: GradCache runs
    the encoder chunk by chunk, and with a contrastive weight of 0 the projection head does not run.
    """
    if world_size() == 1:
        return model
    return nn.ModuleDict({name: _parallel_part(name, part) for name, part in model.items()})


def _parallel_part(name: str, part: nn.Module) -> nn.Module:
    if not any(parameter.requires_grad for parameter in part.parameters()):
        return part
    # torch warns of the weights of 1 x 1 convolutions, whose strides can be written in two ways; this costs nothing
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # Running statistics are not synchronised at each step: `average_buffers` does so once an epoch. Encoders that timm
    # builds without a classifier may have weights that no forward pass uses, which torch must be told to look for.
    return DistributedDataParallel(part, forward_sync_buffers=False, find_unused_parameters=name == "encoder")


def unwrap(part: nn.Module) -> nn.Module:
    """Return the module inside a part of a `parallel` model."""
    return cast(nn.Module, part.module) if isinstance(part, DistributedDataParallel) else part


def without_averaging(part: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which a part adds up its own gradients; the first backward pass after it averages them."""
    return part.no_sync() if isinstance(part, DistributedDataParallel) else nullcontext()


def interleave(rows: Tensor) -> Tensor:
    """Return all ranks' `rows` in the order of the whole, [N, ...].

    Rank r holds the rows r, r + W, r + 2 W, ... of the whole, with W ranks.
    """
    gathered = Shares(len(rows), rows.device).gather(rows)
    order = torch.cat([torch.arange(first, len(gathered), world_size()) for first in range(world_size())])
    return gathered[order.argsort()]
