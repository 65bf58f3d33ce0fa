"""Rows are split into folds in time linear in rows: as scikit-learn splits them, or as evenly."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

import supcon.competition.folds
from supcon.competition.folds import make_folds, stratify_groups, stratify_rows
from supcon.settings.settings import DataSettings
from tests.competition.test_folds import rows

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("folds", [2, 5])
def test_rows_without_groups_are_split_as_scikit_learn_splits_them(folds: int, seed: int) -> None:
    labels = np.concatenate([np.arange(20), DRAW.choice(20, 500, p=np.arange(1, 21) / 210), np.arange(20).repeat(5)])
    expected = np.empty(len(labels), int)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for number, (_, held_out) in enumerate(splits):
        expected[held_out] = number
    np.testing.assert_array_equal(stratify_rows(labels, folds, seed), expected)


def test_groups_stay_whole_and_every_class_is_as_even_as_its_groups_let_it() -> None:
    groups = np.unique(DRAW.integers(0, 3000, 4000), return_inverse=True)[1]  # some alone, most in groups of few
    labels = np.concatenate([np.arange(40).repeat(20), DRAW.choice(40, 3200, p=np.arange(1, 41) / 820)])
    fold = stratify_groups(labels, groups, 5, seed=0)
    assert all(len(set(fold[groups == group])) == 1 for group in range(groups.max() + 1))
    counts = np.stack([np.bincount(labels[fold == number], minlength=40) for number in range(5)])
    assert (np.ptp(counts, axis=0) <= 2).all()
    assert np.ptp(counts.sum(axis=1)) < 40
    np.testing.assert_array_equal(stratify_groups(labels, groups, 5, seed=0), fold)
    assert (stratify_groups(labels, groups, 5, seed=1) != fold).any()


def test_a_large_split_with_copies_is_made_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supcon.competition.folds, "LARGEST_SLOW", 100)
    labels = np.arange(300) % 12
    copies = np.array([[0, 12], [24, 36], [1, 13]])
    table = make_folds(rows([str(label) for label in labels]), copies, np.zeros(0, int), DataSettings())
    fold = table["fold"].to_numpy()
    np.testing.assert_array_equal(fold[copies[:, 0]], fold[copies[:, 1]])
    counts = np.stack([np.bincount(labels[fold == number], minlength=12) for number in range(5)])
    assert (counts == 5).all()
