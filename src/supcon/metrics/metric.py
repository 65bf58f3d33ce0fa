"""The host's metric: a score of labels, from counts of classes or values on a scale, or of probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from supcon.arrays import FloatArray, Groups, Labels, Scores
from supcon.metrics.counts import Counts, count, f_of_counts, limit_units, mean_of_present, paired_bootstrap
from supcon.metrics.of_probabilities import LARGEST_UNITS, LogLoss, LogProbabilities, MeanAveragePrecision, RocAuc

MetricName = Literal[
    "macro_f1", "micro_f1", "weighted_f1", "f_beta", "accuracy", "balanced_accuracy", "kappa", "log_loss", "roc_auc",
    "map_k",
]  # fmt: skip
Prediction = Any  # what a metric scores: labels as class numbers [rows], or log-probabilities [rows, classes]


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
    beta: float = 1.0  # of F: recall counts so many times as much as precision
    of_probabilities: ClassVar[bool] = False
    sign: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """Its name in tables."""
        if self.name == "f_beta":
            return f"macro-F{self.beta:g}"
        return self.name.replace("_f1", "-F1").replace("_", " ")

    def over(self, scored: Labels) -> "LabelMetric":
        """Return the metric where these classes have rows to score."""
        return replace(self, scored=scored)

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
            return mean_of_present(hits / np.maximum(in_true, 1), in_true)
        f = f_of_counts(hits, in_true, in_predicted, self.beta)
        return np.asarray((f * in_true).sum(axis=-1) / rows if self.name == "weighted_f1" else f.mean(axis=-1))

    def bootstrap(
        self, true: Labels, predictions: Sequence[Prediction], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's scores on the same bootstrap samples of rows or groups, [resamples] each.

        Macro-F is here the mean over the scored classes that the sample has rows of.
        """
        of_counts = self._present_f if self.name in ("macro_f1", "f_beta") else self.of_counts
        return paired_bootstrap(true, predictions, self.classes, resamples, seed, groups, of_counts)

    def _present_f(self, hits: Counts, in_true: Counts, in_predicted: Counts) -> Scores:
        hits, in_true, in_predicted = (counts[..., self.scored] for counts in (hits, in_true, in_predicted))
        return mean_of_present(f_of_counts(hits, in_true, in_predicted, self.beta), in_true)


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa with quadratic weights, higher is better: classes are values on a scale.

    1 - sum (t - p)^2 / sum (t - p)^2 of pairs drawn at random: 0 is chance (Cohen 1968). All of it is made of sums over
    rows, so that a bootstrap needs no confusion matrix. Where nothing varies it is 0.
    """

    values: tuple[float, ...]  # of the classes
    name: ClassVar[MetricName] = "kappa"
    title: ClassVar[str] = "quadratic kappa"
    of_probabilities: ClassVar[bool] = False
    sign: ClassVar[int] = 1

    def over(self, scored: Labels) -> "Kappa":
        """Return the metric where other classes have rows to score: the same."""
        return self

    def untuned(self, log_probabilities: LogProbabilities) -> Labels:
        """Return what is scored where nothing is tuned: the likeliest class of each row."""
        return log_probabilities.argmax(axis=1)

    def score(self, true: Labels, predicted: Prediction) -> float:
        """Return the score of class numbers [rows]."""
        return float(_kappa(self._sums(true, predicted, np.zeros(len(true), np.int64))[0]))

    def bootstrap(
        self, true: Labels, predictions: Sequence[Prediction], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's scores on the same bootstrap samples of rows or groups, [resamples] each."""
        unit = np.arange(len(true)) if groups is None else np.unique(groups, return_inverse=True)[1]
        unit = limit_units(unit, LARGEST_UNITS, seed)
        sums = np.stack([self._sums(true, predicted, unit) for predicted in predictions])
        generator, units = np.random.default_rng(seed), sums.shape[1]
        even = np.full(units, 1 / units)
        totals = np.stack([generator.multinomial(units, even) @ sums for _ in range(resamples)], axis=1)
        return [_kappa(of_prediction) for of_prediction in totals]

    def _sums(self, true: Labels, predicted: Labels, unit: Groups) -> FloatArray:
        """Return by unit the sums of 1, t, p, t^2 + p^2 and (t - p)^2, [units, 5]."""
        values = np.array(self.values)
        values = values - values.mean()  # no digits are lost where values are large
        t, p = values[true], values[predicted]
        return np.stack([np.bincount(unit, x) for x in (np.ones(len(t)), t, p, t**2 + p**2, (t - p) ** 2)], axis=1)


def _kappa(sums: FloatArray) -> Scores:
    rows, t, p, squares, error = np.moveaxis(sums, -1, 0)
    by_chance = squares - 2 * t * p / np.maximum(rows, 1)
    varies = by_chance > 1e-9 * np.maximum(squares, 1e-300)
    return np.asarray(np.where(varies, 1 - error / np.where(varies, by_chance, 1), 0.0))


Metric = LabelMetric | Kappa | LogLoss | RocAuc | MeanAveragePrecision


def make_metric(
    name: MetricName, classes: int, scored: Labels, *, beta: float = 2.0, k: int = 5, values: Sequence[float] = ()
) -> Metric:
    """Return the metric called `name` over `classes` classes, of which those numbered `scored` have rows to score.

    `beta` is f_beta's, `k` map_k's, and `values` are kappa's: where each class stands on the scale, by default its
    number.
    """
    match name:
        case "log_loss":
            return LogLoss()
        case "roc_auc":
            return RocAuc(scored)
        case "map_k":
            return MeanAveragePrecision(k)
        case "kappa":
            return Kappa(tuple(values) or tuple(map(float, range(classes))))
    return LabelMetric(name, classes, scored, beta if name == "f_beta" else 1.0)


def of_probabilities(name: MetricName) -> bool:
    """Say whether the metric called `name` scores probabilities, or their order, and not labels."""
    return name in (LogLoss.name, RocAuc.name, MeanAveragePrecision.name)
