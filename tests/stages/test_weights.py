"""An encoder that moves from a run to another competition (--model.weights)."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from supcon.errors import UserError
from tests.conftest import run_stage, write_competition

FLAGS = ["--model.pretrained=true", "--pretrain.epochs=0", "--finetune.epochs=1", "--fold=0"]
FROZEN = ["--finetune.mode=linear", "--finetune.contrastive_weight=0"]


def start(root: Path, weights: Path | str, *flags: str) -> None:
    run_stage("finetune", root, f"--model.weights={weights}", *FLAGS, *flags)


def test_an_encoder_of_a_run_is_the_start_in_another_competition_and_its_content_an_input(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, source = tmp_path / "root", Path("first", "runs", "cross_entropy", "fold1")
    write_competition(root / "input", ["ant"] * 20 + ["bee"] * 20)
    shutil.copytree(finished / "runs", tmp_path / "first" / "runs")
    run_stage("make_folds", root)
    monkeypatch.chdir(tmp_path)
    start(root, source / "encoder.safetensors", *FROZEN)
    assert "--model.weights encoder.safetensors: all " in capsys.readouterr().out
    first = load_file(source / "encoder.safetensors")
    own = load_file(root / "runs" / "cross_entropy" / "fold0" / "classifier.safetensors")
    backbone = {name: tensor for name, tensor in own.items() if name.startswith("encoder.")}
    assert backbone
    assert all(tensor.equal(first[name]) for name, tensor in backbone.items())
    assert len(own["classifier.1.weight"]) == 2  # first/ had three classes

    monkeypatch.chdir(root)  # the run keeps where the file is
    run_stage("finetune", root, *FLAGS, *FROZEN)
    assert capsys.readouterr().out == "finetune fold 0: done already\n"
    shutil.copyfile(tmp_path / source / "classifier.safetensors", tmp_path / source / "encoder.safetensors")
    with pytest.raises(UserError, match=r"finetune fold 0 .* was made otherwise: --model\.weights changed"):
        run_stage("finetune", root, *FLAGS, *FROZEN)


def test_a_file_of_weights_that_is_not_there_is_named_with_its_setting(finished: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(UserError, match=rf"--model\.weights {path}: no such file"):
            start(finished, path, "--run=two")


def test_a_fold_does_not_start_from_an_encoder_that_learned_its_held_out_rows(finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    folder = root / "runs" / "cross_entropy" / "fold1"
    with pytest.raises(UserError, match=r"encoder\.safetensors: this encoder learned the labels that fold 0 is scored"):
        start(root, folder / "encoder.safetensors", "--run=two")
    start(root, folder.with_name("fold0") / "encoder.safetensors", "--run=two")
    shutil.copytree(folder, folder.with_name("full"))
    with pytest.raises(UserError, match=r"the labels that fold 0 is scored"):
        start(root, folder.with_name("full") / "encoder.safetensors", "--run=three")
    start(root, folder / "encoder.safetensors", "--run=three", "--fold=full")  # which is not scored
