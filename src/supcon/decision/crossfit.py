"""Which rung of tuning to use, and its score on rows that had no part in the tuning (law 2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Never, Protocol

import numpy as np
from tqdm import tqdm

from supcon.arrays import Folds, Groups, Labels, RowMask
from supcon.decision.ladder import Rungs, TuningTask, fit_rule, rungs_up_to
from supcon.decision.logits import Logits
from supcon.decision.rule import Rule
from supcon.decision.search import SearchStorage
from supcon.metrics.metric import Prediction
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.metrics.top_k import scattered
from supcon.storage.processes import worker_pool

Units = frozenset[int]  # a set of rows: numbers of half folds
Fit = tuple[Rungs, Units]  # the rungs of a rule, and the rows that it is fitted on


class Fitting(Protocol):
    """A rule that is being fitted elsewhere."""

    def result(self) -> Rule:
        """Wait for it."""


Fitter = Callable[[Rungs, Units, Rule | None], Fitting]  # of these rungs, on these units, on top of a rule
Fitters = Callable[["Decider"], AbstractContextManager[Fitter | None]]

_deciders: "list[Decider]" = []  # in a worker process: the one that it fits rules for


@dataclass(frozen=True)
class RungScore:
    """One rung of the ladder."""

    rung: str
    in_sample: float
    cross_fitted: float
    gain: float  # of the cross-fitted score over the rung chosen so far; above 0 is better
    standard_error: float  # of the gain, by paired bootstrap
    chosen: bool


@dataclass(frozen=True)
class Decision:
    """The rule for the test rows, and for each fold the rule fitted on the other folds."""

    rule: Rule
    untuned: Rule
    fold_rules: dict[int, Rule]
    ladder: list[RungScore]
    predicted: Prediction  # cross-fitted: class numbers [rows], or log-probabilities [rows, classes]

    def merge(self, runs: Sequence[Logits], fold: Folds) -> LogProbabilities:
        """Return the merged log-probabilities [rows, classes], each row's by the rule fitted on the other folds."""
        folds = [(fold == number, rule) for number, rule in self.fold_rules.items()]
        return scattered(len(fold), [(rows, rule.merge([logits[rows] for logits in runs])) for rows, rule in folds])


@dataclass
class _Climb:
    """How far up the ladder a set of rows has come."""

    chosen: Rungs
    best: Prediction  # by the chosen rungs, cross-fitted within the set
    ladder: list[RungScore]


