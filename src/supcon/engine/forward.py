"""One batch through a network without gradients: one code for out-of-fold and test rows, here and offline."""

import torch
from torch import Tensor, nn

from supcon.engine.device import autocast


@torch.inference_mode()
def forward_views(model: nn.Module, views: Tensor, device: torch.device, precision: str) -> Tensor:
    """Return the model's float32 outputs for uint8 views [B, V, side, side, 3], [B, V, ...], on the CPU."""
    model.eval()
    with autocast(device, precision):
        flat = model(views.flatten(0, 1).to(device, non_blocking=True))
    return flat.float().cpu().unflatten(0, views.shape[:2])
