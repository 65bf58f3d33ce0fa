"""The contrastive loss of a batch that is spread over processes, exact under DistributedDataParallel.

Every process gathers all embeddings and computes the loss of the joint batch, so negatives, positives and the number
of valid anchors are the joint batch's: the mean divides by the global number. Gathering is differentiated as what it
is: an embedding enters the loss of every process, so its gradient is the sum over processes. They all compute the same
loss, which makes that sum W times too large for W processes, and DistributedDataParallel's average divides by W: what
the optimizer sees is the gradient of one process with the whole batch. (Own function: those of
torch.distributed.nn.functional are deprecated in torch 2.13, and take equal shares only.)
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from supcon.losses.contrastive import contrastive_loss


def distributed_contrastive_loss(embeddings: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """Return `contrastive_loss` of the joint batch, the same scalar on every process.

    `embeddings` [n, D] and `labels` [n] are this process's share, n may differ and be 0; `options` are those of
    `contrastive_loss`, equal everywhere. The parameters' gradients are right once averaged over processes.
    """
    return contrastive_loss(*gather(embeddings, labels), **options)


def gather(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return all processes' embeddings [N, D], with gradient, and labels [N], in the order of ranks.

    Takes this process's [n, D] and [n]; n may differ and be 0. Every process must take part, and back-propagate.
    Without a process group these are the arguments themselves. Raises `ValueError` where shapes do not fit.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"embeddings must be [n, D] and labels [n], not {list(embeddings.shape)} and {list(labels.shape)}"
        )
    labels = labels.to(embeddings.device) if dist.is_available() and dist.is_initialized() else labels
    shares = Shares(len(labels), labels.device)
    return shares.gather(embeddings), shares.gather(labels)


class Shares:
    """How many items of a joint batch each process holds; all processes make theirs together."""

    def __init__(self, own: int, device: torch.device | str = "cpu") -> None:
        """Take the number of this process's items, and the device that it is told from: the CPU waits for no GPU."""
        self.counts = [own]
        self._alone = not (dist.is_available() and dist.is_initialized())
        if not self._alone:
            self.counts = torch.cat(_all_gather(torch.tensor([own], device=device))).tolist()
        self.own, self.total = own, sum(self.counts)

    @property
    def weight(self) -> float:
        """What a mean over the own items is to be multiplied by, so that the mean over processes is that over all."""
        return self.own * len(self.counts) / self.total

    def gather(self, rows: Tensor) -> Tensor:
        """Return all processes' `rows` [n, ...] as [N, ...], in the order of ranks, with gradient.

        Every process must take part, and back-propagate where there is a gradient. Alone: the rows themselves.
        """
        if self._alone:
            return rows
        gathered: Tensor = _Gather.apply(rows, self.counts)
        return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _gather_rows(rows, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)  # autograd's own must not be written to
        dist.all_reduce(total)
        return total.split(ctx.counts)[dist.get_rank()], None


def _gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """Return the concatenated rows of all processes; they are sent padded to the largest share."""
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return torch.cat([part[:count] for part, count in zip(_all_gather(padded), counts, strict=True)])


def _all_gather(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return parts
