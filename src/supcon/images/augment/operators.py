"""What torchvision, and timm with it, needs before it is imported.

Next to a CPU-only torch the torchvision of the package registry cannot load its C++ operators, and its import fails
with "operator torchvision::nms does not exist". This project does not use these operators, so it is enough to declare
them before the import.
"""

import importlib.util
from functools import cache
from pathlib import Path

import torch


@cache  # the declarations end with the library
def declare_missing_operators() -> torch.library.Library | None:
    """Declare those of torchvision's operators that its import asks for, where they cannot be loaded."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    try:
        for extension in Path(spec.origin).parent.glob("_C.so"):
            torch.ops.load_library(str(extension))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None
