"""Negative log-likelihood, and the temperature and the clip that minimise it."""

from collections.abc import Callable

import numpy as np

from supcon.arrays import Labels
from supcon.decision.logits import Logits, load_logits
from supcon.decision.merge import clipped, merge_views
from supcon.metrics.of_probabilities import LogProbabilities, row_losses

ENOUGH_ROWS = 100_000  # to fit one temperature; of more rows a subsample does


def negative_log_likelihood(log_probabilities: LogProbabilities, true: Labels) -> float:
    """Return the mean of -log p(true class); `log_probabilities` [rows, classes]."""
    return float(row_losses(true, log_probabilities).mean())


def calibration_temperature(logits: Logits, true: Labels) -> float:
    """Return the temperature in 0.05 .. 20 at which merged `logits` [rows, views, classes] have the smallest NLL."""
    rows = subsample(len(true), ENOUGH_ROWS)
    sample = load_logits(logits[rows])
    return calibration_factor(lambda temperature: merge_views(sample, temperature), true[rows])


def subsample(rows: int, most: int) -> slice:
    """Return a slice of `rows` rows that takes every n-th one, with the smallest n that leaves at most `most`."""
    return slice(None, None, max(1, -(-rows // most)))


def calibration_factor(merge: Callable[[float], LogProbabilities], true: Labels) -> float:
    """Return the factor in 0.05 .. 20 at which `merge(factor)` [rows, classes] has the smallest NLL."""

    def loss(log_factor: float) -> float:
        return negative_log_likelihood(merge(float(np.exp(log_factor))), true)

    return _argument_of_least(loss, 0.05, 20, tolerance=1e-3)


def best_clip(log_probabilities: LogProbabilities, true: Labels) -> float:
    """Return the clip with the smallest NLL: the least probability of a class, 1e-7 .. 0.05 and below 1 / classes."""

    def loss(log_clip: float) -> float:
        return negative_log_likelihood(clipped(log_probabilities, log_clip), true)

    return _argument_of_least(loss, 1e-7, min(0.05, 0.5 / log_probabilities.shape[1]), tolerance=1e-2)


def _argument_of_least(loss: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Return the x in `low` .. `high` with the smallest loss(log x), log x to `tolerance`."""
    from scipy.optimize import minimize_scalar

    bounds = (np.log(low), np.log(high))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": tolerance}).x))
