"""How far to tune, and what that is worth on rows that had no part in it (law 2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.config.settings import TuneSettings
from supcon.decision.merge import Logits
from supcon.decision.rule import RUNGS, Rule
from supcon.decision.tune import fit_rule
from supcon.metrics.f1 import macro_f1, paired_bootstrap

Labels = npt.NDArray[np.int64]
Units = frozenset[int]


@dataclass(frozen=True)
class RungScore:
    """One rung of the ladder."""

    rung: str
    in_sample: float
    cross_fitted: float
    gain: float  # cross-fitted, over the rung chosen so far
    standard_error: float  # of the gain, by paired bootstrap
    chosen: bool


@dataclass(frozen=True)
class Decision:
    """The rule for the test rows, and for each fold the rule that the other folds made."""

    rule: Rule
    fold_rules: dict[int, Rule]
    ladder: list[RungScore]
    predicted: Labels  # cross-fitted class numbers, [rows]


class Decider:
    """Fits rules on sets of units, each once: cross-fitting asks for the same sets again and again.

    A unit is half a fold. Sets are made of whole folds; only where a single fold is left (of two) is it judged by its
    halves.
    """

    def __init__(self, logits: Logits, true: Labels, fold: Labels, settings: TuneSettings) -> None:
        """Take out-of-fold logits [rows, views, classes], class numbers [rows] and fold numbers [rows]."""
        self._logits, self._true, self._settings = logits, true, settings
        self._classes = logits.shape[2]
        self._folds = sorted(np.unique(fold).tolist())
        self._unit = 2 * fold + _halves(true, fold)
        self._rules: dict[tuple[str, Units], Rule] = {}

    def decide(self) -> Decision:
        """Choose the rung and fit the rule on all folds; and, for each fold, both on the other folds only."""
        everything = self._units(self._folds)
        rung, ladder = self._choose(everything)
        fold_rules = {}
        predicted = np.full(len(self._true), -1)
        for fold in tqdm(self._folds, "tune", unit="fold", leave=False, disable=None):
            held_out = self._units([fold])
            others = everything - held_out
            fold_rules[fold] = self._fit(self._choose(others)[0], others)
            rows = self._rows(held_out)
            predicted[rows] = fold_rules[fold].decide_logits(self._logits[rows])
        return Decision(self._fit(rung, everything), fold_rules, ladder, predicted)

    def _choose(self, units: Units) -> tuple[str, list[RungScore]]:
        """Climb the ladder as far as the score cross-fitted within `units` rises by more than its standard error."""
        rows = self._rows(units)
        true = self._true[rows]
        chosen, best = RUNGS[0], self._cross_fitted(RUNGS[0], units)[rows]
        ladder = []
        for rung in RUNGS:
            predicted = self._cross_fitted(rung, units)[rows]
            before, after = paired_bootstrap(
                true, [best, predicted], self._classes, self._settings.bootstrap, self._settings.seed
            )
            gain, error = self._score(true, predicted) - self._score(true, best), float(np.std(after - before))
            better = rung == RUNGS[0] or gain > error
            in_sample = self._score(true, self._fit(rung, units).decide_logits(self._logits[rows]))
            ladder.append(RungScore(rung, in_sample, self._score(true, predicted), gain, error, better))
            if better:
                chosen, best = rung, predicted
        return chosen, ladder

    def _cross_fitted(self, rung: str, units: Units) -> Labels:
        """Return class numbers, each part of `units` decided by the rule of the other parts; -1 outside `units`."""
        folds = {unit // 2 for unit in units}
        parts = [self._units([fold]) for fold in folds] if len(folds) > 1 else [frozenset([unit]) for unit in units]
        predicted = np.full(len(self._true), -1)
        for part in parts:
            rows = self._rows(part)
            predicted[rows] = self._fit(rung, units - part).decide_logits(self._logits[rows])
        return predicted

    def _fit(self, rung: str, units: Units) -> Rule:
        if (rung, units) not in self._rules:
            rows = self._rows(units)
            base = self._fit(RUNGS[RUNGS.index(rung) - 1], units) if rung == "thresholds" else None
            self._rules[rung, units] = fit_rule(rung, self._logits[rows], self._true[rows], self._settings, base)
        return self._rules[rung, units]

    def _units(self, folds: list[int]) -> Units:
        return frozenset(2 * fold + half for fold in folds for half in (0, 1))

    def _rows(self, units: Units) -> npt.NDArray[np.bool_]:
        return np.isin(self._unit, list(units))

    def _score(self, true: Labels, predicted: Labels) -> float:
        return macro_f1(true, predicted, self._classes)


def _halves(true: Labels, fold: Labels) -> Labels:
    """Return 0 or 1 for each row: every other row of each class and fold."""
    half = np.zeros(len(true), np.int64)
    for number in np.unique(fold):
        for label in np.unique(true):
            rows = np.flatnonzero((fold == number) & (true == label))
            half[rows] = np.arange(len(rows)) % 2
    return half
