"""Paired differences of cross-fitted labels."""

import numpy as np
import pandas as pd
import pytest

from supcon.metrics.counts import macro_f1
from supcon.metrics.metric import make_metric
from supcon.metrics.of_probabilities import LogLoss
from supcon.run.split import Split
from supcon.study.compare import compare_whole_runs

MACRO_F1 = make_metric("macro_f1", 3, np.arange(3))


def test_the_gain_is_the_mean_over_seeds_and_its_error_that_of_the_mean_on_shared_rows() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, size=200)
    noisy = [np.where(draw.random(200) < part, draw.integers(0, 3, size=200), true) for part in (0.4, 0.3, 0.2, 0.1)]
    best, base = compare_whole_runs(true, {"ce": noisy[:2], "joint": noisy[2:]}, "ce", MACRO_F1)
    assert (best.variant, base.variant) == ("joint", "ce")
    assert best.score == pytest.approx(np.mean([macro_f1(true, own, 3) for own in noisy[2:]]))
    assert best.gain == pytest.approx(best.score - base.score)
    rows = draw.integers(0, 200, size=(1000, 200))
    by_rows = [np.mean([macro_f1(true[i], own[i], 3) for own in noisy[2:]]) for i in rows]
    over = [np.mean([macro_f1(true[i], own[i], 3) for own in noisy[:2]]) for i in rows]
    assert best.error == pytest.approx(np.std(np.subtract(by_rows, over)), rel=0.1)
    assert (base.gain, base.error) == (0, 0)


def test_each_variant_is_compared_with_the_one_that_the_study_names() -> None:
    draw = np.random.default_rng(3)
    true = draw.integers(0, 3, size=300)
    labels = {
        name: [np.where(draw.random(300) < part, 0, true)] for name, part in (("ce", 0.4), ("a", 0.2), ("b", 0.1))
    }
    best, other, base = compare_whole_runs(true, labels, "ce", MACRO_F1, over={"b": "a"})
    assert [(line.variant, line.other) for line in (best, other, base)] == [("b", "a"), ("a", "ce"), ("ce", "ce")]
    assert best.gain == pytest.approx(best.score - other.score)
    assert other.gain == pytest.approx(other.score - base.score)


def test_a_seed_more_of_the_same_labels_does_not_shrink_the_error() -> None:
    draw = np.random.default_rng(1)
    true = draw.integers(0, 3, size=200)
    first, second = (np.where(draw.random(200) < part, 0, true) for part in (0.4, 0.1))
    one, two = (
        compare_whole_runs(true, {"ce": [first] * n, "joint": [second] * n}, "ce", MACRO_F1)[0].error for n in (1, 4)
    )
    assert two == pytest.approx(one, rel=0.1)


def test_the_error_is_over_groups_where_rows_have_them() -> None:
    draw = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 5)
    true = np.repeat(draw.integers(0, 3, 60), 5)
    wrong = np.where(np.repeat(draw.random(60) < 0.3, 5), (true + 1) % 3, true)
    labels = {"ce": [wrong], "joint": [true]}
    by_row, by_group = (compare_whole_runs(true, labels, "ce", MACRO_F1, units)[0] for units in (None, groups))
    assert (by_row.units, by_group.units) == ("rows", "groups")
    assert by_group.gain == by_row.gain
    assert by_group.error > 1.5 * by_row.error


def test_of_a_log_loss_the_lowest_comes_first() -> None:
    true = np.array([0, 1, 0, 1])
    sure, unsure = (np.log(np.where(np.eye(2)[true] == 1, p, 1 - p)) for p in (0.9, 0.6))
    best, base = compare_whole_runs(true, {"ce": [unsure], "joint": [sure]}, "ce", LogLoss())
    assert (best.variant, base.variant) == ("joint", "ce")
    assert best.score == pytest.approx(-np.log(0.9))
    assert best.gain == pytest.approx(np.log(0.6 / 0.9))


@pytest.mark.parametrize(("given", "expected"), [(["", "", ""], None), (["7", "", "7", ""], [0, 1, 0, 2])])
def test_rows_without_a_group_are_their_own(given: list[str], expected: list[int] | None) -> None:
    groups = Split(pd.DataFrame({"group": given})).groups
    assert (groups is None) == (expected is None)
    if groups is not None:
        assert groups.tolist() == expected
