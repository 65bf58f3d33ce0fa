"""Whole runs beside each other by what counts in the end: the labels of their cross-fitted decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from supcon.metrics.f1 import Labels, Scores, macro_f1, paired_bootstrap
from supcon.runs import read_labels
from supcon.study.compare import RESAMPLES
from supcon.study.play import Played
from supcon.study.runs import Runs


@dataclass(frozen=True)
class Decided:
    """A variant's cross-fitted macro-F1, mean over seeds, and its paired difference to the baseline's."""

    variant: str
    macro_f1: float
    gain: float
    error: float  # standard error of the difference, over `units`
    units: str  # rows, or groups of them


def whole_runs(rounds: Sequence[Played]) -> list[tuple[str, int]]:
    """Return the (variant, seed) of which every fold is scored, in the last round that is over all folds."""
    for played in reversed(rounds):
        if played.plan.folds is None:
            complete = {line.variant for line in played.standings if line.complete}
            return [(variant, seed) for variant in sorted(complete) for seed in played.plan.seeds]
    return []


def read_decided(runs: Runs, whole: Sequence[tuple[str, int]], baseline: str) -> list[Decided]:
    """Return how the whole runs stand by their decision.json, best first; none unless the baseline is whole too."""
    experiments = {one: runs.experiment(*one) for one in whole}
    labels: dict[str, list[Labels]] = {}
    for (variant, _), experiment in experiments.items():
        labels.setdefault(variant, []).append(read_labels(experiment))
    if baseline not in labels:
        return []
    first = next(iter(experiments.values()))
    rows = first.split.scored_rows
    groups = None if first.split.groups is None else first.split.groups[rows]
    return compare_decided(first.split.labels[rows], labels, baseline, len(first.split.classes), groups)


def compare_decided(
    true: Labels,
    labels: Mapping[str, Sequence[Labels]],
    baseline: str,
    classes: int,
    groups: Labels | None = None,
) -> list[Decided]:
    """Return every variant beside the baseline, given each one's labels by seed, best first.

    The standard error is that of the mean over seeds, by a paired bootstrap over rows, or over `groups` [rows] of them
    where there are any: every seed is scored on the same samples, since seeds share their rows.
    """
    given = [(variant, own) for variant, seeds in labels.items() for own in seeds]
    drawn = paired_bootstrap(true, [own for _, own in given], classes, RESAMPLES, seed=0, groups=groups)
    scores: dict[str, list[float]] = {}
    samples: dict[str, list[Scores]] = {}
    for (variant, own), sample in zip(given, drawn, strict=True):
        scores.setdefault(variant, []).append(macro_f1(true, own, classes))
        samples.setdefault(variant, []).append(sample)
    units = "rows" if groups is None else "groups"
    lines = []
    for variant in labels:
        gain = float(np.mean(scores[variant]) - np.mean(scores[baseline]))
        error = float(np.std(np.mean(samples[variant], axis=0) - np.mean(samples[baseline], axis=0)))
        lines.append(Decided(variant, float(np.mean(scores[variant])), gain, error, units))
    return sorted(lines, key=lambda line: -line.macro_f1)
