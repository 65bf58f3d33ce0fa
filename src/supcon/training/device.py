"""The machine: device, threads, precision."""

import ctypes
import sys
from contextlib import AbstractContextManager

import torch

from supcon.errors import UserError
from supcon.settings.settings import MachineSettings
from supcon.storage.processes import available_cores
from supcon.training.job import on_this_machine


def set_up_device(machine: MachineSettings) -> torch.device:
    """Return the device to use, with threads and kernels set for results that repeat."""
    _keep_freed_memory()
    number, here = on_this_machine()
    torch.set_num_threads(machine.threads or max(1, available_cores() // here))
    # TF32 for the encoder's convolutions and products; losses and class means switch it off (exact). By these
    # names: torch.compile fails where the newer fp32_precision is set (PyTorch #166387), and old versions lack it
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # batches are of one size: the fastest kernels are looked for once
    name = ("cuda" if torch.cuda.is_available() else "cpu") if machine.device == "auto" else machine.device
    try:
        device = torch.device(name)
        if here > 1 and device.type == "cuda":
            if device.index is not None:
                raise RuntimeError(f"it is one device for {here} processes, auto gives each its own")
            device = torch.device("cuda", number)
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--machine.device {machine.device} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the autocast context of `precision`. Raises `ValueError` for `auto`, which `choose_precision` resolves."""
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is {precision}, needed is float32 or bfloat16")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of returning them: activations of 100 MB otherwise cost a page fault a page.

    Training steps of an EfficientNet on the CPU take a third less time (docs/LOG.md).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)
