"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) for losses that need one label an image, as contrast does."""

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
    """Mixed images [N, side, side, 3]: each has its own label with `weight` and its partner's with 1 - `weight`.

    `labels` and `partners` are [N], on the CPU. Of several processes each has its own share of the images; after
    `joint` the labels are those of all processes.
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
        """Return the images and labels in another order."""
        return Mixed(take_rows(self.images, order), self.labels[order], self.partners[order], self.weight)

    def joint(self, shares: Shares) -> "Mixed":
        """Return this process's images with the labels and partners of the whole batch."""
        labels = shares.gather(self.labels)
        return Mixed(self.images, labels, labels if self.weight == 1 else shares.gather(self.partners), self.weight)


def take_rows(rows: Tensor, order: Tensor | slice) -> Tensor:
    """Return `rows[order]`, for an `order` on the CPU, without waiting for the GPU that may hold the rows."""
    return rows[order if isinstance(order, slice) else order.to(rows.device, non_blocking=True)]


class Mixer:
    """Mixes a batch with its reverse by one weight, drawn from a Beta law.

    `mixup` and `cutmix` are the alphas of the law; 0 switches that kind of mixing off. Each of several processes mixes
    its own share by the same weight: a share holds, with every image, that image's partner in the whole batch.
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
        # timm returns mixed targets, not the weight. With class 0 for the first half and class 1 for the second, the
        # weight is the first image's target for class 0.
        halves = torch.arange(2).repeat_interleave(pairs)
        pixels = images.permute(0, 3, 1, 2).float()
        paired: Tensor | slice = slice(None)
        if len(images) % 2:  # timm refuses odd numbers: leave out the middle image
            paired = torch.cat([torch.arange(pairs), torch.arange(pairs + 1, len(images))])
        pixels[paired], targets = self._mixup(pixels[paired], halves)
        return Mixed(pixels.permute(0, 2, 3, 1), labels, labels.flip(0), targets[0, 0].item())
