"""How far to tune, and what that is worth on rows that had no part in it (law 2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.decision.merge import Logits
from supcon.decision.rule import Rule
from supcon.decision.tune import Goal, fit_rule
from supcon.metrics.metric import Prediction

Labels = npt.NDArray[np.int64]
Units = frozenset[int]


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
    fold_rules: dict[int, Rule]
    ladder: list[RungScore]
    predicted: Prediction  # cross-fitted: class numbers [rows], or log-probabilities [rows, classes]


class Decider:
    """Fits rules on sets of units, each once: cross-fitting asks for the same sets again and again.

    A unit is half a fold. Sets are made of whole folds; only where a single fold is left (of two) is it judged by its
    halves.
    """

    def __init__(self, logits: Logits, true: Labels, fold: Labels, goal: Goal) -> None:
        """Take out-of-fold logits [rows, views, classes], class numbers [rows] and fold numbers [rows]."""
        self._logits, self._true, self._goal = logits, true, goal
        self._folds = sorted(np.unique(fold).tolist())
        self._unit = 2 * fold + _halves(true, fold)
        self._rules: dict[tuple[str, Units], Rule] = {}

    def decide(self) -> Decision:
        """Choose the rung and fit the rule on all folds; and, for each fold, both on the other folds only."""
        everything = self._units(self._folds)
        rung, ladder = self._choose(everything)
        fold_rules = {}
        predicted = self._blank()
        for fold in tqdm(self._folds, "tune", unit="fold", leave=False, disable=None):
            held_out = self._units([fold])
            others = everything - held_out
            fold_rules[fold] = self._fit(self._choose(others)[0], others)
            rows = self._rows(held_out)
            predicted[rows] = fold_rules[fold].predict_logits(self._logits[rows], self._goal.metric)
        return Decision(self._fit(rung, everything), fold_rules, ladder, predicted)

    def _choose(self, units: Units) -> tuple[str, list[RungScore]]:
        """Climb the ladder as far as the score cross-fitted within `units` rises by more than its standard error."""
        rows = self._rows(units)
        true, rungs, metric, settings = self._true[rows], self._goal.rungs, self._goal.metric, self._goal.settings
        chosen, best = rungs[0], self._cross_fitted(rungs[0], units)[rows]
        ladder = []
        for rung in rungs:
            predicted = self._cross_fitted(rung, units)[rows]
            before, after = metric.bootstrap(true, [best, predicted], settings.bootstrap, settings.seed)
            score, error = metric.score(true, predicted), float(np.std(after - before))
            gain = metric.sign * (score - metric.score(true, best))
            better = rung == rungs[0] or gain > error
            in_sample = metric.score(true, self._fit(rung, units).predict_logits(self._logits[rows], metric))
            ladder.append(RungScore(rung, in_sample, score, gain, error, better))
            if better:
                chosen, best = rung, predicted
        return chosen, ladder

    def _cross_fitted(self, rung: str, units: Units) -> Prediction:
        """Return predictions, each part of `units` by the rule of the other parts; -1 outside `units`."""
        folds = {unit // 2 for unit in units}
        parts = [self._units([fold]) for fold in folds] if len(folds) > 1 else [frozenset([unit]) for unit in units]
        predicted = self._blank()
        for part in parts:
            rows = self._rows(part)
            predicted[rows] = self._fit(rung, units - part).predict_logits(self._logits[rows], self._goal.metric)
        return predicted

    def _fit(self, rung: str, units: Units) -> Rule:
        if (rung, units) not in self._rules:
            rows, rungs = self._rows(units), self._goal.rungs
            base = self._fit(rungs[-2], units) if rung == rungs[-1] else None
            self._rules[rung, units] = fit_rule(rung, self._logits[rows], self._true[rows], self._goal, base)
        return self._rules[rung, units]

    def _blank(self) -> Prediction:
        """Return predictions that are none yet."""
        rows, _, classes = self._logits.shape
        return np.full((rows, classes), -1.0) if self._goal.metric.of_probabilities else np.full(rows, -1)

    def _units(self, folds: list[int]) -> Units:
        return frozenset(2 * fold + half for fold in folds for half in (0, 1))

    def _rows(self, units: Units) -> npt.NDArray[np.bool_]:
        return np.isin(self._unit, list(units))


def _halves(true: Labels, fold: Labels) -> Labels:
    """Return 0 or 1 for each row: every other row of each fold, class by class, so that neither half is empty."""
    half = np.zeros(len(true), np.int64)
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        half[rows[np.argsort(true[rows], kind="stable")]] = np.arange(len(rows)) % 2
    return half
