"""Prediction by the class means, beside the head's."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from supcon.decision.merge import log_softmax, merge_views
from supcon.errors import UserError
from supcon.metrics.counts import macro_f1
from supcon.run.experiment import load_experiment
from supcon.run.runs import read_out_of_fold
from supcon.settings import parse
from supcon.storage.files import read_npz
from tests.conftest import REPOSITORY, TINY, run_stage

PART = "runs/cross_entropy/fold1"


@pytest.fixture
def trained(root: Path) -> Path:
    """A root whose fold 1 is trained, and whose first test image is a held-out row of that fold."""
    run_stage("make_folds", root)
    folds = pd.read_csv(root / "folds" / "folds.csv", dtype=str)
    twin = folds["id"][folds["fold"] == "1"].iloc[0]
    shutil.copy(root / "input" / "train" / f"{twin}.png", root / "input" / "test" / "b000.png")
    for stage in ("pretrain", "finetune"):
        run_stage(stage, root, "--fold=1")
    return root


def test_test_rows_are_predicted_as_out_of_fold_rows_are(trained: Path) -> None:
    run_stage("predict", trained, "--fold=1")
    oof, test = (read_npz(trained / PART / name) for name in ("oof.npz", "test.npz"))
    assert test["ids"][0] == "b000"  # the image of the first out-of-fold row
    for name in ("logits", "prototype_logits"):
        assert oof[name].dtype == test[name].dtype == np.float32
        # in another batch, so but for rounding: test_fused_batch_norm.py measures some 40 roundings, which are 2e-6
        np.testing.assert_allclose(test[name][0], oof[name][0], rtol=1e-4, atol=1e-4)
        assert np.abs(oof[name] - oof[name][:1]).max() > 0.01  # other rows are predicted otherwise


def test_the_class_means_are_an_option_that_leaves_the_heads_logits_alone(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run_stage("predict", trained, "--fold=1")
    both, said = read_npz(trained / PART / "oof.npz"), capsys.readouterr().out
    score = json.loads((trained / PART / "predict.done.json").read_text())["prototypes"]
    assert f"class means {score:.4f})" in said
    run_stage("predict", trained, "--fold=1", "--force", "--predict.class_means=false")
    alone, said = read_npz(trained / PART / "oof.npz"), capsys.readouterr().out
    assert "class means" not in said
    assert both.keys() - alone.keys() == {"prototype_logits"}
    assert all(np.array_equal(both[name], content) for name, content in alone.items())


def test_neighbours_are_an_option_that_leaves_the_other_logits_alone(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("predict", trained, "--fold=1", "--force")
    without = read_npz(trained / PART / "oof.npz")
    capsys.readouterr()
    run_stage("predict", trained, "--fold=1", "--force", "--predict.neighbours=5")
    beside, said = read_npz(trained / PART / "oof.npz"), capsys.readouterr().out
    assert re.search(r"head [01]\.\d{4}, class means [01]\.\d{4}, neighbours [01]\.\d{4}\)", said)
    assert beside.keys() - without.keys() == {"neighbour_logits"}
    assert np.array_equal(beside["logits"], without["logits"])
    log_odds = beside["neighbour_logits"]
    assert log_odds.shape == beside["logits"].shape
    assert log_odds.max() <= np.log(5 + 1) + 1e-5  # no more votes than neighbours, and the prior's one


def test_members_need_what_they_are_made_of(trained: Path) -> None:
    for flags, line in {
        ("--tune.members=[neighbours]",): "set --predict.neighbours",
        ("--predict.class_means=false", "--tune.members=[class_means]"): "set --predict.class_means true",
        ("--tune.members=[class_means, class_means]",): "names one twice",
    }.items():
        with pytest.raises(UserError, match=line):
            run_stage("tune", trained, *flags)


def test_the_temperature_spreads_the_class_means_log_odds_around_the_prior(trained: Path) -> None:
    logits = []
    for temperature in ("0.1", "0.2"):
        run_stage("predict", trained, "--fold=1", "--force", f"--predict.class_mean_temperature={temperature}")
        logits.append(read_npz(trained / PART / "oof.npz")["prototype_logits"])
    prior = np.log([1 / 6, 1 / 3, 1 / 2])  # of the training rows: 20 of 30, and so on
    np.testing.assert_allclose((logits[0] - prior), 2 * (logits[1] - prior), atol=0.05 * np.abs(logits[0]).max())


def test_the_weight_blends_head_and_class_means_for_every_reader_and_the_files_keep_them_apart(trained: Path) -> None:
    run_stage("predict", trained, "--fold=1")
    apart = read_npz(trained / PART / "oof.npz")
    run_stage("predict", trained, "--fold=1", "--force", "--predict.class_mean_weight=0.3")
    content = read_npz(trained / PART / "oof.npz")
    assert all(np.array_equal(apart[name], content[name]) for name in apart)
    argv = ["--root", str(trained), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY]
    experiment = load_experiment(parse("", [*argv, "--predict.class_mean_weight=0.3"]))
    blended = merge_views(np.asarray(read_out_of_fold(experiment, [1])), 1.0)
    head, means = (merge_views(content[name], 1.0) for name in ("logits", "prototype_logits"))
    np.testing.assert_allclose(blended, log_softmax(0.7 * head + 0.3 * means), atol=1e-5)
    labels = experiment.split.labels[experiment.split.fold == 1]
    score = json.loads((trained / PART / "predict.done.json").read_text())["raw"]
    assert score == macro_f1(labels, blended.argmax(axis=1), 3)
