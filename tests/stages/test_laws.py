"""The design's laws, on a whole run of a small competition."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.metrics.counts import macro_f1
from tests.conftest import REPOSITORY, STAGES, TINY, change_done, run_all, run_command, run_stage, write_competition

PREDICTIONS = ("oof.npz", "test.npz", "embeddings.npz")


def run_folder(root: Path) -> Path:
    return root / "runs" / "cross_entropy"


def prediction_bytes(root: Path, fold: int) -> list[bytes]:
    return [(run_folder(root) / f"fold{fold}" / name).read_bytes() for name in PREDICTIONS]


def submission_bytes(root: Path) -> bytes:
    return (root / "submissions" / "submission.csv").read_bytes()


def permute_held_out_labels(root: Path, fold: int) -> None:
    """Permute the labels of one fold's rows in train.csv and folds.csv alike; the folds stay as they are."""
    folds = pd.read_csv(root / "folds" / "folds.csv", dtype=str, keep_default_na=False)
    rows = np.flatnonzero(folds["fold"] == str(fold))
    labels = folds["label"].to_numpy().copy()
    labels[rows] = np.random.default_rng(7).permutation(labels[rows])
    assert (labels != folds["label"].to_numpy()).sum() > 3
    folds["label"] = labels
    folds.to_csv(root / "folds" / "folds.csv", index=False)
    train = pd.read_csv(root / "input" / "train.csv", dtype=str, keep_default_na=False)
    train["label"] = folds.set_index("id").loc[train["id"], "label"].to_numpy()
    train.to_csv(root / "input" / "train.csv", index=False)


@pytest.mark.parametrize("mode", ["full", "linear"])
def test_the_labels_of_held_out_rows_change_no_byte_of_their_predictions(root: Path, mode: str) -> None:
    flags = (f"--finetune.mode={mode}", "--fold=1", *(["--finetune.contrastive_weight=0"] if mode == "linear" else []))
    run_stage("make_folds", root)
    results = []
    for attempt in ("first", "second"):
        for stage in ("pretrain", "finetune", "predict"):
            run_stage(stage, root, *flags)
        with np.load(run_folder(root) / "fold1" / "oof.npz") as content:
            assert "prototype_logits" in content  # class means are made of labels, too
        results.append(prediction_bytes(root, fold=1))
        shutil.move(run_folder(root), root / attempt)
        permute_held_out_labels(root, fold=1)
    assert results[0] == results[1]


def test_labels_of_training_rows_do_change_the_predictions(root: Path) -> None:
    run_stage("make_folds", root)
    results = []
    for attempt in ("first", "second"):
        for stage in ("pretrain", "finetune", "predict"):
            run_stage(stage, root, "--fold=1")
        results.append(prediction_bytes(root, fold=1))
        shutil.move(run_folder(root), root / attempt)
        permute_held_out_labels(root, fold=2)
    assert results[0] != results[1]


def test_with_random_labels_the_scores_are_chance(tmp_path: Path) -> None:
    write_competition(tmp_path / "input", [["x", "y"][number % 2] for number in range(160)])
    train = pd.read_csv(tmp_path / "input" / "train.csv")
    train["label"] = np.random.default_rng(0).permutation(train["label"])
    train.to_csv(tmp_path / "input" / "train.csv", index=False)
    run_all(tmp_path, "--finetune.epochs=8")
    decision = json.loads((run_folder(tmp_path) / "decision.json").read_text())
    # 160 coin tosses have a standard error of 0.04; macro-F1 of two classes lies a little below their accuracy
    assert 0.3 < decision["cross_fitted"] < 0.62
    assert 0.3 < decision["raw"] < 0.62


def test_a_learnable_competition_is_learned(finished: Path) -> None:
    scores = json.loads((run_folder(finished) / "scores.json").read_text())
    assert scores["private"]["ensemble"]["score"] > 0.8


