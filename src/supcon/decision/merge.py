"""One merge rule for views, folds and runs: the mean of log-probabilities at the decision's temperature (law 3)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]  # [rows, views, classes], natural-prior log-odds
LogProbabilities = npt.NDArray[np.float64]  # [rows, classes]


def log_softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return log-probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def merge_views(logits: Logits, temperature: float) -> LogProbabilities:
    """Return normalised log-probabilities of one model, [rows, classes]: the views' mean at `temperature`."""
    return log_softmax(log_softmax(logits.astype(np.float64) / temperature).mean(axis=1))


def merge_members(members: Sequence[LogProbabilities]) -> tuple[LogProbabilities, float]:
    """Return the mean of several models' log-probabilities, sharpened, and the exponent that sharpened it.

    A mean of models is flatter than each of them, so offsets tuned on single models would act too strongly on it. The
    exponent gives the merged probabilities the mean entropy of their members; it needs no labels. One member: 1.
    """
    from scipy.optimize import brentq

    merged = np.mean(members, axis=0)
    target = float(np.mean([mean_entropy(member) for member in members]))

    def excess(log_exponent: float) -> float:
        return mean_entropy(log_softmax(np.exp(log_exponent) * merged)) - target

    low, high = np.log(0.25), np.log(16.0)
    if len(members) == 1 or not excess(low) > 0 > excess(high):  # nothing to match, e.g. certain everywhere
        return log_softmax(merged), 1.0
    exponent = float(np.exp(brentq(excess, low, high, xtol=1e-6)))
    return log_softmax(exponent * merged), exponent


def mean_entropy(log_probabilities: LogProbabilities) -> float:
    """Return the mean entropy of the rows, in nats."""
    return float(-(np.exp(log_probabilities) * log_probabilities).sum(axis=1).mean())
