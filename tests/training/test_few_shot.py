"""Studies of small data: a few training rows of each class."""

from pathlib import Path

import numpy as np
import torch

from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import parse
from supcon.training.fold import FoldData
from tests.conftest import REPOSITORY, TINY, run_stage


def experiment_of(root: Path, *flags: str) -> Experiment:
    argv = ["--root", str(root), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY, *flags]
    return load_experiment(parse("", argv, per_fold=True))


def fold_data(root: Path, *flags: str) -> FoldData:
    return FoldData(experiment_of(root, *flags), 1, torch.device("cpu"))


def test_shots_keep_so_many_training_rows_of_each_class_and_the_seed_says_which(root: Path) -> None:
    run_stage("make_folds", root)
    everything, few = fold_data(root), fold_data(root, "--data.shots=8")
    kept = np.minimum(np.bincount(everything.train_labels), 8)
    assert np.bincount(few.train_labels).tolist() == kept.tolist()
    assert min(kept) < 8  # a class smaller than that keeps all
    assert set(few.train_rows) < set(everything.train_rows)
    assert set(few.train_rows) == set(fold_data(root, "--data.shots=8").train_rows)
    assert set(few.train_rows) != set(fold_data(root, "--data.shots=8", "--train.seed=1").train_rows)


def test_a_stage_says_how_many_rows_it_trains_on_and_of_how_many(root: Path) -> None:
    run_stage("make_folds", root)
    assert experiment_of(root).task(1, 2).startswith("40 training rows of 3 classes, 2 epochs of test_resnet at 16")
    few = experiment_of(root, "--data.shots=8")
    rows = len(fold_data(root, "--data.shots=8").train_rows)
    assert rows == 8 + 8 + 6 or rows == 8 + 8 + 7  # of the smallest class a third is held out
    said = f"{rows} training rows (of 40: data.shots keeps 8 a class at most) of 3 classes, 1 epoch of "
    assert few.task(1, 1).startswith(said)
