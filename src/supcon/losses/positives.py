"""Sums over an anchor's positives, which lie side by side in a sorted batch: narrow strips, made again backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from supcon.exact import exact_float32
from supcon.losses.batch import SortedBatch, slices

STRIP_ROWS = 256
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]  # s [rows, columns], positive? [rows, columns], value [rows]


def positive_logsumexp(batch: SortedBatch, temperature: float) -> Tensor:
    """Return log sum_{p in P(i)} exp s_ip, [N]; 0 where there is no p."""
    return _over_strips(batch, temperature, _logsumexp, torch.zeros_like(batch.z[:, 0]))


def mean_positive_softplus(batch: SortedBatch, temperature: float, threshold: Tensor) -> Tensor:
    """Return mean_{p in P(i)} log(1 + exp(threshold_i - s_ip)), [N]; 0 where there is no p."""
    return _over_strips(batch, temperature, _softplus, threshold) / batch.positives.clamp(min=1)


def _over_strips(batch: SortedBatch, temperature: float, kernel: Kernel, values: Tensor) -> Tensor:
    results = [values[:0]]
    for rows in slices(0, len(batch.z), STRIP_ROWS):
        items, further = batch.same_class(rows)
        columns = torch.cat([batch.z[items], batch.extra[further]])
        positive = batch.classes[rows, None] == torch.cat([batch.classes[items], batch.extra_classes[further]])
        itself = torch.arange(rows.start, rows.stop, device=positive.device) - items.start
        positive[torch.arange(len(itself), device=positive.device), itself] = False
        results.append(_Strip.apply(batch.z[rows], columns, values[rows], positive, temperature, kernel))
    return torch.cat(results)


class _Strip(torch.autograd.Function):
    """One strip, kept by its inputs alone; autocast stays off backward too, which torch's checkpoint can't promise."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, columns: Tensor, values: Tensor, positive: Tensor, temperature: float, kernel: Kernel
    ) -> Tensor:
        ctx.save_for_backward(anchors, columns, values, positive)
        ctx.temperature, ctx.kernel = temperature, kernel
        return kernel(anchors @ columns.T / temperature, positive, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, positive = ctx.saved_tensors
        with torch.enable_grad(), exact_float32(positive.device):
            anchors, columns, values = (x.detach().requires_grad_() for x in inputs)
            result = ctx.kernel(anchors @ columns.T / ctx.temperature, positive, values)
            pulls = torch.autograd.grad(result, (anchors, columns, values), gradients[0])
        return *pulls, None, None, None


def _logsumexp(s: Tensor, positive: Tensor, empty: Tensor) -> Tensor:
    some = positive.any(dim=1)
    hidden = ~positive & some[:, None]  # a row without positives stays finite, and is not used
    return torch.where(some, s.masked_fill(hidden, -torch.inf).logsumexp(dim=1), empty)


def _softplus(s: Tensor, positive: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(positive, torch.logaddexp(threshold[:, None] - s, torch.zeros_like(s)), 0.0).sum(dim=1)
