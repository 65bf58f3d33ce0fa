"""Studies of small data: a few training rows of each class."""

from pathlib import Path

import numpy as np
import torch

from supcon.run.experiment import load_experiment
from supcon.settings import parse
from supcon.training.fold import FoldData
from tests.conftest import REPOSITORY, TINY, run_stage


def fold_data(root: Path, *flags: str) -> FoldData:
    argv = ["--root", str(root), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY, *flags]
    return FoldData(load_experiment(parse("", argv, per_fold=True)), 1, torch.device("cpu"))


def test_shots_keep_so_many_training_rows_of_each_class_and_the_seed_says_which(root: Path) -> None:
    run_stage("make_folds", root)
    everything, few = fold_data(root), fold_data(root, "--data.shots=8")
    kept = np.minimum(np.bincount(everything.train_labels), 8)
    assert np.bincount(few.train_labels).tolist() == kept.tolist()
    assert min(kept) < 8  # a class smaller than that keeps all
    assert set(few.train_rows) < set(everything.train_rows)
    assert set(few.train_rows) == set(fold_data(root, "--data.shots=8").train_rows)
    assert set(few.train_rows) != set(fold_data(root, "--data.shots=8", "--train.seed=1").train_rows)
