"""A second round on pseudo-labels: fold k learns what the first round's fold k says, and no label of its own rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from supcon.decision.merge import merge_views
from supcon.errors import UserError
from supcon.run.predictions import TRAINING, read_embeddings
from supcon.settings import FULL
from supcon.storage.files import read_npz, write_npz
from supcon.storage.tables import read_table
from supcon.training.fold import FoldData
from tests.conftest import accept_changes, change_done, run_stage
from tests.stages.rounds import ONE, STAGES, TWO, experiment_of, folder, made, second_round
from tests.stages.test_laws import permute_held_out_labels


def let_round_one_stand(root: Path) -> None:
    """Let the first round's files count as made with the present labels, as they would be by another fold's reading."""
    digest = experiment_of(root).split.digest
    for path in (root / "runs" / ONE).rglob("*.done.json"):
        fingerprint = json.loads(path.read_text())["fingerprint"]
        change_done(path, fingerprint={**fingerprint, "input folds/folds.csv": digest})


@pytest.mark.parametrize("batches", ["natural", pytest.param("pk", marks=pytest.mark.slow)])
def test_the_labels_of_held_out_rows_change_no_byte_of_the_second_round(first: Path, batches: str) -> None:
    results = []
    for attempt in ("first", "second"):
        second_round(first, "--fold=1", f"--finetune.batches={batches}", "--pretrain.epochs=1", "--finetune.epochs=4")
        results.append(made(first, fold=1))
        shutil.move(first / "runs" / "two", first / attempt)
        permute_held_out_labels(first, fold=1)
        let_round_one_stand(first)
    assert len(read_table(first / "second" / "fold1" / "pseudo.csv")) >= 3
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
        accept_changes(path.parent)
        run_stage("pseudo", first, *TWO, "--fold=1", "--force")
        shutil.copy(first / "kept.npz", path)
        accept_changes(path.parent)
        return (folder(first, 1) / "pseudo.csv").read_bytes()

    assert labels_with_noise_in(0, "test.npz") == before
    assert labels_with_noise_in(2, "test.npz") == before
    assert labels_with_noise_in(1, "oof.npz").startswith(test_part(before))  # held-out rows do not set the temperature
    assert labels_with_noise_in(2, "oof.npz") != before
    assert labels_with_noise_in(1, "test.npz") != before


def test_the_file_holds_the_same_share_of_each_predicted_class(first: Path) -> None:
    run_stage("pseudo", first, *TWO, "--pseudo.share=0.6")
    for fold in range(3):
        both = read_table(folder(first, fold) / "pseudo.csv")
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
    table = read_table(folder(first, 1) / "pseudo.csv")
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
    np.testing.assert_allclose(data.batch_prior("finetune"), shown, rtol=1e-6)
    # logit_adjustment 1: what the head says is free of the batches' prior, and the natural one is all that is added
    torch.testing.assert_close(data.log_odds_shift, data.natural_prior.log())
    kept = read_embeddings(folder(first, 1)).of(TRAINING)
    assert kept.ids.tolist() == [ids[row] for row in plain.train_rows]  # the others are test rows here too
    shots = experiment_of(first, "--data.shots=2")
    few = FoldData(shots, 1, torch.device("cpu"))
    assert len(few.train_rows) == 3 * 2 + len(table)
    pseudo = f"and {len(table)} with a pseudo-label of 3 classes, 4 epochs"
    assert experiment.task(1, 4).startswith(f"40 training rows {pseudo}")
    assert shots.task(1, 4).startswith(f"6 training rows (of 40: data.shots keeps 2 a class at most) {pseudo}")


@pytest.mark.slow
def test_the_second_round_is_repeatable_and_its_labels_matter(first: Path) -> None:
    results = []
    for flags in ((), (), ("--pseudo.share=1",)):
        second_round(first, "--fold=2", "--finetune.epochs=4", *flags)
        results.append(made(first, fold=2))
        shutil.rmtree(first / "runs" / "two")
    assert results[0] == results[1]
    assert all(one != other for one, other in zip(results[0], results[2], strict=True))


def test_unreadable_test_images_get_no_label(first: Path) -> None:
    (first / "input" / "test" / "b004.png").write_bytes(b"")
    shutil.rmtree(first / "runs")
    flags = ("--data.bad_images=skip", "--pretrain.epochs=0", "--finetune.epochs=1")
    for stage in ("finetune", "predict"):
        run_stage(stage, first, *flags)
    run_stage("pseudo", first, *TWO, *flags, "--fold=0", "--pseudo.share=1")
    table = read_table(folder(first, 0) / "pseudo.csv")
    ids = set(table["id"][table["part"] == "test"])
    assert ids == {f"b{number:03d}" for number in range(12)} - {"b004"}


@pytest.mark.slow
def test_the_full_model_learns_what_the_first_rounds_full_model_says(first: Path) -> None:
    with pytest.raises(UserError, match=r"run cross_entropy has no predictions of a full model: .*--fold full"):
        run_stage("pseudo", first, *TWO, "--fold=full")
    for stage in STAGES:
        run_stage(stage, first, "--fold=full")
    second_round(first, "--fold=full", "--finetune.epochs=2")
    table = read_table(first / "runs" / "two" / "full" / "pseudo.csv")
    assert len(table) == 6
    data = FoldData(experiment_of(first, "--finetune.epochs=2"), FULL, torch.device("cpu"))
    assert len(data.train_rows) == 60 + 6


def test_a_row_with_a_label_is_no_unlabelled_one_too(first: Path) -> None:
    run_stage("pseudo", first, *TWO, "--fold=0")
    run_stage("pretrain", first, *TWO, "--fold=0", "--pretrain.epochs=1", "--pretrain.use_test=true")
    passes = pd.read_csv(folder(first, 0) / "pretrain.csv")["passes"]
    labelled = 40 + len(read_table(folder(first, 0) / "pseudo.csv"))
    assert passes.to_list() == [-(-labelled // 12) * 12 + 6]  # batches of 12; 6 of the 12 test rows beside them
