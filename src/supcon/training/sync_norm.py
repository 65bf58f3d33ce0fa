"""Batch norm by the statistics of the whole batch where several processes share a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from supcon.losses.distributed import gather
from supcon.training import ranks
from supcon.training.model.timm_import import timm


def sync_batch_norm(model: nn.ModuleDict, device: torch.device) -> None:
    """Let every batch norm in the parts of `model` use the statistics of all processes; names and weights stay."""
    if ranks.world_size() == 1:
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
