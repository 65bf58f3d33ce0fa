"""Whether the test rows are like the training rows, as an encoder sees them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_FOLDS = 5
_STRENGTH = 0.01  # C: of 1,280 simulated features, 20 shifted a little: found by it, lost by PCA to 200

Features = npt.NDArray[np.floating]  # [rows, D]
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How well a classifier tells test rows from held-out ones: 0.5 not at all, 1 without error."""

    auc: float
    standard_error: float
    held_out_probability: Probabilities  # of being a test row, [held-out rows], by a model that never saw the row
    test_probability: Probabilities  # [test rows]; the highest are the most foreign ones


def drift_auc(held_out: Features, test: Features, seed: int = 0, groups: npt.NDArray[np.int64] | None = None) -> Drift:
    """Return the cross-validated AUC of a logistic regression that tells held-out rows [n, D] from test rows [m, D].

    Both by the same encoder, which saw neither: beside rows it was trained on, any test row is foreign. `groups` [n] of
    the held-out rows never cross the folds. The AUC is the folds' mean. Its standard error is DeLong's (1988), by group
    where there are groups (Obuchowski 1997), with the variance that the folds' models add because they share training
    rows (Nadeau & Bengio 2003). Fewer than 5 rows or groups of a kind: nan.
    """
    units = np.arange(len(held_out)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if min(len(np.unique(units)), len(test)) < _FOLDS:
        return Drift(np.nan, np.nan, np.full(len(held_out), np.nan), np.full(len(test), np.nan))
    rows = np.concatenate([held_out, test]).astype(np.float32)  # with their lengths, which tell foreign images too
    foreign = np.repeat([False, True], [len(held_out), len(test)])
    unit = np.concatenate([units, units.max() + 1 + np.arange(len(test))])
    fold = np.concatenate([_folds(units, seed), _folds(np.arange(len(test)), seed)])
    probability, areas, influence = np.empty(len(rows)), [], np.empty(len(rows))
    for number in range(_FOLDS):
        here = fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=500))
        model.fit(rows[~here], foreign[~here])
        probability[here] = model.predict_proba(rows[here])[:, 1]
        area, influence[here] = _area(probability[here], foreign[here])
        areas.append(area)
    of_units = np.bincount(unit, influence / _FOLDS)
    shared = 1 + _FOLDS / (_FOLDS - 1)
    error = float(np.sqrt(shared * np.square(of_units).sum()))
    return Drift(float(np.mean(areas)), error, probability[~foreign], probability[foreign])


def _folds(units: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return a fold number for each row; as many units in each fold, rows of a unit in the same."""
    fold: npt.NDArray[np.int64] = np.random.default_rng(seed).permutation(units.max() + 1) % _FOLDS
    return fold[units]


def _area(score: Probabilities, positive: npt.NDArray[np.bool_]) -> tuple[float, Probabilities]:
    """Return the area under the ROC curve, and by how much each row moves it: the sum of squares is its variance."""
    ranks, placed = rankdata(score), np.empty(len(score))
    for kind in (positive, ~positive):  # the share of the other kind that a row is above
        placed[kind] = (ranks[kind] - rankdata(score[kind])) / (~kind).sum()
    area = float(placed[positive].mean())
    placed[~positive] = 1 - placed[~positive]
    return area, (placed - area) / np.where(positive, positive.sum(), (~positive).sum())
