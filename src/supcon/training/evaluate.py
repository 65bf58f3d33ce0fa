"""Batches of rows through a network without gradients."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from supcon.training.forward import forward_views
from supcon.training.log import bar
from supcon.training.model.class_means import Classifiers

T = TypeVar("T")


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Iterable[Tensor], total: int, device: torch.device, precision: str, label: str
) -> Tensor:
    """Return the model's float32 outputs for every row and view, [rows, views, ...], on the CPU.

    `batches` are `total` uint8 tensors [B, views, side, side, 3]; `label` names the progress bar.
    """
    outputs = [forward_views(model, views, device, precision)[0] for views in bar(batches, label, total)]
    return torch.cat(outputs).clone()


@torch.inference_mode()
def classify(
    model: Classifiers,
    batches: Iterable[Tensor],
    total: int,
    device: torch.device,
    precision: str,
    label: str,
    kept: Tensor,
    keep: Callable[[Tensor], T],
) -> tuple[list[T], Tensor]:
    """Return `keep(logits)` of each batch's logits [B, views, classifiers, classes], and features [kept, width].

    The features are those of the first view of the rows numbered `kept`, ascending, from the same forward pass. Those
    of other rows are not held in memory.
    """
    features, logits, first = [], [], 0
    for views in bar(batches, label, total):
        batch_features, outputs = forward_views(model, views, device, precision)
        kept_in_batch = kept[(kept >= first) & (kept < first + len(views))]
        features.append(batch_features[kept_in_batch - first, 0].clone())
        logits.append(keep(outputs))
        first += len(views)
    return logits, torch.cat(features)
