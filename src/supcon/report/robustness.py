"""The section on damaged images: corruption F1."""

from supcon.plots import corruption_curves, corruption_heat
from supcon.report.page import Block, Figure, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Missing, Run


def robustness(run: Run, baseline: Run | None = None) -> list[Block]:
    """Show macro-F1 of damaged rows, beside a baseline's where one is given."""
    from supcon.corruptions.result import relative  # imports albumentations

    own = corruption_scores(run)
    others = {} if baseline is None else {baseline.name: corruption_scores(baseline)}
    figures = [
        Figure(
            of_figure(corruption_heat({name: _by_severity(own.clean, scores) for name, scores in own.scores.items()}),
                      "Macro-F1 under each corruption"),
            "A row a corruption, worst on top; a column a severity.",
        )
    ]  # fmt: skip
    blocks: list[Block] = [Text(about(own.rows)), Text(
        f"Corruption F1 {own.corruption_f1:.4f}, where the same rows undamaged give {own.clean:.4f}."
    )]  # fmt: skip
    head = ["corruption", *(f"severity {n}" for n in range(1, 6)), "lost"]
    rows = [
        [name, *(f"{score:.3f}" for score in own.scores[name]), f"{lost:.3f}"]
        for name, lost in sorted(own.lost.items(), key=lambda item: -item[1])
    ]
    for name, other in others.items():
        ratio = relative(own, other)
        blocks.append(
            Text(
                f"Corruptions take {own.mean_lost:.4f} from this run and {other.mean_lost:.4f} from {name}: {ratio:.2f}"
                f" times as much ({name}: corruption F1 {other.corruption_f1:.4f}, undamaged {other.clean:.4f})."
            )
        )
        head.append(f"lost by {name}")
        rows = [[*row, f"{other.lost[row[0]]:.3f}"] for row in rows]
        both = {run.name: own, name: other}
        curves = {
            one: {kind: _by_severity(of.clean, scores) for kind, scores in of.scores.items()}
            for one, of in both.items()
        }
        figures.append(Figure(of_figure(corruption_curves(curves), "Both runs under each corruption"), "A line a run."))
    return [*blocks, *figures, Table(head, rows, "Macro-F1, the dearest corruption first")]


def about(rows: int) -> str:
    """Return what corruption F1 is."""
    return (
        f"Macro-F1 of {rows:,} held-out rows, damaged in twelve ways and five severities, by argmax of one view; each"
        " row by the model that never saw it. The severities are this project's own: corruption F1 is not ImageNet-C."
    )


def corruption_scores(run: Run):  # type: ignore[no-untyped-def]  # CorruptionScores, whose module imports albumentations
    """Return a run's corruption scores. Raises `Missing` where there are none, or of other models."""
    command = f"`./run.sh report --run {run.name} --corruptions`"
    if not (run.folder / "corruptions.json").exists():
        run.fold_folder(0)
        raise Missing(f"Run {run.name} has not seen damaged images: {command} shows them.")
    from supcon.corruptions.result import read_scores

    scores = read_scores(run.experiment)
    if scores is None:
        raise Missing(f"Run {run.name} has changed since it saw damaged images: {command} --force shows them anew.")
    return scores


def _by_severity(clean: float, scores: list[float]) -> dict[int, float]:
    return dict(enumerate([clean, *scores]))
