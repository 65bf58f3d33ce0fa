"""The processes ("ranks") that train one model together: who is who, and what they tell each other.

The batch of a setting is that of all ranks together, each loads and encodes its share of it
(`supcon.training.sampler`), and what they compute is what one process would. torchrun's environment starts them;
without it a process is alone, and everything here costs nothing and returns what it was given.
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

_PATIENCE = timedelta(days=7)  # of those who wait for the first rank; a rank that dies is noticed at once


def join(device: torch.device) -> None:
    """Meet the other processes of the job, if there is one."""
    if in_job() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)


def leave() -> None:
    """Part from the others, at the end."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Say whether this is the process that writes and prints."""
    return rank() == 0


def agree(value: Value) -> Value:
    """Return the first rank's `value`, on all of them."""
    if count() == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def mean(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the means over ranks of metrics that all of them name in the same order."""
    if count() == 1:
        return dict(metrics)
    values = torch.tensor(list(metrics.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(metrics, (values / count()).tolist(), strict=True))


@torch.no_grad()
def average_buffers(*modules: nn.Module) -> None:
    """Make the floating-point buffers, batch norm's running statistics, the means over ranks."""
    if count() == 1:
        return
    for buffer in (buffer for module in modules for buffer in module.buffers()):
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= count()


def parallel(model: nn.ModuleDict) -> nn.ModuleDict:
    """Return the parts of `model`, whose gradients are averaged over ranks when they are back-propagated.

    Each part is a DistributedDataParallel of its own, for they are not run in one forward pass: GradCache runs the
    encoder chunk by chunk, and a contrastive term of weight 0 leaves the projection head out.
    """
    if count() == 1:
        return model
    return nn.ModuleDict({name: _parallel_part(name, part) for name, part in model.items()})


def _parallel_part(name: str, part: nn.Module) -> nn.Module:
    if not any(parameter.requires_grad for parameter in part.parameters()):
        return part
    # running statistics: see `average_buffers`; timm's encoders without classifier may hold weights they do not use
    # of 1 x 1 kernels, whose strides can be written in two ways: nothing is wrong or slow
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(part, forward_sync_buffers=False, find_unused_parameters=name == "encoder")


def bare(part: nn.Module) -> nn.Module:
    """Return a part of a `parallel` model as it was."""
    return cast(nn.Module, part.module) if isinstance(part, DistributedDataParallel) else part


def without_averaging(part: nn.Module) -> AbstractContextManager[object]:
    """Return the context in which a part adds up its own gradients, to be averaged after the context's end."""
    return part.no_sync() if isinstance(part, DistributedDataParallel) else nullcontext()


def interleave(rows: Tensor) -> Tensor:
    """Return all rows [N, ...], of which each rank holds every `count()`-th, from its own number on, in their order."""
    gathered = Shares(len(rows), rows.device).gather(rows)
    order = torch.cat([torch.arange(number, len(gathered), count()) for number in range(count())])
    return gathered[order.argsort()]
