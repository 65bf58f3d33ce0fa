"""Log-sum-exps of the rows of a similarity matrix that is never held whole.

The forward pass computes it tile by tile, and the backward pass computes the same tiles again. The matrix of the items
is symmetric, so one tile serves its rows and, transposed, its columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from supcon.losses.batch import SortedBatch, slices
from supcon.losses.full_float32 import full_float32

TILES = {"cpu": (512, 2048), "cuda": (4096, 8192)}  # rows, columns: 4 MB of float32 on the CPU, 128 MB on a GPU
Weights = tuple[Tensor, Tensor]  # of the items, [N], and of the further columns, [M]; they have no gradient
DIRECT_BOUND = 50.0  # largest |s| for which sums of exp(s) and their inverses stay well inside float32


def row_logsumexp(
    batch: SortedBatch, scale: float, *, negatives_only: bool = False, weights: Weights | None = None
) -> Tensor:
    """Return log sum_a w_a exp(scale z_i . z_a) over A(i), or over N(i) alone, [N]; 0 where there is no such a."""
    result: Tensor = _RowLogSumExp.apply(batch.z, batch.extra, batch, scale, negatives_only, weights)
    return result


def refuse_second_derivatives() -> None:
    """Raise `RuntimeError` in a backward pass with create_graph=True, which asks for second derivatives.

    torch's `once_differentiable` raises nothing where other terms of the loss have second derivatives: these alone
    would be returned, and they would be wrong.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("the contrastive losses have first derivatives only: go backward without create_graph=True")


class _RowLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        extra: Tensor,
        batch: SortedBatch,
        scale: float,
        negatives_only: bool,
        weights: Weights | None,
    ) -> Tensor:
        walk = ctx.walk = _Walk(batch, scale, negatives_only)
        # how long other rows are is known on the device alone, and to ask it would wait for it
        ctx.sums = (_DirectSums if batch.unit and scale <= DIRECT_BOUND else _RunningSums)(z, weights)
        for tile in walk.tiles():
            ctx.sums.add(tile)
        result: Tensor = ctx.sums.logarithm()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        walk, (logsumexp,) = ctx.walk, ctx.saved_tensors
        pull = torch.zeros_like(walk.z)
        extra_pull = torch.zeros_like(walk.extra) if ctx.needs_input_grad[1] else None
        with full_float32(walk.z.device):
            ctx.sums.prepare_backward(logsumexp, gradients[0])
            for tile in walk.tiles():
                # d loss / d s of the tile, through the sums of its rows and, for tiles of items, of its columns
                slope = ctx.sums.slope(tile)
                columns = walk.extra if tile.extra else walk.z
                pull[tile.rows].addmm_(slope, columns[tile.columns], alpha=walk.scale)
                transposed = pull if tile.mirrored else extra_pull if tile.extra else None
                if transposed is not None:
                    transposed[tile.columns].addmm_(slope.T, walk.z[tile.rows], alpha=walk.scale)
        return pull, extra_pull, None, None, None, None


@dataclass(frozen=True)
class Tile:
    """A part of the matrix of similarities."""

    rows: slice
    columns: slice  # items, or further columns
    extra: bool
    s: Tensor  # [rows, columns] scaled similarities, -inf where the column does not count; the next tile overwrites it

    @property
    def mirrored(self) -> bool:
        """Whether its transpose is a tile of the matrix too, which is not computed on its own."""
        return not self.extra and self.rows != self.columns


class _Walk:
    """The tiles of the upper triangle of the items' matrix, and all tiles of the further columns."""

    def __init__(self, batch: SortedBatch, scale: float, negatives_only: bool) -> None:
        self.z, self.extra, self.scale = batch.z.detach(), batch.extra.detach(), scale
        self._batch, self._negatives_only = batch, negatives_only

    def tiles(self) -> Iterator[Tile]:
        height, width = TILES.get(self.z.device.type, TILES["cuda"])
        items, widest = max(1, len(self.z)), max(1, len(self.z), len(self.extra))
        height, width = min(height, items), min(width, widest)
        buffer = self.z.new_empty(height * max(height, width))
        for rows in slices(0, len(self.z), height):
            for columns in (rows, *slices(rows.stop, len(self.z), width)):
                yield self._tile(rows, columns, False, buffer)
            for columns in slices(0, len(self.extra), width):
                yield self._tile(rows, columns, True, buffer)

    def _tile(self, rows: slice, columns: slice, extra: bool, buffer: Tensor) -> Tile:
        left, right = self.z[rows], (self.extra if extra else self.z)[columns]
        s = buffer[: len(left) * len(right)].view(len(left), len(right))
        torch.addmm(s, left, right.T, beta=0, alpha=self.scale, out=s)
        if self._negatives_only:  # all columns of the rows' own classes lie in one strip
            strip = self._batch.same_class(rows)[extra]
            classes = self._batch.extra_classes if extra else self._batch.classes
            first, last = max(columns.start, strip.start), min(columns.stop, strip.stop)
            if first < last:
                same = self._batch.classes[rows, None] == classes[None, first:last]
                s[:, first - columns.start : last - columns.start].masked_fill_(same, -torch.inf)
        elif not extra and rows == columns:
            s.diagonal().fill_(-torch.inf)
        return Tile(rows, columns, extra, s)


