"""One rung's rule, fitted to the out-of-fold logits of one or several runs, on top of the rule below it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from supcon.decision.calibration import best_clip, calibration_factor, calibration_temperature, every
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
    Goal,
    Path,
)
from supcon.decision.open_rows import OpenRows, all_labels
from supcon.decision.pieces import Logits, loaded, pieces
from supcon.decision.rule import Rule, class_prior
from supcon.decision.search import Kept, Parameters, search
from supcon.decision.weights import greedy_weights, searched_weights

LARGEST_OFFSET = 1.5  # |b_c|: a factor of 4.5 on a class's probability
LARGEST_GROUPS = 100  # offsets at most; above that many classes those of like frequency share one
_ALPHAS = (-0.5, 1.5)
_TEMPERATURE_STEPS = 4  # of a factor sqrt(2), either way from the calibration temperatures
_CALIBRATED_ROWS = 10_000  # where a temperature is but a start: one row in so many is enough

Labels = npt.NDArray[np.int64]


def fit_rule(
    path: Path, runs: Sequence[Logits], true: Labels, goal: Goal, base: Rule | None, kept: Kept | None = None
) -> Rule:
    """Return the rule of the last rung of `path`, fitted to these rows on top of `base`, the fitted rule below it.

    `runs` hold [rows, views, classes] each, `true` [rows]. The untuned values are always the first trial, so a search
    never ends below where it began. With `kept` the search's trials can be looked at afterwards.
    """
    rung, prior = path[-1], class_prior(true, goal.unscored)
    if base is None:
        if rung not in (UNTUNED, UNTUNED_PROBABILITIES):
            raise ValueError(f"the rung {rung!r} needs the fitted rule of the rung below it")
        return Rule(prior, (1.0,) * len(runs), _first_weights(len(runs), goal), rung=rung)
    base = replace(base, prior=prior, rung=rung)
    if rung == SECOND_ROUND:
        return replace(base, weights=(0.0, 1.0))
    if rung == TEMPERATURE:
        return _calibrated(base, runs, true)
    if rung == CLIPPING:
        return replace(base, clip=best_clip(base.merge(runs), true))
    if rung == PRIOR:
        return _fit_prior(_calibrated(base, runs, true), runs, true, goal, kept)
    if rung == THRESHOLDS:
        return _fit_offsets(base, runs, true, goal, kept)
    if rung == GREEDY:
        return greedy_weights(base, runs, true, goal)
    if rung == WEIGHTS:
        return searched_weights(base, runs, true, goal, kept)
    raise ValueError(f"no rung is called {rung!r}")


def _first_weights(runs: int, goal: Goal) -> tuple[float, ...]:
    return (1.0, 0.0) if goal.second_round else (1 / runs,) * runs


def _calibrated(base: Rule, runs: Sequence[Logits], true: Labels) -> Rule:
    """Return `base` with each run's calibration temperature, all times the factor that calibrates their mean."""
    some = every(len(true), _CALIBRATED_ROWS)
    few = [loaded(logits[some]) for logits in runs]
    calibrated = replace(base, temperatures=tuple(calibration_temperature(logits, true[some]) for logits in few))
    if sum(weight > 0 for weight in base.weights) == 1:
        return calibrated
    return calibrated.at(calibration_factor(lambda factor: calibrated.at(factor).merge(few), true[some]))


def _fit_prior(start: Rule, runs: Sequence[Logits], true: Labels, goal: Goal, kept: Kept | None) -> Rule:
    tilt = -np.log(np.asarray(start.prior))
    rows_at: dict[float, list[OpenRows]] = {}

    def rule_of(parameters: Parameters) -> Rule:
        factor = 2 ** (parameters.get("temperature_step", 0) / 2)
        return replace(start.at(factor), alpha=parameters["alpha"])

    def objective(parameters: Parameters) -> float:
        step, alpha = parameters.get("temperature_step", 0), parameters["alpha"]
        if step not in rows_at:
            rule, ends = rule_of(parameters), (_ALPHAS[0] * tilt, _ALPHAS[1] * tilt)
            rows_at[step] = [OpenRows.between(rule.merge(piece, np.float32), *ends) for piece in pieces(runs)]
        score = goal.metric.score(true, all_labels(rows_at[step], alpha * tilt))
        return score - goal.settings.shrinkage * alpha**2 / 10

    first: Parameters = {"alpha": 0.0}
    space: dict[str, tuple[float, float]] = {"alpha": _ALPHAS}
    if any(logits.shape[1] > 1 for logits in runs):  # of single views, temperature and alpha are the same lever twice
        first["temperature_step"], space["temperature_step"] = 0, (-_TEMPERATURE_STEPS, _TEMPERATURE_STEPS)
    return rule_of(search(objective, space, first, goal.settings, kept))


def _fit_offsets(start: Rule, runs: Sequence[Logits], true: Labels, goal: Goal, kept: Kept | None) -> Rule:
    bias = start.bias.astype(np.float32)
    rows = [OpenRows.in_box(start.merge(piece, np.float32) + bias, LARGEST_OFFSET) for piece in pieces(runs)]
    group = offset_groups(start.prior)
    names = [f"b{number}" for number in range(group.max() + 1)]
    share = np.bincount(group) / len(group)

    def objective(parameters: Parameters) -> float:
        offsets = np.array([parameters[name] for name in names])
        score = goal.metric.score(true, all_labels(rows, offsets[group]))
        return score - goal.settings.shrinkage * float(share @ np.square(offsets))

    ends = (-LARGEST_OFFSET, LARGEST_OFFSET)
    found = search(objective, dict.fromkeys(names, ends), dict.fromkeys(names, 0.0), goal.settings, kept)
    return replace(start, offsets=tuple(found[names[number]] for number in group))


def offset_groups(prior: Sequence[float]) -> Labels:
    """Return the number of the offset that each class has, [classes]: its own, or one with classes as frequent."""
    classes = len(prior)
    if classes <= LARGEST_GROUPS:
        return np.arange(classes)
    group = np.empty(classes, np.int64)
    group[np.argsort(-np.asarray(prior), kind="stable")] = np.arange(classes) * LARGEST_GROUPS // classes
    return group
