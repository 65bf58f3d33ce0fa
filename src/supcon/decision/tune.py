"""The rule of one rung, fitted to the out-of-fold logits of one or several runs, on top of the rule below it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from supcon.arrays import Labels
from supcon.decision.calibration import best_clip, calibration_factor, calibration_temperature, subsample
from supcon.decision.ladder import (
    CLIPPING,
    GREEDY,
    PRIOR,
    SECOND_ROUND,
    TEMPERATURE,
    THRESHOLDS,
    UNTUNED,
    UNTUNED_PROBABILITIES,
    WEIGHTS,
    Rungs,
    TuningTask,
)
from supcon.decision.logits import Logits, load_logits, logit_blocks
from supcon.decision.rule import Rule, class_prior
from supcon.decision.search import Parameters, SearchStorage, search
from supcon.decision.undecided import UndecidedRows, labels_under
from supcon.decision.weights import greedy_weights, searched_weights

LARGEST_OFFSET = 1.5  # |b_c|: a factor of 4.5 on a class's probability
LARGEST_GROUPS = 100  # offsets at most; of more classes, those of similar frequency share one
_ALPHAS = (-0.5, 1.5)
_TEMPERATURE_STEPS = 4  # of a factor sqrt(2), either way from the calibration temperatures
_CALIBRATED_ROWS = 10_000  # of a subsample: here a temperature is only where a search starts


def fit_rule(
    rungs: Rungs,
    runs: Sequence[Logits],
    true: Labels,
    task: TuningTask,
    base: Rule | None,
    storage: SearchStorage | None = None,
) -> Rule:
    """Return the rule of the last rung of `rungs`, fitted to these rows on top of `base`, the fitted rule below it.

    `runs` hold [rows, views, classes] each, `true` [rows]. The values of `base` are always the first trial, so a search
    never ends below them. With `storage` the search's trials can be read afterwards.
    """
    rung, prior = rungs[-1], class_prior(true, task.unscored)
    if base is None:
        if rung not in (UNTUNED, UNTUNED_PROBABILITIES):
            raise ValueError(f"the rung {rung!r} needs the fitted rule of the rung below it")
        return Rule(prior, (1.0,) * len(runs), _first_weights(len(runs), task), rung=rung)
    base = replace(base, prior=prior, rung=rung)
    if rung == SECOND_ROUND:
        return replace(base, weights=(0.0, 1.0))
    if rung == TEMPERATURE:
        return _calibrated(base, runs, true)
    if rung == CLIPPING:
        return replace(base, clip=best_clip(base.merge(runs), true))
    if rung == PRIOR:
        return _fit_prior(_calibrated(base, runs, true), runs, true, task, storage)
    if rung == THRESHOLDS:
        return _fit_offsets(base, runs, true, task, storage)
    if rung == GREEDY:
        return greedy_weights(base, runs, true, task)
    if rung == WEIGHTS:
        return searched_weights(base, runs, true, task, storage)
    raise ValueError(f"no rung is called {rung!r}")


def _first_weights(runs: int, task: TuningTask) -> tuple[float, ...]:
    return (1.0, 0.0) if task.second_round else (1 / runs,) * runs


def _calibrated(base: Rule, runs: Sequence[Logits], true: Labels) -> Rule:
    """Return `base` with each run's calibration temperature, all times the factor that calibrates their mean."""
    rows = subsample(len(true), _CALIBRATED_ROWS)
    sample = [load_logits(logits[rows]) for logits in runs]
    calibrated = replace(base, temperatures=tuple(calibration_temperature(logits, true[rows]) for logits in sample))
    if sum(weight > 0 for weight in base.weights) == 1:
        return calibrated
    return calibrated.at(calibration_factor(lambda factor: calibrated.at(factor).merge(sample), true[rows]))


def _fit_prior(
    start: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask, storage: SearchStorage | None
) -> Rule:
    tilt = -np.log(np.asarray(start.prior))
    rows_at: dict[float, list[UndecidedRows]] = {}

    def rule_of(parameters: Parameters) -> Rule:
        factor = 2 ** (parameters.get("temperature_step", 0) / 2)
        return replace(start.at(factor), alpha=parameters["alpha"])

    def objective(parameters: Parameters) -> float:
        step, alpha = parameters.get("temperature_step", 0), parameters["alpha"]
        if step not in rows_at:
            rule, ends = rule_of(parameters), (_ALPHAS[0] * tilt, _ALPHAS[1] * tilt)
            rows_at[step] = [
                UndecidedRows.between(rule.merge(block, np.float32), *ends) for block in logit_blocks(runs)
            ]
        score = task.metric.score(true, labels_under(rows_at[step], alpha * tilt))
        return score - task.settings.shrinkage * alpha**2 / 10

    first: Parameters = {"alpha": 0.0}
    space: dict[str, tuple[float, float]] = {"alpha": _ALPHAS}
    if any(logits.shape[1] > 1 for logits in runs):  # of one view, temperature and alpha act alike
        first["temperature_step"], space["temperature_step"] = 0, (-_TEMPERATURE_STEPS, _TEMPERATURE_STEPS)
    return rule_of(search(objective, space, first, task.settings, storage))


def _fit_offsets(
    start: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask, storage: SearchStorage | None
) -> Rule:
    bias = start.bias.astype(np.float32)
    rows = [UndecidedRows.in_box(start.merge(block, np.float32) + bias, LARGEST_OFFSET) for block in logit_blocks(runs)]
    group = offset_groups(start.prior)
    names = [f"b{number}" for number in range(group.max() + 1)]
    share = np.bincount(group) / len(group)

    def objective(parameters: Parameters) -> float:
        offsets = np.array([parameters[name] for name in names])
        score = task.metric.score(true, labels_under(rows, offsets[group]))
        return score - task.settings.shrinkage * float(share @ np.square(offsets))

    ends = (-LARGEST_OFFSET, LARGEST_OFFSET)
    best = search(objective, dict.fromkeys(names, ends), dict.fromkeys(names, 0.0), task.settings, storage)
    return replace(start, offsets=tuple(best[names[number]] for number in group))


def offset_groups(prior: Sequence[float]) -> Labels:
    """Return which offset each class has, [classes]: its own, or one that it shares with classes of like frequency."""
    classes = len(prior)
    if classes <= LARGEST_GROUPS:
        return np.arange(classes)
    group = np.empty(classes, np.int64)
    group[np.argsort(-np.asarray(prior), kind="stable")] = np.arange(classes) * LARGEST_GROUPS // classes
    return group
