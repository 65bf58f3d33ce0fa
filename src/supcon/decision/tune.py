"""One rule of a given rung, fitted to out-of-fold logits: by Optuna against a metric of labels, or to the log loss."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import optuna

from supcon.config.settings import TuneSettings
from supcon.decision.calibration import best_clip, calibration_temperature
from supcon.decision.merge import Logits, merge_views
from supcon.decision.rule import LABEL_RUNGS, PROBABILITY_RUNGS, Rule, class_prior
from supcon.metrics.metric import Metric

LARGEST_OFFSET = 1.5  # |b_c|: a factor of 4.5 on a class's probability
_TEMPERATURES = (0.25, 4.0)  # searched, as factors of the calibration temperature
_ALPHAS = (-0.5, 1.5)

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Goal:
    """What decisions are tuned for."""

    metric: Metric
    settings: TuneSettings
    unscored: Labels  # rows of each class that are always trained on and never scored, [classes]

    @property
    def rungs(self) -> tuple[str, ...]:
        """How far a decision can be tuned, step by step."""
        return PROBABILITY_RUNGS if self.metric.of_probabilities else LABEL_RUNGS


def fit_rule(rung: str, logits: Logits, true: Labels, goal: Goal, base: Rule | None = None) -> Rule:
    """Return the rule of `rung` with the best score on these rows, its thresholds shrunk toward none.

    `logits` [rows, views, classes], `true` [rows]. The rungs `thresholds` and `clipping` start from `base`, the fitted
    rule of the rung below. The untuned rule is always the first trial, so a search never ends below where it began.
    """
    prior = class_prior(true, goal.unscored)
    if rung in ("argmax", "raw"):
        return Rule(prior, rung=rung)
    if rung in ("prior", "temperature"):
        calibrated = Rule(prior, calibration_temperature(logits, true), rung=rung)
        return calibrated if rung == "temperature" else _fit_prior(logits, true, calibrated, goal)
    if base is None:
        raise ValueError(f"the rung {rung!r} needs the fitted rule of the rung below it")
    if rung == "clipping":
        clip = best_clip(merge_views(logits, base.temperature), true)
        return Rule(prior, base.temperature, rung=rung, clip=clip)
    return _fit_offsets(logits, true, base, goal)


def _fit_prior(logits: Logits, true: Labels, start: Rule, goal: Goal) -> Rule:
    settings = goal.settings

    def rule_of(parameters: dict[str, float]) -> Rule:
        return Rule(start.prior, parameters["temperature"], parameters["alpha"], (), "prior")

    def objective(trial: optuna.Trial) -> float:
        low, high = (factor * start.temperature for factor in _TEMPERATURES)
        if logits.shape[1] == 1:  # one view: temperature and offsets are the same lever twice
            low = high = start.temperature
        trial.suggest_float("temperature", low, high, log=True)
        trial.suggest_float("alpha", *_ALPHAS)
        rule = rule_of(trial.params)
        score = goal.metric.score(true, rule.predict_logits(logits, goal.metric))
        return score - settings.shrinkage * rule.alpha**2 / 10

    return rule_of(_search(objective, {"temperature": start.temperature, "alpha": 0.0}, settings))


def _fit_offsets(logits: Logits, true: Labels, start: Rule, goal: Goal) -> Rule:
    merged = merge_views(logits, start.temperature)
    names = [f"b{number}" for number in range(logits.shape[2])]

    def rule_of(parameters: dict[str, float]) -> Rule:
        offsets = tuple(parameters[name] for name in names)
        return Rule(start.prior, start.temperature, start.alpha, offsets, "thresholds")

    def objective(trial: optuna.Trial) -> float:
        offsets = [trial.suggest_float(name, -LARGEST_OFFSET, LARGEST_OFFSET) for name in names]
        score = goal.metric.score(true, rule_of(trial.params).predict(merged, goal.metric))
        return score - goal.settings.shrinkage * float(np.mean(np.square(offsets)))

    return rule_of(_search(objective, dict.fromkeys(names, 0.0), goal.settings))


def _search(
    objective: Callable[[optuna.Trial], float], first: dict[str, float], settings: TuneSettings
) -> dict[str, float]:
    """Return the best parameters; ties go to the earliest trial, so to the untuned one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.enqueue_trial(first)
    study.optimize(objective, n_trials=settings.trials)
    return study.best_params
