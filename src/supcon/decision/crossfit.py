"""How far to tune, and what that is worth on rows that had no part in it (law 2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supcon.config.settings import TuneSettings
from supcon.decision.merge import Logits
from supcon.decision.rule import RUNGS, Rule
from supcon.decision.tune import fit_rule
from supcon.metrics.f1 import bootstrap_pair, macro_f1

Labels = npt.NDArray[np.int64]


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
    """Fits rules on sets of folds, each once: cross-fitting asks for the same sets again and again."""

    def __init__(self, logits: Logits, true: Labels, fold: Labels, settings: TuneSettings) -> None:
        """Take out-of-fold logits [rows, views, classes], class numbers [rows] and fold numbers [rows]."""
        self._logits, self._true, self._fold, self._settings = logits, true, fold, settings
        self._classes = logits.shape[2]
        self._rules: dict[tuple[str, frozenset[int]], Rule] = {}

    def decide(self) -> Decision:
        """Choose the rung and fit the rule on all folds; and, for each fold, both on the other folds only."""
        folds = frozenset(np.unique(self._fold).tolist())
        rung, ladder = self._choose(folds)
        fold_rules = {}
        predicted = np.full(len(self._true), -1)
        for fold in sorted(folds):
            others = folds - {fold}
            rule = self._fit(self._choose(others)[0], others)
            fold_rules[fold] = rule
            predicted[self._fold == fold] = rule.decide_logits(self._logits[self._fold == fold])
        return Decision(self._fit(rung, folds), fold_rules, ladder, predicted)

    def _choose(self, folds: frozenset[int]) -> tuple[str, list[RungScore]]:
        """Climb the ladder as far as the score cross-fitted within `folds` rises by more than its standard error.

        A single fold cannot be cross-fitted: its rule stays plain argmax.
        """
        rows = np.isin(self._fold, list(folds))
        true = self._true[rows]
        chosen, best = RUNGS[0], self._cross_fitted(RUNGS[0], folds)[rows]
        ladder = []
        for rung in RUNGS if len(folds) > 1 else RUNGS[:1]:
            predicted = self._cross_fitted(rung, folds)[rows]
            before, after = bootstrap_pair(
                true, best, predicted, self._classes, self._settings.bootstrap, self._settings.seed
            )
            gain, error = self._score(true, predicted) - self._score(true, best), float(np.std(after - before))
            better = rung == RUNGS[0] or gain > error
            in_sample = self._score(true, self._fit(rung, folds).decide_logits(self._logits[rows]))
            ladder.append(RungScore(rung, in_sample, self._score(true, predicted), gain, error, better))
            if better:
                chosen, best = rung, predicted
        return chosen, ladder

    def _cross_fitted(self, rung: str, folds: frozenset[int]) -> Labels:
        predicted = np.full(len(self._true), -1)
        for fold in folds:
            held_out = self._fold == fold
            rule = self._fit(rung, folds - {fold} if len(folds) > 1 else folds)
            predicted[held_out] = rule.decide_logits(self._logits[held_out])
        return predicted

    def _fit(self, rung: str, folds: frozenset[int]) -> Rule:
        if (rung, folds) not in self._rules:
            rows = np.isin(self._fold, list(folds))
            base = self._fit(RUNGS[RUNGS.index(rung) - 1], folds) if rung == "thresholds" else None
            self._rules[rung, folds] = fit_rule(rung, self._logits[rows], self._true[rows], self._settings, base)
        return self._rules[rung, folds]

    def _score(self, true: Labels, predicted: Labels) -> float:
        return macro_f1(true, predicted, self._classes)
