"""One merge rule for views, folds and runs: the mean of log-probabilities at the decision's temperature (law 3)."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from supcon.metrics.metric import LogProbabilities
from supcon.metrics.top_k import Array, Candidates, M, Matrix, blocks, keep_likeliest, kept_of, mean_of, on_values

Precision = type[np.float32] | type[np.float64]
HEAD, PROTOTYPES = "logits", "prototype_logits"  # who predicted: the classifier, or the class means of the features

_LOWEST = -1e30  # below the highest logit: in single precision there is room left for a temperature and a sum
_HALVINGS = 30  # of the interval that holds the logarithm of an exponent


def log_softmax(logits: M) -> M:
    """Return log-probabilities over the last axis, in the precision of `logits`."""
    return on_values(logits, _log_softmax)


def merge_views(logits: M, temperature: float, precision: Precision = np.float64) -> M:
    """Return normalised log-probabilities of one model, [rows, classes]: the views' mean at `temperature`."""

    def merged(values: Array, many: int) -> Array:
        below = values.astype(precision)
        with np.errstate(over="ignore"):
            below = below - below.max(axis=-1, keepdims=True)
        tempered = _log_softmax(np.maximum(below, _LOWEST, out=below) / precision(temperature), many)
        return tempered[:, 0] if values.shape[1] == 1 else _log_softmax(tempered.mean(axis=1), many)

    return on_values(logits, merged)


def merge_runs(weighted: Sequence[tuple[M, float]]) -> M:
    """Return the weighted mean of several runs' log-probabilities [rows, classes], normalised; one run as it is."""
    if len(weighted) == 1:
        return weighted[0][0]
    members, weights = zip(*weighted, strict=True)
    return log_softmax(mean_of(members, weights))


def merge_members(members: Sequence[M], beside: Sequence[M] = ()) -> tuple[M, float]:
    """Return the mean of several models' log-probabilities, sharpened, and the exponent that sharpened it.

    A mean of models is flatter than each of them, so offsets tuned on single models would act too strongly on it. The
    exponent gives the merged probabilities the mean entropy of their members; it needs no labels. One member: 1.
    Models `beside` them join the mean, each like a member, but not that entropy: no decision was tuned on their like.
    """
    merged = mean_of([*members, *beside])
    if len(members) + len(beside) == 1:
        return log_softmax(merged), 1.0
    return sharpen(merged, float(np.mean([mean_entropy(member) for member in members])))


def sharpen(merged: M, entropy: float) -> tuple[M, float]:
    """Return probabilities proportional to exp(exponent x `merged`), whose mean entropy is `entropy`, and the exponent.

    The exponent lies in 1/4 .. 16, found to 1e-8 by bisection; 1 where none there fits, e.g. certain everywhere.
    """

    def raised(some: M, exponent: float) -> M:
        return on_values(some, lambda values, many: _log_softmax(exponent * values, many))

    def excess(log_exponent: float) -> float:
        exponent = np.exp(log_exponent)
        return (
            float(np.concatenate([row_entropies(raised(some, exponent)) for some in blocks(merged)]).mean()) - entropy
        )

    low, high = np.log(0.25), np.log(16.0)
    if not excess(low) > 0 > excess(high):
        return log_softmax(merged), 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    exponent = float(np.exp((low + high) / 2))
    return raised(merged, exponent), exponent


def mean_entropy(log_probabilities: LogProbabilities) -> float:
    """Return the mean entropy of the rows, in nats."""
    return float(row_entropies(log_probabilities).mean())


def row_entropies(log_probabilities: LogProbabilities) -> npt.NDArray[np.float64]:
    """Return the entropy of each row, [rows], in nats."""

    def entropies(values: Array, many: int) -> Array:
        terms = np.exp(values) * values
        terms[:, -1] *= many
        total: Array = -terms.sum(axis=1)
        return total

    if isinstance(log_probabilities, Candidates):
        return entropies(log_probabilities.values, log_probabilities.many)
    return entropies(log_probabilities, 1)


def log_doubts(log_probabilities: LogProbabilities) -> npt.NDArray[np.float64]:
    """Return log(1 - p) of each row's likeliest class, [rows]: tells rows apart whose p rounds to 1."""
    one = log_probabilities
    values, many = (one.values, one.many) if isinstance(one, Candidates) else (one, 1)
    likeliest = kept_of(one)[0].argmax(axis=1)
    values = np.where(np.arange(values.shape[1]) == likeliest[:, None], -np.inf, values)
    values[:, -1] += np.log(many)
    doubts: npt.NDArray[np.float64] = np.logaddexp.reduce(values, axis=1)
    return doubts


def tilted(log_probabilities: M, bias: npt.NDArray[np.float64]) -> M:
    """Return log-probabilities [rows, classes] proportional to exp(bias) times what they were; `bias` [classes].

    Where not all classes are kept, it moves probability among those that are.
    """
    if not isinstance(log_probabilities, Candidates):
        return cast(M, log_softmax(log_probabilities + bias))
    moved = log_probabilities + bias
    values = [np.logaddexp.reduce(one.values[:, :-1], axis=1) for one in (log_probabilities, moved)]
    moved.values[:, :-1] += (values[0] - values[1])[:, None]
    return cast(M, moved)


def clipped(log_probabilities: M, least: float) -> M:
    """Return log-probabilities [rows, classes] of which none was below the logarithm `least`, normalised."""
    return on_values(log_probabilities, lambda values, many: _log_softmax(np.maximum(values, least), many))


def keep_likeliest_of(predicted: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Matrix]:
    """Return the logits [rows, views, classes] of head and class means as they are kept: of the same classes."""
    head = keep_likeliest(predicted[HEAD])
    numbers = head.numbers if isinstance(head, Candidates) else None
    return {name: head if name == HEAD else keep_likeliest(one, numbers) for name, one in predicted.items()}


def blend(predicted: Mapping[str, M], weight: float) -> M:
    """Return (1 - weight) x the head's and weight x the class means' log-probabilities; the head's logits for 0."""
    if weight == 0:
        return predicted[HEAD]
    head, means = (on_values(predicted[name], _log_softmax_64) for name in (HEAD, PROTOTYPES))
    if isinstance(head, Candidates) and isinstance(means, Candidates):  # of the same classes
        return cast(M, Candidates(_blended(head.values, means.values, weight), head.numbers, head.classes))
    return cast(M, _blended(head, means, weight))


def _blended(head: Any, means: Any, weight: float) -> npt.NDArray[np.float32]:
    blended: npt.NDArray[np.float32] = ((1 - weight) * head + weight * means).astype(np.float32)
    return blended


def _log_softmax(values: Array, many: int = 1) -> Array:
    """Return log-probabilities over the last axis, whose last value stands for `many` classes."""
    shifted = values - values.max(axis=-1, keepdims=True)
    shares = np.exp(shifted)
    if many > 1:
        shares[..., -1] *= many
    result: Array = shifted - np.log(shares.sum(axis=-1, keepdims=True))
    return result


def _log_softmax_64(values: Array, many: int) -> Array:
    return _log_softmax(values.astype(np.float64), many)
