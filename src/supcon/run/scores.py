"""The table at the end of a run: raw and cross-fitted scores with intervals, and the private ones where known.

Intervals are by bootstrap, over groups of rows where there are any: rows of a patient are right or wrong together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from supcon.arrays import Labels
from supcon.decision.rule import Rule
from supcon.metrics.metric import Metric, Prediction
from supcon.metrics.top_k import scattered
from supcon.run.experiment import Experiment
from supcon.run.runs import RunLogits

POOLED = "pooled"


@dataclass(frozen=True)
class Score:
    """A score with its bootstrap: 95 % interval and standard error."""

    score: float
    low: float
    high: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.score:z.4f} [{self.low:z.4f}, {self.high:z.4f}]"


@dataclass(frozen=True)
class ScoreTable:
    """Out-of-fold scores by fold and pooled: raw (nothing tuned), and cross-fitted (by rules of the other folds)."""

    metric: str  # its name in tables
    raw: dict[str, Score]
    cross_fitted: dict[str, Score]

    def text(self) -> str:
        """Return the table, the cross-fitted score first."""
        width = max(22, len(self.metric) + 14)
        lines = [f"{f'out-of-fold {self.metric}':<{width}}{'cross-fitted [95 %]':<28}raw [95 %]"]
        lines += [f"{name:<{width}}{self.cross_fitted[name]!s:<28}{self.raw[name]}" for name in self.raw]
        return "\n".join(lines)


@dataclass(frozen=True)
class PrivateScores:
    """The metric on the private leaderboard's labels."""

    single_folds: list[float]
    single_mean: float  # what the cross-fitted score estimates
    standard_error: float
    ensemble: Score

    def text(self, table: ScoreTable) -> str:
        """Return the private lines of the table, and how far the cross-fitted score was from the private one."""
        estimate = table.cross_fitted[POOLED]
        error = float(np.hypot(estimate.standard_error, self.standard_error))
        difference = self.single_mean - estimate.score
        return (
            f"\nprivate {table.metric}, mean of single folds: {self.single_mean:z.4f}, {difference:+z.4f} from the"
            f" cross-fitted score ({abs(difference) / max(error, 1e-9):.1f} standard errors of {error:.4f})"
            f"\nprivate {table.metric}, ensemble:             {self.ensemble}"
            f"\ngain of the ensemble over single folds: {self.ensemble.score - self.single_mean:+z.4f}"
        )


def score_table(experiment: Experiment, decision: Mapping[str, Any], runs: Sequence[RunLogits]) -> ScoreTable:
    """Return the scores of a run's out-of-fold rows under its decision.json."""
    logits, metric = [run.out_of_fold for run in runs], experiment.metric
    raw = Rule.from_json(decision["untuned"]).predict_runs(logits, metric)
    tuned = cross_fitted(experiment, decision, runs)
    return ScoreTable(metric.title, _by_fold(experiment, raw), _by_fold(experiment, tuned))


def cross_fitted(experiment: Experiment, decision: Mapping[str, Any], runs: Sequence[RunLogits]) -> Prediction:
    """Return what the metric scores, [rows, ...]: each fold's rows decided by the rule fitted on the other folds."""
    fold = experiment.split.fold[experiment.split.scored_rows]
    logits, rules = [run.out_of_fold for run in runs], decision["fold_rules"].items()
    folds = [(fold == int(number), Rule.from_json(rule)) for number, rule in rules]
    parts = ((rows, rule.predict_runs([own[rows] for own in logits], experiment.metric)) for rows, rule in folds)
    return scattered(len(fold), parts)


def private_scores(
    solution: pd.Series, experiment: Experiment, single_folds: Sequence[Prediction], ensemble: Prediction
) -> PrivateScores:
    """Score each single fold's predictions of the test rows and the ensemble's against the solution."""
    class_number = {name: number for number, name in enumerate(experiment.split.classes)}
    true = np.array([class_number[name] for name in solution])
    metric = experiment.metric
    if not experiment.competition.form.positive:  # the host scores every class, also those too small for our folds
        metric = metric.over(np.unique(true))
    singles = [_score(experiment, metric, true, predicted) for predicted in single_folds]
    # the folds' models err on the same images: one fold's error is also the error of their mean
    error = float(np.mean([single.standard_error for single in singles]))
    scores = [single.score for single in singles]
    return PrivateScores(scores, float(np.mean(scores)), error, _score(experiment, metric, true, ensemble))


def class_shares(classes: list[str], before: Labels, after: Labels) -> dict[str, tuple[float, float]]:
    """Return each class's share of the test rows by argmax and by the decision."""
    counts = [np.bincount(labels, minlength=len(classes)) / len(labels) for labels in (before, after)]
    return {name: (round(float(old), 4), round(float(new), 4)) for name, old, new in zip(classes, *counts, strict=True)}


def _by_fold(experiment: Experiment, predicted: Prediction) -> dict[str, Score]:
    scored, metric = experiment.split.scored_rows, experiment.metric
    fold, true = experiment.split.fold[scored], experiment.split.labels[scored]
    rows = {f"fold {number}": fold == number for number in range(experiment.settings.data.folds)}
    rows[POOLED] = np.ones(len(predicted), bool)
    groups = experiment.split.scored_groups
    return {
        name: _score(experiment, metric, true[mask], predicted[mask], None if groups is None else groups[mask])
        for name, mask in rows.items()
    }


def _score(
    experiment: Experiment, metric: Metric, true: Labels, predicted: Prediction, groups: Labels | None = None
) -> Score:
    tune = experiment.settings.tune
    (draws,) = metric.bootstrap(true, [predicted], tune.bootstrap, tune.seed, groups)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Score(metric.score(true, predicted), float(low), float(high), float(draws.std()))
