"""A second round on pseudo-labels: fold k learns what the first round's fold k says, and no label of its own rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from supcon.artifacts.files import read_csv, read_npz, write_npz
from supcon.config import FULL, parse
from supcon.decision.merge import merge_views
from supcon.engine.fold import FoldData
from supcon.errors import UserError
from supcon.experiment import Experiment, load_experiment
from supcon.predictions import TRAINING, read_embeddings
from supcon.study.cells import finished as finished_cell
from supcon.study.cells import read_scores, stages_of
from tests.conftest import REPOSITORY, TINY, run_command, run_stage
from tests.stages.test_laws import permute_held_out_labels

ONE = "cross_entropy"
TWO = ("--run=two", f"--pseudo.run={ONE}", "--pseudo.min_confidence=0")
STAGES = ("pretrain", "finetune", "predict")
MADE = ("pseudo.csv", "oof.npz", "test.npz")


@pytest.fixture
def first(finished: Path, tmp_path: Path) -> Path:
    """A root whose first round is finished, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


def second_round(root: Path, *flags: str) -> None:
    for stage in ("pseudo", *STAGES):
        run_stage(stage, root, *TWO, *flags)


def folder(root: Path, fold: int, run: str = "two") -> Path:
    return root / "runs" / run / f"fold{fold}"


def made(root: Path, fold: int) -> list[bytes]:
    return [(folder(root, fold) / name).read_bytes() for name in MADE]


def experiment_of(root: Path, *flags: str) -> Experiment:
    config = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
    return load_experiment(parse("", ["--root", str(root), *config, *TINY, *TWO, *flags], per_fold=True))


def let_round_one_stand(root: Path) -> None:
    """Let the first round's files count as made with the present labels, as they would be by another fold's reading."""
    digest = experiment_of(root).split.digest
    for path in (root / "runs" / ONE).rglob("*.done.json"):
        content = json.loads(path.read_text())
        content["fingerprint"]["input folds/folds.csv"] = digest
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("batches", ["natural", pytest.param("pk", marks=pytest.mark.slow)])
def test_the_labels_of_held_out_rows_change_no_byte_of_the_second_round(first: Path, batches: str) -> None:
    results = []
    for attempt in ("first", "second"):
        second_round(first, "--fold=1", f"--finetune.batches={batches}", "--pretrain.epochs=1", "--finetune.epochs=4")
        results.append(made(first, fold=1))
        shutil.move(first / "runs" / "two", first / attempt)
        permute_held_out_labels(first, fold=1)
        let_round_one_stand(first)
    assert len(read_csv(first / "second" / "fold1" / "pseudo.csv")) >= 3
    assert results[0] == results[1]


def noisy(path: Path) -> None:
    """Change every logit of a prediction file."""
    content = read_npz(path)
    noise = np.random.default_rng(5).normal(0, 3, content["logits"].shape).astype(np.float32)
    write_npz(path, {**content, "logits": content["logits"] + noise})


def test_a_folds_labels_follow_from_its_own_models_test_rows_and_no_other_folds(first: Path) -> None:
    run_stage("pseudo", first, *TWO, "--fold=1")
    before = (folder(first, 1) / "pseudo.csv").read_bytes()

    def test_part(content: bytes) -> bytes:
        return content[: content.index(b"held out")]

    def labels_with_noise_in(fold: int, name: str) -> bytes:
        path = folder(first, fold, ONE) / name
        shutil.copy(path, first / "kept.npz")
        noisy(path)
        run_stage("pseudo", first, *TWO, "--fold=1", "--force")
        shutil.copy(first / "kept.npz", path)
        return (folder(first, 1) / "pseudo.csv").read_bytes()

    assert labels_with_noise_in(0, "test.npz") == before
    assert labels_with_noise_in(2, "test.npz") == before
    assert labels_with_noise_in(1, "oof.npz").startswith(test_part(before))  # held-out rows do not set the temperature
    assert labels_with_noise_in(2, "oof.npz") != before
    assert labels_with_noise_in(1, "test.npz") != before


def test_the_file_holds_the_same_share_of_each_predicted_class(first: Path) -> None:
    run_stage("pseudo", first, *TWO, "--pseudo.share=0.6")
    for fold in range(3):
        both = read_csv(folder(first, fold) / "pseudo.csv")
        done = json.loads((folder(first, fold) / "pseudo.done.json").read_text())
        assert dict(both["label"].value_counts()) == done["classes"]
        for part, file in (("test", "test.npz"), ("held out", "oof.npz")):
            table, own = both[both["part"] == part], read_npz(folder(first, fold, ONE) / file)
            log_probabilities = merge_views(own["logits"], done["temperature"])
            said = pd.Series(own["classes"][log_probabilities.argmax(axis=1)], index=own["ids"])
            assert (said[table["id"]].to_numpy() == table["label"].to_numpy()).all()
            expected = {str(name): int(np.ceil(0.6 * count)) for name, count in said.value_counts().items()}
            assert dict(table["label"].value_counts()) == expected
            probability = pd.Series(np.exp(log_probabilities.max(axis=1)), index=own["ids"])
            np.testing.assert_allclose(table["confidence"].astype(float), probability[table["id"]], atol=1e-6)


