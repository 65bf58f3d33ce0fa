"""The ladder of tuning: each rung is fitted to out-of-fold logits on top of the rule of the rungs below it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from supcon.arrays import ClassCounts, Floats, Labels
from supcon.decision.calibration import (
    best_clip,
    calibration_factor,
    calibration_temperature,
    negative_log_likelihood,
    subsample,
)
from supcon.decision.logits import Logits, load_logits, logit_blocks
from supcon.decision.merge import log_softmax, merge_views
from supcon.decision.rule import Rule, class_prior
from supcon.decision.search import Parameters, SearchStorage, search
from supcon.decision.undecided import UndecidedRows, labels_under
from supcon.metrics.metric import Metric
from supcon.metrics.top_k import Matrix, TopK, joined, keeps_all, map_values, mean_of, width
from supcon.settings.settings import TuneSettings

Rungs = tuple[str, ...]  # the rungs that a rule stands on, its own last
Weights = Floats  # [runs], summing to 1

UNTUNED, UNTUNED_PROBABILITIES = "argmax", "raw"  # the lowest rung, where labels or probabilities are scored
MEMBERS = "members"  # what predicts beside the head
SECOND_ROUND = "round two"  # the run trained on pseudo-labels in place of the run that gave them
PRIOR, THRESHOLDS = "prior", "thresholds"  # temperature and prior strength; an offset of each class
TEMPERATURE, CLIPPING = "temperature", "clipping"
GREEDY, WEIGHTS = "greedy", "weights"  # of several runs: by forward selection; by Optuna
_NEEDS = {THRESHOLDS: PRIOR, CLIPPING: TEMPERATURE}  # fitted below these rungs even where it was not chosen

LARGEST_GROUPS = 100  # offsets at most; of more classes, those of similar frequency share one
_ALPHAS = (-0.5, 1.5)
_LARGEST_OFFSET = 1.5  # |b_c|: a factor of 4.5 on a class's probability
_LARGEST_FACTOR = 3.0  # |log of the factor by which a run's weight is multiplied|
_LARGEST_COEFFICIENT = 3.0  # of a member's calibrated log-probabilities in the sum
_TEMPERATURE_STEPS = 4  # of a factor sqrt(2), either way from the calibration temperatures
_CALIBRATED_ROWS = 10_000  # of a subsample: here a temperature is only where a search starts
_PICKS = 25  # steps of forward selection, at most
_LEAST_GAIN = 1e-9
_MOST_VALUES = 2**26  # log-probabilities of all runs together; of more, a subsample of the rows does


@dataclass(frozen=True)
class TuningTask:
    """What decisions are tuned for."""

    metric: Metric
    settings: TuneSettings
    unscored: ClassCounts  # rows of each class that are always trained on and never scored, [classes]
    start: tuple[float, ...] = ()  # weights of the runs before tuning; empty: all alike
    second_round: bool = False  # of two runs, the second is trained on the first one's pseudo-labels

    @property
    def has_thresholds(self) -> bool:
        """Whether thresholds are tried. They are not with a great many classes, many of which would share each."""
        return not self.metric.of_probabilities and keeps_all(len(self.unscored))

    def ladder(self, runs: int) -> Rungs:
        """Return all rungs to try for that many runs, the lowest first."""
        start = self.start or (1.0,) * runs
        members = [MEMBERS] * (0 in start and not self.second_round)
        if self.metric.of_probabilities:
            clips = self.metric.name == "log_loss"  # an order of rows only suffers from it
            first, tuned = UNTUNED_PROBABILITIES, [TEMPERATURE, *members, *[CLIPPING] * clips]
        else:
            first, tuned = UNTUNED, [*members, PRIOR, *[THRESHOLDS] * self.has_thresholds]
        if self.second_round:
            return (first, SECOND_ROUND, *tuned)
        blended = (GREEDY, WEIGHTS) * (sum(weight > 0 for weight in start) > 1)
        return (first, *tuned, *blended)


def rungs_up_to(rung: str, chosen: Rungs) -> Rungs:
    """Return the rungs of a rule of `rung` on top of the rule chosen so far."""
    needed = _NEEDS.get(rung)
    return (*chosen, rung) if needed is None or needed in chosen else (*chosen, needed, rung)


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
        return Rule(prior, (1.0,) * len(runs), task.start or (1 / len(runs),) * len(runs), rung=rung)
    base = replace(base, prior=prior, rung=rung)
    if rung == SECOND_ROUND:
        return replace(base, weights=(0.0, 1.0))
    if rung == MEMBERS:
        return _with_members(base, runs, true)
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
    return _searched_weights(base, runs, true, task, storage)


def _calibrated(base: Rule, runs: Sequence[Logits], true: Labels) -> Rule:
    """Return `base` with each run's calibration temperature, all times the factor that calibrates their mean."""
    rows = subsample(len(true), _CALIBRATED_ROWS)
    sample = [load_logits(logits[rows]) for logits in runs]
    calibrated = replace(base, temperatures=tuple(calibration_temperature(logits, true[rows]) for logits in sample))
    if sum(weight > 0 for weight in base.weights) == 1:
        return calibrated
    return calibrated.at(calibration_factor(lambda factor: calibrated.at(factor).merge(sample), true[rows]))


