"""Features of a frozen encoder are computed once a root; what is trained on them is predicted, served and resumed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from supcon.errors import UserError
from supcon.run.verify import verify
from supcon.storage.files import read_json, read_npz, write_checked_json
from supcon.training.features import read_features
from supcon.training.model.timm_import import timm
from tests.bundle.conftest import needs_packages
from tests.bundle.test_bundle import run_notebook, unpack
from tests.conftest import run_all, run_stage, write_competition
from tests.stages.test_laws import permute_held_out_labels

RUN = Path("runs/cross_entropy")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=0).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def flags(weights: Path) -> tuple[str, ...]:
    return (
        "--model.frozen=true", "--model.frozen_views=3", "--model.adapter_width=32",
        "--model.encoder=test_efficientnet", "--model.pretrained=true", f"--model.weights={weights}",
        "--pretrain.epochs=2", "--finetune.epochs=3",
        "--pretrain.contrastive_weight=1", "--predict.neighbours=5",
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("frozen")
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    run_all(root, *flags)
    return root


def features_of(root: Path) -> Path:
    (folder,) = (root / "cache").glob("features-*")
    return folder


def test_features_are_computed_once_for_all_folds_stages_and_seeds(
    root: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = features_of(root)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    capsys.readouterr()
    run_stage("pretrain", root, *flags, "--run=other", "--train.seed=5", "--fold=0")
    assert "features:" not in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in features_of(root).iterdir()} == times


def test_a_fold_holds_the_adapter_alone(root: Path) -> None:
    for name in ("encoder", "classifier"):
        tensors = load_file(root / RUN / "fold0" / f"{name}.safetensors")
        encoder = {key for key in tensors if key.startswith("encoder.")}
        assert encoder == {f"encoder.layers.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}


@pytest.mark.parametrize("damage", [lambda file: None, lambda file: os.truncate(file, 1000), Path.unlink])
def test_an_interrupted_computation_goes_on_from_whole_parts_and_ends_alike(
    root: Path, flags: tuple[str, ...], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    folder = features_of(other)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    hashes = {name: value for name, value in read_json(folder / "index.json")["files"].items() if "plain" in name}
    for name in ("index.json", "random-0000.bin"):
        (folder / name).unlink()
    write_checked_json(folder / "parts.json", hashes)
    damage(folder / "plain-0000.bin")
    run_stage("predict", other, *flags, "--fold=0", "--force")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    for file in ("oof.npz", "test.npz"):
        assert (other / RUN / "fold0" / file).read_bytes() == (root / RUN / "fold0" / file).read_bytes()


def test_a_damaged_file_of_features_is_named(root: Path, flags: tuple[str, ...], tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    file = features_of(other) / "plain-0000.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"plain-0000\.bin is missing or damaged: delete .*, and the next"):
        run_stage("predict", other, *flags, "--fold=0", "--force")
    with pytest.raises(UserError, match="damaged"):
        read_features(features_of(other))
    assert any("plain-0000.bin is missing or damaged" in line for line in verify(other).damaged)
    assert not verify(root).damaged


def test_held_out_labels_change_nothing_of_a_fold(root: Path, flags: tuple[str, ...], tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "root"))
    shutil.rmtree(other / "runs")
    permute_held_out_labels(other, 0)
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, other, *flags, "--fold=0")
    for file in ("oof.npz", "test.npz"):
        before, after = (read_npz(place / RUN / "fold0" / file) for place in (root, other))
        assert [name for name in before if not np.array_equal(before[name], after[name])] == [], file


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--model.pretrained=false --model.weights=", "--model.pretrained false is for an encoder that is trained"),
        ("--finetune.mixup=0.2", "--finetune.mixup is for an encoder that is trained on images: leave it out"),
        ("--train.first_size=8", "--train.first_size is for"),
        ("--finetune.strength=2", "strength must be equal"),
    ],
)
def test_what_has_no_effect_is_refused(root: Path, flags: tuple[str, ...], flag: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        run_stage("pretrain", root, *flags, *flag.split(), "--run=new")


@pytest.mark.parametrize("format", ["torch", pytest.param("onnx", marks=needs_packages)])
def test_the_bundle_predicts_the_same_from_images(
    root: Path, flags: tuple[str, ...], tmp_path: Path, format: str
) -> None:
    run_stage("bundle", root, *flags, f"--format={format}")
    weights = list((root / RUN / "bundle").rglob("*.safetensors"))
    assert len(weights) == (1 + 3 if format == "torch" else 0)  # the encoder and a file a fold
    unpack(root, tmp_path)
    result = run_notebook(tmp_path, format)
    assert result.returncode == 0, result.stderr
    ours, offline_rows = (
        (place / "submission.csv").read_text().splitlines() for place in (root / "submissions", tmp_path)
    )
    # features are kept in half precision, so that single rows may differ where two classes are alike
    assert sum(a != b for a, b in zip(ours, offline_rows, strict=True)) <= 1