def test_both_stages_learn_them_as_training_rows_and_the_natural_prior_does_not_count_them(first: Path) -> None:
    second_round(first, "--fold=1", "--pseudo.share=0.5", "--finetune.epochs=4")
    table = read_csv(folder(first, 1) / "pseudo.csv")
    for stage, batch in (("pretrain", 12), ("finetune", 24)):
        passes = pd.read_csv(folder(first, 1) / f"{stage}.csv")["passes"]
        assert (passes == -(-(40 + len(table)) // batch) * batch).all()

    experiment = experiment_of(first, "--pseudo.share=0.5", "--finetune.epochs=4")
    data = FoldData(experiment, 1, torch.device("cpu"))
    plain = FoldData(experiment_of(first, "--pseudo.run="), 1, torch.device("cpu"))
    ids = [*experiment.split.ids, *experiment.competition.test["id"]]
    assert data.train_rows[:40].tolist() == plain.train_rows.tolist()
    assert [ids[row] for row in data.train_rows[40:]] == table["id"].to_list()
    assert [experiment.split.classes[label] for label in data.train_labels[40:]] == table["label"].to_list()
    assert torch.equal(data.natural_prior, plain.natural_prior)
    shown = np.bincount(data.train_labels) / len(data.train_labels)
    np.testing.assert_allclose(data.sampling_prior, shown, rtol=1e-6)
    # logit_adjustment 1: what the head says is free of the batches' prior, and the natural one is all that is added
    torch.testing.assert_close(data.log_odds_shift, data.natural_prior.log())
    kept = read_embeddings(folder(first, 1)).of(TRAINING)
    assert kept.ids.tolist() == [ids[row] for row in plain.train_rows]  # the others are test rows here too
    few = FoldData(experiment_of(first, "--data.shots=2"), 1, torch.device("cpu"))
    assert len(few.train_rows) == 3 * 2 + len(table)


@pytest.mark.slow
def test_the_second_round_is_repeatable_and_its_labels_matter(first: Path) -> None:
    results = []
    for flags in ((), (), ("--pseudo.share=1",)):
        second_round(first, "--fold=2", "--finetune.epochs=4", *flags)
        results.append(made(first, fold=2))
        shutil.rmtree(first / "runs" / "two")
    assert results[0] == results[1]
    assert all(one != other for one, other in zip(results[0], results[2], strict=True))


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
    path.write_text(path.read_text().replace('"hash": "', '"hash": "0'))
    with pytest.raises(UserError, match=r"pseudo fold 0 of run two was made otherwise: cross_entropy fold 0 changed"):
        run_stage("pseudo", first, *TWO, "--fold=0", "--pseudo.share=0.8")


def test_unreadable_test_images_get_no_label(first: Path) -> None:
    (first / "input" / "test" / "b004.png").write_bytes(b"")
    shutil.rmtree(first / "runs")
    flags = ("--data.bad_images=skip", "--pretrain.epochs=0", "--finetune.epochs=1")
    for stage in ("finetune", "predict"):
        run_stage(stage, first, *flags)
    run_stage("pseudo", first, *TWO, *flags, "--fold=0", "--pseudo.share=1")
    table = read_csv(folder(first, 0) / "pseudo.csv")
    ids = set(table["id"][table["part"] == "test"])
    assert ids == {f"b{number:03d}" for number in range(12)} - {"b004"}


@pytest.mark.slow
def test_the_full_model_learns_what_the_first_rounds_full_model_says(first: Path) -> None:
    with pytest.raises(UserError, match=r"run cross_entropy has no predictions of a full model: .*--fold full"):
        run_stage("pseudo", first, *TWO, "--fold=full")
    for stage in STAGES:
        run_stage(stage, first, "--fold=full")
    second_round(first, "--fold=full", "--finetune.epochs=2")
    table = read_csv(first / "runs" / "two" / "full" / "pseudo.csv")
    assert len(table) == 6
    data = FoldData(experiment_of(first, "--finetune.epochs=2"), FULL, torch.device("cpu"))
    assert len(data.train_rows) == 60 + 6


def test_a_row_with_a_label_is_no_unlabelled_one_too(first: Path) -> None:
    run_stage("pseudo", first, *TWO, "--fold=0")
    run_stage("pretrain", first, *TWO, "--fold=0", "--pretrain.epochs=1", "--pretrain.use_test=true")
    passes = pd.read_csv(folder(first, 0) / "pretrain.csv")["passes"]
    labelled = 40 + len(read_csv(folder(first, 0) / "pseudo.csv"))
    assert passes.to_list() == [-(-labelled // 12) * 12 + 6]  # batches of 12; 6 of the 12 test rows beside them


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
        with pytest.raises(
            UserError, match=rf"pseudo\.csv: \('{part}', '{trained_on}'\) is no such row, class or column"
        ):
            FoldData(experiment_of(first), 0, torch.device("cpu"))


@pytest.mark.slow
def test_a_study_makes_the_labels_of_a_cell_before_it_trains(first: Path) -> None:
    experiment = experiment_of(first, "--finetune.epochs=2")
    assert stages_of(experiment.call.settings) == ("pseudo", *STAGES)
    assert not finished_cell(experiment, 0)
    second_round(first, "--fold=0", "--finetune.epochs=2")
    assert finished_cell(experiment, 0)
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
