"""Sections on what else tells runs apart: calibration, embeddings, damaged images, settings."""

import numpy as np
import numpy.typing as npt

from supcon.decision.calibration import negative_log_likelihood
from supcon.metrics.calibration import calibration_error, reliability_bins
from supcon.plots import corruption_curves, reliability
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.embeddings import QUALITIES, as_text, quality_table
from supcon.report.page import Block, Figure, Missing, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.robustness import about, corruption_scores, curves_of
from supcon.report.training import flat_settings

_DRAWN = 6  # reliability diagrams


def calibrations(comparison: RunComparison) -> list[Block]:
    """Show NLL and ECE before and after each run's cross-fitted temperature."""
    rows, figures = [], list[Block]()
    for run in comparison.runs:
        states = (run.log_probabilities, run.calibrated)
        numbers = [
            f"{measure(one, run.true):.4f}"
            for measure in (negative_log_likelihood, calibration_error)
            for one in states
        ]
        rows.append([run.name, f"{np.mean(list(run.temperatures.values())):.2f}", *numbers])
        if len(figures) < _DRAWN:
            before, after = (reliability_bins(one, run.true) for one in states)
            drawn = reliability(before, after, run.name)
            figures.append(Figure(of_figure(drawn, f"Reliability of {run.name}")))
    head = ["run", "temperature", "NLL", "NLL after", "ECE", "ECE after"]
    return [*figures, Table(head, rows, "Out of fold, at the cross-fitted calibration temperature; lower is better")]


def qualities(comparison: RunComparison) -> list[Block]:
    """Show each run's embedding quality before and after the projection head."""
    tables: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
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
        [name, says, *(as_text(values[place]) for values in tables.values())]
        for place, (name, says) in enumerate(QUALITIES.items())
    ]
    return [*map(Text, missing), Table(head, rows, "Of held-out rows, mean over folds", left=2)]


def robustnesses(comparison: RunComparison) -> list[Block]:
    """Show the corruption F1 of the runs that have one."""
    found, missing = {}, []
    for run in comparison.runs:
        try:
            found[run.name] = corruption_scores(run)
        except Missing as reason:
            missing.append(str(reason))
    if not found:
        raise Missing(" ".join(missing))
    from supcon.report.corruptions.result import relative  # imports albumentations

    (base, first), *_ = found.items()
    rows = [
        [name, f"{one.rows:,}", f"{one.clean:.4f}", f"{one.corruption_f1:.4f}", f"{one.mean_lost:.4f}",
         f"{relative(one, first):.2f}" if one.rows_a_fold == first.rows_a_fold else "other rows"]
        for name, one in found.items()
    ]  # fmt: skip
    curves = {name: curves_of(one) for name, one in found.items()}
    return [
        Text(about(first.rows)),
        *map(Text, missing),
        Table(["run", "rows", "undamaged", "corruption F1", "lost", f"lost, times {base}'s"], rows),
        Figure(of_figure(corruption_curves(curves), "Macro-F1 under each corruption")),
    ]


def settings_apart(comparison: RunComparison) -> list[Block]:
    """List the settings in which the runs differ."""
    given = [flat_settings(run.experiment.call.settings) for run in comparison.runs]
    rows = [
        [key, *(str(one[key]) for one in given)] for key in given[0] if any(one[key] != given[0][key] for one in given)
    ]
    if not rows:
        return [Text("The runs have the same settings.")]
    return [Table(["setting", *comparison.names], rows, left=1 + len(given))]
