"""Models leave torch whole or not at all, and are judged on rows that they never saw."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from supcon.bundle import export, judge
from supcon.bundle.export import calibration_views
from supcon.bundle.judge import held_out_logits
from supcon.bundle.manifest import read_bundle
from supcon.commands import bundle
from supcon.decision.merge import NEIGHBOURS
from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.run.runs import read_runs
from supcon.settings.settings import ModelSettings
from supcon.training.data import FixedViews
from supcon.training.model import classifier
from supcon.training.model.classifier import Classifiers, Neighbours
from supcon.training.model.encoder import Encoder, fuse_batch_norm
from tests.bundle.conftest import Packed, needs_packages
from tests.bundle.test_bundle import FLAGS, RUN


def test_held_out_rows_are_predicted_by_the_model_of_their_fold_as_predict_did(
    pack: Callable[..., Packed], experiment: Experiment
) -> None:
    (logits,) = held_out_logits(experiment, read_bundle(pack().folder / "bundle"))
    np.testing.assert_array_equal(np.asarray(logits), np.asarray(read_runs(experiment)[0].out_of_fold))


def test_int8_is_fitted_to_training_rows_of_the_fold_alone(experiment: Experiment) -> None:
    images, plain = experiment.open_prediction_images(), {"plain": np.asarray}

    def views(rows: np.ndarray) -> set[bytes]:
        dataset = FixedViews(images, rows, plain, experiment.prediction_side, experiment.settings.data.fit)
        return {view.tobytes() for view in dataset.__getitems__(range(len(rows)))[:, 0].numpy()}

    for fold in range(2):
        drawn = {view.tobytes() for view in calibration_views(experiment, fold)}
        assert drawn == views(experiment.split.training_rows_of(fold))
        assert not drawn & views(experiment.split.rows_of(fold))


def test_a_score_worse_by_more_than_its_standard_error_is_a_line(
    run: Path, experiment: Experiment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (ours,) = (np.asarray(own.out_of_fold) for own in read_runs(experiment))
    monkeypatch.setattr(judge, "held_out_logits", lambda *_: [-ours])
    bundle.main(["--root", str(run), *FLAGS, "--precision=bfloat16"])
    assert (
        "\nwarning: torch bfloat16 scores worse by more than a standard error: use another" in capsys.readouterr().out
    )
    assert read_bundle(run / RUN / "bundle").precision == "bfloat16"


@needs_packages
@pytest.mark.parametrize(
    ("format", "how"), [("onnx", "it fails"), ("openvino", "it fails"), ("openvino", "it computes something else")]
)
def test_an_encoder_that_cannot_be_exported_is_a_line_and_the_old_bundle_stays(
    run: Path, pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch, format: str, how: str
) -> None:
    pack()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no rule for aten.fold\nSummary")

    def wrong(network: Classifiers) -> Classifiers:
        network.encoder.backbone.conv1[0].weight.data *= 1.2  # type: ignore[union-attr, index]
        return network.eval()

    before = (run / RUN / "bundle" / "bundle.json").read_bytes()
    monkeypatch.setattr(*((torch.onnx, "export", fail) if how == "it fails" else (export, "_plain", wrong)))
    reason = {
        "it fails": rf"^--format {format}: test_resnet cannot be exported \(no rule for aten.fold Summary\)",
        "it computes something else": rf"^--format {format}: test_resnet gives other logits there, by \d+\.\d% of the",
    }[how]
    with pytest.raises(UserError, match=rf"{reason}.*: use --format torch$"):
        bundle.main(["--root", str(run), *FLAGS, f"--format={format}"])
    assert (run / RUN / "bundle" / "bundle.json").read_bytes() == before
    assert not list((run / RUN).glob(".bundle*"))


@needs_packages
def test_neighbours_are_exported_whatever_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(classifier, "_GALLERY_PART", 16)
    gallery, labels = torch.randn(40, 8), torch.arange(40) % 3
    neighbours = Neighbours(gallery, labels, torch.tensor([0.5, 0.3, 0.2]), 7, 0.1)
    network = export._Logits(Classifiers(nn.Identity(), nn.ModuleDict({NEIGHBOURS: neighbours}))).eval()
    export._write_onnx(network, torch.randn(2, 8), tmp_path / "classifiers.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "classifiers.onnx", providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        features = torch.randn(rows, 8)
        (found,) = session.run(None, {"x": features.numpy()})
        np.testing.assert_allclose(found, network(features).numpy(), rtol=1e-4, atol=1e-5)


def test_logits_of_a_held_out_row_that_are_not_finite_are_a_line(
    pack: Callable[..., Packed], experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs_of = judge.outputs_of

    def broken(*arguments: Any) -> Any:
        outputs = outputs_of(*arguments)
        outputs[2] = np.nan
        return outputs

    monkeypatch.setattr(judge, "outputs_of", broken)
    name = experiment.split.ids.iloc[experiment.split.rows_of(0)[2]]
    with pytest.raises(UserError, match=f"bundle/fold0: the logits of '{name}' are not finite"):
        held_out_logits(experiment, read_bundle(pack().folder / "bundle"))


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize("name", ["hiera_tiny_224", "vgg11_bn"])
def test_encoders_that_other_ways_do_not_export_are_exported(tmp_path: Path, name: str) -> None:
    import onnxruntime

    settings = ModelSettings(encoder=name, pretrained=False)
    network = Classifiers(fuse_batch_norm(Encoder(settings, 96, load_weights=False), 96), nn.ModuleDict())
    encoder = export._plain(network).encoder
    views = torch.randint(0, 256, (3, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        export._write_onnx(encoder, views[:2], tmp_path / "encoder.onnx")
        expected = encoder(views).numpy()
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": views.numpy()})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
