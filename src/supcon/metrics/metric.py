"""The host's metric: a score of labels, from counts of each class, or of probabilities; its bootstrap.

The bootstrap of labels is over rows by the cells of the confusion matrix, or over groups of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np

from supcon.arrays import FloatArray, Groups, Labels, RowMask, Scores
from supcon.metrics.placements import placements
from supcon.metrics.top_k import TopK, value_of

MetricName = Literal["macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "log_loss", "roc_auc"]
LogProbabilities = FloatArray | TopK  # [rows, classes]
Prediction = Any  # what a metric scores: LabelMetric class numbers [rows], the others log-probabilities [rows, classes]
Counts = FloatArray  # [..., classes]; weighted rows in a bootstrap
ScoreOfCounts = Callable[[Counts, Counts, Counts], Scores]  # of rows right, in truth and predicted, by class

_LARGEST_COUNTS = _BLOCK = 2**22  # numbers in one array of the bootstrap: [units, classes], and [samples, units]
_FEWEST_UNITS = 200  # they give a standard error to 5 %
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
            return _mean_of_present(hits / np.maximum(in_true, 1), in_true)
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


@dataclass(frozen=True)
class RocAuc:
    """The area under the ROC curve, higher is better: the mean over the classes `scored`, each told from all others.

    A class is left out where no rows are its own or no others; 0.5 where none is left. Of two classes both have the
    same area.
    """

    scored: Labels
    name: ClassVar[MetricName] = "roc_auc"
    title: ClassVar[str] = "ROC AUC"
    of_probabilities: ClassVar[bool] = True
    sign: ClassVar[int] = 1

    def untuned(self, log_probabilities: LogProbabilities) -> LogProbabilities:
        """Return what is scored where nothing is tuned: the probabilities as they are."""
        return log_probabilities

    def score(self, true: Labels, predicted: Prediction) -> float:
        """Return the area of log-probabilities [rows, classes]."""
        areas = [placed[positive].mean() for positive, placed in self._placements(true, predicted)]
        return float(np.mean(areas)) if areas else 0.5

    def bootstrap(
        self, true: Labels, predictions: Sequence[Prediction], resamples: int, seed: int, groups: Groups | None = None
    ) -> list[Scores]:
        """Return each prediction's areas on the same bootstrap samples of rows or groups, [resamples] each.

        To first order: a sample's area is made of its rows' placements among all rows (DeLong et al. 1988).
        """
        unit = np.arange(len(true)) if groups is None else np.unique(groups, return_inverse=True)[1]
        room = max(_FEWEST_UNITS, _LARGEST_COUNTS // max(len(self.scored), 1))
        unit = limit_units(unit, min(room, _LARGEST_UNITS), seed)
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
                scores[number, sample] = _mean_of_present(drawn.clip(0, 1), np.minimum(inside, outside))
        return list(scores)

    def _placements(self, true: Labels, predicted: Prediction) -> list[tuple[RowMask, FloatArray]]:
        """Return for each class which rows are its own, and the part of the other kind that a row is rightly beside."""
        masks = [(number, true == number) for number in self.scored.tolist()]
        return [
            (positive, placements(positive, value_of(predicted, np.full_like(true, number))))
            for number, positive in masks
            if 0 < positive.sum() < len(true)
        ]


Metric = LabelMetric | LogLoss | RocAuc


def make_metric(name: MetricName, classes: int, scored: Labels) -> Metric:
    """Return the metric called `name` over `classes` classes, of which those numbered `scored` have rows to score."""
    if name == "log_loss":
        return LogLoss()
    return RocAuc(scored) if name == "roc_auc" else LabelMetric(name, classes, scored)


def of_probabilities(name: MetricName) -> bool:
    """Say whether the metric called `name` scores probabilities, and not labels."""
    return name in (LogLoss.name, RocAuc.name)


def row_losses(true: Labels, log_probabilities: LogProbabilities) -> FloatArray:
    """Return -log p(true class) of each row."""
    return -value_of(log_probabilities, true)


def macro_f1(true: Labels, predicted: Labels, classes: int) -> float:
    """Return the mean F1 over all `classes`; a class neither present nor predicted counts 0, as in scikit-learn."""
    return float(f1_of_counts(*count(true, predicted, classes)).mean())


def count(true: Labels, predicted: Labels, classes: int) -> tuple[Counts, Counts, Counts]:
    """Return how many rows of each class are right, are in `true` and are in `predicted`, [classes] each."""
    if classes**2 <= len(true):  # the confusion matrix, in one pass over the rows instead of four
        cells = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(float)
        return cells.diagonal(), cells.sum(axis=1), cells.sum(axis=0)
    hits = np.bincount(true[true == predicted], minlength=classes)
    in_true, in_predicted = (np.bincount(labels, minlength=classes) for labels in (true, predicted))
    return hits.astype(float), in_true.astype(float), in_predicted.astype(float)


def f1_of_counts(hits: Counts, in_true: Counts, in_predicted: Counts) -> Counts:
    """Return the F1 of each class, [..., classes]."""
    return cast(Counts, 2 * hits / np.maximum(in_true + in_predicted, 1))


def present_f1_of_counts(hits: Counts, in_true: Counts, in_predicted: Counts) -> Scores:
    """Return the mean F1 of the classes that have rows, [...].

    For bootstrap samples, from some of which a small class is missing: a 0 would draw the interval below the score.
    """
    return _mean_of_present(f1_of_counts(hits, in_true, in_predicted), in_true)


def _mean_of_present(values: Counts, in_true: Counts) -> Scores:
    present = in_true > 0
    return cast(Scores, (values * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def paired_bootstrap(
    true: Labels,
    predictions: Sequence[Labels],
    classes: int,
    resamples: int,
    seed: int,
    groups: Groups | None = None,
    of_counts: ScoreOfCounts = present_f1_of_counts,
) -> list[Scores]:
    """Return the scores of several predictions of the same rows on the same bootstrap samples, [resamples] each.

    With the rows' `groups` [rows], whole groups are drawn (Field and Welsh 2007): rows of a patient or a track are
    right or wrong together, and say less than as many independent rows. Without, a sample of rows is a multinomial draw
    of the cells (true, first, second, ...): the same distribution as drawing rows, at the cost of the distinct cells.
    Where that would take too much memory, rows or groups are first merged at random into as many units as there is room
    for: n units give the standard error to one part in sqrt(2n).
    """
    unit = _cells([true, *predictions], classes) if groups is None else np.unique(groups, return_inverse=True)[1]
    copies = np.bincount(unit)  # equal rows in a cell; a group is drawn as a whole
    room = max(_FEWEST_UNITS, _LARGEST_COUNTS // classes)
    if groups is not None or len(copies) > room:
        unit = limit_units(np.arange(len(true)) if groups is None else unit, room, seed)
        copies = np.ones(unit.max() + 1, np.int64)
    # float32 is exact for whole numbers below 2^24
    precision = np.float32 if len(copies) * classes > _LARGEST_COUNTS else np.float64
    all_rows = slice(None)

    def count_in_units(rows: RowMask | slice, labels: Labels) -> Counts:
        """Return how many of the rows each label has in one copy of each unit, [units, classes]."""
        counts = np.bincount(unit[rows] * classes + labels[rows], minlength=len(copies) * classes)
        return cast(Counts, counts.reshape(-1, classes).astype(precision) / copies[:, None].astype(precision))

    in_true = count_in_units(all_rows, true)
    counts_of_predictions = [
        (count_in_units(predicted == true, true), count_in_units(all_rows, predicted)) for predicted in predictions
    ]
    draw, step = np.random.default_rng(seed), max(1, _BLOCK // max(classes, len(copies)))
    scores = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times: Counts = draw.multinomial(copies.sum(), copies / copies.sum(), size=size).astype(precision)
        sampled = times @ in_true
        scores.append(
            [of_counts(times @ hits, sampled, times @ predicted) for hits, predicted in counts_of_predictions]
        )
    return [np.concatenate(parts) for parts in zip(*scores, strict=True)]


def _cells(labels: Sequence[Labels], classes: int) -> Groups:
    """Return the number of each row's cell, [rows]: rows are in one cell where all their labels agree."""
    cell = labels[0]
    for further in labels[1:]:
        cell = np.unique(cell * classes + further, return_inverse=True)[1]
    return np.unique(cell, return_inverse=True)[1]


def limit_units(unit: Groups, most: int, seed: int) -> Groups:
    """Return the units of the rows [rows], merged at random into `most` units where there are more."""
    units = int(unit.max(initial=-1)) + 1
    if units <= most:
        return unit
    merged: Groups = np.random.default_rng([seed, units]).permutation(units) % most
    return merged[unit]
