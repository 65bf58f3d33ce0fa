"""Supervised contrastive losses in linear memory.

Khosla et al. 2020, "Supervised Contrastive Learning" (arXiv 2004.11362). Notation: z_i unit-length embeddings of the N
items of a batch, s_ij = z_i . z_j / temperature, A(i) all items but i, P(i) the items of A(i) with i's label.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Form = Literal["out", "in"]
_TILE_ROWS, _TILE_COLUMNS = 512, 2048  # 4 MB of float32 similarities at a time


def contrastive_loss(embeddings: Tensor, labels: Tensor, *, form: Form = "out", temperature: float = 0.1) -> Tensor:
    """Return the mean loss of the anchors that have positives, a scalar.

    `embeddings` [N, D] need not be normalised; `labels` [N] are integers. With LSE_X = log sum_{x in X} exp s_ix:

    - `out` (eq. 2): -mean_{p in P(i)} (s_ip - LSE_A)
    - `in` (eq. 3): -(LSE_P - log|P| - LSE_A); never above `out` (Jensen)

    Without any positive the loss is 0 with gradient 0. Computed in float32 at least, whatever autocast says; memory
    grows with N x D. Raises `ValueError` for arguments that do not fit.
    """
    _check(embeddings, labels, form, temperature)
    with torch.autocast(embeddings.device.type, enabled=False):
        wide = embeddings.dtype if embeddings.dtype == torch.float64 else torch.float32
        z = F.normalize(embeddings.to(wide), dim=1)
        positives = count_positives(labels).to(wide)  # |P(i)|
        valid = positives > 0
        log_all = _row_logsumexp(z, temperature)
        if form == "out":
            pull = _mean_positive_similarity(z, labels, positives) / temperature
        else:
            pull = _row_logsumexp(z, temperature, labels) - positives.log()
        losses = torch.where(valid, log_all - pull, 0.0)
        return losses.sum() / valid.sum().clamp(min=1)


def count_positives(labels: Tensor) -> Tensor:
    """Return |P(i)|, the number of other items with i's label, [N]."""
    _, inverse, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    return counts[inverse] - 1


def _check(embeddings: Tensor, labels: Tensor, form: str, temperature: float) -> None:
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(f"embeddings must be floating point [N, D], got {embeddings.dtype} {list(embeddings.shape)}")
    if labels.shape != embeddings.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be integers [{len(embeddings)}], one an embedding, got {labels.dtype} {list(labels.shape)}"
        )
    if form not in ("out", "in"):
        raise ValueError(f"form must be 'out' or 'in', got {form!r}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def _mean_positive_similarity(z: Tensor, labels: Tensor, positives: Tensor) -> Tensor:
    """Return mean_{p in P(i)} z_i . z_p, [N], by way of class sums: z_i . (S_y - z_i) / |P|; no N x N matrix."""
    _, inverse = torch.unique(labels, return_inverse=True)
    sums = torch.zeros(int(inverse.max()) + 1 if len(z) else 0, z.shape[1], dtype=z.dtype, device=z.device)
    sums = sums.index_add(0, inverse, z)
    return (z * (sums[inverse] - z)).sum(dim=1) / positives.clamp(min=1)


def _row_logsumexp(z: Tensor, temperature: float, labels: Tensor | None = None) -> Tensor:
    """Return LSE_A(i), or LSE_P(i) when `labels` are given, [N]; rows without members get 0 and no gradient."""
    result: Tensor = _RowLogSumExp.apply(z, labels, temperature)
    return result


class _RowLogSumExp(torch.autograd.Function):
    """Log-sum-exp of each row's similarities, tile by tile; the backward pass recomputes the tiles.

    The row maximum runs along (online log-sum-exp): a fixed shift of 1/temperature underflows at small temperatures.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, labels: Tensor | None, temperature: float) -> Tensor:
        result = z.new_zeros(len(z))
        for rows in _slices(len(z), _TILE_ROWS):
            running = z.new_full((rows.stop - rows.start,), -torch.inf)
            for columns in _slices(len(z), _TILE_COLUMNS):
                tile = _similarities(z, labels, temperature, rows, columns)
                running = torch.logaddexp(running, tile.logsumexp(dim=1))
            result[rows] = torch.where(running.isinf(), 0.0, running)
        ctx.save_for_backward(z, labels, result)
        ctx.temperature = temperature
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        z, labels, logsumexp = ctx.saved_tensors
        gradient = gradients[0]
        result = torch.zeros_like(z)
        for rows in _slices(len(z), _TILE_ROWS):
            for columns in _slices(len(z), _TILE_COLUMNS):
                tile = _similarities(z, labels, ctx.temperature, rows, columns)
                # s is symmetric: item i is pulled by its own row's softmax and by its share in every other row's
                weights = (tile - logsumexp[rows, None]).exp_().mul_(gradient[rows, None])
                weights += (tile - logsumexp[None, columns]).exp_().mul_(gradient[None, columns])
                result[rows].addmm_(weights, z[columns], alpha=1 / ctx.temperature)
        return result, None, None


def _similarities(z: Tensor, labels: Tensor | None, temperature: float, rows: slice, columns: slice) -> Tensor:
    """Return one tile of s, -inf where the column is not a member of the row's set."""
    tile = (z[rows] @ z[columns].T).div_(temperature)
    if labels is not None:
        tile.masked_fill_(labels[rows, None] != labels[None, columns], -torch.inf)
    itself = rows.start - columns.start  # the diagonal of the whole matrix, seen from this tile
    if -tile.shape[0] < itself < tile.shape[1]:
        tile.diagonal(itself).fill_(-torch.inf)
    return tile


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
