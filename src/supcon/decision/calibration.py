"""Negative log-likelihood, and the temperature and the clip that minimise it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import clipped, merge_views
from supcon.decision.pieces import Logits, loaded
from supcon.metrics.metric import LogProbabilities, row_losses

ENOUGH_ROWS = 100_000  # for one temperature: of more, one row in so many
_LARGEST_CLIP = 0.05  # a probability that no class falls below


def negative_log_likelihood(log_probabilities: LogProbabilities, true: npt.NDArray[np.int64]) -> float:
    """Return the mean of -log p(true class); `log_probabilities` [rows, classes]."""
    return float(row_losses(true, log_probabilities).mean())


def calibration_temperature(logits: Logits, true: npt.NDArray[np.int64]) -> float:
    """Return the temperature in 0.05 .. 20 at which merged `logits` [rows, views, classes] have the smallest NLL."""
    some = every(len(true), ENOUGH_ROWS)
    few = loaded(logits[some])
    return calibration_factor(lambda temperature: merge_views(few, temperature), true[some])


def every(rows: int, most: int) -> slice:
    """Return one row in so many that there are at most `most`."""
    return slice(None, None, max(1, -(-rows // most)))


def calibration_factor(merge: Callable[[float], LogProbabilities], true: npt.NDArray[np.int64]) -> float:
    """Return the factor in 0.05 .. 20 for which what `merge` makes of it, [rows, classes], has the smallest NLL."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_factor: negative_log_likelihood(merge(float(np.exp(log_factor))), true),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def best_clip(log_probabilities: LogProbabilities, true: npt.NDArray[np.int64]) -> float:
    """Return the smallest probability allowed, 1e-7 .. 0.05 and below 1 / classes, at which the NLL is smallest."""
    from scipy.optimize import minimize_scalar

    largest = min(_LARGEST_CLIP, 0.5 / log_probabilities.shape[1])
    found = minimize_scalar(
        lambda log_clip: negative_log_likelihood(clipped(log_probabilities, log_clip), true),
        bounds=(np.log(1e-7), np.log(largest)),
        method="bounded",
        options={"xatol": 1e-2},
    )
    return float(np.exp(found.x))
