"""`--fold full`: one model on all rows, which the ensemble adds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from supcon.commands import bundle
from supcon.decision.merge import log_softmax, mean_entropy
from supcon.decision.rule import Rule
from supcon.errors import UserError
from supcon.run.experiment import load_experiment
from supcon.run.predictions import read_embeddings
from supcon.settings import FULL, parse
from supcon.storage.files import read_npz
from supcon.training.fold import FoldData
from tests.bundle.test_bundle import run_notebook, unpack
from tests.conftest import REPOSITORY, TINY, change_done, run_stage
from tests.stages.test_laws import prediction_bytes, run_folder, submission_bytes

CONFIG = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
TRAINING = ("pretrain", "finetune", "predict")


def fold_data(root: Path, fold: int, *flags: str) -> FoldData:
    request = parse("", ["--root", str(root), *CONFIG, *TINY, *flags], per_fold=True)
    return FoldData(load_experiment(request), fold, torch.device("cpu"))


def train_full(root: Path, *flags: str) -> None:
    for stage in TRAINING:
        run_stage(stage, root, "--fold=full", *flags)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished run's root, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


@pytest.fixture(scope="module")
def with_full(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the full model, before the next ensemble; tests must not change it."""
    root = Path(shutil.copytree(finished, tmp_path_factory.mktemp("full") / "root"))
    train_full(root)
    return root


def test_it_is_trained_on_every_row_that_is_not_left_out(root: Path) -> None:
    run_stage("make_folds", root)
    path = root / "folds" / "folds.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[[0, 1], "fold"] = ["-1", ""]
    table.to_csv(path, index=False)
    data = fold_data(root, FULL)
    assert data.train_rows.tolist() == [0, *range(2, 60)]
    assert not data.has_held_out_rows
    few = fold_data(root, FULL, "--data.shots=4")
    assert np.bincount(few.train_labels).tolist() == [4, 4, 4]


def test_it_takes_the_folds_epochs_and_predicts_the_test_rows_alone(with_full: Path) -> None:
    folder = run_folder(with_full) / "full"
    assert not (folder / "oof.npz").exists()
    assert np.bincount(read_embeddings(folder).part).tolist() == [60, 0, 12]
    here, there = (read_npz(run_folder(with_full) / name / "test.npz") for name in ("full", "fold0"))
    for key in ("ids", "classes", "views"):
        assert here[key].tolist() == there[key].tolist()
    assert here.keys() == there.keys()
    assert here["logits"].shape == there["logits"].shape
    for stage in ("pretrain", "finetune"):
        mine, folds = (pd.read_csv(run_folder(with_full) / name / f"{stage}.csv") for name in ("full", "fold0"))
        assert len(mine) == len(folds)
        assert mine["passes"].sum() > folds["passes"].sum()
        watched = {"knn_macro_f1", "alignment", "uniformity", "held_out_macro_f1"}
        assert set(folds.columns) - set(mine.columns) == set(folds.columns) & watched
        assert mine.notna().all(axis=None)


