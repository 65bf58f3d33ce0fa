"""The sections of a comparison: scores and paired tests, where runs differ, what they are beyond scores, and chance."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from supcon.arrays import Rows
from supcon.decision.calibration import negative_log_likelihood
from supcon.metrics.calibration import calibration_error, reliability_bins
from supcon.plots import (
    corruption_curves,
    learning_curves,
    per_class_difference,
    reliability,
    score_intervals,
    stability,
)
from supcon.report import robustness as damage
from supcon.report.classes import error_card
from supcon.report.comparison.run_comparison import RunComparison, class_f1
from supcon.report.comparison.stability import find_study, scores_by_rate, scores_by_seed
from supcon.report.embeddings import HEAD, quality_rows, quality_table
from supcon.report.page import Block, Figure, Gallery, Missing, Point, Points, Section, Table, Text, make_sections
from supcon.report.pictures import of_figure
from supcon.report.run import Run
from supcon.report.scores import interval
from supcon.report.training import CURVES, WHERE, epochs_of
from supcon.run.scores import POOLED
from supcon.settings.sources import shown_settings

_LARGEST_MATRIX = 12  # runs
_DRAWN, _LISTED = 30, 50  # classes
_CARDS = 12
_GALLERIES = 3  # runs beside the first
_DIAGRAMS = 6  # of reliability

_Read = TypeVar("_Read")


def scores(comparison: RunComparison) -> list[Block]:
    """Show each run's cross-fitted and untuned score with its interval."""
    metric, unit = comparison.first.metric.title, comparison.first.unit
    tuned = dict(zip(comparison.names, comparison.scores, strict=True))
    raw = {run.name: run.table.raw[POOLED] for run in comparison.runs}
    series = {
        kind: {name: interval(score) for name, score in by_run.items()}
        for kind, by_run in (("cross-fitted", tuned), ("untuned", raw))
    }
    figure = score_intervals(series, metric, note=f"95 % bootstrap over {unit}")
    private = [run.scores.get("private") for run in comparison.runs]
    rows = [
        [name, str(tuned[name]), str(raw[name]), f"{known['ensemble']['score']:z.4f}" if known else "-"]
        for name, known in zip(comparison.names, private, strict=True)
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
    resamples = comparison.first.experiment.settings.tune.bootstrap
    lines, rows = [], []
    for number, name in enumerate(names[1:], 1):
        value, error = comparison.gain(number)
        probability = comparison.probability(number)
        lines.append(Point(f"{name} is better than {first} with probability {_shown(probability)}."))
        rows.append([name, f"{value:+z.4f}", f"{error:.4f}", f"{value / max(error, 1e-9):+.1f}", f"{probability:.3f}"])
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
        all_runs = range(len(names))
        cells = [
            [names[run], *("" if run == other else f"{comparison.probability(run, other):.3f}" for other in all_runs)]
            for run in all_runs
        ]
        blocks.append(Table(["better than", *names], cells, "Probability that the run of the line is better"))
    return blocks


def class_differences(comparison: RunComparison) -> list[Block]:
    """Show by how much each run's F1 of each class is above the first run's."""
    first, size = comparison.first, len(comparison.first.classes)
    support, f1 = np.bincount(first.true, minlength=size), [class_f1(run) for run in comparison.runs]
    blocks: list[Block] = [Text("F1 by class, cross-fitted. Intervals: 95 %, paired bootstrap.")]
    for number, run in enumerate(comparison.runs[1:], 1):
        value, low, high = comparison.class_differences(number)
        figure = per_class_difference(first.classes, value, low, high, _DRAWN, f"{run.name} over {first.name}")
        blocks.append(Figure(of_figure(figure, f"F1 of {run.name} over {first.name} by class"), "Right is better."))
    spread = np.where(support > 0, np.ptp(f1, axis=0), -1.0)
    order = [number for number in np.argsort(-spread, kind="stable").tolist() if support[number] > 0]
    rows = [
        [first.classes[number], f"{support[number]:,}", *(f"{own[number]:.3f}" for own in f1), f"{spread[number]:.3f}"]
        for number in order[:_LISTED]
    ]
    caption = f"The {_LISTED} classes of {len(order):,} that differ most" if len(order) > _LISTED else ""
    return [*blocks, Table(["class", "rows", *comparison.names, "spread"], rows, caption)]


def disagreements(comparison: RunComparison) -> list[Block]:
    """Show the rows that a run gets right and the first run wrong, and the other way round."""
    first = comparison.first
    rows, blocks = [], list[Block]()
    for run in comparison.runs[1:]:
        ours, theirs = run.labels == run.true, first.labels == first.true
        only = np.flatnonzero(ours & ~theirs), np.flatnonzero(theirs & ~ours)
        rows.append([run.name, *(f"{len(own_rows):,}" for own_rows in only), f"{(~ours & ~theirs).sum():,}"])
        if len(rows) <= _GALLERIES:
            for right, wrong, own_rows in ((run, first, only[0]), (first, run, only[1])):
                if len(own_rows):
                    blocks.append(_gallery(right, wrong, own_rows))
    head = ["run", "only it is right", f"only {first.name} is right", "both are wrong"]
    return [Table(head, rows, f"Rows of {len(first.rows):,}"), *blocks]


def calibration(comparison: RunComparison) -> list[Block]:
    """Show NLL and ECE before and after each run's cross-fitted temperature."""
    rows, figures = [], list[Block]()
    for run in comparison.runs:
        states = (run.log_probabilities, run.calibrated)
        numbers = [
            f"{measure(log_probabilities, run.true):.4f}"
            for measure in (negative_log_likelihood, calibration_error)
            for log_probabilities in states
        ]
        rows.append([run.name, f"{np.mean(list(run.temperatures.values())):.2f}", *numbers])
        if len(figures) < _DIAGRAMS:
            before, after = (reliability_bins(log_probabilities, run.true) for log_probabilities in states)
            drawn = reliability(before, after, run.name)
            figures.append(Figure(of_figure(drawn, f"Reliability of {run.name}")))
    head = ["run", "temperature", "NLL", "NLL after", "ECE", "ECE after"]
    return [*figures, Table(head, rows, "Out of fold, at the cross-fitted calibration temperature; lower is better")]


def curves(comparison: RunComparison) -> list[Block]:
    """Show each run's training, both stages, as the mean over its folds."""
    by_run, missing = _read_all(comparison, epochs_of)
    joined = {name: pd.concat(folds.values()) for name, (folds, _) in by_run.items()}
    logs = {name: table.groupby("epoch", as_index=False).mean() for name, table in joined.items()}
    marks = sorted({begins for _, begins in by_run.values() if begins})
    about = "Means over the folds, of what is watched on a sample of held-out rows and used for nothing."
    if marks:
        about += f" At a dotted line {WHERE}; the learning rate need not start anew there."
    drawn = learning_curves(logs, CURVES, marks=marks)
    return [Text(about), *missing, Figure(of_figure(drawn, "Learning curves, a line a run"))]


def embedding_quality(comparison: RunComparison) -> list[Block]:
    """Show each run's embedding quality before and after the projection head."""
    by_run, missing = _read_all(comparison, quality_table)
    tables = {f"{name}, {kind}": values for name, table in by_run.items() for kind, values in table.items()}
    return [
        Text(HEAD),
        *missing,
        Table(["", "what it says", *tables], quality_rows(tables), "Of held-out rows, mean over folds", 2),
    ]


def robustness(comparison: RunComparison) -> list[Block]:
    """Show the corruption F1 of the runs that were tested on damaged images."""
    results, missing = _read_all(comparison, damage.corruption_scores)
    (base, first), *_ = results.items()
    rows = [
        [name, f"{own.rows:,}", f"{own.clean:.4f}", f"{own.corruption_f1:.4f}", f"{own.mean_lost:.4f}",
         f"{own.relative(first):.2f}" if own.rows_a_fold == first.rows_a_fold else "other rows"]
        for name, own in results.items()
    ]  # fmt: skip
    curves = {name: own.curves for name, own in results.items()}
    return [
        Text(damage.about(first.rows)),
        *missing,
        Table(["run", "rows", "undamaged", "corruption F1", "lost", f"lost, times {base}'s"], rows),
        Figure(of_figure(corruption_curves(curves), "Macro-F1 under each corruption")),
    ]


def scatter(comparison: RunComparison) -> list[Block]:
    """Show the runs' recipes over the seeds and learning rates that a study tried."""
    seeds: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for run in comparison.runs:
        name = run.name.rpartition("-s")[0] if find_study(run) else run.name
        if len(by_seed := scores_by_seed(run)) > 1:
            seeds[name] = list(by_seed.values())
        rates |= {f"{name}, {rate}": values for rate, values in scores_by_rate(run).items()}
    if not seeds and not rates:
        raise Missing("No study has tried these runs with other seeds or learning rates: ./run.sh study FILE does.")
    metric = comparison.first.metric
    blocks: list[Block] = [
        Text("A difference between two runs that is smaller than the scatter of either recipe may be chance.")
    ]
    untuned = f"{metric.title} {'as predicted' if metric.of_probabilities else 'by argmax'}"
    for scores, over, score_name in ((seeds, "seed", f"cross-fitted {metric.title}"), (rates, "cell", untuned)):
        if scores:
            figure = stability(scores, score_name + " (lower is better)" * (metric.sign < 0), over=over)
            spread = {name: f"{np.std(own, ddof=1):.4f}" if len(own) > 1 else "-" for name, own in scores.items()}
            rows = [[name, str(len(own)), f"{np.mean(own):.4f}", spread[name]] for name, own in scores.items()]
            blocks.append(Figure(of_figure(figure, f"Scores over {over}s")))
            blocks.append(Table(["recipe", f"{over}s", "mean", "sd"], rows))
    return blocks


def differing_settings(comparison: RunComparison) -> list[Block]:
    """List the settings in which the runs differ."""
    first, *others = settings = [shown_settings(run.experiment.settings) for run in comparison.runs]
    rows = [
        [key, *(str(own[key]) for own in settings)] for key in first if any(own[key] != first[key] for own in others)
    ]
    if not rows:
        return [Text("The runs have the same settings.")]
    return [Table(["setting", *comparison.names], rows, left=1 + len(settings))]


CONTENTS: dict[str, Callable[[RunComparison], Sequence[Block]]] = {  # what a comparison holds, in this order
    "Scores": scores,
    "Paired tests": paired_tests,
    "Classes": class_differences,
    "Where one is right": disagreements,
    "Calibration": calibration,
    "Learning curves": curves,
    "Embedding quality": embedding_quality,
    "Damaged images": robustness,
    "Seeds and learning rates": scatter,
    "Settings apart": differing_settings,
}


def sections(comparison: RunComparison) -> list[Section]:
    """Return the comparison's sections."""
    return make_sections(CONTENTS, comparison, "compare")


def _shown(probability: float) -> str:
    """Return a probability no more precisely than a finite number of samples can tell."""
    return "above 0.99" if probability > 0.99 else "below 0.01" if probability < 0.01 else f"{probability:.2f}"


def _gallery(right: Run, wrong: Run, rows: Rows) -> Gallery:
    surest = rows[np.argsort(-wrong.confidence[rows], kind="stable")][:_CARDS]
    cards = [error_card(wrong, row) for row in surest.tolist()]
    return Gallery(f"{right.name} is right, {wrong.name} wrong: {len(cards)} of {len(rows):,} rows", cards)


def _read_all(comparison: RunComparison, read: Callable[[Run], _Read]) -> tuple[dict[str, _Read], list[Text]]:
    """Return what `read` returns of each run that has it, and why the others lack it; `Missing` where all do."""
    results: dict[str, _Read] = {}
    missing: list[str] = []
    for run in comparison.runs:
        try:
            results[run.name] = read(run)
        except Missing as reason:
            missing.append(str(reason))
    if not results:
        raise Missing(" ".join(missing))
    return results, [Text(reason) for reason in missing]
