"""What a study leaves behind: table.md, table.csv and plot.png in runs/STUDY."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from supcon.cluster.tasks import Outcome
from supcon.metrics.metric import Metric
from supcon.storage.files import write_atomic, write_csv, write_text
from supcon.storage.tables import read_own_table
from supcon.study.cells import Results
from supcon.study.compare import UNEQUAL, Estimate, VariantResult, WholeRunScore
from supcon.study.progress import RoundResult
from supcon.study.read import Study

FOOTNOTES = f"""\
All scores are out of fold, labels by argmax; NLL and log loss are as predicted, lower is better. "Over" is the mean
difference to the baseline, or to the variant named, paired by seed and fold, +- its standard error over these cells,
or, where (rows) or (groups) stands, over rows or groups of them (by bootstrap; NLL exact). Pooled: all folds' rows of a
seed together, mean over seeds. Passes and seconds are those of a cell.
"*": the passes differ by more than {UNEQUAL:.0%}, so this is no comparison of like with like.
"""


def write_report(
    folder: Path,
    study: Study,
    metric: Metric,
    rounds: Sequence[RoundResult],
    results: Results,
    whole_runs: Sequence[WholeRunScore] = (),
) -> str:
    """Write table.md and table.csv; return the text of the former."""
    sections = [f"# Study {study.name}", *(round_section(outcome, study.baseline, metric) for outcome in rounds)]
    if whole_runs:
        sections.append(whole_runs_section(whole_runs, study.baseline, metric))
    text = "\n\n".join([*sections, FOOTNOTES])
    write_text(folder / "table.md", text)
    write_csv(folder / "table.csv", cell_table(rounds, results, metric))
    return text


def write_plot(path: Path, rounds: Sequence[RoundResult], name: str, baseline: str, metric: Metric) -> None:
    """Draw each round's differences to the baseline with two standard errors, best on top.

    Rounds without a difference are left out, and no picture is left of none.
    """
    from supcon.plots import as_png, differences  # a second to import

    panels = {}
    for outcome in rounds:
        gains = {
            line.variant + _named(line.other, baseline) + "*" * line.unequal: line.gain
            for line in outcome.variants
            if line.gain
        }
        if gains:
            title = f"round {outcome.number}, errors over {_cells({gain.cells for gain in gains.values()})}"
            panels[title] = {variant: (gain.value, gain.error) for variant, gain in gains.items()}
    if panels:
        unequal = "; *: unequal passes" if any("*" in variant for lines in panels.values() for variant in lines) else ""
        better = " (lower is better)" if metric.sign < 0 else ""
        picture = as_png(differences(panels, f"{metric.title} over {baseline}{better}{unequal}", f"study {name}"))
        write_atomic(path, lambda file: file.write(picture))
    else:
        path.unlink(missing_ok=True)


def cell_table(rounds: Sequence[RoundResult], results: Results, metric: Metric) -> pd.DataFrame:
    """Return one row a round and cell: scores, passes and seconds, or the reason why it failed."""
    names = ["round", "variant", "seed", "fold", metric.name, "nll", "passes", "seconds", "failed"]
    rows = []
    for outcome in rounds:
        for cell in outcome.cells:
            row = [outcome.number, cell.variant, cell.seed, cell.fold]
            if scores := results.scores.get(cell):
                numbers = [f"{scores.score:.6f}", f"{scores.nll:.6f}", f"{scores.passes:.0f}"]
                rows.append([*row, *numbers, f"{scores.seconds:.1f}", ""])
            elif cell in results.failures:
                rows.append([*row, "", "", "", "", results.failures[cell]])
    return pd.DataFrame(rows, columns=names)


def write_times(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write where and when each cell was trained, a row a cell; those of earlier calls stay."""
    table = pd.DataFrame([outcome.times for outcome in outcomes])
    if path.exists():
        before = read_own_table(path, "delete it: it only says where and when cells were trained")
        table = pd.concat([before[~before["task"].isin(table["task"])], table])
    write_csv(path, table)


def round_section(outcome: RoundResult, baseline: str, metric: Metric) -> str:
    """Return one round as Markdown: its variants best first, the baseline marked, then why cells failed."""
    seeds = sorted({cell.seed for cell in outcome.cells})
    folds = sorted({cell.fold for cell in outcome.cells})
    over = f"over {baseline}"
    header = ["variant", metric.title, over, "pooled", "NLL", over, "passes", "seconds"]
    table = [header, *(_row(line, baseline) for line in outcome.variants)]
    left_out = [3] * (len(folds) == 1) + [4, 5] * (metric.name == "log_loss")  # which would say the same again
    table = [[cell for column, cell in enumerate(row) if column not in left_out] for row in table]
    finished = f"{len(outcome.cells) - len(outcome.missing)} of {len(outcome.cells)} cells"
    heading = (
        f"## Round {outcome.number}: seed {' '.join(map(str, seeds))}, fold {' '.join(map(str, folds))} ({finished})"
    )
    failures = [f"- {cell} failed: {reason}" for line in outcome.variants for cell, reason in line.failures.items()]
    if failures:
        failures = ["\n".join(failures), "(`--force` tries failed cells again.)"]
    return "\n\n".join([heading, _markdown(table), *failures])


def whole_runs_section(scores: Sequence[WholeRunScore], baseline: str, metric: Metric) -> str:
    """Return the whole runs by their cross-fitted decisions as Markdown, best first."""
    table = [["variant", f"cross-fitted {metric.title}", f"over {baseline}"]]
    for line in scores:
        gain = f"{line.gain:+z.4f} +- {line.error:.4f} ({line.units}){_named(line.other, baseline)}"
        gain = "" if line.variant == line.other else gain
        table.append([_name(line.variant, baseline), f"{line.score:z.4f}", gain])
    return f"## Whole runs, each with its own cross-fitted decision\n\n{_markdown(table)}"


def _name(variant: str, baseline: str) -> str:
    return f"{variant} (baseline)" if variant == baseline else variant


def _row(line: VariantResult, baseline: str) -> list[str]:
    name = _name(line.variant, baseline)
    if not line.scored:
        return [name, "failed" if line.failures else "to do", *[""] * 6]
    other = _named(line.other, baseline)
    part = "" if line.complete else f" ({line.scored} of {line.planned} cells)"
    return [
        name, f"{line.score:z.4f}{part}", _estimate(line.gain, other), f"{line.pooled:z.4f}", f"{line.nll:.4f}",
        _estimate(line.nll_gain, other), f"{line.passes:.0f}" + "*" * line.unequal, f"{line.seconds:.0f}",
    ]  # fmt: skip


def _named(other: str, baseline: str) -> str:
    """Return words that name what a variant is compared with, where that is not the baseline."""
    return "" if other == baseline else f" over {other}"


def _estimate(estimate: Estimate | None, other: str) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:+z.4f} +- {estimate.error:.4f}{' (rows)' * (estimate.cells == 1)}{other}"


def _markdown(table: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table that reads well as plain text too."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    head, *rows = (f"| {' | '.join(map(str.ljust, row, widths))} |" for row in table)
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows])


def _cells(counts: set[int]) -> str:
    """Return what the standard errors are over, where variants may have fewer cells than others."""
    if counts == {1}:
        return "rows of 1 cell"
    return f"{max(counts)} cells" if len(counts) == 1 else f"{min(counts)} to {max(counts)} cells"
