"""Scores of several runs on the same rows, and how probably each is better than another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from supcon.arrays import Scores
from supcon.errors import UserError
from supcon.metrics.counts import count, f1_of_counts, paired_bootstrap
from supcon.report.run import Run
from supcon.run.scores import Score


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Runs on one split, by their cross-fitted decisions; the first is the one that the others are compared with."""

    runs: Sequence[Run]
    drawn: Sequence[Scores] = ()  # the draws, where they are known

    @property
    def first(self) -> Run:
        """The run that the others are compared with."""
        return self.runs[0]

    @property
    def names(self) -> list[str]:
        """Names of the runs."""
        return [run.name for run in self.runs]

    @cached_property
    def draws(self) -> list[Scores]:
        """Each run's scores on the same bootstrap samples of rows, or of groups where there are any, [resamples]."""
        return list(self.drawn) or self.first.bootstrap([run.predicted for run in self.runs])

    @cached_property
    def scores(self) -> list[Score]:
        """Each run's score with its 95 % interval."""
        scores = []
        for run, drawn in zip(self.runs, self.draws, strict=True):
            low, high = np.percentile(drawn, [2.5, 97.5])
            scores.append(Score(run.score(run.predicted), float(low), float(high), float(drawn.std())))
        return scores

    def gain(self, run: int, other: int = 0) -> tuple[float, float]:
        """Return by how much a run is better than another, and the standard error of that paired difference."""
        sign = self.first.metric.sign
        value = sign * (self.scores[run].score - self.scores[other].score)
        return value, float(np.std(self.draws[run] - self.draws[other]))

    def probability(self, run: int, other: int = 0) -> float:
        """Return the share of bootstrap samples on which a run is better than another; ties count half."""
        difference = self.first.metric.sign * (self.draws[run] - self.draws[other])
        return float((difference > 0).mean() + (difference == 0).mean() / 2)

    def class_differences(self, run: int) -> tuple[Scores, Scores, Scores]:
        """Return by how much a run's F1 of each class is above the first's, and its 95 % interval, [classes] each."""
        first, tune = self.first, self.first.experiment.settings.tune
        labels = [first.labels, self.runs[run].labels]
        size = len(first.classes)
        before, after = paired_bootstrap(
            first.true, labels, size, tune.bootstrap, tune.seed, first.groups, of_counts=f1_of_counts
        )
        low, high = np.percentile(after - before, [2.5, 97.5], axis=0)
        value = class_f1(self.runs[run]) - class_f1(first)
        blank = np.where(np.bincount(first.true, minlength=size) == 0, np.nan, 0.0)  # where there is nothing to score
        return value + blank, low + blank, high + blank

    def text(self) -> str:
        """Return the table for a terminal."""
        lines = [["run", f"{self.first.metric.title} [95 %]", f"over {self.first.name}", "better with probability"]]
        for number, name in enumerate(self.names):
            value, error = self.gain(number)
            over = ["", ""] if number == 0 else [f"{value:+z.4f} +- {error:.4f}", f"{self.probability(number):.3f}"]
            lines.append([name, str(self.scores[number]), *over])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def class_f1(run: Run) -> Scores:
    """Return the F1 of each class by the cross-fitted decision, [classes]."""
    return f1_of_counts(*count(run.true, run.labels, len(run.classes)))


def require_comparable(runs: Sequence[Run]) -> None:
    """Raise `UserError`, naming the run, where one cannot be compared with the first."""
    first = runs[0]
    for run in runs[1:]:
        if run.classes != first.classes:
            raise UserError(f"run {run.name} has other classes than {first.name}: compare runs of one competition")
        if list(run.ids) != list(first.ids) or (run.fold != first.fold).any() or (run.true != first.true).any():
            raise UserError(
                f"run {run.name} has another split than {first.name}: compare runs on the same rows and folds"
            )
        if run.metric.name != first.metric.name:
            raise UserError(
                f"run {run.name} is tuned for {run.metric.name}, {first.name} for {first.metric.name}: tune both for"
                " the same --tune.metric first"
            )
