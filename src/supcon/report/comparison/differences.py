"""Sections on where runs differ: by class, and rows that one run gets right and the other wrong."""

import numpy as np

from supcon.arrays import Rows
from supcon.plots import per_class_difference
from supcon.report.comparison.run_comparison import RunComparison, class_f1
from supcon.report.galleries import error_card
from supcon.report.page import Block, Figure, Gallery, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run

_DRAWN, _LISTED = 30, 50  # classes
_CARDS = 12
_GALLERIES = 3  # runs beside the first


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


def _gallery(right: Run, wrong: Run, rows: Rows) -> Gallery:
    surest = rows[np.argsort(-wrong.confidence[rows], kind="stable")][:_CARDS]
    cards = [error_card(wrong, row) for row in surest.tolist()]
    return Gallery(f"{right.name} is right, {wrong.name} wrong: {len(cards)} of {len(rows):,} rows", cards)
