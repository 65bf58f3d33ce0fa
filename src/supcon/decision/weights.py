"""Weights of several runs in their blend: by forward selection, and by Optuna."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from supcon.decision.calibration import every
from supcon.decision.ladder import Goal
from supcon.decision.merge import log_softmax, merge_views
from supcon.decision.pieces import Logits, Piece, pieces
from supcon.decision.rule import Rule
from supcon.decision.search import Kept, Parameters, search
from supcon.metrics.top_k import Candidates, Matrix, joined, mean_of, on_values, width

_PICKS = 25  # of forward selection, at most
_LARGEST = 3.0  # |log of a factor on a run's weight|
_LEAST_GAIN = 1e-9
_MOST_VALUES = 2**26  # log-probabilities of all runs: of more, one row in so many has to do

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
    some = every(len(true), max(1, _MOST_VALUES // sum(width(logits.shape[2]) for logits in runs)))
    members, true = _merged([logits[some] for logits in runs], base.temperatures), true[some]
    merged_values = np.stack([one.values if isinstance(one, Candidates) else one for one in members])

    def value(weights: Weights) -> float:
        merged = on_values(members[0], lambda *_: np.tensordot(weights.astype(np.float32), merged_values, axes=1))
        predicted = base.predict(log_softmax(merged) if goal.metric.of_probabilities else merged, goal.metric)
        used = weights[weights > 0]
        divergence = float((used * np.log(used * len(weights))).sum())
        return goal.metric.sign * goal.metric.score(true, predicted) - goal.settings.shrinkage * divergence / 10

    return value


def _merged(runs: Sequence[Logits], temperatures: Sequence[float]) -> Sequence[Matrix]:
    """Return each run's log-probabilities [rows, classes]; where classes are left out, all runs keep the same ones."""
    found = [_merged_piece(piece, temperatures) for piece in pieces(runs)]
    return [joined(of_run) for of_run in zip(*found, strict=True)]


def _merged_piece(piece: Sequence[Piece], temperatures: Sequence[float]) -> Sequence[Matrix]:
    members = [merge_views(logits, t, np.float32) for logits, t in zip(piece, temperatures, strict=True)]
    likeliest = mean_of(members)
    if not isinstance(likeliest, Candidates):
        return members
    return [member.on(likeliest.numbers) for member in members if isinstance(member, Candidates)]
