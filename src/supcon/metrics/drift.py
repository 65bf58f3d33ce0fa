"""Whether the test rows are like the training rows, as an encoder sees them."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from supcon.arrays import Features, Folds, Groups, Probabilities, RowMask
from supcon.metrics.placements import placements

_FOLDS = 5
_STRENGTH = 0.01  # C: with it a small shift of 20 of 1,280 simulated features is found; PCA to 200 loses it


@dataclass(frozen=True)
class Drift:
    """How well a classifier tells test rows from held-out ones: 0.5 not at all, 1 without error."""

    auc: float
    standard_error: float
    held_out_probability: Probabilities  # of being a test row, [held-out rows], by a model that never saw the row
    test_probability: Probabilities  # [test rows]; the highest are the most foreign ones


def drift_auc(held_out: Features, test: Features, seed: int = 0, groups: Groups | None = None) -> Drift:
    """Return the cross-validated AUC of a logistic regression that tells held-out rows [n, D] from test rows [m, D].

    Both are embedded by the same encoder, which was trained on neither: any other rows differ from its training rows.
    Held-out rows of one of `groups` [n] stay in one fold. The AUC is the folds' mean. Its standard error is DeLong's
    (1988), by group where there are groups (Obuchowski 1997), with the variance that comes from the folds' models
    sharing training rows (Nadeau & Bengio 2003). `nan` with fewer than 5 test rows, or held-out rows or groups.
    """
    units = np.arange(len(held_out)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if min(len(np.unique(units)), len(test)) < _FOLDS:
        return Drift(np.nan, np.nan, np.full(len(held_out), np.nan), np.full(len(test), np.nan))
    rows = np.concatenate([held_out, test]).astype(np.float32)  # not normalised: lengths tell foreign images too
    foreign = np.repeat([False, True], [len(held_out), len(test)])
    unit = np.concatenate([units, units.max() + 1 + np.arange(len(test))])
    fold = np.concatenate([_folds(units, seed), _folds(np.arange(len(test)), seed)])
    probability, areas, influence = np.empty(len(rows)), [], np.empty(len(rows))
    for number in range(_FOLDS):
        validated = fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=500))
        model.fit(rows[~validated], foreign[~validated])
        probability[validated] = model.predict_proba(rows[validated])[:, 1]
        area, influence[validated] = _area(probability[validated], foreign[validated])
        areas.append(area)
    influence_of_units = np.bincount(unit, influence / _FOLDS)
    shared = 1 + _FOLDS / (_FOLDS - 1)
    error = float(np.sqrt(shared * np.square(influence_of_units).sum()))
    return Drift(float(np.mean(areas)), error, probability[~foreign], probability[foreign])


def _folds(units: Groups, seed: int) -> Folds:
    """Return a fold number for each row: equally many units in each fold, rows of a unit in one fold."""
    fold: Folds = np.random.default_rng(seed).permutation(units.max() + 1) % _FOLDS
    return fold[units]


def _area(score: Probabilities, positive: RowMask) -> tuple[float, Probabilities]:
    """Return the area under the ROC curve, and each row's influence on it; their squares sum up to its variance."""
    placed = placements(positive, score)
    area = float(placed[positive].mean())
    return area, (placed - area) / np.where(positive, positive.sum(), (~positive).sum())
