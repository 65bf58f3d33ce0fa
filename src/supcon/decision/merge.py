"""One merge rule for views, folds and runs: the mean of log-probabilities at the decision's temperature (law 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.metrics.metric import LogProbabilities

Logits = npt.NDArray[np.float32]  # [rows, views, classes], natural-prior log-odds
Precision = type[np.float32] | type[np.float64]
HEAD, PROTOTYPES = "logits", "prototype_logits"  # who predicted: the classifier, or the class means of the features

_LOWEST = -1e30  # below the highest logit: in single precision there is room left for a temperature and a sum
_HALVINGS = 30  # of the interval that holds the logarithm of an exponent


def log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return log-probabilities over the last axis, in the precision of `logits`."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def merge_views(logits: Logits, temperature: float, precision: Precision = np.float64) -> LogProbabilities:
    """Return normalised log-probabilities of one model, [rows, classes]: the views' mean at `temperature`."""
    below: npt.NDArray[Any] = logits.astype(precision)
    with np.errstate(over="ignore"):
        below = below - below.max(axis=-1, keepdims=True)
    tempered = log_softmax(np.maximum(below, _LOWEST, out=below) / precision(temperature))
    return tempered[:, 0] if logits.shape[1] == 1 else log_softmax(tempered.mean(axis=1))


def merge_runs(weighted: Sequence[tuple[LogProbabilities, float]]) -> LogProbabilities:
    """Return the weighted mean of several runs' log-probabilities [rows, classes], normalised; one run as it is."""
    if len(weighted) == 1:
        return weighted[0][0]
    return log_softmax(np.sum([each.dtype.type(weight) * each for each, weight in weighted], axis=0))


def merge_members(
    members: Sequence[LogProbabilities], beside: Sequence[LogProbabilities] = ()
) -> tuple[LogProbabilities, float]:
    """Return the mean of several models' log-probabilities, sharpened, and the exponent that sharpened it.

    A mean of models is flatter than each of them, so offsets tuned on single models would act too strongly on it. The
    exponent gives the merged probabilities the mean entropy of their members; it needs no labels. One member: 1.
    Models `beside` them join the mean, each like a member, but not that entropy: no decision was tuned on their like.
    """
    merged = np.mean([*members, *beside], axis=0)
    if len(members) + len(beside) == 1:
        return log_softmax(merged), 1.0
    return sharpen(merged, float(np.mean([mean_entropy(member) for member in members])))


def sharpen(merged: LogProbabilities, entropy: float) -> tuple[LogProbabilities, float]:
    """Return probabilities proportional to exp(exponent x `merged`), whose mean entropy is `entropy`, and the exponent.

    The exponent lies in 1/4 .. 16, found to 1e-8 by bisection; 1 where none there fits, e.g. certain everywhere.
    """

    def excess(log_exponent: float) -> float:
        return mean_entropy(log_softmax(np.exp(log_exponent) * merged)) - entropy

    low, high = np.log(0.25), np.log(16.0)
    if not excess(low) > 0 > excess(high):
        return log_softmax(merged), 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    exponent = float(np.exp((low + high) / 2))
    return log_softmax(exponent * merged), exponent


def mean_entropy(log_probabilities: LogProbabilities) -> float:
    """Return the mean entropy of the rows, in nats."""
    return float(row_entropies(log_probabilities).mean())


def row_entropies(log_probabilities: LogProbabilities) -> npt.NDArray[np.float64]:
    """Return the entropy of each row, [rows], in nats."""
    entropies: npt.NDArray[np.float64] = -(np.exp(log_probabilities) * log_probabilities).sum(axis=1)
    return entropies


def blend(predicted: Mapping[str, Logits], weight: float) -> Logits:
    """Return (1 - weight) x the head's and weight x the class means' log-probabilities; the head's logits for 0."""
    if weight == 0:
        return predicted[HEAD]
    head, means = (log_softmax(predicted[name].astype(np.float64)) for name in (HEAD, PROTOTYPES))
    blended: Logits = ((1 - weight) * head + weight * means).astype(np.float32)
    return blended
