"""Weights of several runs in their blend: by forward selection, and by Optuna."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from supcon.decision.ladder import Goal
from supcon.decision.merge import Logits, log_softmax, merge_views
from supcon.decision.rule import Rule
from supcon.decision.search import Kept, Parameters, search

_PICKS = 25  # of forward selection, at most
_LARGEST = 3.0  # |log of a factor on a run's weight|
_LEAST_GAIN = 1e-9

Labels = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]  # [runs], summing to 1


def greedy_weights(base: Rule, runs: Sequence[Logits], true: Labels, goal: Goal) -> Rule:
    """Return `base` with weights by forward selection with replacement (Caruana et al. 2004).

    The best single run comes first; then, again and again, the run whose log-probabilities raise the score of the mean
    most, so that a run picked twice counts twice. The best mean on the way is kept.
    """
    value = _valuer(base, runs, true, goal)
    picks = np.zeros(len(runs))
    best, weights = -np.inf, picks
    for count in range(1, _PICKS + 1):
        candidates = [(picks + one) / count for one in np.eye(len(runs))]
        values = [value(candidate) for candidate in candidates]
        chosen = int(np.argmax(values))
        picks[chosen] += 1
        if values[chosen] > best + _LEAST_GAIN:
            best, weights = values[chosen], candidates[chosen]
    return replace(base, weights=tuple(weights.tolist()))


def searched_weights(base: Rule, runs: Sequence[Logits], true: Labels, goal: Goal, kept: Kept | None) -> Rule:
    """Return `base` with its weights times factors that Optuna finds; a run of no weight keeps none."""
    value = _valuer(base, runs, true, goal)
    names = [f"w{number}" for number, weight in enumerate(base.weights) if weight > 0]
    if len(names) < 2:
        return base

    def weights_of(parameters: Parameters) -> Weights:
        factors = np.array([np.exp(parameters.get(f"w{number}", 0.0)) for number in range(len(runs))])
        weights = factors * np.asarray(base.weights)
        return weights / weights.sum()

    found = search(
        lambda parameters: value(weights_of(parameters)),
        dict.fromkeys(names, (-_LARGEST, _LARGEST)),
        dict.fromkeys(names, 0.0),
        goal.settings,
        kept,
    )
    return replace(base, weights=tuple(weights_of(found).tolist()))


def _valuer(base: Rule, runs: Sequence[Logits], true: Labels, goal: Goal) -> Callable[[Weights], float]:
    """Return what weights are worth on these rows: the score, less a cost that draws them toward equal ones."""
    merged = np.stack([merge_views(logits, t, np.float32) for logits, t in zip(runs, base.temperatures, strict=True)])

    def value(weights: Weights) -> float:
        mean = np.tensordot(weights.astype(np.float32), merged, axes=1)
        predicted = base.predict(log_softmax(mean) if goal.metric.of_probabilities else mean, goal.metric)
        used = weights[weights > 0]
        divergence = float((used * np.log(used * len(weights))).sum())
        return goal.metric.sign * goal.metric.score(true, predicted) - goal.settings.shrinkage * divergence / 10

    return value
