"""Negative log-likelihood, and the temperature that minimises it."""

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import Logits, merge_views


def negative_log_likelihood(log_probabilities: npt.NDArray[np.float64], true: npt.NDArray[np.int64]) -> float:
    """Return the mean of -log p(true class); `log_probabilities` [rows, classes]."""
    return float(-log_probabilities[np.arange(len(true)), true].mean())


def calibration_temperature(logits: Logits, true: npt.NDArray[np.int64]) -> float:
    """Return the temperature in 0.05 .. 20 at which merged `logits` [rows, views, classes] have the smallest NLL."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(merge_views(logits, float(np.exp(log_t))), true),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))
