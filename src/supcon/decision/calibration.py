"""Negative log-likelihood, and the temperature and the clip that minimise it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import Logits, LogProbabilities, log_softmax, merge_views
from supcon.metrics.metric import row_losses

_LARGEST_CLIP = 0.05  # a probability that no class falls below


def negative_log_likelihood(log_probabilities: LogProbabilities, true: npt.NDArray[np.int64]) -> float:
    """Return the mean of -log p(true class); `log_probabilities` [rows, classes]."""
    return float(row_losses(true, log_probabilities).mean())


def calibration_temperature(logits: Logits, true: npt.NDArray[np.int64]) -> float:
    """Return the temperature in 0.05 .. 20 at which merged `logits` [rows, views, classes] have the smallest NLL."""
    return calibration_factor(lambda temperature: merge_views(logits, temperature), true)


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
        lambda log_clip: negative_log_likelihood(log_softmax(np.maximum(log_probabilities, log_clip)), true),
        bounds=(np.log(1e-7), np.log(largest)),
        method="bounded",
        options={"xatol": 1e-2},
    )
    return float(np.exp(found.x))
