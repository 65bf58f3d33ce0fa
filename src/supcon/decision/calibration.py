"""Negative log-likelihood, and the temperature and the clip that minimise it."""

from collections.abc import Callable

import numpy as np

from supcon.arrays import Labels
from supcon.decision.logits import Logits, load_logits
from supcon.decision.merge import clipped, merge_views
from supcon.metrics.metric import LogProbabilities, row_losses

ENOUGH_ROWS = 100_000  # to fit one temperature; of more rows a subsample does
_LARGEST_CLIP = 0.05


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
    from scipy.optimize import minimize_scalar

    minimum = minimize_scalar(
        lambda log_factor: negative_log_likelihood(merge(float(np.exp(log_factor))), true),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(minimum.x))


def best_clip(log_probabilities: LogProbabilities, true: Labels) -> float:
    """Return the clip with the smallest NLL: the least probability of a class, 1e-7 .. 0.05 and below 1 / classes."""
    from scipy.optimize import minimize_scalar

    largest = min(_LARGEST_CLIP, 0.5 / log_probabilities.shape[1])
    minimum = minimize_scalar(
        lambda log_clip: negative_log_likelihood(clipped(log_probabilities, log_clip), true),
        bounds=(np.log(1e-7), np.log(largest)),
        method="bounded",
        options={"xatol": 1e-2},
    )
    return float(np.exp(minimum.x))
