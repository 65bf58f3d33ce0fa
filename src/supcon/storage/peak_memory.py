"""The largest amount of memory that a process has used."""

import resource
import sys

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in the unit of getrusage


def peak_memory() -> dict[str, int]:
    """Return `peak_memory_mb`, the peak since the start of this process or of its largest child, whichever is more.

    Where this process has used a GPU, `peak_gpu_memory_mb` is the peak of torch's tensors on it. This function does not
    import torch.
    """
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = {"peak_memory_mb": round(largest * _UNIT / 2**20)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return peak