class Decider:
    """Fits rules on sets of rows, each rule once: cross-fitting needs the same sets again and again.

    A set consists of units, which are half folds. Most sets are whole folds; of two folds, one is left when the other
    is held out, and a rule on it is judged by its two halves.
    """

    def __init__(
        self,
        runs: Sequence[Logits],
        true: Labels,
        fold: Folds,
        task: TuningTask,
        *,
        groups: Groups | None = None,
        storage: SearchStorage | None = None,
        fitters: Fitters | None = None,
    ) -> None:
        """Take each run's out-of-fold logits [rows, views, classes], class numbers, fold and group numbers [rows].

        Searches over all rows are kept in `storage`; the others are spread by `fitters`, which changes no result.
        """
        self._runs, self._true, self._task = runs, true, task
        self._groups, self._storage = groups, storage
        self._fitters = fitters or partial(on_processes, 1)
        self._folds = sorted(np.unique(fold).tolist())
        self._unit = 2 * fold + _halves(true, fold)
        self._all = self._units(self._folds)
        self._rules: dict[Fit, Rule] = {}

    def decide(self) -> Decision:
        """Choose the rung and fit its rule on all folds; and for each fold, do both on the other folds alone."""
        others = {fold: self._all - self._units([fold]) for fold in self._folds}
        climbs: dict[Units, _Climb] = {}
        with self._fitters(self) as fitter, tqdm(desc="tune", unit="fit", leave=False, disable=None) as bar:
            for rung in self._task.ladder(len(self._runs)):
                rungs_of = {
                    units: rungs_up_to(rung, climbs[units].chosen if climbs else ())
                    for units in (self._all, *others.values())
                }
                self._fit_all(rungs_of, fitter, bar)
                for units, rungs in rungs_of.items():
                    self._climb(climbs, units, rungs)
        fold_rules = {fold: self._rules[climbs[units].chosen, units] for fold, units in others.items()}
        predicted = self._predict_parts((self._units([fold]), rule) for fold, rule in fold_rules.items())
        top = climbs[self._all]
        rule, untuned = (self._rules[rungs, self._all] for rungs in (top.chosen, top.chosen[:1]))
        return Decision(rule, untuned, fold_rules, top.ladder, predicted)

    def _fit_all(self, rungs_of: dict[Units, Rungs], fitter: Fitter | None, bar: "tqdm[Never]") -> None:
        """Fit the rules that are needed to judge these sets: on each whole set, and on it without each of its parts."""
        wanted = dict.fromkeys(
            (rungs, part)
            for units, rungs in rungs_of.items()
            for part in (units, *(units - p for p in self._parts(units)))
        )
        for length in range(1, max(len(rungs) for rungs, _ in wanted) + 1):  # lower rungs first
            stems = dict.fromkeys((rungs[:length], units) for rungs, units in wanted if len(rungs) >= length)
            todo = [fit for fit in stems if fit not in self._rules]
            bar.total = bar.n + len(todo)
            bar.refresh()
            for fit, rule in self._fitted(todo, fitter):
                self._rules[fit] = rule
                bar.update()

    def _fitted(self, todo: list[Fit], fitter: Fitter | None) -> Iterator[tuple[Fit, Rule]]:
        searches = [(*fit, self._rules.get((fit[0][:-1], fit[1]))) for fit in todo]
        spread = [search for search in searches if search[1] != self._all]
        fitting = {search[:2]: fitter(*search) for search in spread} if fitter is not None else {}
        for search in searches:  # first the one over all rows: this process stores its trials
            fit = search[:2]
            yield fit, fitting[fit].result() if fit in fitting else self.fit(*search)

    def fit(self, rungs: Rungs, units: Units, base: Rule | None) -> Rule:
        """Fit one rule on top of `base`."""
        rows = self._rows(units)
        storage = None if self._storage is None or units != self._all else self._storage.for_rung(rungs[-1])
        return fit_rule(rungs, [logits[rows] for logits in self._runs], self._true[rows], self._task, base, storage)

    def _climb(self, climbs: dict[Units, _Climb], units: Units, rungs: Rungs) -> None:
        """Choose the rung where the score, cross-fitted within `units`, rises by more than its standard error."""
        rows, metric = self._rows(units), self._task.metric
        rules = ((part, self._rules[rungs, units - part]) for part in self._parts(units))
        predicted, true = self._predict_parts(rules)[rows], self._true[rows]
        climb = climbs.setdefault(units, _Climb(rungs, predicted, []))
        score = metric.score(true, predicted)
        gain = metric.sign * (score - metric.score(true, climb.best))
        error = self._error_of_gain(rows, climb.best, predicted) if climb.ladder else 0.0
        better = not climb.ladder or gain > error
        reported = units == self._all  # only that ladder is shown
        in_sample = metric.score(true, self._predict(self._rules[rungs, units], rows)) if reported else np.nan
        climb.ladder.append(RungScore(rungs[-1], in_sample, score, gain, error, better))
        if better:
            climb.chosen, climb.best = rungs, predicted

    def _error_of_gain(self, rows: RowMask, best: Prediction, predicted: Prediction) -> float:
        settings, groups = self._task.settings, None if self._groups is None else self._groups[rows]
        draws = self._task.metric.bootstrap(
            self._true[rows], [best, predicted], settings.bootstrap, settings.seed, groups
        )
        return float(np.std(draws[1] - draws[0]))

    def _predict_parts(self, rules: Iterable[tuple[Units, Rule]]) -> Prediction:
        parts = [(self._rows(part), rule) for part, rule in rules]
        return scattered(len(self._true), [(rows, self._predict(rule, rows)) for rows, rule in parts])

    def _predict(self, rule: Rule, rows: RowMask) -> Prediction:
        return rule.predict_runs([logits[rows] for logits in self._runs], self._task.metric)

    def _parts(self, units: Units) -> list[Units]:
        folds = {unit // 2 for unit in units}
        return [self._units([fold]) for fold in folds] if len(folds) > 1 else [frozenset([unit]) for unit in units]

    def _units(self, folds: Sequence[int]) -> Units:
        return frozenset(2 * fold + half for fold in folds for half in (0, 1))

    def _rows(self, units: Units) -> RowMask:
        return np.isin(self._unit, list(units))


@contextmanager
def on_processes(count: int, decider: Decider) -> Iterator[Fitter | None]:
    """Yield what fits rules in `count` processes of this machine; nothing for one, which this process is."""
    if count < 2:
        yield None
        return
    with worker_pool(count, _work_for, decider) as pool:
        yield lambda rungs, units, base: pool.submit(_fit_in_worker, rungs, units, base)


def _work_for(decider: Decider) -> None:
    _deciders.append(decider)


def _fit_in_worker(rungs: Rungs, units: Units, base: Rule | None) -> Rule:
    return _deciders[-1].fit(rungs, units, base)


def _halves(true: Labels, fold: Folds) -> Groups:
    """Return 0 or 1 for each row: within each fold, class by class, rows alternate, so that neither half is empty."""
    half = np.zeros(len(true), np.int64)
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        half[rows[np.argsort(true[rows], kind="stable")]] = np.arange(len(rows)) % 2
    return half
