"""One batch through a network without gradients: one code for out-of-fold and test rows, here and offline."""

import torch
from torch import Tensor, nn

from supcon.training.device import autocast


@torch.inference_mode()
def forward_views(model: nn.Module, views: Tensor, device: torch.device, precision: str) -> tuple[Tensor, ...]:
    """Return the model's float32 outputs for uint8 views [B, V, side, side, 3], each [B, V, ...], on the CPU.

    A model that returns a tuple has several outputs, any other one.
    """
    model.eval()
    with autocast(device, precision):
        flat = model(views.flatten(0, 1).to(device, non_blocking=True))
    outputs = flat if isinstance(flat, tuple) else (flat,)
    return tuple(output.float().cpu().unflatten(0, views.shape[:2]) for output in outputs)