def test_every_row_is_predicted_once_by_the_model_that_never_saw_it(finished: Path) -> None:
    folds = pd.read_csv(finished / "folds" / "folds.csv", dtype=str)
    for fold in range(3):
        with np.load(run_folder(finished) / f"fold{fold}" / "oof.npz") as content:
            assert set(content["ids"]) == set(folds["id"][folds["fold"] == str(fold)])
            for name in ("logits", "prototype_logits"):
                assert content[name].dtype == np.float32
                assert content[name].shape == (len(content["ids"]), 2, 3)
            assert list(content["classes"]) == ["001", "NA", "red"]
            assert content["views"][0] == "plain"


def test_stored_logits_are_natural_log_odds(finished: Path) -> None:
    """A model that has learned nothing but the prior would show the prior: on average the probabilities do."""
    table = pd.read_csv(run_folder(finished) / "oof.csv", keep_default_na=False)
    assert table[["001", "NA", "red"]].mean().to_numpy() == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.12)


def test_the_csv_forms_hold_every_row_and_sum_to_one(finished: Path) -> None:
    for name, rows in (("oof.csv", 60), ("test.csv", 12)):
        table = pd.read_csv(run_folder(finished) / name, keep_default_na=False)
        assert list(table.columns) == ["id", "001", "NA", "red"]
        assert len(table) == rows
        np.testing.assert_allclose(table.iloc[:, 1:].sum(axis=1), 1, atol=1e-6)


def test_the_decisions_score_is_the_score_of_its_labels(finished: Path) -> None:
    decision = json.loads((run_folder(finished) / "decision.json").read_text())
    folds = pd.read_csv(finished / "folds" / "folds.csv", dtype=str, keep_default_na=False).set_index("id")["label"]
    names = sorted(set(folds))
    given = pd.read_csv(run_folder(finished) / "cross_fitted.csv", dtype=str, keep_default_na=False)
    labels = given.set_index("id")["label"].loc[folds.index]
    true, predicted = (np.array([names.index(label) for label in part]) for part in (folds, labels))
    assert macro_f1(true, predicted, 3) == pytest.approx(decision["cross_fitted"])


def test_a_second_call_does_nothing_but_say_so(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(finished.rglob("*")) if path.is_file()}
    run_all(finished)
    output = capsys.readouterr().out
    assert output.count("done already") == 1 + 3 * 3 + 2
    after = {path: path.stat().st_mtime_ns for path in sorted(finished.rglob("*")) if path.is_file()}
    assert after == before


def test_a_finished_stage_is_skipped_without_importing_torch(finished: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'src'); import finetune;"
        f"finetune.main({['--root', str(finished), '--config', 'configs/cross_entropy.yaml', *TINY]!r});"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "done already" in result.stdout


def test_other_settings_stop_with_their_names_and_change_nothing(finished: Path) -> None:
    before = prediction_bytes(finished, 0)
    with pytest.raises(UserError, match=r"finetune fold 0 .*finetune\.lr 0\.002 -> 0\.5.*--run.*--force"):
        run_stage("finetune", finished, "--finetune.lr=0.5")
    cure = (
        r"redo it by `python src/pretrain\.py .*--fold 0 --force` and the settings of this call, or use another --run"
    )
    with pytest.raises(UserError, match=rf"pretrain fold 0 .*contrast\.temperature 0\.1 -> 0\.2; {cure}"):
        run_stage("finetune", finished, "--contrast.temperature=0.2")
    with pytest.raises(UserError, match=r"finetune fold 0 .*made otherwise: .*data\.test_size 0 -> 32"):
        run_stage("finetune", finished, "--finetune.head=fitted", "--data.test_size=32")
    assert prediction_bytes(finished, 0) == before


def test_a_setting_that_stopped_a_stage_before_its_first_epoch_can_be_corrected(root: Path) -> None:
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"timm has no such optimizer, but adamw"):
        run_stage("pretrain", root, "--fold=0", "--train.optimizer=admw")
    run_stage("pretrain", root, "--fold=0", "--train.optimizer=adamw")
    assert (run_folder(root) / "fold0" / "pretrain.done.json").exists()


