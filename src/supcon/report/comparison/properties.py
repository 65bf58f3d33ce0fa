"""Sections that compare runs beyond their scores: calibration, embeddings, damaged images, settings."""

import numpy as np

from supcon.arrays import Scores
from supcon.decision.calibration import negative_log_likelihood
from supcon.metrics.calibration import calibration_error, reliability_bins
from supcon.plots import corruption_curves, reliability
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.embeddings import QUALITY_MEASURES, as_text, quality_table
from supcon.report.page import Block, Figure, Missing, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.robustness import about, corruption_scores, curves_of
from supcon.report.training import flat_settings

_DRAWN = 6  # reliability diagrams


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
        if len(figures) < _DRAWN:
            before, after = (reliability_bins(log_probabilities, run.true) for log_probabilities in states)
            drawn = reliability(before, after, run.name)
            figures.append(Figure(of_figure(drawn, f"Reliability of {run.name}")))
    head = ["run", "temperature", "NLL", "NLL after", "ECE", "ECE after"]
    return [*figures, Table(head, rows, "Out of fold, at the cross-fitted calibration temperature; lower is better")]


def embedding_quality(comparison: RunComparison) -> list[Block]:
    """Show each run's embedding quality before and after the projection head."""
    tables: dict[tuple[str, str], Scores] = {}
    missing = []
    for run in comparison.runs:
        try:
            tables |= {(run.name, kind): values for kind, values in quality_table(run).items()}
        except Missing as reason:
            missing.append(str(reason))
    if not tables:
        raise Missing(" ".join(missing))
    head = ["", "what it says", *(f"{name}, {kind}" for name, kind in tables)]
    rows = [
        [name, says, *(as_text(values[index]) for values in tables.values())]
        for index, (name, says) in enumerate(QUALITY_MEASURES.items())
    ]
    return [*map(Text, missing), Table(head, rows, "Of held-out rows, mean over folds", left=2)]


def robustness(comparison: RunComparison) -> list[Block]:
    """Show the corruption F1 of the runs that were tested on damaged images."""
    results, missing = {}, []
    for run in comparison.runs:
        try:
            results[run.name] = corruption_scores(run)
        except Missing as reason:
            missing.append(str(reason))
    if not results:
        raise Missing(" ".join(missing))
    from supcon.report.corruptions.result import relative  # imports albumentations

    (base, first), *_ = results.items()
    rows = [
        [name, f"{own.rows:,}", f"{own.clean:.4f}", f"{own.corruption_f1:.4f}", f"{own.mean_lost:.4f}",
         f"{relative(own, first):.2f}" if own.rows_a_fold == first.rows_a_fold else "other rows"]
        for name, own in results.items()
    ]  # fmt: skip
    curves = {name: curves_of(own) for name, own in results.items()}
    return [
        Text(about(first.rows)),
        *map(Text, missing),
        Table(["run", "rows", "undamaged", "corruption F1", "lost", f"lost, times {base}'s"], rows),
        Figure(of_figure(corruption_curves(curves), "Macro-F1 under each corruption")),
    ]


def differing_settings(comparison: RunComparison) -> list[Block]:
    """List the settings in which the runs differ."""
    first, *others = settings = [flat_settings(run.experiment.call.settings) for run in comparison.runs]
    rows = [
        [key, *(str(own[key]) for own in settings)] for key in first if any(own[key] != first[key] for own in others)
    ]
    if not rows:
        return [Text("The runs have the same settings.")]
    return [Table(["setting", *comparison.names], rows, left=1 + len(settings))]
