"""How far to tune, and what that is worth on rows that had no part in it (law 2)."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.decision.ladder import Goal, Path, path_to
from supcon.decision.pieces import Logits
from supcon.decision.rule import Rule
from supcon.decision.search import Kept
from supcon.decision.tune import fit_rule
from supcon.metrics.metric import LogProbabilities, Prediction
from supcon.metrics.top_k import scattered
from supcon.storage.processes import worker_pool

Labels = npt.NDArray[np.int64]
Units = frozenset[int]
Fit = tuple[Path, Units]  # which rule, on which rows

_deciders: "list[Decider]" = []  # in a worker process: what it fits for


@dataclass(frozen=True)
class RungScore:
    """One rung of the ladder."""

    rung: str
    in_sample: float
    cross_fitted: float
    gain: float  # cross-fitted, over the rung chosen so far; above 0 is better
    standard_error: float  # of the gain, by paired bootstrap
    chosen: bool


@dataclass(frozen=True)
class Decision:
    """The rule for the test rows, and for each fold the rule that the other folds made."""

    rule: Rule
    untuned: Rule
    fold_rules: dict[int, Rule]
    ladder: list[RungScore]
    predicted: Prediction  # cross-fitted: class numbers [rows], or log-probabilities [rows, classes]

    def merge(self, runs: Sequence[Logits], fold: Labels) -> LogProbabilities:
        """Return what each fold's rule, made on the other folds, makes of the runs' logits, [rows, classes]."""
        folds = [(fold == number, rule) for number, rule in self.fold_rules.items()]
        return scattered(len(fold), [(rows, rule.merge([logits[rows] for logits in runs])) for rows, rule in folds])


@dataclass
class _Climb:
    """How far a set of rows has climbed."""

    chosen: Path
    best: Prediction  # of the rows, cross-fitted within them
    ladder: list[RungScore]


class Decider:
    """Fits rules on sets of units, each once: cross-fitting asks for the same sets again and again.

    A unit is half a fold. Sets are made of whole folds; only where a single fold is left (of two) is it judged by its
    halves.
    """

    def __init__(
        self,
        runs: Sequence[Logits],
        true: Labels,
        fold: Labels,
        goal: Goal,
        *,
        groups: Labels | None = None,
        kept: Kept | None = None,
        processes: int = 1,
    ) -> None:
        """Take each run's out-of-fold logits [rows, views, classes], class numbers, fold and group numbers [rows].

        The searches over all rows are `kept`; the others are spread over `processes`, which changes no result.
        """
        self._runs, self._true, self._goal = runs, true, goal
        self._groups, self._kept, self._processes = groups, kept, processes
        self._folds = sorted(np.unique(fold).tolist())
        self._unit = 2 * fold + _halves(true, fold)
        self._all = self._units(self._folds)
        self._rules: dict[Fit, Rule] = {}

    def decide(self) -> Decision:
        """Choose the rung and fit the rule on all folds; and, for each fold, both on the other folds only."""
        others = {fold: self._all - self._units([fold]) for fold in self._folds}
        climbs: dict[Units, _Climb] = {}
        with self._pool() as pool, tqdm(desc="tune", unit="fit", leave=False, disable=None) as bar:
            for rung in self._goal.rungs(len(self._runs)):
                paths = {
                    units: path_to(rung, climbs[units].chosen if climbs else ())
                    for units in (self._all, *others.values())
                }
                self._fit_all(paths, pool, bar)
                for units, path in paths.items():
                    self._climb(climbs, units, path)
        fold_rules = {fold: self._rules[climbs[units].chosen, units] for fold, units in others.items()}
        predicted = self._predict_parts((self._units([fold]), rule) for fold, rule in fold_rules.items())
        top = climbs[self._all]
        rule, untuned = (self._rules[path, self._all] for path in (top.chosen, top.chosen[:1]))
        return Decision(rule, untuned, fold_rules, top.ladder, predicted)

    def _fit_all(self, paths: dict[Units, Path], pool: ProcessPoolExecutor | None, bar: "tqdm[Any]") -> None:
        """Fit the rules that judging these sets needs: on each whole set, and on it without each of its parts."""
        wanted = dict.fromkeys(
            (path, part) for units, path in paths.items() for part in (units, *(units - p for p in self._parts(units)))
        )
        for length in range(1, max(len(path) for path, _ in wanted) + 1):  # the rungs below first
            stems = dict.fromkeys((path[:length], units) for path, units in wanted if len(path) >= length)
            todo = [fit for fit in stems if fit not in self._rules]
            bar.total = bar.n + len(todo)
            bar.refresh()
            for fit, rule in self._fitted(todo, pool):
                self._rules[fit] = rule
                bar.update()

    def _fitted(self, todo: list[Fit], pool: ProcessPoolExecutor | None) -> Iterator[tuple[Fit, Rule]]:
        tasks = [(*fit, self._rules.get((fit[0][:-1], fit[1]))) for fit in todo]
        spread = [task for task in tasks if pool is not None and task[1] != self._all]
        futures = {task[:2]: pool.submit(_fit_here, *task) for task in spread} if pool is not None else {}
        for task in tasks:  # the one over all rows comes first: its study is kept by this process
            fit = task[:2]
            yield fit, futures[fit].result() if fit in futures else self.fit(*task)

    def fit(self, path: Path, units: Units, base: Rule | None) -> Rule:
        """Fit one rule on top of `base`."""
        rows = self._rows(units)
        kept = None if self._kept is None or units != self._all else self._kept.named(path[-1])
        return fit_rule(path, [logits[rows] for logits in self._runs], self._true[rows], self._goal, base, kept)

    def _climb(self, climbs: dict[Units, _Climb], units: Units, path: Path) -> None:
        """Take the rung where the score cross-fitted within `units` rises by more than its standard error."""
        rows, metric = self._rows(units), self._goal.metric
        rules = ((part, self._rules[path, units - part]) for part in self._parts(units))
        predicted, true = self._predict_parts(rules)[rows], self._true[rows]
        climb = climbs.setdefault(units, _Climb(path, predicted, []))
        score = metric.score(true, predicted)
        gain = metric.sign * (score - metric.score(true, climb.best))
        error = self._error_of_gain(rows, climb.best, predicted) if climb.ladder else 0.0
        better = not climb.ladder or gain > error
        whole = units == self._all  # nobody reads the others' ladders
        in_sample = metric.score(true, self._predict(self._rules[path, units], rows)) if whole else np.nan
        climb.ladder.append(RungScore(path[-1], in_sample, score, gain, error, better))
        if better:
            climb.chosen, climb.best = path, predicted

    def _error_of_gain(self, rows: npt.NDArray[np.bool_], best: Prediction, predicted: Prediction) -> float:
        settings, groups = self._goal.settings, None if self._groups is None else self._groups[rows]
        draws = self._goal.metric.bootstrap(
            self._true[rows], [best, predicted], settings.bootstrap, settings.seed, groups
        )
        return float(np.std(draws[1] - draws[0]))

    def _predict_parts(self, rules: Iterable[tuple[Units, Rule]]) -> Prediction:
        """Return predictions, each part's by its rule; -1 in the rows of no part."""
        parts = [(self._rows(part), rule) for part, rule in rules]
        return scattered(len(self._true), [(rows, self._predict(rule, rows)) for rows, rule in parts])

    def _predict(self, rule: Rule, rows: npt.NDArray[np.bool_]) -> Prediction:
        return rule.predict_runs([logits[rows] for logits in self._runs], self._goal.metric)

    def _parts(self, units: Units) -> list[Units]:
        folds = {unit // 2 for unit in units}
        return [self._units([fold]) for fold in folds] if len(folds) > 1 else [frozenset([unit]) for unit in units]

    def _units(self, folds: Sequence[int]) -> Units:
        return frozenset(2 * fold + half for fold in folds for half in (0, 1))

    def _rows(self, units: Units) -> npt.NDArray[np.bool_]:
        return np.isin(self._unit, list(units))

    @contextmanager
    def _pool(self) -> Iterator[ProcessPoolExecutor | None]:
        """Give worker processes that know this decider, or none for one process."""
        if self._processes < 2:
            yield None
            return
        pool = worker_pool(self._processes, _work_for, self)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _work_for(decider: Decider) -> None:
    _deciders.append(decider)


def _fit_here(path: Path, units: Units, base: Rule | None) -> Rule:
    return _deciders[-1].fit(path, units, base)


def _halves(true: Labels, fold: Labels) -> Labels:
    """Return 0 or 1 for each row: every other row of each fold, class by class, so that neither half is empty."""
    half = np.zeros(len(true), np.int64)
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        half[rows[np.argsort(true[rows], kind="stable")]] = np.arange(len(rows)) % 2
    return half
