"""A second round among other commands: done once, refused where it cannot be, timed, studied, kept where it pays."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from supcon.errors import UserError
from supcon.run.stages import fold_stages
from supcon.storage.files import read_npz, write_npz
from supcon.study.cells import read_scores
from supcon.training.fold import FoldData
from tests.conftest import accept_changes, change_done, run_command, run_stage
from tests.stages.rounds import ONE, STAGES, TWO, experiment_of, folder, second_round
from tests.stages.test_laws import permute_held_out_labels


def test_a_second_call_does_nothing_and_what_changes_in_the_first_round_stops_the_second(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second_round(first, "--fold=0", "--finetune.epochs=4")
    said = capsys.readouterr().out
    assert "pseudo fold 0: 6 of 12 test rows and 11 of 20 held-out rows, 3 classes, by fold 0 of run cross_entr" in said
    second_round(first, "--fold=0", "--finetune.epochs=4")
    stages = ("pseudo", *STAGES)
    assert capsys.readouterr().out == "".join(f"{stage} fold 0: done already\n" for stage in stages)
    with pytest.raises(UserError, match=r"pretrain fold 0 of run two was made otherwise: pseudo changed"):
        run_stage("finetune", first, "--run=two", "--pseudo.run=", "--fold=0", "--finetune.epochs=4")
    run_stage("pseudo", first, *TWO, "--fold=0", "--pseudo.share=0.8", "--force")
    with pytest.raises(UserError, match=r"pretrain fold 0 of run two was made otherwise: pseudo changed"):
        run_stage("pretrain", first, *TWO, "--pseudo.share=0.8", "--fold=0", "--finetune.epochs=4")
    path = folder(first, 0, ONE) / "predict.done.json"
    change_done(path, hash="0")
    with pytest.raises(UserError, match=r"pseudo fold 0 of run two was made otherwise: cross_entropy fold 0 changed"):
        run_stage("pseudo", first, *TWO, "--fold=0", "--pseudo.share=0.8")


def test_where_no_run_is_named_nothing_is_said_and_nothing_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("pseudo", root)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in root.iterdir()) == ["input"]


def test_a_run_that_cannot_give_labels_is_named(first: Path) -> None:
    result = run_command("pseudo", first, "--run=two", "--pseudo.run=nobody")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --pseudo.run: no run is called nobody: name some of those in ")
    assert result.stderr.count("\n") == 1
    with pytest.raises(UserError, match=r"--pseudo\.run '\.\./x' is not a folder name"):
        run_stage("pseudo", first, "--run=two", "--pseudo.run=../x")
    with pytest.raises(UserError, match=r"--pseudo\.run cross_entropy: a run cannot learn from itself"):
        run_stage("pseudo", first, f"--pseudo.run={ONE}")
    with pytest.raises(UserError, match=r"run `python src/pseudo\.py --root .* --run two --fold 1` first"):
        run_stage("finetune", first, *TWO, "--fold=1")

    (folder(first, 2, ONE) / "predict.done.json").rename(first / "kept.json")
    with pytest.raises(UserError, match=r"--pseudo\.run: run cross_entropy has no predictions of fold 2: `python src/"):
        run_stage("pseudo", first, *TWO, "--fold=0")
    (first / "kept.json").rename(folder(first, 2, ONE) / "predict.done.json")
    tables = first / "runs" / "tables"
    tables.mkdir()
    for name in ("oof.csv", "test.csv"):
        shutil.copy(first / "runs" / ONE / name, tables)
    with pytest.raises(UserError, match=r"--pseudo\.run tables: it has no models of its own for each fold"):
        run_stage("pseudo", first, "--run=two", "--pseudo.run=tables")
    permute_held_out_labels(first, fold=1)
    with pytest.raises(UserError, match=r"--pseudo\.run: run cross_entropy was made with other folds, rows or labels"):
        run_stage("pseudo", first, *TWO)
    assert not (first / "runs" / "two").exists()


def test_a_file_of_other_rows_is_named(first: Path) -> None:
    run_stage("pseudo", first, *TWO, "--fold=0")
    path = folder(first, 0) / "pseudo.csv"
    trained_on = read_npz(folder(first, 1, ONE) / "oof.npz")["ids"][0]
    for part in ("test", "held out"):
        path.write_text(f"part,id,label,confidence\n{part},{trained_on},red,1\n")
        accept_changes(path.parent)
        with pytest.raises(
            UserError, match=rf"pseudo\.csv: \('{part}', '{trained_on}'\) is no such row, class or column"
        ):
            FoldData(experiment_of(first), 0, torch.device("cpu"))


@pytest.mark.slow
def test_a_study_makes_the_labels_of_a_cell_before_it_trains(first: Path) -> None:
    experiment = experiment_of(first, "--finetune.epochs=2")
    assert [stage.name for stage in fold_stages(experiment.settings)] == ["pseudo", *STAGES]
    assert not experiment.finished(0)
    second_round(first, "--fold=0", "--finetune.epochs=2")
    assert experiment.finished(0)
    passes = sum(pd.read_csv(folder(first, 0) / f"{stage}.csv")["passes"].sum() for stage in ("pretrain", "finetune"))
    assert read_scores(experiment, 0).passes == passes


def test_the_doctor_times_the_second_round_before_it_has_labels(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("doctor", first, *TWO)
    assert "all 3 folds about" in capsys.readouterr().out
    assert not (first / "runs" / "two").exists()


def spoil(root: Path, run: str) -> None:
    """Let a run's models say the class after the one that they said, of training and of test rows."""
    for path in (root / "runs" / run).glob("fold*/*.npz"):
        content = read_npz(path)
        if "logits" in content:
            write_npz(path, {**content, "logits": np.roll(content["logits"], 1, axis=2)})


@pytest.mark.parametrize(("worse", "kept"), [("two", False), (ONE, True)])
def test_the_second_round_is_kept_only_where_it_raises_the_cross_fitted_score(
    first: Path, worse: str, kept: bool
) -> None:
    second_round(first, "--pretrain.epochs=0", "--finetune.epochs=4")
    for fold in range(3):  # what it learned does not matter here, only how the rounds compare
        for name in ("oof.npz", "test.npz"):
            shutil.copy(folder(first, fold, ONE) / name, folder(first, fold) / name)
    spoil(first, worse)
    accept_changes(first / "runs")
    flags = (*TWO, "--pretrain.epochs=0", "--finetune.epochs=4")
    for stage in ("tune", "ensemble"):
        run_stage(stage, first, *flags)
    decision = json.loads((first / "runs" / "two" / "decision.json").read_text())
    ladder = {rung["rung"]: rung for rung in decision["ladder"]}
    assert list(ladder) == ["argmax", "round two", "prior", "thresholds"]
    assert ladder["round two"]["chosen"] is kept
    assert decision["rule"]["weights"] == ({ONE: 0.0, "two": 1.0} if kept else {ONE: 1.0, "two": 0.0})
    assert decision["cross_fitted"] > 0.8
    solution = pd.read_csv(first / "input" / "solution.csv", dtype=str, keep_default_na=False)
    submission = pd.read_csv(first / "submissions" / "submission.csv", dtype=str, keep_default_na=False)
    assert (solution["label"] == submission["label"]).mean() > 0.8
    if not kept:
        with pytest.raises(UserError, match=f"run two decides by what {ONE} predict: bundle them"):
            run_stage("bundle", first, *flags)
