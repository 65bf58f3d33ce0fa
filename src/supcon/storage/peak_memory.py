"""How much memory a process has taken at most."""

import resource
import sys

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of what getrusage counts in


def peak_memory() -> dict[str, int]:
    """Return `peak_memory_mb` of this process or of its largest child, whichever is more, since it began.

    Where it has used a GPU, also `peak_gpu_memory_mb`, of torch's tensors there. Torch is not imported for this.
    """
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = {"peak_memory_mb": round(largest * _UNIT / 2**20)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return peak
