"""Sections on which run is better: scores with intervals, and paired tests."""

from typing import Any

from supcon.plots import score_intervals
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.page import Block, Figure, Point, Points, Table, Text
from supcon.report.pictures import of_figure
from supcon.run.scores import POOLED

_LARGEST_MATRIX = 12  # runs


def scores(comparison: RunComparison) -> list[Block]:
    """Show each run's cross-fitted and untuned score with its interval."""
    metric, unit = comparison.first.metric.title, comparison.first.unit
    tuned = {
        name: (score.score, score.low, score.high)
        for name, score in zip(comparison.names, comparison.scores, strict=True)
    }
    raw = {run.name: run.table.raw[POOLED] for run in comparison.runs}
    series = {
        "cross-fitted": tuned,
        "untuned": {name: (score.score, score.low, score.high) for name, score in raw.items()},
    }
    figure = score_intervals(series, metric, note=f"95 % bootstrap over {unit}")
    rows = [
        [run.name, str(score), str(raw[run.name]), _private(run.scores)]
        for run, score in zip(comparison.runs, comparison.scores, strict=True)
    ]
    return [
        Text(
            f"Out of fold, on the same {len(comparison.first.rows):,} rows, each run by its own cross-fitted decision."
            " Overlapping intervals say little: all runs are scored on the same rows, and the paired tests use that."
        ),
        Figure(of_figure(figure, f"{metric} of each run")),
        Table(["run", "cross-fitted [95 %]", "untuned [95 %]", "private, all folds"], rows),
    ]


def paired_tests(comparison: RunComparison) -> list[Block]:
    """Show how probably each run is better than the first, and than any other."""
    first, names = comparison.first.name, comparison.names
    resamples = comparison.first.experiment.call.settings.tune.bootstrap
    lines, rows = [], []
    for number, name in enumerate(names[1:], 1):
        value, error = comparison.gain(number)
        probability = comparison.probability(number)
        lines.append(Point(f"{name} is better than {first} with probability {_shown(probability)}."))
        rows.append([name, f"{value:+.4f}", f"{error:.4f}", f"{value / max(error, 1e-9):+.1f}", f"{probability:.3f}"])
    blocks: list[Block] = [
        Points(lines),
        Table(["run", f"over {first}", "standard error", "errors away", "probability"], rows),
        Text(
            f"The probability is the share of {resamples:,} bootstrap samples of {comparison.first.unit} on which the"
            " run is better than the other; ties count half. It knows of the rows' chance alone: another seed of the"
            " same recipe moves the score too."
        ),
    ]
    if 2 < len(names) <= _LARGEST_MATRIX:
        cells = [
            [
                name,
                *("" if one == other else f"{comparison.probability(one, other):.3f}" for other in range(len(names))),
            ]
            for one, name in enumerate(names)
        ]
        blocks.append(Table(["better than", *names], cells, "Probability that the run of the line is better"))
    return blocks


def _shown(probability: float) -> str:
    """Return a probability no more precisely than a finite number of samples can tell."""
    return "above 0.99" if probability > 0.99 else "below 0.01" if probability < 0.01 else f"{probability:.2f}"


def _private(scores: dict[str, Any]) -> str:
    private = scores.get("private")
    return f"{private['ensemble']['score']:.4f}" if private else "-"
