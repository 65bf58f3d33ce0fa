"""Sections on where runs differ: classes, and rows that one gets right and the other wrong."""

import numpy as np

from supcon.plots import per_class_difference
from supcon.report.comparison.run_comparison import RunComparison, class_f1
from supcon.report.galleries import error_card
from supcon.report.page import Block, Figure, Gallery, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run

_DRAWN, _LISTED = 30, 50  # classes
_CARDS = 12
_GALLERIES = 3  # runs beside the first


def differences(comparison: RunComparison) -> list[Block]:
    """Show each run's F1 of each class over the first's."""
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


def rights(comparison: RunComparison) -> list[Block]:
    """Show rows that one run gets right and the first does not, and the other way round."""
    first = comparison.first
    rows, blocks = [], list[Block]()
    for run in comparison.runs[1:]:
        ours, theirs = run.labels == run.true, first.labels == first.true
        only = np.flatnonzero(ours & ~theirs), np.flatnonzero(theirs & ~ours)
        rows.append([run.name, *(f"{len(one):,}" for one in only), f"{(~ours & ~theirs).sum():,}"])
        if len(rows) <= _GALLERIES:
            for right, wrong, places in ((run, first, only[0]), (first, run, only[1])):
                if len(places):
                    blocks.append(_gallery(right, wrong, places))
    head = ["run", "only it is right", f"only {first.name} is right", "both are wrong"]
    return [Table(head, rows, f"Rows of {len(first.rows):,}"), *blocks]


def _gallery(right: Run, wrong: Run, places: np.ndarray) -> Gallery:
    sure = places[np.argsort(-wrong.confidence[places], kind="stable")][:_CARDS]
    cards = [error_card(wrong, place) for place in sure.tolist()]
    return Gallery(f"{right.name} is right, {wrong.name} wrong: {len(cards)} of {len(places):,} rows", cards)
