"""A bundle's models by onnxruntime, on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

from supcon.arrays import ModelLogits, NumericArray
from supcon.bundle.formats import Views, lacks_vnni
from supcon.bundle.manifest import PARTS, Bundle, not_loaded
from supcon.storage.processes import available_cores


class Model:
    """A model's two parts, encoder and classifiers."""

    place = "cpu by onnxruntime"

    def __init__(self, bundle: Bundle, name: str) -> None:
        options = session_options(bundle)
        self._parts = [_open(bundle.file(f"{name}/{part}.onnx"), options) for part in PARTS]

    def __call__(self, views: Views) -> ModelLogits:
        """Return every classifier's logits [N, classifiers, classes] of views [N, side, side, 3]."""
        values: NumericArray = views
        for part in self._parts:
            (values,) = part.run(None, {part.get_inputs()[0].name: values})
        return values.astype(np.float32, copy=False)


def session_options(bundle: Bundle) -> onnxruntime.SessionOptions:
    """Return how onnxruntime is to work on this machine."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = bundle.settings.machine.threads or available_cores()
    options.log_severity_level = 3  # errors, which are raised, too
    if lacks_vnni():  # then sums of int8 products are exact too, at half the speed
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _open(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own
        raise not_loaded(path, error) from None
