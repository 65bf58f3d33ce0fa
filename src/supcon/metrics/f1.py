"""Macro-F1 by counting, and the bootstrap of whatever is counted: cells of the confusion matrix, or whole groups."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]  # class numbers, [rows]
Scores = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float64]  # [..., classes]
_LARGEST_COUNTS = _BLOCK = 2**22  # numbers of one array of the bootstrap: of units, and of some samples
_FEWEST_UNITS = 200  # a standard error to 5 %
OfCounts = Callable[[Counts, Counts, Counts], Scores]  # of a class: rows right, rows in truth, rows predicted


def macro_f1(true: Labels, predicted: Labels, classes: int) -> float:
    """Return the mean F1 over all `classes`; a class neither present nor predicted counts 0, as in scikit-learn."""
    return float(f1_of_counts(*count(true, predicted, classes)).mean())


def count(true: Labels, predicted: Labels, classes: int) -> tuple[Counts, Counts, Counts]:
    """Return how many rows of each class are right, are in `true` and are in `predicted`, [classes] each."""
    if classes**2 <= len(true):  # the confusion matrix, in one pass over the rows instead of four
        cells = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(float)
        return cells.diagonal(), cells.sum(axis=1), cells.sum(axis=0)
    hits = np.bincount(true[true == predicted], minlength=classes)
    in_true, in_predicted = (np.bincount(labels, minlength=classes) for labels in (true, predicted))
    return hits.astype(float), in_true.astype(float), in_predicted.astype(float)


def f1_of_counts(hits: Counts, in_true: Counts, in_predicted: Counts) -> Counts:
    """Return the F1 of each class, [..., classes]."""
    f1: Counts = 2 * hits / np.maximum(in_true + in_predicted, 1)
    return f1


def present_f1_of_counts(hits: Counts, in_true: Counts, in_predicted: Counts) -> Scores:
    """Return the mean F1 of the classes that have rows, [...].

    The macro-F1 of bootstrap samples: a small class is missing from some, and counted as 0 there it would draw every
    interval below the score that it belongs to.
    """
    present = in_true > 0
    f1 = f1_of_counts(hits, in_true, in_predicted) * present
    mean: Scores = f1.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return mean


def paired_bootstrap(
    true: Labels,
    predictions: Sequence[Labels],
    classes: int,
    resamples: int,
    seed: int,
    groups: Labels | None = None,
    of_counts: OfCounts = present_f1_of_counts,
) -> list[Scores]:
    """Return the score of several predictions of the same rows on the same bootstrap samples, [resamples] each.

    With the rows' `groups` [rows], samples are of whole groups (Field and Welsh 2007): rows of a patient or a track are
    right or wrong together, and tell less than as many strangers. Without, a sample of rows is a multinomial draw of
    the cells (true, first, second, ...): equal in distribution to resampling rows, at the cost of the distinct cells.
    Where that would take too much memory, rows or groups are first dealt at random into as many groups as there is room
    for: n of them give the standard error to one part in sqrt(2n).
    """
    unit = _cells([true, *predictions], classes) if groups is None else np.unique(groups, return_inverse=True)[1]
    copies = np.bincount(unit)  # a cell stands for that many equal rows, a group for itself
    room = max(_FEWEST_UNITS, _LARGEST_COUNTS // classes)
    if groups is not None or len(copies) > room:
        unit = dealt(np.arange(len(true)) if groups is None else unit, room, seed)
        copies = np.ones(unit.max() + 1, np.int64)
    precision = np.float32 if len(copies) * classes > _LARGEST_COUNTS else np.float64  # of whole numbers below 2^24
    everywhere = slice(None)

    def of_units(rows: Labels | slice, labels: Labels) -> npt.NDArray[Any]:
        """Return how many rows of each label each copy of a unit has, [units, classes]."""
        counts = np.bincount(unit[rows] * classes + labels[rows], minlength=len(copies) * classes)
        return counts.reshape(-1, classes).astype(precision) / copies[:, None].astype(precision)

    in_true = of_units(everywhere, true)
    of_predictions = [(of_units(each == true, true), of_units(everywhere, each)) for each in predictions]
    draw, step = np.random.default_rng(seed), max(1, _BLOCK // max(classes, len(copies)))
    scores = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = draw.multinomial(copies.sum(), copies / copies.sum(), size=size).astype(precision)
        some = times @ in_true
        scores.append([of_counts(times @ hits, some, times @ predicted) for hits, predicted in of_predictions])
    return [np.concatenate(of_one) for of_one in zip(*scores, strict=True)]


def _cells(labels: Sequence[Labels], classes: int) -> Labels:
    """Return the number of each row's cell, the tuple of its labels, [rows]."""
    cell = labels[0]
    for each in labels[1:]:
        cell = np.unique(cell * classes + each, return_inverse=True)[1]
    return np.unique(cell, return_inverse=True)[1]


def dealt(unit: Labels, most: int, seed: int) -> Labels:
    """Return the number of each row's group [rows]: its `unit`, or one of `most` at random for units above that."""
    units = int(unit.max(initial=-1)) + 1
    if units <= most:
        return unit
    order: Labels = np.random.default_rng([seed, units]).permutation(units) % most
    return order[unit]
