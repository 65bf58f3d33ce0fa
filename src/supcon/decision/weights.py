"""Weights of several runs in their blend: by forward selection, and by Optuna."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from supcon.arrays import Floats, Labels
from supcon.decision.calibration import subsample
from supcon.decision.ladder import TuningTask
from supcon.decision.logits import LoadedLogits, Logits, logit_blocks
from supcon.decision.merge import log_softmax, merge_views
from supcon.decision.rule import Rule
from supcon.decision.search import Parameters, SearchStorage, search
from supcon.metrics.top_k import Matrix, TopK, joined, map_values, mean_of, width

_PICKS = 25  # steps of forward selection, at most
_LARGEST = 3.0  # |log of the factor by which a run's weight is multiplied|
_LEAST_GAIN = 1e-9
_MOST_VALUES = 2**26  # log-probabilities of all runs together; of more, a subsample of the rows does

Weights = Floats  # [runs], summing to 1


def greedy_weights(base: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask) -> Rule:
    """Return `base` with weights by forward selection with replacement (Caruana et al. 2004).

    The best single run comes first; then, again and again, the run whose log-probabilities raise the score of the mean
    most, so that a run picked twice counts twice. The best mean on the way is returned.
    """
    value = _valuer(base, runs, true, task)
    picks = np.zeros(len(runs))
    best, weights = -np.inf, picks
    for count in range(1, _PICKS + 1):
        candidates = [(picks + pick) / count for pick in np.eye(len(runs))]
        values = [value(candidate) for candidate in candidates]
        chosen = int(np.argmax(values))
        picks[chosen] += 1
        if values[chosen] > best + _LEAST_GAIN:
            best, weights = values[chosen], candidates[chosen]
    return replace(base, weights=tuple(weights.tolist()))


def searched_weights(
    base: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask, storage: SearchStorage | None
) -> Rule:
    """Return `base` with its weights multiplied by factors that Optuna finds; a weight of 0 stays 0."""
    value = _valuer(base, runs, true, task)
    names = [f"w{number}" for number, weight in enumerate(base.weights) if weight > 0]
    if len(names) < 2:
        return base

    def weights_of(parameters: Parameters) -> Weights:
        factors = np.array([np.exp(parameters.get(f"w{number}", 0.0)) for number in range(len(runs))])
        weights: Weights = factors * np.asarray(base.weights)
        weights /= weights.sum()
        return weights

    factors = search(
        lambda parameters: value(weights_of(parameters)),
        dict.fromkeys(names, (-_LARGEST, _LARGEST)),
        dict.fromkeys(names, 0.0),
        task.settings,
        storage,
    )
    return replace(base, weights=tuple(weights_of(factors).tolist()))


def _valuer(base: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask) -> Callable[[Weights], float]:
    """Return the value of weights on these rows: the score, less a penalty on weights that are not equal."""
    rows = subsample(len(true), max(1, _MOST_VALUES // sum(width(logits.shape[2]) for logits in runs)))
    members, true = _merged([logits[rows] for logits in runs], base.temperatures), true[rows]
    merged_values = np.stack([member.values if isinstance(member, TopK) else member for member in members])

    def value(weights: Weights) -> float:
        merged = map_values(members[0], lambda *_: np.tensordot(weights.astype(np.float32), merged_values, axes=1))
        predicted = base.predict(log_softmax(merged) if task.metric.of_probabilities else merged, task.metric)
        used = weights[weights > 0]
        divergence = float((used * np.log(used * len(weights))).sum())
        return task.metric.sign * task.metric.score(true, predicted) - task.settings.shrinkage * divergence / 10

    return value


def _merged(runs: Sequence[Logits], temperatures: Sequence[float]) -> Sequence[Matrix]:
    """Return each run's log-probabilities [rows, classes]; all runs keep the same classes."""
    merged_blocks = [_merged_block(block, temperatures) for block in logit_blocks(runs)]
    return [joined(blocks_of_run) for blocks_of_run in zip(*merged_blocks, strict=True)]


def _merged_block(block: Sequence[LoadedLogits], temperatures: Sequence[float]) -> Sequence[Matrix]:
    members = [merge_views(logits, t, np.float32) for logits, t in zip(block, temperatures, strict=True)]
    likeliest = mean_of(members)
    if not isinstance(likeliest, TopK):
        return members
    return [member.keep(likeliest.numbers) for member in members if isinstance(member, TopK)]
