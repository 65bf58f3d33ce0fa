"""Means, paired differences and their standard errors, against sums done by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from supcon.metrics.metric import Metric, make_metric
from supcon.metrics.of_probabilities import LogLoss
from supcon.study.cells import Results, Scores
from supcon.study.compare import paired_gains, rank_variants
from supcon.study.runs import Cell

TRUE = np.array([0, 0, 1, 1])
MACRO_F1 = make_metric("macro_f1", 2, np.arange(2))


def cell(predicted: list[int], log_loss: float = 0.5, passes: float = 100, metric: Metric = MACRO_F1) -> Scores:
    return Scores(TRUE, np.array(predicted), np.full(4, log_loss), metric, passes, 10.0)


RIGHT = [0, 0, 1, 1]  # macro-F1 1
WORSE = [0, 0, 0, 1]  # (4/5 + 2/3) / 2 = 11/15
BAD = [0, 1, 1, 0]  # 1/2


def test_the_difference_is_the_mean_over_cells_with_its_standard_error() -> None:
    gain, nll_gain = paired_gains([(cell(RIGHT, 0.2), cell(WORSE, 0.5)), (cell(BAD, 0.4), cell(BAD, 0.5))])
    first = 1 - 11 / 15
    assert gain.value == pytest.approx(first / 2)
    assert gain.error == pytest.approx(first / 2)  # sd of (x, 0) is x / sqrt(2), over sqrt(2)
    assert (nll_gain.value, nll_gain.error) == (pytest.approx(-0.2), pytest.approx(0.1))
    assert gain.cells == 2


def test_the_standard_error_of_three_cells_divides_by_the_root_of_three() -> None:
    pairs = [(cell(RIGHT, 0.5 + shift), cell(RIGHT, 0.5)) for shift in (0.1, 0.2, 0.6)]
    _, nll_gain = paired_gains(pairs)
    assert nll_gain.value == pytest.approx(0.3)
    assert nll_gain.error == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2) / np.sqrt(3))


def test_a_single_cell_takes_its_rows_for_the_standard_error() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 2, 400)
    base, better = (np.where(draw.random(400) < wrong, 1 - true, true) for wrong in (0.3, 0.1))
    loss = draw.random(400)
    first = Scores(true, better, loss, MACRO_F1, 1, 1)
    second = Scores(true, base, np.full(400, 0.5), MACRO_F1, 1, 1)
    gain, nll_gain = paired_gains([(first, second)])
    assert gain.cells == 1
    assert gain.error == pytest.approx(((better == true) * 1.0 - (base == true)).std() / 20, rel=0.1)
    assert nll_gain.error == pytest.approx(loss.std(ddof=1) / 20)
    assert paired_gains([(second, second)])[0].error == 0


def results(**cells: dict[tuple[int, int], Scores]) -> Results:
    return Results({Cell(name, *pair): one for name, scores in cells.items() for pair, one in scores.items()})


def test_variants_are_paired_by_seed_and_fold_and_ranked_by_pooled_macro_f1() -> None:
    found = results(
        ce={(0, 0): cell(WORSE), (0, 1): cell(BAD)},
        joint={(0, 1): cell(BAD), (0, 0): cell(RIGHT)},
        poor={(0, 0): cell(BAD), (0, 1): cell(BAD)},
    )
    best, ce, poor = rank_variants(found, ["ce", "poor", "joint"], [(0, 0), (0, 1)], "ce")
    assert [one.variant for one in (best, ce, poor)] == ["joint", "ce", "poor"]
    assert best.score == pytest.approx(0.75)
    assert best.pooled == pytest.approx(0.75)
    assert ce.pooled == pytest.approx((2 * 3 / 9 + 2 * 2 / 7) / 2)  # hits 3 and 2 of 4 and 4, predicted 5 and 3
    assert ce.gain is None
    assert best.gain is not None
    assert best.gain.value == pytest.approx((1 - 11 / 15) / 2)


def test_a_variant_may_be_compared_with_another_one_than_the_baseline() -> None:
    found = results(
        ce={(0, 0): cell(BAD)}, mixup={(0, 0): cell(WORSE, passes=150)}, both={(0, 0): cell(RIGHT, passes=150)}
    )
    ranked = rank_variants(found, ["ce", "mixup", "both"], [(0, 0)], "ce", {"both": "mixup"})
    both, mixup = ranked[:2]
    assert (mixup.other, both.other) == ("ce", "mixup")
    assert mixup.gain is not None
    assert both.gain is not None
    assert mixup.gain.value == pytest.approx(11 / 15 - 0.5)
    assert both.gain.value == pytest.approx(1 - 11 / 15)
    assert (mixup.unequal, both.unequal) == (True, False)


def test_the_hosts_metric_ranks_and_not_macro_f1() -> None:
    def ranked(metric: Metric) -> list[str]:
        found = results(
            ce={(0, 0): cell(BAD, 0.4, metric=metric)},
            sure={(0, 0): cell(RIGHT, 0.6, metric=metric)},
            modest={(0, 0): cell(WORSE, 0.2, metric=metric)},
        )
        return [one.variant for one in rank_variants(found, ["ce", "sure", "modest"], [(0, 0)], "ce")]

    assert ranked(MACRO_F1) == ["sure", "modest", "ce"]
    assert ranked(LogLoss()) == ["modest", "ce", "sure"]


def test_of_a_log_loss_both_differences_are_the_same() -> None:
    draw = np.random.default_rng(0)
    first, second = (Scores(TRUE, np.array(RIGHT), draw.random(4), LogLoss(), 1, 1) for _ in range(2))
    gain, nll_gain = paired_gains([(first, second)])
    assert gain == nll_gain
    assert gain.error > 0
    assert gain.value == pytest.approx((first.log_loss - second.log_loss).mean())


def test_a_variant_that_failed_anywhere_comes_after_all_complete_ones() -> None:
    found = results(ce={(0, 0): cell(BAD), (1, 0): cell(BAD)}, hot={(0, 0): cell(RIGHT)})
    found.failures[Cell("hot", 1, 0)] = "the loss is nan"
    found.failures |= {Cell("gone", seed, 0): "no such file" for seed in (0, 1)}
    ce, hot, gone = rank_variants(found, ["gone", "hot", "ce"], [(0, 0), (1, 0)], "ce")
    assert (ce.variant, hot.variant, gone.variant) == ("ce", "hot", "gone")
    assert hot.failures == {Cell("hot", 1, 0): "the loss is nan"}
    assert hot.gain is not None
    assert (hot.gain.cells, hot.scored, hot.planned) == (1, 1, 2)
    assert gone.gain is None


@pytest.mark.parametrize(("passes", "unequal"), [(100, False), (102, False), (97.9, True), (103, True)])
def test_passes_that_are_not_the_baselines_mark_the_variant(passes: float, unequal: bool) -> None:
    found = results(ce={(0, 0): cell(BAD)}, other={(0, 0): cell(BAD, passes=passes)})
    lines = {one.variant: one for one in rank_variants(found, ["ce", "other"], [(0, 0)], "ce")}
    assert lines["other"].unequal == unequal
    assert not lines["ce"].unequal


def test_a_round_without_its_baseline_has_no_differences_but_a_ranking() -> None:
    found = results(a={(0, 0): cell(BAD)}, b={(0, 0): cell(RIGHT)})
    found.failures[Cell("ce", 0, 0)] = "out of memory"
    lines = rank_variants(found, ["ce", "a", "b"], [(0, 0)], "ce")
    assert [one.variant for one in lines] == ["b", "a", "ce"]
    assert all(one.gain is None and not one.unequal for one in lines)


def test_the_area_of_pooled_folds_is_that_of_their_probabilities() -> None:
    true, draw = np.arange(40) % 2, np.random.default_rng(0)
    first, second = draw.normal(size=(2, 40)) + np.array([[1.5], [0.5]]) * true
    metric = make_metric("roc_auc", 2, np.array([1]))

    def scored(values: np.ndarray, fold: int) -> Scores:
        log_probabilities, rows = -np.logaddexp(0, np.stack([values, -values], axis=1)), np.arange(40) // 20 == fold
        return Scores(true[rows], log_probabilities[rows], np.ones(20), metric, 1, 1)

    results = Results({Cell(name, 0, fold): scored(values, fold) for fold in (0, 1)
                       for name, values in (("ce", second), ("joint", first))})  # fmt: skip
    best, base = rank_variants(results, ["ce", "joint"], [(0, 0), (0, 1)], "ce")
    assert (best.variant, best.pooled) == ("joint", pytest.approx(roc_auc_score(true, first)))
    assert base.pooled == pytest.approx(roc_auc_score(true, second))
    single, _ = paired_gains([(scored(first, 0), scored(second, 0))])
    assert single.value == pytest.approx(roc_auc_score(true[:20], first[:20]) - roc_auc_score(true[:20], second[:20]))
    assert 0 < single.error < 0.5
