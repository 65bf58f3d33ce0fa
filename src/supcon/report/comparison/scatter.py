"""The section on chance: how scores vary over seeds and learning rates."""

import numpy as np

from supcon.plots import stability
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.comparison.stability import find_study, scores_by_rate, scores_by_seed
from supcon.report.page import Block, Figure, Missing, Table, Text
from supcon.report.pictures import of_figure


def scatter(comparison: RunComparison) -> list[Block]:
    """Show the runs' recipes over the seeds and learning rates that a study tried."""
    seeds: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for run in comparison.runs:
        study_run = find_study(run)
        name = f"{study_run.study}-{study_run.variant}" if study_run else run.name
        if len(by_seed := scores_by_seed(run)) > 1:
            seeds[name] = list(by_seed.values())
        if by_rate := scores_by_rate(run):
            rates |= {f"{name}, {rate}": values for rate, values in by_rate.items()}
    if not seeds and not rates:
        raise Missing("No study has tried these runs with other seeds or learning rates: ./run.sh study FILE does.")
    metric, blocks = comparison.first.metric, list[Block]()
    untuned = f"{metric.title} {'as predicted' if metric.of_probabilities else 'by argmax'}"
    for scores, over, score_name in ((seeds, "seed", f"cross-fitted {metric.title}"), (rates, "cell", untuned)):
        if scores:
            figure = stability(scores, score_name + " (lower is better)" * (metric.sign < 0), over=over)
            rows = [
                [
                    name,
                    str(len(values)),
                    f"{np.mean(values):.4f}",
                    f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else "-",
                ]
                for name, values in scores.items()
            ]
            blocks += [
                Figure(of_figure(figure, f"Scores over {over}s")),
                Table(["recipe", f"{over}s", "mean", "sd"], rows),
            ]
    return [
        Text("A difference between two runs that is smaller than the scatter of either recipe may be chance."),
        *blocks,
    ]
