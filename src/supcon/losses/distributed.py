"""The contrastive loss of a batch that is spread over processes, exact under DistributedDataParallel.

Every process gathers all embeddings and computes the loss of the joint batch. So positives, negatives and the number of
valid anchors, by which the mean divides, are those of the joint batch.

An embedding enters the loss of every process, so its gradient is the sum over processes. All W processes compute the
same loss, which makes the sum W times too large; DistributedDataParallel's average divides it by W. So the optimizer
gets the gradient that one process with the whole batch would compute. (The gathering functions of
torch.distributed.nn.functional are not used: they are deprecated in torch 2.13 and need shares of equal size.)
"""

from typing import Any, Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from supcon.losses.contrastive import LossOptions, contrastive_loss


def distributed_contrastive_loss(embeddings: Tensor, labels: Tensor, **options: Unpack[LossOptions]) -> Tensor:
    """Return `contrastive_loss` of the joint batch, the same scalar on every process.

    `embeddings` [n, D] and `labels` [n] are this process's share of the batch; n may differ between processes and be 0.
    `options` are those of `contrastive_loss`, equal on all processes. The gradients of parameters are right after their
    average over processes. Raises `ValueError` for arguments that do not fit.
    """
    return contrastive_loss(*gather(embeddings, labels), **options)


def gather(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return all processes' embeddings [N, D], with gradient, and labels [N], in the order of ranks.

    `embeddings` [n, D] and `labels` [n] are this process's; n may differ between processes and be 0. Every process must
    call this function and back-propagate. Without a process group the arguments are returned. Raises `ValueError` where
    shapes do not fit.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"embeddings must be [n, D] and labels [n], not {list(embeddings.shape)} and {list(labels.shape)}"
        )
    labels = labels.to(embeddings.device) if dist.is_available() and dist.is_initialized() else labels
    shares = Shares(len(labels), labels.device)
    return shares.gather(embeddings), shares.gather(labels)


class Shares:
    """How many items of a joint batch each process holds. Every process must create its object at the same time."""

    def __init__(self, own: int, device: torch.device | str = "cpu") -> None:
        """Take the number of this process's items, which is sent from `device`: from the CPU it waits for no GPU."""
        self.counts = [own]
        self._alone = not (dist.is_available() and dist.is_initialized())
        if not self._alone:
            self.counts = torch.cat(_all_gather(torch.tensor([own], device=device))).tolist()
        self.own, self.total = own, sum(self.counts)

    @property
    def weight(self) -> float:
        """Factor of this process's mean over its items, with which the mean over processes is that over all items."""
        return self.own * len(self.counts) / self.total

    def gather(self, rows: Tensor) -> Tensor:
        """Return all processes' `rows` [n, ...] as [N, ...], in the order of ranks, with gradient.

        Every process must call this, and back-propagate where there is a gradient. A process alone gets `rows` back.
        """
        if self._alone:
            return rows
        gathered: Tensor = _Gather.apply(rows, self.counts)
        return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])  # what is gathered must be equal in size
        padded[: len(rows)] = rows
        return torch.cat([part[:count] for part, count in zip(_all_gather(padded), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)  # autograd's tensor must not be overwritten
        dist.all_reduce(total)
        return total.split(ctx.counts)[dist.get_rank()], None


def _all_gather(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return parts
