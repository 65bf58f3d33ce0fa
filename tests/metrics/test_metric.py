"""Every metric against scikit-learn, and its bootstrap against resampled rows."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from supcon.metrics.metric import make_metric
from supcon.metrics.of_probabilities import LogLoss
from supcon.metrics.top_k import TopK

EXPECTED: dict[Any, Any] = {
    "macro_f1": lambda true, predicted: metrics.f1_score(true, predicted, average="macro"),
    "micro_f1": lambda true, predicted: metrics.f1_score(true, predicted, average="micro"),
    "weighted_f1": lambda true, predicted: metrics.f1_score(true, predicted, average="weighted"),
    "f_beta": lambda true, predicted: metrics.fbeta_score(true, predicted, beta=2, average="macro"),
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
}


def labels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    true = draw.choice(4, 300, p=[0.6, 0.2, 0.15, 0.05])
    return true, np.where(draw.random(300) < 0.7, true, draw.integers(0, 4, 300))


@pytest.mark.parametrize("name", list(EXPECTED))
def test_metrics_of_labels_are_scikit_learns(name: Any) -> None:
    true, predicted = labels(0)
    assert make_metric(name, 4, np.arange(4)).score(true, predicted) == pytest.approx(EXPECTED[name](true, predicted))


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_class_that_is_never_scored_does_not_count_but_rows_lost_to_it_do(name: Any) -> None:
    true, predicted = labels(1)
    metric = make_metric(name, 6, np.arange(4))
    assert metric.score(true, predicted) == pytest.approx(EXPECTED[name](true, predicted))
    lost = predicted.copy()
    lost[np.flatnonzero(true == predicted)[:30]] = 5
    assert metric.score(true, lost) < metric.score(true, predicted) - 0.02


def test_kappa_is_scikit_learns_whatever_the_values_of_the_classes_are() -> None:
    true, predicted = labels(0)
    expected = metrics.cohen_kappa_score(true, predicted, weights="quadratic")
    assert make_metric("kappa", 4, np.arange(4)).score(true, predicted) == pytest.approx(expected)
    moved = make_metric("kappa", 4, np.arange(4), values=[1e6, 1e6 + 10, 1e6 + 20, 1e6 + 30])
    assert moved.score(true, predicted) == pytest.approx(expected)
    gap = make_metric("kappa", 4, np.arange(4), values=[0, 1, 2, 9])  # with a class between that nobody has
    filled = metrics.cohen_kappa_score(
        np.array([0, 1, 2, 9])[true], np.array([0, 1, 2, 9])[predicted], labels=list(range(10)), weights="quadratic"
    )
    assert gap.score(true, predicted) == pytest.approx(filled)
    assert gap.score(true, np.zeros_like(true)) == pytest.approx(0)
    assert gap.score(np.zeros_like(true), np.zeros_like(true)) == 0


def test_map_k_is_one_over_the_place_of_the_true_class_among_the_k_likeliest() -> None:
    shares = np.log([[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    true = np.array([0, 2, 3, 1])
    assert make_metric("map_k", 4, np.arange(4), k=3).score(true, shares) == pytest.approx((1 + 1 / 2 + 0 + 1 / 2) / 4)
    assert make_metric("map_k", 4, np.arange(4), k=1).score(true, shares) == pytest.approx(1 / 4)
    numbers = np.array([[1, 5], [2, 3]], np.int32)  # classes that these rows keep, of a thousand and more
    kept = TopK(np.log([[0.2, 0.6, 0.0002], [0.6, 0.2, 0.0002]]), numbers, classes=1002)
    metric = make_metric("map_k", 1002, np.arange(1002), k=2)
    assert metric.score(np.array([1, 9]), kept) == pytest.approx((1 / 2 + 0) / 2)
    assert metric.title == "MAP@2"


@pytest.mark.parametrize("name", [*EXPECTED, "kappa", "log_loss", "roc_auc", "map_k"])
def test_the_bootstrap_has_the_spread_of_resampled_rows_and_pairs_share_samples(name: Any) -> None:
    true, predicted = labels(2)
    metric = make_metric(name, 4, np.arange(4))
    if metric.of_probabilities:
        scores = np.eye(4)[predicted] * 2 + np.random.default_rng(0).normal(size=(300, 4))
        predicted = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    samples = np.random.default_rng(3).integers(0, 300, (1000, 300))
    expected = [metric.score(true[rows], predicted[rows]) for rows in samples]
    first, second = metric.bootstrap(true, [predicted, predicted], 1000, seed=1)
    assert (first == second).all()
    assert first.mean() == pytest.approx(np.mean(expected), abs=0.01)
    assert first.std() == pytest.approx(np.std(expected), rel=0.12)


def test_the_log_loss_is_scikit_learns_and_samples_whole_groups() -> None:
    true, _ = labels(4)
    scores = np.random.default_rng(0).normal(size=(300, 4))
    log_probabilities = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = metrics.log_loss(true, np.exp(log_probabilities))
    assert LogLoss().score(true, log_probabilities) == pytest.approx(expected)
    groups = np.repeat(np.arange(30), 10)
    log_probabilities = np.repeat(log_probabilities[:30], 10, axis=0)  # rows of a group alike
    same = np.repeat(true[:30], 10)
    by_rows, by_groups = (LogLoss().bootstrap(same, [log_probabilities], 800, 0, g)[0] for g in (None, groups))
    assert by_groups.std() == pytest.approx(by_rows.std() * 10**0.5, rel=0.15)


def test_the_area_is_scikit_learns_mean_over_the_classes_each_against_all_others() -> None:
    true, _ = labels(5)
    scores = np.eye(4)[true] + np.random.default_rng(0).normal(size=(300, 4)).round(1)  # some are equal
    expected = [metrics.roc_auc_score(true == number, scores[:, number]) for number in range(4)]
    assert make_metric("roc_auc", 4, np.arange(4)).score(true, scores) == pytest.approx(np.mean(expected))
    assert make_metric("roc_auc", 4, np.array([2])).score(true, scores) == pytest.approx(expected[2])
    present = true != 3
    without = make_metric("roc_auc", 4, np.arange(4)).score(true[present], scores[present])
    expected = [metrics.roc_auc_score(true[present] == n, scores[present, n]) for n in range(3)]
    assert without == pytest.approx(np.mean(expected))
    assert make_metric("roc_auc", 4, np.arange(4)).score(np.zeros(5, np.int64), scores[:5]) == 0.5


def test_of_two_classes_the_area_is_the_same_whichever_is_the_positive_one() -> None:
    true = np.arange(40) % 2
    scores = np.random.default_rng(1).normal(size=40) + true
    log_probabilities = -np.logaddexp(0, np.stack([scores, -scores], axis=1))
    both, first, second = (make_metric("roc_auc", 2, np.array(scored)) for scored in ([0, 1], [0], [1]))
    assert both.score(true, log_probabilities) == pytest.approx(metrics.roc_auc_score(true, scores))
    assert first.score(true, log_probabilities) == pytest.approx(second.score(true, log_probabilities))


def test_the_area_samples_whole_groups() -> None:
    draw = np.random.default_rng(2)
    true = np.repeat(draw.integers(0, 2, 40), 10)
    scores = np.repeat(draw.normal(size=40), 10) + true
    log_probabilities, groups = -np.logaddexp(0, np.stack([scores, -scores], axis=1)), np.repeat(np.arange(40), 10)
    metric = make_metric("roc_auc", 2, np.array([1]))
    by_rows, by_groups = (metric.bootstrap(true, [log_probabilities], 800, 0, g)[0] for g in (None, groups))
    assert by_groups.std() == pytest.approx(by_rows.std() * 10**0.5, rel=0.2)
