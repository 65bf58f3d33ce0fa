"""The models of a torch bundle in another format: ONNX, or OpenVINO's, whole or with an encoder of int8.

A model becomes two parts. The encoder's precision is what is asked for; the classifiers, which are small and whose
cosines are divided by a temperature, always compute in float32.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from supcon.bundle.formats import Target, Views
from supcon.bundle.manifest import PARTS, Bundle
from supcon.bundle.on_torch import load_network
from supcon.errors import UserError, limit
from supcon.randomness import seed_at
from supcon.run.experiment import Experiment
from supcon.training.data import FixedViews
from supcon.training.model.classifier import Classifiers

_CALIBRATION_ROWS, _BATCH = 256, 32
_INPUT = "x"
# In int8. Not sums: what a transformer adds up has outliers; with 8 bits for its sums a ViT's features had a cosine of
# 0.951 to those in float32, in place of 0.994. Clipping belongs to the convolution before it, and saves its range.
_QUANTIZED = ["Conv", "Gemm", "MatMul", "Clip", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool"]


class _Logits(nn.Module):
    """The classifiers alone: features [N, width] -> logits [N, classifiers, classes]."""

    def __init__(self, network: Classifiers) -> None:
        super().__init__()
        self._network = network

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return self._network.logits(features)


def export(bundle: Bundle, name: str, target: Target, calibration: Views | None) -> None:
    """Write a model of a torch bundle in another format beside its weights; in int8 with `calibration` views.

    Raises `UserError` where its encoder cannot be exported, or where this CPU lacks the precision.
    """
    if target == Target("openvino", "bfloat16"):
        _require_bfloat16()
    network, folder = _plain(load_network(bundle, name)), bundle.folder / name
    views = torch.zeros(2, bundle.side, bundle.side, 3, dtype=torch.uint8)  # of one alone the number would be fixed
    try:
        with _silent(), torch.no_grad():
            encoder, classifiers = (folder / f"{part}.onnx" for part in PARTS)
            _write_onnx(network.encoder, views, encoder)
            _write_onnx(_Logits(network).eval(), network.encoder(views), classifiers)
            if calibration is not None:
                _quantize(encoder, calibration)
            if target.format == "openvino":
                _convert(encoder)
                _convert(classifiers)
    except Exception as error:  # torch, onnxscript, onnxruntime and OpenVINO each raise errors of their own
        if line := limit(error):
            raise line from None
        model, reason = bundle.settings.model.encoder, " ".join(str(error).split())[-200:]  # they end with what failed
        raise UserError(
            f"--format {target.format}: {model} cannot be exported ({reason}): use --format torch"
        ) from None


def _require_bfloat16() -> None:
    from supcon.bundle.on_openvino import has_bfloat16

    if not has_bfloat16():
        raise UserError(
            "--precision bfloat16: this CPU has none, so what it changes cannot be told here: use float32 or int8, or a"
            " CPU that has it"
        )


def calibration_views(experiment: Experiment, fold: int) -> Views:
    """Return plain views of some training rows of a fold, evenly drawn (law 1: of no other rows)."""
    settings, rows = experiment.settings, experiment.training_rows_of(fold)
    random = np.random.default_rng(seed_at(settings.train.seed, "calibration", fold))
    drawn = random.permutation(rows)[:_CALIBRATION_ROWS]
    images, plain = experiment.open_prediction_images(), {"plain": np.asarray}
    views = FixedViews(images, drawn, plain, experiment.prediction_side, settings.data.fit)
    return views.__getitems__(range(len(drawn))).flatten(0, 1).numpy()


def _plain(network: Classifiers) -> Classifiers:
    """Return the network in evaluation mode, of plain parts: torch's own convolutions, attention written out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.__dict__.pop("forward", None)  # of `choose_convolutions`, which chose for torch
        if hasattr(module, "fused_attn"):  # which torch exports in four dimensions alone: Hiera has five
            cast(Any, module).fused_attn = False
    return network.eval()


def _write_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    rows = torch.export.Dim("rows")  # any number of them
    program = torch.onnx.export(
        module, (example,), dynamo=True, verbose=False, input_names=[_INPUT], dynamic_shapes=({0: rows},)
    )
    shape = program.model.graph.inputs[0].shape if program else None
    if program is None or shape is None or isinstance(shape[0], int):  # the exporter's last resort
        raise ValueError("it would take batches of one size alone")
    program.save(path, external_data=False)


def _quantize(path: Path, views: Views) -> None:
    """Let an ONNX model compute in int8, each channel of weights and each map on a scale of its own.

    Jacob et al. 2018 (arXiv 1712.05877); the maps' ranges are those on `views`.
    """
    from onnxruntime.quantization import QuantType, quantize_static

    whole = path.with_suffix(".float32")
    path.rename(whole)
    quantize_static(
        whole, path, _Batches(views), op_types_to_quantize=_QUANTIZED, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    whole.unlink()


class _Batches:
    """What onnxruntime reads ranges from."""

    def __init__(self, views: Views) -> None:
        self._batches = ({_INPUT: views[start : start + _BATCH]} for start in range(0, len(views), _BATCH))

    def get_next(self) -> dict[str, Views] | None:
        """Return the next batch; None at the end."""
        return next(self._batches, None)


def _convert(path: Path) -> None:
    """Replace an ONNX model by OpenVINO's files of it."""
    from supcon.bundle.on_openvino import openvino

    model = openvino.convert_model(path)  # read_model, which changes less, let int8 convolutions compute something else
    openvino.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
    path.unlink()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep back what exporters print."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
