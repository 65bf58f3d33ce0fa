"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) for losses that need a label an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from supcon.losses.distributed import Shares
from supcon.training.model.timm_import import timm

Value = TypeVar("Value", Tensor, float)


@dataclass(frozen=True)
class Mixed:
    """Images [N, side, side, 3], each one's own label [N] with `weight`, its partner's [N] with 1 - `weight`.

    Labels are on the CPU. Of several processes each has its share of the images; the labels may be those of all of them
    (`joint`).
    """

    images: Tensor
    labels: Tensor
    partners: Tensor
    weight: float

    def weigh(self, loss_of: Callable[[Tensor], Value]) -> Value:
        """Return `weight * loss_of(labels) + (1 - weight) * loss_of(partners)`."""
        if self.weight == 1:
            return loss_of(self.labels)
        return self.weight * loss_of(self.labels) + (1 - self.weight) * loss_of(self.partners)

    def take(self, order: Tensor | slice) -> "Mixed":
        """Return the images in another order."""
        return Mixed(taken(self.images, order), self.labels[order], self.partners[order], self.weight)

    def joint(self, shares: Shares) -> "Mixed":
        """Return the labels and partners of the whole batch beside the own images."""
        labels = shares.gather(self.labels)
        return Mixed(self.images, labels, labels if self.weight == 1 else shares.gather(self.partners), self.weight)


def taken(rows: Tensor, order: Tensor | slice) -> Tensor:
    """Return `rows[order]`, for an order on the CPU; a GPU that holds the rows is not waited for."""
    return rows[order if isinstance(order, slice) else order.to(rows.device, non_blocking=True)]


class Mixer:
    """Mixes a batch with its reverse by one weight: `mixup` and `cutmix` are the alphas of its Beta law; 0: without.

    Each process mixes its share, which holds with every image its partner in the whole batch, by the same weight.
    """

    def __init__(self, mixup: float, cutmix: float) -> None:
        self._mixup = None
        if max(mixup, cutmix) > 0:
            self._mixup = timm.data.Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=0.0, num_classes=2)

    def __call__(self, images: Tensor, labels: Tensor) -> Mixed:
        """Return the mixed batch. The middle image of an odd number is its own partner and stays as it is."""
        pairs = len(images) // 2
        if self._mixup is None or pairs == 0:
            return Mixed(images, labels, labels, 1.0)
        # timm returns mixed targets, not the weight: of two classes, one a half, the first image's target tells it
        halves = torch.arange(2).repeat_interleave(pairs)
        pixels = images.permute(0, 3, 1, 2).float()
        paired: Tensor | slice = slice(None)
        if len(images) % 2:  # which timm refuses
            paired = torch.cat([torch.arange(pairs), torch.arange(pairs + 1, len(images))])
        pixels[paired], targets = self._mixup(pixels[paired], halves)
        return Mixed(pixels.permute(0, 2, 3, 1), labels, labels.flip(0), targets[0, 0].item())
