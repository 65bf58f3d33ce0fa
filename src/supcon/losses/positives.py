"""Sums over the positives of each anchor, which lie side by side in a sorted batch.

As in `logsumexp` the similarities are computed tile by tile, and again in the backward pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from supcon.losses.batch import SortedBatch, slices
from supcon.losses.full_float32 import full_float32
from supcon.losses.logsumexp import Tile, refuse_second_derivatives

# rows, columns; few rows, since rows of several classes make a tile that is as wide as all these classes
TILES = {"cpu": (256, 2048), "cuda": (256, 32768)}


def positive_logsumexp(batch: SortedBatch, temperature: float) -> Tensor:
    """Return log sum_{p in P(i)} exp s_ip, [N]; 0 where there is no p."""
    result: Tensor = _OverPositives.apply(batch.z, batch.extra, None, batch, temperature, _LOGSUMEXP)
    return result


def mean_positive_softplus(batch: SortedBatch, temperature: float, threshold: Tensor) -> Tensor:
    """Return mean_{p in P(i)} log(1 + exp(threshold_i - s_ip)), [N]; 0 where there is no p."""
    sums: Tensor = _OverPositives.apply(batch.z, batch.extra, threshold, batch, temperature, _SOFTPLUS)
    return sums / batch.positives.clamp(min=1)


@dataclass(frozen=True)
class _Kernel:
    """What is summed over positives.

    `level` [rows] is the threshold; for a sum without a threshold it is the result, which the backward pass knows.
    """

    start: float  # the sum before any positive
    hidden: float  # a similarity that adds nothing to the sum
    add: Callable[[Tensor, Tensor, Tensor | None], Tensor]  # sums [rows], s [rows, columns], threshold -> sums
    slope: Callable[[Tensor, Tensor], Tensor]  # s, level -> d sum / d s; may overwrite s


def _add_softplus(sums: Tensor, s: Tensor, threshold: Tensor | None) -> Tensor:
    assert threshold is not None
    return sums + F.softplus(threshold[:, None] - s, threshold=40).sum(dim=1)  # e^-40 is nothing beside 40 in float64


_LOGSUMEXP = _Kernel(
    -torch.inf,
    -torch.inf,
    lambda sums, s, _: torch.logaddexp(sums, s.logsumexp(dim=1)),
    lambda s, level: s.sub_(level[:, None]).exp_(),
)
_SOFTPLUS = _Kernel(0.0, torch.inf, _add_softplus, lambda s, level: s.sub_(level[:, None]).neg_().sigmoid_().neg_())


class _OverPositives(torch.autograd.Function):
    """The sums of all anchors in one function, which keeps only [N, D] tensors until the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        extra: Tensor,
        threshold: Tensor | None,
        batch: SortedBatch,
        temperature: float,
        kernel: _Kernel,
    ) -> Tensor:
        sums = z.new_full((len(z),), kernel.start)
        for tile in _tiles(batch, z, extra, temperature, kernel.hidden):
            level = None if threshold is None else threshold[tile.rows]
            sums[tile.rows] = kernel.add(sums[tile.rows], tile.s, level)
        sums.masked_fill_(batch.positives == 0, 0.0)
        ctx.save_for_backward(z, extra, sums if threshold is None else threshold)
        ctx.batch, ctx.temperature, ctx.kernel = batch, temperature, kernel
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        z, extra, level = ctx.saved_tensors
        pull, extra_pull, level_pull = torch.zeros_like(z), torch.zeros_like(extra), torch.zeros_like(level)
        with full_float32(z.device):
            for tile in _tiles(ctx.batch, z, extra, ctx.temperature, ctx.kernel.hidden):
                rows, columns = tile.rows, tile.columns
                slope = ctx.kernel.slope(tile.s, level[rows]).mul_(gradients[0][rows, None])
                others, others_pull = (extra, extra_pull) if tile.extra else (z, pull)
                pull[rows].addmm_(slope, others[columns], alpha=1 / ctx.temperature)
                if not tile.extra or ctx.needs_input_grad[1]:
                    others_pull[columns].addmm_(slope.T, z[rows], alpha=1 / ctx.temperature)
                level_pull[rows] -= slope.sum(dim=1)
        return pull, extra_pull, level_pull if ctx.needs_input_grad[2] else None, None, None, None


def _tiles(batch: SortedBatch, z: Tensor, extra: Tensor, temperature: float, hidden: float) -> Iterator[Tile]:
    """Yield tiles that hold all positives; similarities of other pairs are replaced by `hidden`."""
    height, width = TILES.get(z.device.type, TILES["cuda"])
    for rows in slices(0, len(z), height):
        for is_extra, strip in zip((False, True), batch.same_class(rows), strict=True):
            others, classes = (extra, batch.extra_classes) if is_extra else (z, batch.classes)
            for columns in slices(strip.start, strip.stop, width):
                s = (z[rows] @ others[columns].T).div_(temperature)
                s.masked_fill_(batch.classes[rows, None] != classes[None, columns], hidden)
                if not is_extra:
                    s.diagonal(rows.start - columns.start).fill_(hidden)  # an item is no positive of its own
                yield Tile(rows, columns, is_extra, s)
