"""The only module that imports timm; all others import it from here.

timm imports torchvision. Next to a CPU-only torch the torchvision of the package registry cannot load its C++
operators, and its import fails with "operator torchvision::nms does not exist". This project does not use these
operators, so it is enough to declare them before the import.
"""

import importlib.util
from pathlib import Path

import torch

_library: torch.library.Library | None = None  # kept alive: the declarations end with it


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
import timm.scheduler  # noqa: E402
import timm.utils  # noqa: E402

__all__ = ["timm"]
