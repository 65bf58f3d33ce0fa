"""The section on damaged images: corruption F1."""

import shlex
from typing import TYPE_CHECKING

from supcon.errors import UserError
from supcon.plots import corruption_curves, corruption_heat
from supcon.report.page import Block, Figure, Missing, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run

if TYPE_CHECKING:  # its module imports albumentations
    from supcon.report.corruptions.result import CorruptionScores


def robustness(run: Run, baseline: Run | None = None) -> list[Block]:
    """Show macro-F1 of damaged rows, and what a baseline loses on them where one is given."""
    own = corruption_scores(run)
    head = ["corruption", "lost"]
    rows = [[name, f"{lost:.3f}"] for name, lost in sorted(own.lost.items(), key=lambda item: -item[1])]
    blocks: list[Block] = [
        Text(about(own.rows)),
        Text(f"Corruption F1 {own.corruption_f1:.4f}, where the same rows undamaged give {own.clean:.4f}."),
        Figure(of_figure(corruption_heat(own.curves), "Macro-F1 under each corruption")),
    ]
    if baseline is not None:
        other = corruption_scores(baseline)
        blocks += _beside(run, own, baseline, other)
        head.append(f"lost by {baseline.name}")
        rows = [[*row, f"{other.lost[row[0]]:.3f}"] for row in rows]
    return [*blocks, Table(head, rows, "What each takes from macro-F1, mean over severities")]


def _beside(run: Run, own: "CorruptionScores", baseline: Run, other: "CorruptionScores") -> list[Block]:
    if own.rows_a_fold != other.rows_a_fold:
        raise UserError(
            f"--baseline {baseline.name} has seen {other.rows_a_fold} damaged rows of each fold, {run.name}"
            f" {own.rows_a_fold}: give both the same --rows"
        )
    figure = corruption_curves({run.name: own.curves, baseline.name: other.curves})
    return [
        Text(
            f"Corruptions take {own.mean_lost:.4f} from this run and {other.mean_lost:.4f} from {baseline.name}:"
            f" {own.relative(other):.2f} times as much. Its corruption F1 is {other.corruption_f1:.4f}, undamaged"
            f" {other.clean:.4f}."
        ),
        Figure(of_figure(figure, "Both runs under each corruption")),
    ]


def about(rows: int) -> str:
    """Return what corruption F1 is."""
    return (
        f"Macro-F1 of {rows:,} held-out rows, damaged in twelve ways and five severities, by argmax of one view; each"
        " row by the model that never saw it. The severities are this project's own: corruption F1 is not ImageNet-C."
    )


def corruption_scores(run: Run) -> "CorruptionScores":
    """Return a run's corruption scores. Raises `Missing` where there are none, or of other models."""
    command = f"`./run.sh report --run {shlex.quote(run.name)} --corruptions`"
    if not (run.folder / "corruptions.json").exists():
        run.fold_folder(0)
        raise Missing(f"Run {run.name} has not seen damaged images: {command} shows them.")
    from supcon.report.corruptions.result import read_scores

    scores = read_scores(run.experiment)
    if scores is None:
        raise Missing(f"Run {run.name} has changed since it saw damaged images: {command} --force shows them anew.")
    return scores
