"""Counts of rows by class, F1 of them, and the bootstrap of what is made of such counts.

The bootstrap is over rows by the cells of the confusion matrix, or over groups of rows.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from supcon.arrays import FloatArray, Groups, Labels, RowMask, Scores

Counts = FloatArray  # [..., classes]; weighted rows in a bootstrap
ScoreOfCounts = Callable[[Counts, Counts, Counts], Scores]  # of rows right, in truth and predicted, by class

LARGEST_COUNTS = _BLOCK = 2**22  # numbers in one array of the bootstrap: [units, classes], and [samples, units]
FEWEST_UNITS = 200  # they give a standard error to 5 %


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
    return f_of_counts(hits, in_true, in_predicted, 1.0)


def f_of_counts(hits: Counts, in_true: Counts, in_predicted: Counts, beta: float) -> Counts:
    """Return the F of each class, [..., classes]: recall counts `beta` times as much as precision."""
    weight = beta**2
    return cast(Counts, (1 + weight) * hits / np.maximum(weight * in_true + in_predicted, 1))


def present_f1_of_counts(hits: Counts, in_true: Counts, in_predicted: Counts) -> Scores:
    """Return the mean F1 of the classes that have rows, [...].

    For bootstrap samples, from some of which a small class is missing: a 0 would draw the interval below the score.
    """
    return mean_of_present(f1_of_counts(hits, in_true, in_predicted), in_true)


def mean_of_present(values: Counts, in_true: Counts) -> Scores:
    """Return the mean of `values` [..., classes] over the classes that have rows, [...]."""
    present = in_true > 0
    return cast(Scores, (values * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def paired_bootstrap(
    true: Labels,
    predictions: Sequence[Labels],
    classes: int,
    resamples: int,
    seed: int,
    groups: Groups | None = None,
    of_counts: ScoreOfCounts = present_f1_of_counts,
) -> list[Scores]:
    """Return the scores of several predictions of the same rows on the same bootstrap samples, [resamples] each.

    With the rows' `groups` [rows], whole groups are drawn (Field and Welsh 2007): rows of a patient or a track are
    right or wrong together, and say less than as many independent rows. Without, a sample of rows is a multinomial draw
    of the cells (true, first, second, ...): the same distribution as drawing rows, at the cost of the distinct cells.
    Where that would take too much memory, rows or groups are first merged at random into as many units as there is room
    for: n units give the standard error to one part in sqrt(2n).
    """
    unit = _cells([true, *predictions], classes) if groups is None else np.unique(groups, return_inverse=True)[1]
    copies = np.bincount(unit)  # equal rows in a cell; a group is drawn as a whole
    room = max(FEWEST_UNITS, LARGEST_COUNTS // classes)
    if groups is not None or len(copies) > room:
        unit = limit_units(np.arange(len(true)) if groups is None else unit, room, seed)
        copies = np.ones(unit.max() + 1, np.int64)
    # float32 is exact for whole numbers below 2^24
    precision = np.float32 if len(copies) * classes > LARGEST_COUNTS else np.float64
    all_rows = slice(None)

    def count_in_units(rows: RowMask | slice, labels: Labels) -> Counts:
        """Return how many of the rows each label has in one copy of each unit, [units, classes]."""
        counts = np.bincount(unit[rows] * classes + labels[rows], minlength=len(copies) * classes)
        return cast(Counts, counts.reshape(-1, classes).astype(precision) / copies[:, None].astype(precision))

    in_true = count_in_units(all_rows, true)
    counts_of_predictions = [
        (count_in_units(predicted == true, true), count_in_units(all_rows, predicted)) for predicted in predictions
    ]
    draw, step = np.random.default_rng(seed), max(1, _BLOCK // max(classes, len(copies)))
    scores = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times: Counts = draw.multinomial(copies.sum(), copies / copies.sum(), size=size).astype(precision)
        sampled = times @ in_true
        scores.append(
            [of_counts(times @ hits, sampled, times @ predicted) for hits, predicted in counts_of_predictions]
        )
    return [np.concatenate(parts) for parts in zip(*scores, strict=True)]


def _cells(labels: Sequence[Labels], classes: int) -> Groups:
    """Return the number of each row's cell, [rows]: rows are in one cell where all their labels agree."""
    cell = labels[0]
    for further in labels[1:]:
        cell = np.unique(cell * classes + further, return_inverse=True)[1]
    return np.unique(cell, return_inverse=True)[1]


def limit_units(unit: Groups, most: int, seed: int) -> Groups:
    """Return the units of the rows [rows], merged at random into `most` units where there are more."""
    units = int(unit.max(initial=-1)) + 1
    if units <= most:
        return unit
    merged: Groups = np.random.default_rng([seed, units]).permutation(units) % most
    return merged[unit]
