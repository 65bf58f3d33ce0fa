"""The processes ("ranks") that train one model together: who is who, and what they exchange.

The settings' batch size is that of all ranks together. Each rank loads and encodes its share of a batch
(`supcon.training.sampler`), and the result is what one process would compute. torchrun starts the ranks and tells them
of each other by environment variables. In a process that is alone every function here costs nothing and returns its
argument.
"""

import os
import socket
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from supcon.losses.distributed import Shares, gather
from supcon.storage.processes import RENDEZVOUS, in_job
from supcon.training.model.timm_import import timm

Value = TypeVar("Value")

_TIMEOUT = timedelta(days=7)  # ranks may wait long for the first one; a rank that dies is noticed at once all the same


def join(device: torch.device) -> None:
    """Join the process group of the job, if this process belongs to a job."""
    if in_job() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_TIMEOUT, **_on_loopback())


def _on_loopback() -> dict[str, Any]:
    """Return what keeps the messages of processes that `launch` started off the network; nothing for torchrun's."""
    if RENDEZVOUS not in os.environ:
        return {}
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
    for library in ("GLOO", "NCCL") if loopback else ():
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return {"store": dist.FileStore(os.environ[RENDEZVOUS], size), "rank": rank, "world_size": size}


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


def sync_batch_norm(model: nn.ModuleDict, device: torch.device) -> None:
    """Let every batch norm in the parts of `model` use the statistics of all processes; names and weights stay."""
    if world_size() == 1:
        return
    for name, part in model.items():
        # timm's converter keeps the activations inside timm's layers, but uses torch's SyncBatchNorm: for GPUs alone
        model[name] = timm.layers.convert_sync_batchnorm(part) if device.type == "cuda" else _converted(part)


class SyncedNorm(_BatchNorm):
    """Batch norm over the joint batch on any device, followed by the dropout and activation of timm's layers."""

    def __init__(self, norm: _BatchNorm) -> None:
        """Take over the weights and running statistics of `norm`."""
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop, self.act = getattr(norm, "drop", nn.Identity()), getattr(norm, "act", nn.Identity())
        self.train(norm.training)

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised `images` [n, C, ...]; the running statistics are used in evaluation mode alone."""
        if not self.training:
            weights = (self.running_mean, self.running_var, self.weight, self.bias)
            normalised = F.batch_norm(images, *weights, training=False, eps=self.eps)
        else:
            normalised = self._by_joint_statistics(images.float()).to(images.dtype)
        result: Tensor = self.act(self.drop(normalised))
        return result

    def _by_joint_statistics(self, images: Tensor) -> Tensor:
        dims = [dim for dim in range(images.ndim) if dim != 1]
        own_variance, own_mean = torch.var_mean(images, dims, correction=0)
        own_count = torch.tensor([images.numel() // images.shape[1]], device=images.device)
        statistics, counts = gather(torch.cat([own_mean, own_variance])[None], own_count)
        means, variances = statistics.chunk(2, dim=1)  # [processes, C]
        shares = (counts / counts.sum())[:, None]
        mean = (shares * means).sum(dim=0)
        variance = (shares * (variances + (means - mean) ** 2)).sum(dim=0)
        self._update_running(mean.detach(), variance.detach(), int(counts.sum()))
        scale = (variance + self.eps).rsqrt() * (self.weight if self.affine else 1.0)
        shift = (self.bias if self.affine else 0.0) - mean * scale
        shape = [1, -1, *[1] * (images.ndim - 2)]
        return images * scale.view(shape) + shift.view(shape)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * count / max(1, count - 1), weight)


def _converted(module: nn.Module) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return SyncedNorm(module)
    for name, child in module.named_children():
        setattr(module, name, _converted(child))
    return module