class _DirectSums:
    """Sums of w exp(s): each pair needs one exponential, which serves its row and its column."""

    def __init__(self, z: Tensor, weights: Weights | None) -> None:
        self._totals, self._weights = z.new_zeros(len(z)), weights

    def add(self, tile: Tile) -> None:
        exponentials = tile.s.exp_()
        self._totals[tile.rows] += _sum(exponentials, self._weights, tile.extra, tile.columns)
        if tile.mirrored:
            self._totals[tile.columns] += _sum(exponentials.T, self._weights, False, tile.rows)

    def logarithm(self) -> Tensor:
        return torch.where(self._totals == 0, 0.0, self._totals.log())  # NaN stays NaN

    def prepare_backward(self, logsumexp: Tensor, gradient: Tensor) -> None:
        self._share = torch.where(self._totals == 0, 0.0, gradient / self._totals)  # d loss / d total
        self._buffer = gradient.new_empty(0)

    def slope(self, tile: Tile) -> Tensor:
        exponentials, rows = tile.s.exp_(), self._share[tile.rows, None]
        if tile.extra:
            return exponentials.mul_(rows if self._weights is None else rows * self._weights[1][tile.columns])
        if self._buffer.numel() < exponentials.numel():
            self._buffer = torch.empty_like(exponentials).view(-1)
        factor = self._buffer[: exponentials.numel()].view_as(exponentials)
        columns = self._share[None, tile.columns]
        if self._weights is None:
            torch.add(rows, columns, out=factor)
        else:
            own, _ = self._weights
            torch.mul(rows, own[None, tile.columns], out=factor)
            factor.addcmul_(own[tile.rows, None], columns)
        return exponentials.mul_(factor)


class _RunningSums:
    """Log-sum-exps with a running maximum, for temperatures and lengths at which exp(s) may overflow float32."""

    def __init__(self, z: Tensor, weights: Weights | None) -> None:
        self._totals = z.new_full((len(z),), -torch.inf)
        self._logs = None if weights is None else (weights[0].log(), weights[1].log())

    def add(self, tile: Tile) -> None:
        self._totals[tile.rows] = torch.logaddexp(self._totals[tile.rows], self._by_row(tile).logsumexp(dim=1))
        if tile.mirrored:
            by_column = self._by_column(tile).logsumexp(dim=0)
            self._totals[tile.columns] = torch.logaddexp(self._totals[tile.columns], by_column)

    def logarithm(self) -> Tensor:
        return torch.where(self._totals == -torch.inf, 0.0, self._totals)

    def prepare_backward(self, logsumexp: Tensor, gradient: Tensor) -> None:
        self._logsumexp, self._gradient = logsumexp, gradient

    def slope(self, tile: Tile) -> Tensor:
        rows, columns = tile.rows, tile.columns
        slope = (self._by_row(tile) - self._logsumexp[rows, None]).exp_().mul_(self._gradient[rows, None])
        if tile.extra:
            return slope
        mirrored = (self._by_column(tile) - self._logsumexp[None, columns]).exp_()
        return slope.add_(mirrored.mul_(self._gradient[None, columns]))

    def _by_row(self, tile: Tile) -> Tensor:
        return tile.s if self._logs is None else tile.s + self._logs[tile.extra][None, tile.columns]

    def _by_column(self, tile: Tile) -> Tensor:
        return tile.s if self._logs is None else tile.s + self._logs[0][tile.rows, None]


def _sum(exponentials: Tensor, weights: Weights | None, extra: bool, columns: slice) -> Tensor:
    return exponentials.sum(dim=1) if weights is None else exponentials @ weights[extra][columns]
