"""What a bundle's models run on (torch, onnxruntime, OpenVINO), in which precision, and the packages for it."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from supcon.arrays import ModelLogits
from supcon.bundle.manifest import Bundle
from supcon.environment import Ranges
from supcon.errors import UserError

FORMATS, PRECISIONS = ("torch", "onnx", "openvino"), ("float32", "bfloat16", "int8")
SUFFIXES = {"torch": [".safetensors"], "onnx": [".onnx"], "openvino": [".xml", ".bin"]}  # of the models' files
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}  # the package that a host needs in place of torch and timm
RUNTIME_RANGES: Ranges = {"onnxruntime": ("1.20", "2"), "openvino": ("2025.4", "2027")}  # lowest ones tried
PINS = {  # those of requirements-runtimes.txt
    "onnx": "onnx==1.23.2",
    "onnxscript": "onnxscript==0.7.2",
    "onnxruntime": "onnxruntime==1.32.0",
    "openvino": "openvino==2026.4.1",
}

_CPU_FACTS = Path("/proc/cpuinfo")

Views = npt.NDArray[np.uint8]  # [N, side, side, 3]


@dataclass(frozen=True)
class Target:
    """What models are bundled for."""

    format: str
    precision: str

    def __str__(self) -> str:
        return f"{self.format} {self.precision}"


class Model(Protocol):
    """A model of a bundle, loaded."""

    place: str  # where it runs

    def __call__(self, views: Views) -> ModelLogits:
        """Return every classifier's logits [N, classifiers, classes] of views [N, side, side, 3]."""


def open_model(bundle: Bundle, name: str) -> Model:
    """Load one of the bundle's models. Raises `UserError` where its file is damaged or its runtime not installed."""
    try:
        runtime = importlib.import_module(f"supcon.bundle.on_{bundle.format}")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{bundle.folder}: its models need {error.name}, which is not installed here: {sys.executable} -m pip"
            f" install {error.name}, or bundle the run again with another --format"
        ) from None
    model: Model = runtime.Model(bundle, name)
    return model


def chosen(format: str, precision: str | None, own: str) -> Target:
    """Return the target of a format and a precision; None is the run's `own` for torch, else float32.

    Raises `UserError` for a precision that the format does not have.
    """
    if (format, precision) == ("torch", "int8"):
        raise UserError("--precision int8: torch computes no int8 here: use --format openvino or onnx")
    if (format, precision) == ("onnx", "bfloat16"):
        raise UserError("--precision bfloat16: onnxruntime computes none on CPUs: use --format openvino, or float32")
    return Target(format, precision or (own if format == "torch" else "float32"))


def require_packages(target: Target) -> None:
    """Raise `UserError`, with the command that installs them, where packages are missing to bundle for `target`."""
    if target.format == "torch":
        return
    # onnxruntime quantizes for both
    wanted = {"onnx", "onnxscript", RUNTIMES[target.format]} | (
        {"onnxruntime"} if target.precision == "int8" else set()
    )
    missing = [pin for name, pin in PINS.items() if name in wanted and importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format {target.format} needs what is not installed: {sys.executable} -m pip install"
            f" {' '.join(missing)} (requirements-runtimes.txt)"
        )


def lacks_vnni() -> bool:
    """Say whether this is an x86 CPU that adds products of int8 in 16 bits, which may overflow, as far as it is known.

    Hosts of notebooks often have one.
    """
    facts = _CPU_FACTS.read_text() if _CPU_FACTS.is_file() else ""
    return "avx2" in facts and "_vnni" not in facts