def test_it_leaves_the_folds_alone_and_a_second_call_does_nothing(
    with_full: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in range(3):
        assert prediction_bytes(with_full, fold) == prediction_bytes(finished, fold)
    train_full(with_full)
    assert capsys.readouterr().out == "".join(f"{stage} fold full: done already\n" for stage in TRAINING)


def test_the_probabilities_for_others_hold_it_too(with_full: Path, finished: Path) -> None:
    assert (run_folder(with_full) / "oof.csv").read_bytes() == (run_folder(finished) / "oof.csv").read_bytes()
    assert (run_folder(with_full) / "test.csv").read_bytes() != (run_folder(finished) / "test.csv").read_bytes()


def test_the_ensemble_takes_it_as_one_more_member_and_makes_a_new_submission(
    copied: Path, with_full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((run_folder(copied) / "scores.json").read_text())
    shutil.copytree(run_folder(with_full) / "full", run_folder(copied) / "full")
    run_stage("ensemble", copied)
    said = capsys.readouterr().out
    assert "ensemble: the full model is new: a new submission" in said
    assert "ensemble: 3 folds and the full model merged" in said
    after = json.loads((run_folder(copied) / "scores.json").read_text())
    assert after["private"]["single_folds"] == before["private"]["single_folds"]
    assert after["cross_fitted"] == before["cross_fitted"]
    assert len(pd.read_csv(copied / "submissions" / "ledger.csv")) == 2
    assert len(list((copied / "submissions").glob("cross_entropy-*.csv"))) == 2

    run_stage("ensemble", copied)
    assert capsys.readouterr().out == "ensemble: done already\n"
    shutil.rmtree(run_folder(copied) / "full")
    run_stage("ensemble", copied)
    said = capsys.readouterr().out
    assert "ensemble: the full model is gone: a new submission" in said
    assert "ensemble: 3 folds merged" in said
    assert json.loads((run_folder(copied) / "scores.json").read_text()) == before


def test_its_weight_is_a_folds_and_the_entropy_stays_the_folds(copied: Path, with_full: Path) -> None:
    shutil.copytree(run_folder(with_full) / "full", run_folder(copied) / "full")
    sample = copied / "input" / "sample_submission.csv"
    ids = pd.read_csv(sample, dtype=str)["id"]
    sample.write_text("id,001,NA,red\n" + "".join(f"{name},1,0,0\n" for name in ids))
    (copied / "input" / "solution.csv").unlink()
    rule = Rule.from_json(json.loads((run_folder(copied) / "decision.json").read_text())["rule"])
    run_stage("ensemble", copied, "--force")
    table = pd.read_csv(copied / "submissions" / "submission.csv", dtype={"id": str}).set_index("id")
    names = [*(f"fold{fold}" for fold in range(3)), "full"]
    members = [np.asarray(rule.merge([read_npz(run_folder(copied) / name / "test.npz")["logits"]])) for name in names]
    exponent = json.loads((run_folder(copied) / "scores.json").read_text())["exponent"]
    expected = log_softmax(exponent * np.mean(members, axis=0))
    assert mean_entropy(expected) == pytest.approx(np.mean([mean_entropy(member) for member in members[:3]]), abs=1e-6)
    submitted = np.exp(rule.adjusted(expected))
    np.testing.assert_allclose(table[["001", "NA", "red"]].to_numpy(), submitted, atol=1e-6)


def test_one_that_is_outdated_is_left_out_and_said(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_full(copied)
    run_stage("ensemble", copied)
    run_stage("finetune", copied, "--fold=full", "--force")
    path = run_folder(copied) / "full" / "finetune.done.json"
    change_done(path, hash="0")  # other weights under the same settings
    capsys.readouterr()
    run_stage("ensemble", copied)
    said = capsys.readouterr().out
    assert "the full model is left out: predict fold full of run cross_entropy was made otherwise: finetune" in said
    assert "ensemble: 3 folds merged" in said


@pytest.mark.slow
def test_the_bundle_predicts_with_it_too(with_full: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(with_full, tmp_path / "root"))
    with pytest.raises(UserError, match=r"ensemble of run cross_entropy was made otherwise: predict fold full changed"):
        bundle.main(["--root", str(root), *CONFIG])
    run_stage("ensemble", root)
    bundle.main(["--root", str(root), *CONFIG])
    (tmp_path / "host").mkdir()
    packed = unpack(root, tmp_path / "host")
    assert (packed / "full" / "classifier.safetensors").exists()
    result = run_notebook(tmp_path / "host")
    assert result.returncode == 0, result.stderr
    assert "4 models" in result.stdout
    assert (tmp_path / "host" / "submission.csv").read_bytes() == submission_bytes(root)


def test_it_may_be_named_among_folds_and_comes_last(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("make_folds", root)
    capsys.readouterr()
    run_stage("pretrain", root, "--fold", "full", "1", "--pretrain.epochs=1")
    said = capsys.readouterr().out
    assert 0 <= said.find("pretrain fold 1  epoch 1/1") < said.find("pretrain fold full  epoch 1/1")
    assert "nan" not in said
    assert sorted(path.name for path in run_folder(root).glob("f*")) == ["fold1", "full"]


def test_a_frozen_encoder_has_a_head_on_all_rows_too(root: Path) -> None:
    flags = ("--finetune.mode=linear", "--finetune.contrastive_weight=0", "--pretrain.epochs=1")
    run_stage("make_folds", root)
    train_full(root, *flags)
    assert (run_folder(root) / "full" / "test.npz").exists()
    assert "held_out_macro_f1" not in pd.read_csv(run_folder(root) / "full" / "finetune.csv")


def test_a_stage_without_its_forerunner_and_a_fold_that_is_none_are_named(root: Path) -> None:
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"run `python src/pretrain\.py --root .* --fold full` first"):
        run_stage("finetune", root, "--fold=full")
    for word in ("-3", "-1", "fulll", "1.5", ""):
        with pytest.raises(UserError, match=f"'{word}' is no fold: name numbers from 0, or full"):
            run_stage("finetune", root, "--fold", word)
    with pytest.raises(UserError, match="the folds are 0 to 2, and full"):
        run_stage("finetune", root, "--fold=3")


def test_forced_it_keeps_the_old_files(copied: Path, with_full: Path) -> None:
    shutil.copytree(run_folder(with_full) / "full", run_folder(copied) / "full")
    old = (run_folder(copied) / "full" / "test.npz").read_bytes()
    with pytest.raises(UserError, match=r"predict fold full .*predict\.views 2 -> 1"):
        run_stage("predict", copied, "--fold=full", "--predict.views=1")
    run_stage("predict", copied, "--fold=full", "--force")
    kept = list((run_folder(copied) / "old").glob("predict-fold-full-*/test.npz"))
    assert [path.read_bytes() for path in kept] == [old]
    assert (run_folder(copied) / "full" / "test.npz").read_bytes() == old
