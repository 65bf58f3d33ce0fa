"""The machine: device, threads, precision; and a batch through a network on it."""

import ctypes
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.settings.settings import MachineSettings
from supcon.storage.processes import available_cores, on_this_machine, require_tasks

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def set_up_device(machine: MachineSettings) -> torch.device:
    """Return the device to use; set the number of threads and the kernels so that results repeat."""
    _keep_freed_memory()
    number, processes = on_this_machine()
    threads = machine.threads or max(1, available_cores() // processes)
    require_tasks(threads)  # OpenMP ends a process that cannot start its own
    torch.set_num_threads(threads)
    # TF32 for the encoder's convolutions and products; losses and class means switch it off (`full_float32`). These old
    # names are used because torch.compile fails where fp32_precision is set (PyTorch #166387), which old versions lack.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # batches have one size, so one search for the fastest kernels pays
    name = ("cuda" if torch.cuda.is_available() else "cpu") if machine.device == "auto" else machine.device
    try:
        device = torch.device(name)
        if processes > 1 and device.type == "cuda":
            if device.index is not None:
                raise RuntimeError(f"it is one device for {processes} processes, auto gives each its own")
            device = torch.device("cuda", number)
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--machine.device {machine.device} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the autocast context of `precision`, float32, bfloat16 or float16. Raises `ValueError` for another word.

    The setting `auto` is replaced by one of them in `choose_precision`.
    """
    if precision not in _TYPES:
        raise ValueError(f"precision is {precision}, needed is one of {', '.join(_TYPES)}")
    return torch.autocast(device.type, dtype=_TYPES[precision], enabled=precision != "float32")


def gradient_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Return what scales a loss in float16, whose gradients would else be rounded to 0, and does nothing in others.

    Micikevicius et al. 2018, "Mixed Precision Training" (arXiv 1710.03740).
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def lacks_bfloat16(device: torch.device) -> bool:
    """Say whether this is a GPU that computes bfloat16 slowly or not at all, and float16 fast."""
    return device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)


@torch.inference_mode()
def forward_views(model: nn.Module, views: Tensor, device: torch.device, precision: str) -> tuple[Tensor, ...]:
    """Return the model's float32 outputs for uint8 views [B, V, side, side, 3], each [B, V, ...], on the CPU.

    A model that returns a tuple has several outputs, any other one. There are no gradients. The model sees one view of
    the B rows at a time, so memory does not grow with the views. Out-of-fold and test rows, here and offline, all go
    through this code.
    """
    model.eval()
    with autocast(device, precision):
        passes = [model(view.contiguous().to(device, non_blocking=True)) for view in views.unbind(1)]
    of_views = [outputs if isinstance(outputs, tuple) else (outputs,) for outputs in passes]
    return tuple(torch.stack(outputs, dim=1).float().cpu() for outputs in zip(*of_views, strict=True))


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks for reuse instead of returning them to the system.

    Activations of 100 MB would cost a page fault for every page, at every step: with this a training step of an
    EfficientNet on the CPU takes a third less time (docs/LOG.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)
