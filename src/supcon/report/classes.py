"""Sections on the classes: what each costs, and which are confused with each other."""

import numpy as np
import pandas as pd

from supcon.metrics.metric import count, f1_of_counts
from supcon.plots import class_costs, confusion
from supcon.plots.confusion import ConfusionCounts
from supcon.report.page import Block, Figure, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Pair, Run

_LISTED = 50  # classes of the table
_DRAWN = 20  # classes of the figure
_PAIRS = 15  # of the table
_LARGEST_MATRIX = 2000  # classes


def classes(run: Run) -> list[Block]:
    """Show precision, recall, F1, rows and threshold of each class, the costliest first."""
    table = class_table(run)
    rows = [
        [str(row["class"]), f"{row['support']:,}", f"{row['precision']:.3f}", f"{row['recall']:.3f}",
         f"{row['f1']:.3f}", f"{row['cost']:.4f}", f"{row['threshold']:.2f}"]
        for row in table.head(_LISTED).to_dict("records")
    ]  # fmt: skip
    rows.append(
        [f"all {len(table):,}", f"{table['support'].sum():,}", *(f"{table[name].mean():.3f}" for name in _MEANS),
         f"{table['cost'].sum():.4f}", ""]
    )  # fmt: skip
    left_out = f" The {_LISTED} dearest of {len(table):,} are listed." if len(table) > _LISTED else ""
    figure = class_costs(table, _DRAWN)
    return [
        Text(
            "By the cross-fitted decision. A class costs (1 - F1) / classes: what macro-F1 would gain were it perfect."
            " A threshold below 1 favours the class." + left_out
        ),
        Figure(of_figure(figure, "What each class costs")),
        Table(["class", "rows", "precision", "recall", "F1", "costs", "threshold"], rows),
    ]


_MEANS = ("precision", "recall", "f1")


def class_table(run: Run) -> pd.DataFrame:
    """Return a row a scored class: class, support, precision, recall, f1, cost, threshold; the costliest first."""
    hits, in_true, in_predicted = count(run.true, run.labels, len(run.classes))
    thresholds = run.decision["rule"]["thresholds"]
    table = pd.DataFrame(
        {
            "class": run.classes,
            "support": in_true.astype(int),
            "precision": hits / np.maximum(in_predicted, 1),
            "recall": hits / np.maximum(in_true, 1),
            "f1": f1_of_counts(hits, in_true, in_predicted),
            "threshold": [float(thresholds.get(name, 1.0)) for name in run.classes],
        }
    )
    table = table[in_true > 0]
    table.insert(5, "cost", (1 - table["f1"]) / len(table))
    return table.sort_values(["cost", "support"], ascending=[False, True], kind="stable")


def confusions(run: Run) -> list[Block]:
    """Show the confusion matrix and the pairs behind most errors."""
    errors = len(run.errors)
    if errors == 0:
        return [Text(f"All {len(run.rows):,} rows are right: nothing is confused.")]
    blocks: list[Block] = [Text(f"{errors:,} of {len(run.rows):,} rows are wrong.")]
    if len(run.classes) <= _LARGEST_MATRIX:
        blocks.append(
            Figure(
                of_figure(confusion(confusion_matrix(run), run.classes), "Confusion matrix"),
                "By the cross-fitted decision: true classes in rows, what they are taken for in columns.",
            )
        )
    else:
        blocks.append(Text(f"A matrix of {len(run.classes):,} classes cannot be read, and is not drawn."))
    rows = [
        [f"{run.classes[pair.first]} / {run.classes[pair.second]}", f"{len(pair.rows):,}",
         f"{len(pair.rows) / errors:.0%}", *(f"{part:,}" for part in directions(run, pair))]
        for pair in run.pairs[:_PAIRS]
    ]  # fmt: skip
    more = f", the first {_PAIRS} of {len(run.pairs):,} pairs" if len(run.pairs) > _PAIRS else ""
    blocks.append(
        Table(
            ["pair", "errors", "of all", "first for second", "second for first"],
            rows,
            f"Classes taken for each other{more}",
        )
    )
    return blocks


def directions(run: Run, pair: Pair) -> tuple[int, int]:
    """Return how many rows of the first class are taken for the second, and of the second for the first."""
    first = int((run.true[pair.rows] == pair.first).sum())
    return first, len(pair.rows) - first


def confusion_matrix(run: Run) -> ConfusionCounts:
    """Return counts [true class, class by the decision]."""
    size = len(run.classes)
    return np.bincount(run.true * size + run.labels, minlength=size * size).reshape(size, size)
