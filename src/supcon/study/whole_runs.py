"""Whole runs beside each other by what counts in the end: their cross-fitted decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from supcon.arrays import Labels, Scores
from supcon.metrics.metric import Metric, Prediction
from supcon.run.experiment import Experiment
from supcon.run.runs import read_labels, read_runs
from supcon.run.scores import cross_fitted
from supcon.storage.files import read_json
from supcon.study.compare import RESAMPLES
from supcon.study.progress import RoundResult
from supcon.study.runs import Runs


@dataclass(frozen=True)
class WholeRunScore:
    """A variant's cross-fitted score, mean over seeds, and its paired difference to the baseline's."""

    variant: str
    score: float
    gain: float
    error: float  # standard error of the difference, over `units`
    units: str  # rows, or groups of them


def whole_runs(rounds: Sequence[RoundResult], fold_count: int) -> list[tuple[str, int]]:
    """Return the (variant, seed) of which every fold is scored, in the last round that is over all folds."""
    for outcome in reversed(rounds):
        if {cell.fold for cell in outcome.cells} == set(range(fold_count)):
            complete = {line.variant for line in outcome.variants if line.complete}
            return [(variant, seed) for variant in sorted(complete) for seed in outcome.plan.seeds]
    return []


def read_whole_run_scores(runs: Runs, whole: Sequence[tuple[str, int]], baseline: str) -> list[WholeRunScore]:
    """Return how the whole runs stand by their decision.json, best first; none unless the baseline is whole too."""
    experiments = {pair: runs.experiment(*pair) for pair in whole}
    predicted: dict[str, list[Prediction]] = {}
    for (variant, _), experiment in experiments.items():
        predicted.setdefault(variant, []).append(_read_prediction(experiment))
    if baseline not in predicted:
        return []
    first = next(iter(experiments.values()))
    true = first.split.labels[first.split.scored_rows]
    return compare_whole_runs(true, predicted, baseline, first.metric, first.split.scored_groups)


def compare_whole_runs(
    true: Labels,
    predicted: Mapping[str, Sequence[Prediction]],
    baseline: str,
    metric: Metric,
    groups: Labels | None = None,
) -> list[WholeRunScore]:
    """Return every variant beside the baseline, given each one's predictions by seed, best first.

    The standard error is that of the mean over seeds, by a paired bootstrap over rows, or over `groups` [rows] of them
    where there are any: every seed is scored on the same samples, since seeds share their rows.
    """
    given = [(variant, labels) for variant, seeds in predicted.items() for labels in seeds]
    drawn = metric.bootstrap(true, [labels for _, labels in given], RESAMPLES, seed=0, groups=groups)
    scores: dict[str, list[float]] = {}
    samples: dict[str, list[Scores]] = {}
    for (variant, labels), sample in zip(given, drawn, strict=True):
        scores.setdefault(variant, []).append(metric.score(true, labels))
        samples.setdefault(variant, []).append(sample)
    units = "rows" if groups is None else "groups"
    lines = []
    for variant in predicted:
        gain = float(np.mean(scores[variant]) - np.mean(scores[baseline]))
        error = float(np.std(np.mean(samples[variant], axis=0) - np.mean(samples[baseline], axis=0)))
        lines.append(WholeRunScore(variant, float(np.mean(scores[variant])), gain, error, units))
    return sorted(lines, key=lambda line: -metric.sign * line.score)


def _read_prediction(experiment: Experiment) -> Prediction:
    """Return what the metric scores of a tuned run, fold k's rows by the decision made on the other folds."""
    if not experiment.metric.of_probabilities:
        return read_labels(experiment)
    decision = read_json(experiment.call.run_folder / "decision.json")
    return cross_fitted(experiment, decision, read_runs(experiment))