def test_later_calls_start_from_the_runs_own_settings(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import finetune

    finetune.main(["--root", str(finished), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), "--fold", "1"])
    assert capsys.readouterr().out == "finetune fold 1: done already\n"


def test_force_redoes_a_stage_and_keeps_the_old_files(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", "--track=tensorboard")
    old = (run_folder(root) / "fold0" / "encoder.safetensors").read_bytes()
    run_stage("pretrain", root, "--fold=0", "--force", "--contrast.temperature=0.5")
    kept = list((run_folder(root) / "old").glob("pretrain-fold-0-*/encoder.safetensors"))
    assert [path.read_bytes() for path in kept] == [old]
    assert (kept[0].parent / "pretrain.csv").exists()
    assert list(kept[0].parent.glob("tensorboard/pretrain/events*"))
    assert (run_folder(root) / "fold0" / "encoder.safetensors").read_bytes() != old
    with pytest.raises(UserError, match="made otherwise"):
        run_stage("pretrain", root, "--fold=0", "--contrast.temperature=0.1")


def test_a_submission_that_another_run_replaced_is_put_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_all(root)
    newest = root / "submissions" / "submission.csv"
    content = newest.read_bytes()
    newest.write_bytes(b"another run's")
    run_stage("ensemble", root)
    assert newest.read_bytes() == content
    assert "submission.csv is cross_entropy-" in capsys.readouterr().out
    for path in (root / "submissions").glob("*.csv"):
        path.unlink()
    run_stage("ensemble", root)
    assert newest.read_bytes() == content


def test_what_is_done_anew_upstream_is_noticed_downstream(root: Path) -> None:
    run_stage("make_folds", root)
    for stage in ("pretrain", "finetune"):
        run_stage(stage, root, "--fold=0")
    path = run_folder(root) / "fold0" / "pretrain.done.json"
    change_done(path, hash="0")  # other weights under the same settings
    with pytest.raises(UserError, match="finetune fold 0 .* pretrain changed"):
        run_stage("finetune", root, "--fold=0")


def test_another_run_with_workers_and_without_the_solution_gives_the_same_submission(
    root: Path, finished: Path
) -> None:
    os.remove(root / "input" / "solution.csv")
    run_all(root, "--machine.workers=2")
    assert json.loads((run_folder(root) / "scores.json").read_text())["private"] is None  # all that it is for
    assert submission_bytes(root) == submission_bytes(finished)
    for fold in range(3):
        assert prediction_bytes(root, fold) == prediction_bytes(finished, fold)


@pytest.mark.parametrize("killed", [STAGES[2:3], pytest.param(STAGES[1:], marks=pytest.mark.slow)], ids=["one", "five"])
def test_kills_do_not_change_the_submission(root: Path, finished: Path, killed: Sequence[str]) -> None:
    draw = random.Random(0)
    kills = 0
    for script in STAGES:
        if script not in killed:
            run_stage(script, root)
            continue
        command = [sys.executable, str(REPOSITORY / f"src/{script}.py"), "--root", str(root)]
        command += ["--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_work(root, script, process, draw.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        result = run_command(script, root)
        assert result.returncode == 0, result.stderr
    assert kills >= (len(killed) + 1) // 2  # a quick stage may have ended first
    assert submission_bytes(root) == submission_bytes(finished)
    assert len(pd.read_csv(root / "submissions" / "ledger.csv")) == 1


def wait_for_work(root: Path, script: str, process: "subprocess.Popen[bytes]", longer: float) -> None:
    """Wait until a stage has begun to write (training: its first epochs), then a moment longer."""
    for _ in range(600):
        begun = list(run_folder(root).rglob(f"{script}.started.json"))
        trained = list(run_folder(root).rglob(f"{script}.checkpoint.pt")) or script not in ("pretrain", "finetune")
        if (begun and trained) or process.poll() is not None:
            break
        time.sleep(0.02)
    time.sleep(longer)


def test_nothing_is_written_into_input(finished: Path) -> None:
    assert {path.name for path in (finished / "input").iterdir()} == {
        "train", "test", "train.csv", "sample_submission.csv", "solution.csv",
    }  # fmt: skip
