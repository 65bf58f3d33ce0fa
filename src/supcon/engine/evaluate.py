"""All batches of some rows through a network without gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from supcon.engine.forward import forward_views
from supcon.engine.log import bar


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Iterable[Tensor], total: int, device: torch.device, precision: str, label: str
) -> Tensor:
    """Return the model's float32 outputs for every row and view, [rows, views, ...], on the CPU.

    `batches` are `total` uint8 tensors [B, views, side, side, 3]; `label` names the progress bar.
    """
    outputs = [forward_views(model, views, device, precision) for views in bar(batches, label, total)]
    return torch.cat(outputs).clone()
