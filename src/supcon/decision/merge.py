"""One merge rule for views, folds and runs: the mean of log-probabilities at the decision's temperature (law 3)."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from supcon.arrays import FloatArray, Floats, ModelLogits
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.metrics.top_k import M, Matrix, TopK, blocks, keep_likeliest, kept_values, map_values, mean_of

Precision = type[np.float32] | type[np.float64]
Shares = Mapping[str, float]  # of what predicts, in a blend: they sum to 1

# what predicts, as prediction files call it: the head; the class means of the features; the nearest training views
HEAD, CLASS_MEANS, NEIGHBOURS = "logits", "prototype_logits", "neighbour_logits"
BESIDE_HEAD = {"class_means": CLASS_MEANS, "neighbours": NEIGHBOURS}  # as `tune.members` calls them

_LOWEST = -1e30  # below the highest logit: dividing by a temperature and summing up stay finite in single precision
_HALVINGS = 30  # of the interval that holds the logarithm of an exponent


def log_softmax(logits: M) -> M:
    """Return log-probabilities over the last axis, in the precision of `logits`."""
    return map_values(logits, _log_softmax)


def merge_views(logits: M, temperature: float, precision: Precision = np.float64) -> M:
    """Return normalised log-probabilities of one model, [rows, classes]: the views' mean at `temperature`."""

    def merged(values: FloatArray, others: int) -> FloatArray:
        below = values.astype(precision)
        with np.errstate(over="ignore"):
            below = below - below.max(axis=-1, keepdims=True)
        tempered = _log_softmax(np.maximum(below, _LOWEST, out=below) / precision(temperature), others)
        return tempered[:, 0] if values.shape[1] == 1 else _log_softmax(tempered.mean(axis=1), others)

    return map_values(logits, merged)


def merge_runs(weighted: Sequence[tuple[M, float]]) -> M:
    """Return the weighted mean of the runs' log-probabilities [rows, classes], normalised; a single run's unchanged."""
    if len(weighted) == 1:
        return weighted[0][0]
    return log_softmax(mean_of([member for member, _ in weighted], [weight for _, weight in weighted]))


def merge_members(members: Sequence[M], beside: Sequence[M] = ()) -> tuple[M, float]:
    """Return the mean of several models' log-probabilities, sharpened, and the exponent that sharpened it.

    A mean of models is flatter than each of them, so offsets tuned on single models would act too strongly on it. The
    exponent gives the merged probabilities the mean entropy of the members; it needs no labels, and is 1 for a single
    model. Models `beside` the members count in the mean, but not in that entropy: the decision is tuned on rows that
    models like the members predicted.
    """
    merged = mean_of([*members, *beside])
    if len(members) + len(beside) == 1 or len(merged) == 0:
        return log_softmax(merged), 1.0
    return sharpen(merged, float(np.mean([mean_entropy(member) for member in members])))


def sharpen(merged: M, entropy: float) -> tuple[M, float]:
    """Return probabilities proportional to exp(exponent x `merged`), whose mean entropy is `entropy`, and the exponent.

    The exponent lies in 1/4 .. 16, found to 1e-8 by bisection; 1 where none there fits, as when all rows are certain.
    """

    if len(merged) == 0:
        return log_softmax(merged), 1.0

    def raised(block: M, exponent: float) -> M:
        return map_values(block, lambda values, others: _log_softmax(exponent * values, others))

    def excess(log_exponent: float) -> float:
        exponent = np.exp(log_exponent)
        entropies = np.concatenate([row_entropies(raised(block, exponent)) for block in blocks(merged)])
        return float(entropies.mean()) - entropy

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


def row_entropies(log_probabilities: LogProbabilities) -> FloatArray:
    """Return the entropy of each row, [rows], in nats."""
    values, others = _values_and_others(log_probabilities)
    terms = np.exp(values) * values
    terms[:, -1] *= others
    return cast(FloatArray, -terms.sum(axis=1))


def _values_and_others(matrix: Matrix) -> tuple[FloatArray, int]:
    """Return the values of `matrix`, and how many classes the last of a row stands for."""
    return (matrix.values, matrix.others) if isinstance(matrix, TopK) else (matrix, 1)


def log_doubts(log_probabilities: LogProbabilities) -> Floats:
    """Return log(1 - p) of each row's likeliest class, [rows]: it still tells rows apart whose p rounds to 1."""
    values, others = _values_and_others(log_probabilities)
    likeliest = kept_values(log_probabilities)[0].argmax(axis=1)
    values = np.where(np.arange(values.shape[1]) == likeliest[:, None], -np.inf, values)
    values[:, -1] += np.log(others)
    return cast(Floats, np.logaddexp.reduce(values, axis=1))


def with_bias(log_probabilities: M, bias: Floats) -> M:
    """Return log-probabilities [rows, classes] with `bias` [classes] added, normalised again.

    Where not all classes are kept, it moves probability among the kept ones alone.
    """
    if not isinstance(log_probabilities, TopK):
        return cast(M, log_softmax(log_probabilities + bias))
    moved = log_probabilities + bias
    before, after = (np.logaddexp.reduce(matrix.values[:, :-1], axis=1) for matrix in (log_probabilities, moved))
    moved.values[:, :-1] += (before - after)[:, None]
    return cast(M, moved)


def clipped(log_probabilities: M, least: float) -> M:
    """Return log-probabilities [rows, classes], raised to at least `least` and normalised again."""
    return map_values(log_probabilities, lambda values, others: _log_softmax(np.maximum(values, least), others))


def keep_likeliest_of(predicted: Mapping[str, ModelLogits]) -> dict[str, Matrix]:
    """Return the logits [rows, views, classes] of all that predicts as they are stored, all of the head's classes."""
    head = keep_likeliest(predicted[HEAD])
    numbers = head.numbers if isinstance(head, TopK) else None
    return {name: head if name == HEAD else keep_likeliest(logits, numbers) for name, logits in predicted.items()}


def head_and_class_means(weight: float) -> Shares:
    """Return the shares of a blend in which the class means have `weight`, 0 to 1."""
    return {name: share for name, share in ((HEAD, 1 - weight), (CLASS_MEANS, weight)) if share > 0}


def blend(predicted: Mapping[str, M], shares: Shares) -> M:
    """Return the log-probabilities of several that predict, times their `shares`, summed; of one its logits."""
    if len(shares) == 1:
        return predicted[next(iter(shares))]
    parts = [
        map_values(predicted[name], lambda values, others: _log_softmax(values.astype(np.float64), others))
        for name in shares
    ]
    values = [_values_and_others(part)[0] for part in parts]  # all of the same classes
    mean = sum(share * part for share, part in zip(shares.values(), values, strict=True))
    return map_values(parts[0], lambda *_: np.asarray(mean, np.float32))


def _log_softmax(values: FloatArray, others: int = 1) -> FloatArray:
    """Return log-probabilities over the last axis, whose last value stands for `others` classes."""
    shifted = values - values.max(axis=-1, keepdims=True)
    shares = np.exp(shifted)
    if others > 1:
        shares[..., -1] *= others
    return cast(FloatArray, shifted - np.log(shares.sum(axis=-1, keepdims=True)))
