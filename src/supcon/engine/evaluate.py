"""Forward passes without gradients: one code path for out-of-fold rows, test rows and features."""

import torch
from torch import Tensor, nn

from supcon.data import FixedViews, fixed_loader
from supcon.engine.device import autocast
from supcon.engine.log import bar


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    dataset: FixedViews,
    batch_size: int,
    device: torch.device,
    precision: str,
    workers: int,
    label: str,
) -> Tensor:
    """Return the model's float32 outputs for every row and view, [rows, views, ...], on the CPU.

    A batch holds `batch_size` images, whatever their number of views.
    """
    model.eval()
    outputs = []
    loader = fixed_loader(dataset, max(1, batch_size), workers)
    for views in bar(loader, label, len(loader)):
        with autocast(device, precision):
            flat = model(views.flatten(0, 1).to(device, non_blocking=True))
        outputs.append(flat.float().cpu().unflatten(0, views.shape[:2]))
    return torch.cat(outputs).clone()
