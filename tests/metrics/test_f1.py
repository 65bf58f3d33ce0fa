"""Macro-F1 against scikit-learn, and its bootstrap against resampled rows."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from supcon.metrics import counts
from supcon.metrics.counts import macro_f1, paired_bootstrap


@pytest.mark.parametrize("rows", [20, 200])  # fewer and more than cells of the confusion matrix
@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_scikit_learns_with_the_class_list_fixed(seed: int, rows: int) -> None:
    draw = np.random.default_rng(seed)
    true, predicted = draw.integers(0, 6, rows), draw.integers(0, 5, rows)
    expected = f1_score(true, predicted, labels=range(8), average="macro", zero_division=0)
    assert macro_f1(true, predicted, 8) == pytest.approx(expected)


def test_the_bootstrap_has_the_spread_of_resampled_rows() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 4, 300)
    predicted = np.where(draw.random(300) < 0.8, true, draw.integers(0, 4, 300))
    rows = draw.integers(0, 300, (2000, 300))
    by_rows = np.array([macro_f1(true[sample], predicted[sample], 4) for sample in rows])
    by_cells = paired_bootstrap(true, [predicted], 4, 2000, seed=1)[0]
    assert by_cells.mean() == pytest.approx(by_rows.mean(), abs=0.003)
    assert by_cells.std() == pytest.approx(by_rows.std(), rel=0.1)


def test_paired_samples_are_the_same_samples() -> None:
    draw = np.random.default_rng(2)
    true = draw.integers(0, 3, 100)
    first, second = paired_bootstrap(true, [true, true], 3, 50, seed=0)
    assert (first == second).all()
    assert (first == 1).all()


def test_samples_of_groups_spread_as_resampled_groups_do() -> None:
    draw = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 5)
    true = np.repeat(draw.integers(0, 3, 40), 5)
    predicted = np.where(np.repeat(draw.random(40) < 0.3, 5), (true + 1) % 3, true)  # a group is right or wrong as one
    (by_group,) = paired_bootstrap(true, [predicted], 3, 2000, seed=0, groups=groups)
    picks = draw.integers(0, 40, (2000, 40))
    expected = [macro_f1(np.repeat(true[::5][p], 5), np.repeat(predicted[::5][p], 5), 3) for p in picks]
    assert by_group.std() == pytest.approx(np.std(expected), rel=0.1)
    assert by_group.std() > 1.5 * paired_bootstrap(true, [predicted], 3, 2000, seed=0)[0].std()


@pytest.mark.parametrize("grouped", [False, True])
def test_samples_of_rows_dealt_into_few_groups_scatter_as_those_of_all(
    monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 20, 6000)
    first, second = (np.where(draw.random(6000) < share, true, draw.integers(0, 20, 6000)) for share in (0.7, 0.72))
    groups = draw.integers(0, 2500, 6000) if grouped else None
    whole = paired_bootstrap(true, [first, second], 20, 800, 0, groups)
    monkeypatch.setattr(counts, "LARGEST_COUNTS", 20 * 300)
    dealt = paired_bootstrap(true, [first, second], 20, 800, 0, groups)
    for ours, theirs in ((dealt[0], whole[0]), (dealt[1] - dealt[0], whole[1] - whole[0])):
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.002)
        assert ours.std() == pytest.approx(theirs.std(), rel=0.2)
