"""The first section: what the run is worth, what costs most, and what to do next."""

from supcon.report.classes import class_table
from supcon.report.page import Block, Points, Table, Text
from supcon.report.run import Run
from supcon.report.steps import next_steps
from supcon.run.scores import POOLED, Score

_COSTLIEST = 5


def summary(run: Run) -> list[Block]:
    """Say it in a few lines."""
    score, raw = run.table.cross_fitted[POOLED], run.table.raw[POOLED]
    rows = [
        [f"cross-fitted {run.metric.title}: what a single fold's model is worth on new rows", str(score)],
        ["the same, nothing tuned", str(raw)],
    ]
    if private := run.scores.get("private"):
        rows.append(["private labels, all folds together", str(Score(**private["ensemble"]))])
    costliest = [
        [str(row["class"]), f"{row['support']:,}", f"{row['f1']:.3f}", f"{row['cost']:.4f}"]
        for row in class_table(run).head(_COSTLIEST).to_dict("records")
        if row["cost"] > 0
    ]
    blocks: list[Block] = [Table(["out of fold", "score [95 %]"], rows)]
    if costliest:
        blocks.append(Table(["class", "rows", "F1", "costs"], costliest, "What costs most of macro-F1"))
    return [*blocks, Text("What to do next:"), Points(next_steps(run))]
