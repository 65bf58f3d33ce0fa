"""The host's metric: a score of labels, from counts of each class, or the log loss of probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from supcon.arrays import FloatArray, Groups, Labels, Scores
from supcon.metrics.f1 import Counts, count, f1_of_counts, limit_units, paired_bootstrap, present_f1_of_counts
from supcon.metrics.top_k import TopK, value_of

MetricName = Literal["macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "log_loss"]
LogProbabilities = FloatArray | TopK  # [rows, classes]
Prediction = Any  # what a metric scores: LabelMetric class numbers [rows], LogLoss log-probabilities [rows, classes]
_LARGEST_UNITS = 100_000  # that the bootstrap of the log loss draws; more are merged into so many


@dataclass(frozen=True)
class LabelMetric:
    """A score of labels, higher is better, over the classes that have rows to score.

    `scored` are the numbers of these classes. A class without rows to score is left out of the mean, where it would
    always count 0; a row that is predicted as such a class is an error of its true class. As each row has one label,
    micro-F1 is the accuracy.
    """

    name: MetricName
    classes: int
    scored: Labels
    of_probabilities: ClassVar[bool] = False
    sign: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.name.replace("_f1", "-F1").replace("_", " ")

    def untuned(self, log_probabilities: LogProbabilities) -> Labels:
        """Return what is scored where nothing is tuned: the likeliest class of each row."""
        return log_probabilities.argmax(axis=1)

    def score(self, true: Labels, predicted: Prediction) -> float:
        """Return the score of class numbers [rows]."""
        return float(self.of_counts(*count(true, predicted, self.classes)))

    def of_counts(self, hits: Counts, in_true: Counts, in_predicted: Counts) -> Scores:
        """Return the score [...] from each class's numbers of rows right, in truth and predicted, [..., classes]."""
        hits, in_true, in_predicted = (counts[..., self.scored] for counts in (hits, in_true, in_predicted))
        rows = np.maximum(in_true.sum(axis=-1), 1)
        if self.name in ("accuracy", "micro_f1"):
            return np.asarray(hits.sum(axis=-1) / rows)
        if self.name == "balanced_accuracy":
            present = in_true > 0
            recalls = hits / np.maximum(in_true, 1)
            return np.asarray((recalls * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))
        f1 = f1_of_counts(hits, in_true, in_predicted)
        return np.asarray((f1 * in_true).sum(axis=-1) / rows if self.name == "weighted_f1" else f1.mean(axis=-1))

    def bootstrap(
        self, true: Labels, predictions: Sequence[Prediction], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's scores on the same bootstrap samples of rows or groups, [resamples] each.

        Macro-F1 is here the mean over the scored classes that the sample has rows of.
        """
        of_counts = self._present_f1 if self.name == "macro_f1" else self.of_counts
        return paired_bootstrap(true, predictions, self.classes, resamples, seed, groups, of_counts)

    def _present_f1(self, hits: Counts, in_true: Counts, in_predicted: Counts) -> Scores:
        return present_f1_of_counts(*(counts[..., self.scored] for counts in (hits, in_true, in_predicted)))


@dataclass(frozen=True)
class LogLoss:
    """The mean of -log p(true class), lower is better."""

    name: ClassVar[MetricName] = "log_loss"
    title: ClassVar[str] = "log loss"
    of_probabilities: ClassVar[bool] = True
    sign: ClassVar[int] = -1

    def untuned(self, log_probabilities: LogProbabilities) -> LogProbabilities:
        """Return what is scored where nothing is tuned: the probabilities as they are."""
        return log_probabilities

    def score(self, true: Labels, predicted: Prediction) -> float:
        """Return the loss of log-probabilities [rows, classes]."""
        return float(row_losses(true, predicted).mean())

    def bootstrap(
        self, true: Labels, predictions: Sequence[Prediction], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's losses on the same bootstrap samples of rows or groups, [resamples] each."""
        unit = np.arange(len(true)) if groups is None else np.unique(groups, return_inverse=True)[1]
        unit = limit_units(unit, _LARGEST_UNITS, seed)
        rows = np.bincount(unit).astype(float)
        sums = np.stack([np.bincount(unit, row_losses(true, predicted)) for predicted in predictions] + [rows])
        generator = np.random.default_rng(seed)
        even = np.full(len(rows), 1 / len(rows))
        totals = np.stack([sums @ generator.multinomial(len(rows), even) for _ in range(resamples)])
        return [totals[:, number] / totals[:, -1] for number in range(len(predictions))]


Metric = LabelMetric | LogLoss


def make_metric(name: MetricName, classes: int, scored: Labels) -> Metric:
    """Return the metric called `name` over `classes` classes, of which those numbered `scored` have rows to score."""
    return LogLoss() if name == "log_loss" else LabelMetric(name, classes, scored)


def row_losses(true: Labels, log_probabilities: LogProbabilities) -> FloatArray:
    """Return -log p(true class) of each row."""
    return -value_of(log_probabilities, true)
