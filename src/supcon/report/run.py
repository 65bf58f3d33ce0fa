"""A finished run as its pages see it: everything is read on first use, and torch is never imported."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.arrays import Folds, Groups, Labels, Probabilities, Rows, Scores
from supcon.competition.survey import Copies, find_copies, remembered_copies
from supcon.decision.calibration import calibration_temperature
from supcon.decision.logits import Logits, load_logits, plain_mean
from supcon.decision.merge import merge_views
from supcon.errors import UserError
from supcon.images.cache import ImageCache
from supcon.metrics.label_errors import LabelErrors, label_errors
from supcon.metrics.metric import Metric, Prediction
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.metrics.top_k import TopK, scattered, value_of
from supcon.report.page import Missing
from supcon.run.done import read_result
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.predictions import Embeddings, read_embeddings
from supcon.run.runs import RunLogits, read_labels, read_out_of_fold, read_runs
from supcon.run.scores import ScoreTable, cross_fitted, score_table
from supcon.settings import Request

_FITTED_LOGITS = 4_000_000  # that a temperature is fitted to
_FITTED_ROWS = 2000  # that it is fitted to at least, where there are so many
_NAMED_RUNS = 10  # that an error lists


@dataclass(frozen=True, eq=False)
class Pair:
    """Two classes that are confused with each other."""

    first: int  # class numbers
    second: int
    rows: Rows  # among the scored rows, the most confident error first


@dataclass(frozen=True, eq=False)
class Run:
    """A tuned run. Arrays [rows] are over the scored rows, those that some fold holds out, in the table's order."""

    experiment: Experiment

    @property
    def name(self) -> str:
        """Its name below runs/."""
        return self.experiment.request.run

    @property
    def folder(self) -> Path:
        """runs/NAME."""
        return self.experiment.request.run_folder

    @property
    def classes(self) -> list[str]:
        """Class names."""
        return self.experiment.split.classes

    @property
    def metric(self) -> Metric:
        """The metric that it is tuned for."""
        return self.experiment.metric

    @property
    def rows(self) -> Rows:
        """Row numbers of the scored rows in the training table, also their positions in the image cache."""
        return self.experiment.split.scored_rows

    @cached_property
    def ids(self) -> npt.NDArray[np.object_]:
        """Their ids, [rows]."""
        return self.experiment.split.ids.to_numpy(dtype=object)[self.rows]

    @cached_property
    def true(self) -> Labels:
        """Their class numbers, [rows]."""
        return self.experiment.split.labels[self.rows]

    @cached_property
    def fold(self) -> Folds:
        """The folds that hold them out, [rows]."""
        return self.experiment.split.fold[self.rows]

    @property
    def groups(self) -> Groups | None:
        """Their group numbers, [rows]; None where all rows are alone."""
        return self.experiment.split.scored_groups

    @property
    def unit(self) -> str:
        """What the bootstrap of intervals draws."""
        return "rows" if self.groups is None else "groups of rows"

    @property
    def folds(self) -> range:
        """Numbers of the folds."""
        return range(self.experiment.settings.data.folds)

    @property
    def blended(self) -> list[str]:
        """The runs that this one blends; empty where it is trained itself."""
        return self.experiment.settings.tune.runs

    def fold_folder(self, fold: int) -> Path:
        """Return the folder of a fold. Raises `Missing` where the run is a blend, which has none."""
        if self.blended:
            raise Missing(f"Run {self.name} has no folds of its own: it blends other runs, whose reports show theirs.")
        return self.experiment.request.fold_folder(fold)

    @cached_property
    def decision(self) -> dict[str, Any]:
        """decision.json."""
        return read_result(self.folder / "decision.json")

    @cached_property
    def scores(self) -> dict[str, Any]:
        """scores.json; empty before `ensemble`, and where that applied another decision than today's."""
        path = self.folder / "scores.json"
        return {} if self.is_stale or not path.exists() else read_result(path)

    @cached_property
    def is_stale(self) -> bool:
        """Whether `ensemble` was run before the run was predicted, tuned or set otherwise."""
        there = (self.folder / "scores.json").exists()
        return there and bool(self.experiment.stage("ensemble").changed())

    @cached_property
    def table(self) -> ScoreTable:
        """Scores a fold and pooled, with intervals."""
        return score_table(self.experiment, self.decision, self.runs)

    @cached_property
    def runs(self) -> list[RunLogits]:
        """The runs that the decision uses: this one, preceded by its first round if any, or those that it blends."""
        return read_runs(self.experiment)

    @cached_property
    def logits(self) -> Logits:
        """Out-of-fold logits, [rows, views, classes]; a blend has one view, merged by the rules of the other folds."""
        return read_out_of_fold(self.experiment) if self.blended else self.runs[-1].out_of_fold

    @cached_property
    def log_probabilities(self) -> LogProbabilities:
        """Out-of-fold, all views merged, [rows, classes]."""
        return plain_mean(self.logits)

    @cached_property
    def temperatures(self) -> dict[int, float]:
        """Each fold's calibration temperature, fitted to the other folds' rows."""
        draw, limit = np.random.default_rng(0), max(_FITTED_ROWS, _FITTED_LOGITS // int(np.prod(self.logits.shape[1:])))
        temperatures = {}
        for fold in self.folds:
            others = np.flatnonzero(self.fold != fold)
            if len(others) > limit:
                others = draw.choice(others, limit, replace=False)
            temperatures[fold] = calibration_temperature(self.logits[others], self.true[others])
        return temperatures

    @cached_property
    def calibrated(self) -> LogProbabilities:
        """`log_probabilities` at the cross-fitted calibration temperature, [rows, classes]."""
        folds = [(self.fold == fold, temperature) for fold, temperature in self.temperatures.items()]
        merged = ((rows, merge_views(load_logits(self.logits[rows]), temperature)) for rows, temperature in folds)
        return scattered(len(self.rows), merged)

    @cached_property
    def labels(self) -> Labels:
        """Cross-fitted labels, [rows]: fold k's rows by the rule that was fitted on the other folds."""
        return read_labels(self.experiment)

    @cached_property
    def predicted(self) -> Prediction:
        """What the metric scores, cross-fitted: `labels`, or log-probabilities [rows, classes]."""
        return cross_fitted(self.experiment, self.decision, self.runs) if self.metric.of_probabilities else self.labels

    @cached_property
    def confidence(self) -> Probabilities:
        """The calibrated probability of each row's cross-fitted label, [rows]."""
        confidence: Probabilities = np.exp(value_of(self.calibrated, self.labels))
        return confidence

    @cached_property
    def errors(self) -> Rows:
        """The scored rows that the decision gets wrong, the most confident first, [errors]."""
        wrong = np.flatnonzero(self.labels != self.true)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Classes that are confused with each other, the most frequent pair first."""
        both = np.sort(np.stack([self.true[self.errors], self.labels[self.errors]], axis=1), axis=1)
        kinds, kind, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
        members = np.split(self.errors[np.argsort(kind, kind="stable")], np.cumsum(counts)[:-1])
        order = np.argsort(-counts, kind="stable").tolist()
        return [Pair(int(kinds[pair, 0]), int(kinds[pair, 1]), members[pair]) for pair in order]

    @cached_property
    def images(self) -> ImageCache:
        """The decoded images, training rows first, then test rows."""
        return self.experiment.open_training_images()

    @cached_property
    def copies(self) -> Copies:
        """Images that are copies of each other."""
        return find_copies(
            self.experiment.competition, remembered_copies(self.experiment.request.root / "cache", self.images)
        )

    @cached_property
    def label_errors(self) -> LabelErrors:
        """Scored rows whose label is probably wrong."""
        if isinstance(self.calibrated, TopK):
            raise Missing(f"Of {len(self.classes):,} classes not all probabilities are kept, which this would need.")
        return label_errors(self.calibrated, self.true)

    @cached_property
    def embeddings(self) -> list[Embeddings]:
        """Every fold's embeddings. Raises `Missing` where there are none."""
        again = f"`python src/predict.py --run {shlex.quote(self.name)} --force` makes them."
        embeddings = []
        for folder in map(self.fold_folder, self.folds):
            if not (folder / "embeddings.npz").exists():
                raise Missing(f"{folder.name} of run {self.name} has no embeddings.npz: {again}")
            embeddings.append(read_embeddings(folder))
        if any(len(own.ids) == 0 for own in embeddings):
            raise Missing(f"Run {self.name} was predicted with predict.embeddings 0: with more of them, {again}")
        return embeddings

    def score(self, predicted: Prediction) -> float:
        """Return the run's metric of predictions of the scored rows."""
        return self.metric.score(self.true, predicted)

    def bootstrap(self, predictions: Sequence[Prediction]) -> list[Scores]:
        """Return the scores of several predictions on the same bootstrap samples of rows or groups, [resamples]."""
        tune = self.experiment.settings.tune
        return self.metric.bootstrap(self.true, predictions, tune.bootstrap, tune.seed, self.groups)

    def labels_of(self, ids: Iterable[str]) -> Labels:
        """Return the class numbers of training ids, [ids]."""
        number = dict(zip(self.experiment.split.ids, self.experiment.split.labels.tolist(), strict=True))
        return np.array([number[name] for name in ids], dtype=np.int64)


def open_run(request: Request) -> Run:
    """Return a tuned run. Raises `UserError` where it is unknown, unfinished, not tuned, or has other settings."""
    runs = request.root / "runs"
    if not (request.run_folder / "resolved.yaml").exists():
        known = sorted(path.parent.name for path in runs.glob("*/resolved.yaml"))
        named = ", ".join(known[:_NAMED_RUNS]) + (", ..." if len(known) > _NAMED_RUNS else "")
        rest = f", which has {named}" if known else ": ./run.sh all makes one"
        raise UserError(f"no run is called {request.run} in {runs}{rest}")
    experiment = load_experiment(request)
    experiment.stage("tune").require()
    return Run(experiment)
