"""One Optuna search: a rule of a given rung, fitted to out-of-fold logits against macro-F1."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import optuna

from supcon.config.settings import TuneSettings
from supcon.decision.calibration import calibration_temperature
from supcon.decision.merge import Logits, merge_views
from supcon.decision.rule import Rule, class_prior
from supcon.metrics.f1 import macro_f1

LARGEST_OFFSET = 1.5  # |b_c|: a factor of 4.5 on a class's probability
_TEMPERATURES = (0.25, 4.0)  # searched, as factors of the calibration temperature
_ALPHAS = (-0.5, 1.5)


def fit_rule(
    rung: str, logits: Logits, true: npt.NDArray[np.int64], settings: TuneSettings, base: Rule | None = None
) -> Rule:
    """Return the rule of `rung` with the best macro-F1 on these rows, shrunk toward no thresholds.

    `logits` [rows, views, classes], `true` [rows]. The rung `thresholds` starts from `base`, the fitted rule of the
    rung below it. The untuned rule is always the first trial, so a search never ends below where it began.
    """
    classes = logits.shape[2]
    prior = class_prior(true, classes)
    if rung == "argmax":
        return Rule(prior)
    if rung == "prior":
        return _fit_prior(logits, true, Rule(prior, calibration_temperature(logits, true)), settings)
    if base is None:
        raise ValueError("the rung 'thresholds' needs the fitted rule of the rung 'prior'")
    return _fit_offsets(logits, true, base, settings)


def _fit_prior(logits: Logits, true: npt.NDArray[np.int64], start: Rule, settings: TuneSettings) -> Rule:
    classes = logits.shape[2]

    def rule_of(parameters: dict[str, float]) -> Rule:
        return Rule(start.prior, parameters["temperature"], parameters["alpha"], (), "prior")

    def objective(trial: optuna.Trial) -> float:
        low, high = (factor * start.temperature for factor in _TEMPERATURES)
        if logits.shape[1] == 1:  # one view: temperature and offsets are the same lever twice
            low = high = start.temperature
        trial.suggest_float("temperature", low, high, log=True)
        trial.suggest_float("alpha", *_ALPHAS)
        rule = rule_of(trial.params)
        return macro_f1(true, rule.decide_logits(logits), classes) - settings.shrinkage * rule.alpha**2 / 10

    return rule_of(_search(objective, {"temperature": start.temperature, "alpha": 0.0}, settings))


def _fit_offsets(logits: Logits, true: npt.NDArray[np.int64], start: Rule, settings: TuneSettings) -> Rule:
    classes = logits.shape[2]
    merged = merge_views(logits, start.temperature)
    names = [f"b{number}" for number in range(classes)]

    def rule_of(parameters: dict[str, float]) -> Rule:
        offsets = tuple(parameters[name] for name in names)
        return Rule(start.prior, start.temperature, start.alpha, offsets, "thresholds")

    def objective(trial: optuna.Trial) -> float:
        offsets = [trial.suggest_float(name, -LARGEST_OFFSET, LARGEST_OFFSET) for name in names]
        score = macro_f1(true, rule_of(trial.params).decide(merged), classes)
        return score - settings.shrinkage * float(np.mean(np.square(offsets)))

    return rule_of(_search(objective, dict.fromkeys(names, 0.0), settings))


def _search(
    objective: Callable[[optuna.Trial], float], first: dict[str, float], settings: TuneSettings
) -> dict[str, float]:
    """Return the best parameters; ties go to the earliest trial, so to the untuned one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.enqueue_trial(first)
    study.optimize(objective, n_trials=settings.trials)
    return study.best_params