def _with_members(base: Rule, runs: Sequence[Logits], true: Labels) -> Rule:
    """Return `base` with the weights, and a temperature for each member, at which the merged rows have the least NLL.

    Log-probabilities times a coefficient each, summed, are a logistic regression on the members: its loss has one
    minimum and its coefficients are few, so that they are the same for all rows but for chance.
    """
    from scipy.optimize import minimize

    rows = subsample(len(true), _CALIBRATED_ROWS)
    sample, true = [load_logits(logits[rows]) for logits in runs], true[rows]
    temperatures = tuple(calibration_temperature(logits, true) for logits in sample)
    members = _merged(sample, temperatures)

    def loss(coefficients: Floats) -> float:
        return negative_log_likelihood(log_softmax(mean_of(members, coefficients.tolist())), true)

    bounds, steps = [(0, _LARGEST_COEFFICIENT)] * len(runs), {"finite_diff_rel_step": 1e-3}  # of single precision
    found = minimize(loss, np.asarray(base.weights), method="L-BFGS-B", jac="3-point", bounds=bounds, options=steps)
    weights = found.x / found.x.sum()
    fitted = replace(base, temperatures=temperatures, weights=tuple(weights.tolist()))
    return fitted.at(calibration_factor(lambda factor: fitted.at(factor).merge(sample), true))


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
    scores = (start.merge(block, np.float32) + bias for block in logit_blocks(runs))
    rows = [UndecidedRows.in_box(block, _LARGEST_OFFSET) for block in scores]
    group = offset_groups(start.prior)
    names = [f"b{number}" for number in range(group.max() + 1)]
    share = np.bincount(group) / len(group)

    def objective(parameters: Parameters) -> float:
        offsets = np.array([parameters[name] for name in names])
        score = task.metric.score(true, labels_under(rows, offsets[group]))
        return score - task.settings.shrinkage * float(share @ np.square(offsets))

    space = dict.fromkeys(names, (-_LARGEST_OFFSET, _LARGEST_OFFSET))
    best = search(objective, space, dict.fromkeys(names, 0.0), task.settings, storage)
    return replace(start, offsets=tuple(best[names[number]] for number in group))


def offset_groups(prior: Sequence[float]) -> Labels:
    """Return which offset each class has, [classes]: its own, or one that it shares with classes of like frequency."""
    classes = len(prior)
    if classes <= LARGEST_GROUPS:
        return np.arange(classes)
    group = np.empty(classes, np.int64)
    group[np.argsort(-np.asarray(prior), kind="stable")] = np.arange(classes) * LARGEST_GROUPS // classes
    return group


def greedy_weights(base: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask) -> Rule:
    """Return `base` with weights by forward selection with replacement (Caruana et al. 2004).

    The best single run comes first; then, again and again, the run whose log-probabilities raise the score of the mean
    most, so that a run picked twice counts twice. The best mean on the way is returned.
    """
    value = _value_of_weights(base, runs, true, task)
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


def _searched_weights(
    base: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask, storage: SearchStorage | None
) -> Rule:
    """Return `base` with its weights multiplied by factors that Optuna finds; a weight of 0 stays 0."""
    names = [f"w{number}" for number, weight in enumerate(base.weights) if weight > 0]
    if len(names) < 2:
        return base
    value = _value_of_weights(base, runs, true, task)

    def weights_of(parameters: Parameters) -> Weights:
        factors = np.array([np.exp(parameters.get(f"w{number}", 0.0)) for number in range(len(runs))])
        weights: Weights = factors * np.asarray(base.weights)
        weights /= weights.sum()
        return weights

    space = dict.fromkeys(names, (-_LARGEST_FACTOR, _LARGEST_FACTOR))
    first = dict.fromkeys(names, 0.0)
    best = search(lambda parameters: value(weights_of(parameters)), space, first, task.settings, storage)
    return replace(base, weights=tuple(weights_of(best).tolist()))


def _value_of_weights(base: Rule, runs: Sequence[Logits], true: Labels, task: TuningTask) -> Callable[[Weights], float]:
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
    merged_blocks = []
    for block in logit_blocks(runs):
        members = [merge_views(logits, t, np.float32) for logits, t in zip(block, temperatures, strict=True)]
        likeliest = mean_of(members)
        if isinstance(likeliest, TopK):
            members = [member.keep(likeliest.numbers) for member in members if isinstance(member, TopK)]
        merged_blocks.append(members)
    return [joined(blocks_of_run) for blocks_of_run in zip(*merged_blocks, strict=True)]
