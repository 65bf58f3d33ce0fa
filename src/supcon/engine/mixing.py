"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) for losses that need a label an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from supcon.model.zoo import timm

Value = TypeVar("Value", Tensor, float)


@dataclass(frozen=True)
class Mixed:
    """Images [N, side, side, 3], each one's own label [N] with `weight`, its partner's [N] with 1 - `weight`.

    Labels are on the CPU.
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


class Mixer:
    """Mixes a batch with its reverse by one weight: `mixup` and `cutmix` are the alphas of its Beta law; 0: without."""

    def __init__(self, mixup: float, cutmix: float) -> None:
        self._mixup = None
        if max(mixup, cutmix) > 0:
            self._mixup = timm.data.Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=0.0, num_classes=2)

    def __call__(self, images: Tensor, labels: Tensor) -> Mixed:
        """Return the mixed batch. An odd image out, which has no partner, is dropped."""
        pairs = len(images) // 2
        if self._mixup is None or pairs == 0:
            return Mixed(images, labels, labels, 1.0)
        images, labels = images[: 2 * pairs], labels[: 2 * pairs]
        # timm returns mixed targets, not the weight: of two classes, one a half, the first image's target tells it
        halves = torch.arange(2).repeat_interleave(pairs)
        mixed, targets = self._mixup(images.permute(0, 3, 1, 2).float(), halves)
        return Mixed(mixed.permute(0, 2, 3, 1), labels, labels.flip(0), targets[0, 0].item())
