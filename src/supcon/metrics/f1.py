"""Macro-F1 by counting, and its bootstrap by resampling the cells of the confusion matrix."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]  # class numbers, [rows]
Scores = npt.NDArray[np.float64]


def macro_f1(true: Labels, predicted: Labels, classes: int) -> float:
    """Return the mean F1 over all `classes`; a class neither present nor predicted counts 0, as in scikit-learn."""
    hits = np.bincount(true[true == predicted], minlength=classes)
    total = np.bincount(true, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float(np.mean(2 * hits / np.maximum(total, 1)))


def bootstrap_macro_f1(true: Labels, predicted: Labels, classes: int, resamples: int, seed: int) -> Scores:
    """Return the macro-F1 of `resamples` bootstrap samples of the rows, [resamples]."""
    return bootstrap_pair(true, predicted, predicted, classes, resamples, seed)[0]


def bootstrap_pair(
    true: Labels, first: Labels, second: Labels, classes: int, resamples: int, seed: int
) -> tuple[Scores, Scores]:
    """Return the macro-F1 of two predictions of the same rows on the same bootstrap samples, [resamples] each.

    A sample of rows with replacement is a multinomial draw of the cells (true, first, second): equal in distribution
    to resampling rows, at the cost of the distinct cells.
    """
    cells, counts = np.unique(np.stack([true, first, second]), axis=1, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(true), counts / counts.sum(), size=resamples)
    return _scores_of_draws(draws, cells[0], cells[1], classes), _scores_of_draws(draws, cells[0], cells[2], classes)


def _scores_of_draws(draws: npt.NDArray[np.int64], true: Labels, predicted: Labels, classes: int) -> Scores:
    cells = np.arange(len(true))
    in_true = np.zeros((len(true), classes))
    in_predicted = np.zeros((len(true), classes))
    in_true[cells, true] = 1
    in_predicted[cells, predicted] = 1
    total = draws @ (in_true + in_predicted)
    hits = draws @ (in_true * in_predicted)
    return (2 * hits / np.maximum(total, 1)).mean(axis=1)
