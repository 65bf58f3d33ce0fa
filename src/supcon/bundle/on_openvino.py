"""A bundle's models by OpenVINO, on the CPU."""

import sys
from functools import cache
from pathlib import Path

import numpy as np

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # or the import tells its maker of each use
import openvino  # noqa: E402

from supcon.arrays import ModelLogits, NumericArray  # noqa: E402
from supcon.bundle.formats import Views, lacks_vnni  # noqa: E402
from supcon.bundle.manifest import PARTS, Bundle, not_loaded  # noqa: E402
from supcon.storage.processes import available_cores  # noqa: E402


class Model:
    """A model's two parts: the encoder in the bundle's precision, and the classifiers in float32."""

    place = "cpu by openvino"

    def __init__(self, bundle: Bundle, name: str) -> None:
        for line in _warnings(bundle.precision):
            _say(line)
        threads = bundle.settings.machine.threads or available_cores()
        precisions = "bf16" if bundle.precision == "bfloat16" else "f32", "f32"
        self._parts = []
        for part, precision in zip(PARTS, precisions, strict=True):
            weights = bundle.file(f"{name}/{part}.bin")
            options: dict[str, str | int]
            options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
            self._parts.append(_open(bundle.file(f"{name}/{part}.xml"), weights, options))

    def __call__(self, views: Views) -> ModelLogits:
        """Return every classifier's logits [N, classifiers, classes] of views [N, side, side, 3]."""
        values: NumericArray = views
        for part in self._parts:
            values = part(values, share_outputs=False)[0]
        return values.astype(np.float32, copy=False)


def _open(path: Path, weights: Path, options: dict[str, str | int]) -> openvino.CompiledModel:
    core = openvino.Core()
    try:
        return core.compile_model(core.read_model(path, weights), "CPU", options)
    except Exception as error:  # OpenVINO raises errors of its own
        raise not_loaded(path, error) from None


def has_bfloat16() -> bool:
    """Say whether this CPU computes bfloat16; without it OpenVINO computes float32 in its place."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _warnings(precision: str) -> list[str]:
    lines = []
    if precision == "bfloat16" and not has_bfloat16():
        lines.append("warning: this CPU has no bfloat16: computed in float32, labels may differ")
    if precision == "int8" and lacks_vnni():
        lines.append("warning: this CPU has no VNNI, sums of int8 products may overflow: labels may differ")
    return lines


@cache  # once, for all models
def _say(line: str) -> None:
    print(line, flush=True)
