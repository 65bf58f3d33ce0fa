"""Forward passes without gradients: one code path for out-of-fold rows, test rows and features."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from supcon.engine.device import autocast
from supcon.engine.log import bar


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Iterable[Tensor], total: int, device: torch.device, precision: str, label: str
) -> Tensor:
    """Return the model's float32 outputs for every row and view, [rows, views, ...], on the CPU.

    `batches` are `total` uint8 tensors [B, views, side, side, 3]; `label` names the progress bar.
    """
    model.eval()
    outputs = []
    for views in bar(batches, label, total):
        with autocast(device, precision):
            flat = model(views.flatten(0, 1).to(device, non_blocking=True))
        outputs.append(flat.float().cpu().unflatten(0, views.shape[:2]))
    return torch.cat(outputs).clone()
