"""Metrics that score probabilities, or the order that they put rows or classes in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from supcon.arrays import FloatArray, Groups, Labels, RowMask, Scores
from supcon.metrics.counts import FEWEST_UNITS, LARGEST_COUNTS, limit_units, mean_of_present
from supcon.metrics.placements import placements
from supcon.metrics.top_k import TopK, blocks, kept_values, value_of

LogProbabilities = FloatArray | TopK  # [rows, classes]

LARGEST_UNITS = 100_000  # that the bootstrap of a mean over rows draws; more are merged into so many


class _OfProbabilities:
    """What these metrics share."""

    of_probabilities: ClassVar[bool] = True

    def untuned(self, log_probabilities: LogProbabilities) -> LogProbabilities:
        """Return what is scored where nothing is tuned: the probabilities as they are."""
        return log_probabilities


class _MeanOfRows(_OfProbabilities):
    """A mean of a number that each row has."""

    def of_rows(self, true: Labels, predicted: LogProbabilities) -> FloatArray:
        """Return each row's number, from its true class and log-probabilities [rows, classes]."""
        raise NotImplementedError

    def over(self, scored: Labels) -> "Any":
        """Return the metric where other classes have rows to score: the same."""
        return self

    def score(self, true: Labels, predicted: Any) -> float:
        """Return the mean for log-probabilities [rows, classes]."""
        return float(self.of_rows(true, predicted).mean())

    def bootstrap(
        self, true: Labels, predictions: Sequence[Any], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's means on the same bootstrap samples of rows or groups, [resamples] each."""
        unit = np.arange(len(true)) if groups is None else np.unique(groups, return_inverse=True)[1]
        unit = limit_units(unit, LARGEST_UNITS, seed)
        rows = np.bincount(unit).astype(float)
        sums = np.stack([np.bincount(unit, self.of_rows(true, predicted)) for predicted in predictions] + [rows])
        generator = np.random.default_rng(seed)
        even = np.full(len(rows), 1 / len(rows))
        totals = np.stack([sums @ generator.multinomial(len(rows), even) for _ in range(resamples)])
        return [totals[:, number] / totals[:, -1] for number in range(len(predictions))]


@dataclass(frozen=True)
class LogLoss(_MeanOfRows):
    """The mean of -log p(true class), lower is better."""

    name: ClassVar[str] = "log_loss"
    title: ClassVar[str] = "log loss"
    sign: ClassVar[int] = -1

    def of_rows(self, true: Labels, predicted: LogProbabilities) -> FloatArray:
        """Return each row's loss."""
        return row_losses(true, predicted)


@dataclass(frozen=True)
class MeanAveragePrecision(_MeanOfRows):
    """MAP@k of rows that have one true class each: the mean of 1 / its place among the `k` likeliest, else 0."""

    k: int
    name: ClassVar[str] = "map_k"
    sign: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """Its name in tables."""
        return f"MAP@{self.k}"

    def of_rows(self, true: Labels, predicted: LogProbabilities) -> FloatArray:
        """Return each row's precision; of classes that are equally likely the first comes first, as when written."""
        parts, start = [], 0
        for block in blocks(predicted):
            values, numbers = kept_values(block)
            order = np.argsort(-values, axis=1, kind="stable")[:, : self.k]
            classes = order if numbers is None else np.take_along_axis(numbers, order, axis=1)
            hits = classes == true[start : start + len(values), None]
            parts.append((hits / np.arange(1, classes.shape[1] + 1)).sum(axis=1))
            start += len(values)
        return np.concatenate(parts) if parts else np.zeros(0)


@dataclass(frozen=True)
class RocAuc(_OfProbabilities):
    """The area under the ROC curve, higher is better: the mean over the classes `scored`, each told from all others.

    A class is left out where no rows are its own or no others; 0.5 where none is left. Of two classes both have the
    same area.
    """

    scored: Labels
    name: ClassVar[str] = "roc_auc"
    title: ClassVar[str] = "ROC AUC"
    sign: ClassVar[int] = 1

    def over(self, scored: Labels) -> "RocAuc":
        """Return the metric where these classes have rows to score."""
        return replace(self, scored=scored)

    def score(self, true: Labels, predicted: Any) -> float:
        """Return the area of log-probabilities [rows, classes]."""
        areas = [placed[positive].mean() for positive, placed in self._placements(true, predicted)]
        return float(np.mean(areas)) if areas else 0.5

    def bootstrap(
        self, true: Labels, predictions: Sequence[Any], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's areas on the same bootstrap samples of rows or groups, [resamples] each.

        To first order: a sample's area is made of its rows' placements among all rows (DeLong et al. 1988).
        """
        unit = np.arange(len(true)) if groups is None else np.unique(groups, return_inverse=True)[1]
        room = max(FEWEST_UNITS, LARGEST_COUNTS // max(len(self.scored), 1))
        unit = limit_units(unit, min(room, LARGEST_UNITS), seed)
        rows = np.bincount(unit).astype(float)
        parts = []  # of each prediction: sums of the placements of either kind of rows [units, classes], and the areas
        for predicted in predictions:
            by_class = self._placements(true, predicted)
            if not by_class:
                return [np.full(resamples, 0.5) for _ in predictions]
            own, others = (
                np.stack([np.bincount(unit, placed * (positive == kind)) for positive, placed in by_class], axis=1)
                for kind in (True, False)
            )
            parts.append((own, others, np.array([placed[positive].mean() for positive, placed in by_class])))
        of_class = np.stack([np.bincount(unit, positive) for positive, _ in by_class], axis=1)
        generator, even = np.random.default_rng(seed), np.full(len(rows), 1 / len(rows))
        scores = np.empty((len(predictions), resamples))
        for sample in range(resamples):
            times = generator.multinomial(len(rows), even)
            inside = times @ of_class
            outside = times @ rows - inside
            for number, (own, others, areas) in enumerate(parts):
                drawn = times @ own / np.maximum(inside, 1) + times @ others / np.maximum(outside, 1) - areas
                scores[number, sample] = mean_of_present(drawn.clip(0, 1), np.minimum(inside, outside))
        return list(scores)

    def _placements(self, true: Labels, predicted: Any) -> list[tuple[RowMask, FloatArray]]:
        """Return for each class which rows are its own, and the part of the other kind that a row is rightly beside."""
        masks = [(number, true == number) for number in self.scored.tolist()]
        return [
            (positive, placements(positive, value_of(predicted, np.full_like(true, number))))
            for number, positive in masks
            if 0 < positive.sum() < len(true)
        ]


def row_losses(true: Labels, log_probabilities: LogProbabilities) -> FloatArray:
    """Return -log p(true class) of each row."""
    return -value_of(log_probabilities, true)
