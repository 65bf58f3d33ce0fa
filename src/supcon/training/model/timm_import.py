"""The one place that imports timm.

timm imports torchvision, whose registry build cannot load its C++ operators next to a CPU-only torch and then fails
with "operator torchvision::nms does not exist". Nothing here needs these operators: declaring their schemas is enough.
"""

import importlib.util
from pathlib import Path

import torch

_library: torch.library.Library | None = None  # must stay alive: its schemas go with it


def _declare_missing_operators() -> None:
    global _library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    try:
        for extension in Path(spec.origin).parent.glob("_C.so"):
            torch.ops.load_library(str(extension))
    except OSError:
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_missing_operators()
import timm  # noqa: E402
import timm.data  # noqa: E402
import timm.layers  # noqa: E402
import timm.optim  # noqa: E402
import timm.utils  # noqa: E402

__all__ = ["timm"]
