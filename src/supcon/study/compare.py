"""How variants stand: a round's by means over cells, and whole runs by what counts in the end, their decisions.

Differences to the baseline are paired: by seed and fold, or on the same bootstrap samples of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from supcon.arrays import Floats, Labels
from supcon.metrics.metric import Metric, Prediction
from supcon.metrics.of_probabilities import LogLoss
from supcon.metrics.top_k import joined
from supcon.report.run import Run
from supcon.study.cells import Results, Scores
from supcon.study.runs import Cell, Runs

UNEQUAL = 0.02  # image passes may differ from the baseline's by this part before the variant is marked
RESAMPLES = 2000
NO_OTHERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Estimate:
    """A mean paired difference and its standard error."""

    value: float
    error: float
    cells: int  # with 1 the standard error is over the cell's rows


@dataclass(frozen=True)
class VariantResult:
    """How one variant stands in a round. Means are over its scored cells, NaN where there is none."""

    variant: str
    other: str  # the variant that it is compared with
    planned: int  # cells
    scored: int
    failures: dict[Cell, str]
    score: float
    pooled: float  # the score of all folds' rows of one seed, mean over seeds: what the ranking goes by
    nll: float
    gain: Estimate | None  # the score over the other's on the same cells; None: no such cell, or the baseline itself
    nll_gain: Estimate | None
    passes: float
    unequal: bool  # its passes are not the other's
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every cell of the round has a score."""
        return self.scored == self.planned


@dataclass(frozen=True)
class WholeRunScore:
    """A variant's cross-fitted score, mean over seeds, and its paired difference to another's."""

    variant: str
    other: str
    score: float
    gain: float
    error: float  # standard error of the difference, over `units`
    units: str  # rows, or groups of them


def rank_variants(
    results: Results,
    variants: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    baseline: str,
    over: Mapping[str, str] = NO_OTHERS,
) -> list[VariantResult]:
    """Return the standing of each variant over the (seed, fold) of a round, best pooled score first.

    `over` names what variants are compared with where that is not the baseline.
    Variants with a failed or missing cell come last: their means are over fewer cells.
    """
    lines = [_standing(results, variant, pairs, over.get(variant, baseline)) for variant in variants]
    sign = next((cell.metric.sign for cell in results.scores.values()), 1)
    return sorted(lines, key=lambda line: (not line.complete, line.scored == 0, -sign * line.pooled))


def paired_gains(pairs: Sequence[tuple[Scores, Scores]]) -> tuple[Estimate, Estimate]:
    """Return the mean differences in score and NLL of (variant, baseline) cells, with standard errors over cells.

    The standard error is sd / sqrt(cells). A single cell's is over its rows instead: exact for the mean log loss, by
    bootstrap for other scores.
    """
    gains = np.array([variant.score - base.score for variant, base in pairs])
    nll_gains = np.array([variant.nll - base.nll for variant, base in pairs])
    if len(pairs) > 1:
        error, nll_error = _standard_error(gains), _standard_error(nll_gains)
    else:
        variant, base = pairs[0]
        nll_error = _standard_error(variant.log_loss - base.log_loss)
        error = nll_error if isinstance(base.metric, LogLoss) else _bootstrap_error(variant, base)
    return Estimate(float(gains.mean()), error, len(pairs)), Estimate(float(nll_gains.mean()), nll_error, len(pairs))


def read_whole_run_scores(
    runs: Runs, whole: Sequence[tuple[str, int]], baseline: str, over: Mapping[str, str] = NO_OTHERS
) -> list[WholeRunScore]:
    """Return how the whole runs stand by their decision.json, best first; none unless the baseline is whole too."""
    predicted: dict[str, list[Prediction]] = {}
    for variant, seed in whole:
        run = Run(runs.experiment(variant, seed))
        predicted.setdefault(variant, []).append(run.predicted)
    if baseline not in predicted:
        return []
    return compare_whole_runs(run.true, predicted, baseline, run.metric, run.groups, over)


def compare_whole_runs(
    true: Labels,
    predicted: Mapping[str, Sequence[Prediction]],
    baseline: str,
    metric: Metric,
    groups: Labels | None = None,
    over: Mapping[str, str] = NO_OTHERS,
) -> list[WholeRunScore]:
    """Return every variant beside the baseline, or what `over` names, given each one's predictions by seed, best first.

    The standard error is that of the mean over seeds, by a paired bootstrap over rows, or over `groups` [rows] of them
    where there are any: every seed is scored on the same samples, since seeds share their rows.
    """
    every = [labels for seeds in predicted.values() for labels in seeds]
    drawn = iter(metric.bootstrap(true, every, RESAMPLES, seed=0, groups=groups))
    score, sample = dict[str, float](), dict[str, Floats]()  # means over seeds
    for variant, seeds in predicted.items():
        score[variant] = float(np.mean([metric.score(true, labels) for labels in seeds]))
        sample[variant] = np.mean(list(islice(drawn, len(seeds))), axis=0)
    units = "rows" if groups is None else "groups"
    lines = []
    for variant in predicted:
        other = over.get(variant, baseline)
        if other not in predicted:  # its runs are not whole
            other = baseline
        error = float(np.std(sample[variant] - sample[other]))
        lines.append(WholeRunScore(variant, other, score[variant], score[variant] - score[other], error, units))
    return sorted(lines, key=lambda line: -metric.sign * line.score)


def _standing(results: Results, variant: str, pairs: Sequence[tuple[int, int]], other: str) -> VariantResult:
    scores = _scores(results, variant, pairs)
    base = _scores(results, other, pairs)
    both = [(scores[pair], base[pair]) for pair in pairs if pair in scores and pair in base]
    gain, nll_gain = paired_gains(both) if both and variant != other else (None, None)
    base_passes = sum(base.passes for _, base in both)
    difference = sum(cell.passes - base.passes for cell, base in both)
    cells = list(scores.values())
    by_seed = [
        [cell for (seed, _), cell in scores.items() if seed == number] for number in {seed for seed, _ in scores}
    ]
    failed = [cell for cell in (Cell(variant, *pair) for pair in pairs) if cell in results.failures]
    return VariantResult(
        variant,
        other,
        planned=len(pairs),
        scored=len(cells),
        failures={cell: results.failures[cell] for cell in failed},
        score=_average([cell.score for cell in cells]),
        pooled=_average([_pooled(folds) for folds in by_seed]),
        nll=_average([cell.nll for cell in cells]),
        gain=gain,
        nll_gain=nll_gain,
        passes=_average([cell.passes for cell in cells]),
        unequal=abs(difference) > UNEQUAL * base_passes,
        seconds=_average([cell.seconds for cell in cells]),
    )


def _scores(results: Results, variant: str, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Scores]:
    cells = {pair: Cell(variant, *pair) for pair in pairs}
    return {pair: results.scores[cell] for pair, cell in cells.items() if cell in results.scores}


def _pooled(cells: Sequence[Scores]) -> float:
    true, log_loss = (np.concatenate([getattr(cell, name) for cell in cells]) for name in ("true", "log_loss"))
    predicted: Prediction = joined([cell.predicted for cell in cells])
    return replace(cells[0], true=true, predicted=predicted, log_loss=log_loss).score


def _bootstrap_error(variant: Scores, base: Scores) -> float:
    before, after = base.metric.bootstrap(base.true, [base.predicted, variant.predicted], RESAMPLES, seed=0)
    return float(np.std(after - before))


def _standard_error(differences: Floats) -> float:
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences)))


def _average(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
