"""The table at the end of a run: raw and cross-fitted scores with intervals, and the private ones where known."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from supcon.decision.merge import merge_views
from supcon.experiment import Experiment
from supcon.metrics.f1 import Labels, bootstrap_macro_f1, macro_f1
from supcon.predictions import read_out_of_fold

POOLED = "pooled"


@dataclass(frozen=True)
class Score:
    """A macro-F1 with its bootstrap: 95 % interval and standard error."""

    score: float
    low: float
    high: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.score:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class ScoreTable:
    """Out-of-fold macro-F1 by fold and pooled: raw (argmax) and cross-fitted (the decision made elsewhere)."""

    raw: dict[str, Score]
    cross_fitted: dict[str, Score]

    def as_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)

    def text(self) -> str:
        """Return the table, the cross-fitted score first."""
        lines = [f"{'out-of-fold macro-F1':<22}{'cross-fitted [95 %]':<28}raw [95 %]"]
        lines += [f"{name:<22}{self.cross_fitted[name]!s:<28}{self.raw[name]}" for name in self.raw]
        return "\n".join(lines)


@dataclass(frozen=True)
class PrivateScores:
    """Macro-F1 on the private leaderboard's labels."""

    single_folds: list[float]
    single_mean: float  # what the cross-fitted score estimates
    standard_error: float
    ensemble: Score

    def as_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)

    def text(self, table: ScoreTable) -> str:
        """Return the private lines of the table, and whether the cross-fitted score kept its word."""
        estimate = table.cross_fitted[POOLED]
        error = float(np.hypot(estimate.standard_error, self.standard_error))
        difference = self.single_mean - estimate.score
        return (
            f"\nprivate macro-F1, mean of single folds: {self.single_mean:.4f}, {difference:+.4f} from the cross-fitted"
            f" score ({abs(difference) / max(error, 1e-9):.1f} standard errors of {error:.4f})"
            f"\nprivate macro-F1, ensemble:             {self.ensemble}"
            f"\ngain of the ensemble over single folds: {self.ensemble.score - self.single_mean:+.4f}"
        )


def score_table(experiment: Experiment, decision: Mapping[str, Any]) -> ScoreTable:
    """Return the scores of a run's out-of-fold rows under its decision.json."""
    logits = read_out_of_fold(experiment)
    number = {name: position for position, name in enumerate(experiment.classes)}
    cross_fitted = np.array([number[decision["cross_fitted_labels"][name]] for name in experiment.split["id"]])
    return ScoreTable(_by_fold(experiment, merge_views(logits, 1.0).argmax(axis=1)), _by_fold(experiment, cross_fitted))


def private_scores(
    solution: pd.Series, experiment: Experiment, single_folds: Sequence[Labels], ensemble: Labels
) -> PrivateScores:
    """Score each single fold's test labels and the ensemble's against the solution."""
    number = {name: position for position, name in enumerate(experiment.classes)}
    true = np.array([number[name] for name in solution])
    count = len(experiment.classes)
    singles = [macro_f1(true, labels, count) for labels in single_folds]
    # the folds' models err on the same images: one fold's error is also the error of their mean
    errors = [_score(experiment, true, labels).standard_error for labels in single_folds]
    return PrivateScores(singles, float(np.mean(singles)), float(np.mean(errors)), _score(experiment, true, ensemble))


def class_shares(classes: list[str], before: Labels, after: Labels) -> dict[str, tuple[float, float]]:
    """Return each class's share of the test rows by argmax and by the decision."""
    counts = [np.bincount(labels, minlength=len(classes)) / len(labels) for labels in (before, after)]
    return {name: (round(float(a), 4), round(float(b), 4)) for name, a, b in zip(classes, *counts, strict=True)}


def _by_fold(experiment: Experiment, predicted: Labels) -> dict[str, Score]:
    rows = {f"fold {fold}": experiment.fold == fold for fold in range(experiment.call.settings.data.folds)}
    rows[POOLED] = np.ones(len(predicted), bool)
    return {name: _score(experiment, experiment.labels[mask], predicted[mask]) for name, mask in rows.items()}


def _score(experiment: Experiment, true: Labels, predicted: Labels) -> Score:
    tune = experiment.call.settings.tune
    draws = bootstrap_macro_f1(true, predicted, len(experiment.classes), tune.bootstrap, tune.seed)
    low, high = np.percentile(draws, [2.5, 97.5])
    score = macro_f1(true, predicted, len(experiment.classes))
    return Score(score, float(low), float(high), float(draws.std()))
