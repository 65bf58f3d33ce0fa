"""Sections on classes and single images: what a class costs, confusions, mistakes, doubtful labels, near-duplicates."""

from itertools import islice

import numpy as np
import pandas as pd

from supcon.competition.survey import Pairs
from supcon.metrics.counts import count, f1_of_counts
from supcon.plots import class_costs, confusion
from supcon.report.page import Block, Card, Figure, Gallery, Table, Text
from supcon.report.pictures import Picture, of_figure, of_image
from supcon.report.run import Pair, Run

_LISTED = 50  # classes of the table
_DRAWN = 20  # classes of the figure
_PAIRS = 15  # of the table
_GALLERIES, _MISTAKES, _OF_A_PAIR, _LABELS, _COPIES = 6, 24, 12, 24, 12  # pairs with cards; cards at most
_LARGEST_MATRIX = 2000  # classes
_MEANS = ("precision", "recall", "f1")


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
    left_out = f" The {_LISTED} costliest of {len(table):,} are listed." if len(table) > _LISTED else ""
    return [
        Text(
            "By the cross-fitted decision. A class costs (1 - F1) / classes: what macro-F1 would gain were it perfect."
            " A threshold below 1 favours the class." + left_out
        ),
        Figure(of_figure(class_costs(table, _DRAWN), "What each class costs")),
        Table(["class", "rows", "precision", "recall", "F1", "costs", "threshold"], rows),
    ]


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
    size = len(run.classes)
    if size <= _LARGEST_MATRIX:
        matrix = np.bincount(run.true * size + run.labels, minlength=size * size).reshape(size, size)
        says = "By the cross-fitted decision: true classes in rows, what they are taken for in columns."
        blocks.append(Figure(of_figure(confusion(matrix, run.classes), "Confusion matrix"), says))
    else:
        blocks.append(Text(f"A matrix of {size:,} classes cannot be read, and is not drawn."))
    rows = [
        [f"{run.classes[pair.first]} / {run.classes[pair.second]}", f"{len(pair.rows):,}",
         f"{len(pair.rows) / errors:.0%}", *(f"{part:,}" for part in directions(run, pair))]
        for pair in run.pairs[:_PAIRS]
    ]  # fmt: skip
    more = f", the first {_PAIRS} of {len(run.pairs):,} pairs" if len(run.pairs) > _PAIRS else ""
    head = ["pair", "errors", "of all", "first for second", "second for first"]
    return [*blocks, Table(head, rows, f"Classes taken for each other{more}")]


def directions(run: Run, pair: Pair) -> tuple[int, int]:
    """Return how many rows of the first class are taken for the second, and of the second for the first."""
    first = int((run.true[pair.rows] == pair.first).sum())
    return first, len(pair.rows) - first


def mistakes(run: Run) -> list[Block]:
    """Show the rows that the decision is most sure of and gets wrong."""
    if len(run.errors) == 0:
        return [Text("There are no mistakes.")]
    cards = [error_card(run, row) for row in run.errors[:_MISTAKES].tolist()]
    about = "How sure: the calibrated probability of the class that is wrongly taken."
    return [Text(about), Gallery(f"{len(cards)} of {len(run.errors):,} mistakes", cards)]


def pairs(run: Run) -> list[Block]:
    """Show the errors of the classes that are most often taken for each other."""
    if not run.pairs:
        return [Text("No two classes are taken for each other.")]
    galleries = []
    for pair in run.pairs[:_GALLERIES]:
        first, second = run.classes[pair.first], run.classes[pair.second]
        as_second, as_first = directions(run, pair)
        heading = f"{first} / {second}: {as_second} of the first taken for the second, {as_first} the other way"
        galleries.append(Gallery(heading, [error_card(run, row) for row in pair.rows[:_OF_A_PAIR].tolist()]))
    return [Text(f"The most confident errors of each pair, up to {_OF_A_PAIR}."), *galleries]


def label_errors(run: Run) -> list[Block]:
    """Show the rows whose label is probably wrong."""
    suspicious = run.label_errors
    if len(suspicious.rows) == 0:
        return [Text("No label looks wrong: wherever the model is sure of another class, it is often wrong there too.")]
    suspects = zip(suspicious.rows, suspicious.likely, suspicious.self_confidence, strict=True)
    cards = [
        _card(run, row, f"labelled {run.classes[run.true[row]]}", f"probably {run.classes[likely]}",
              f"label {probability:.1%} likely")
        for row, likely, probability in islice(suspects, _LABELS)
    ]  # fmt: skip
    about = (
        f"Confident learning on the out-of-fold probabilities takes {len(suspicious.rows):,} of {len(run.rows):,}"
        f" labels ({len(suspicious.rows) / len(run.rows):.1%}) for wrong. Look before you change one: rare kinds of a"
        " class look alike."
    )
    return [Text(about), Gallery(f"The {len(cards)} most suspicious", cards)]


def duplicates(run: Run) -> list[Block]:
    """Show images that are copies of each other."""
    copies = run.copies
    lines = copies.text(run.experiment.competition)
    if not lines:
        return [Text("No image is a copy of another, equal or nearly so.")]
    contradicting = set(map(tuple, copies.contradictions.tolist()))
    within = sorted(copies.within_train.tolist(), key=lambda pair: tuple(pair) not in contradicting)
    blocks: list[Block] = [Text(". ".join(lines) + ".")]
    for heading, pairs in (("Within train", np.array(within)), ("Across train and test", copies.test_in_train)):
        if len(pairs):
            blocks.append(Gallery(f"{heading}: {len(pairs):,} pairs", _copy_cards(run, pairs[:_COPIES])))
    return blocks


def error_card(run: Run, row: int) -> Card:
    """Return the card of the scored row numbered `row`: its image, its class, the class it is taken for, and its id."""
    true, taken = run.classes[run.true[row]], run.classes[run.labels[row]]
    return _card(run, row, f"{true}, taken for {taken}", f"{run.confidence[row]:.1%} sure")


def _card(run: Run, row: int, *lines: str) -> Card:
    return Card([_thumbnail(run, int(run.rows[row]))], [*lines, str(run.ids[row])])


def _thumbnail(run: Run, position: int) -> Picture:
    """Return the image at a position of the cache, with its path as alternative text."""
    return of_image(run.images[position], run.experiment.competition.paths[position])


def _copy_cards(run: Run, pairs: Pairs) -> list[Card]:
    competition, rows = run.experiment.competition, len(run.experiment.split)
    ids = [*competition.train["id"], *competition.test["id"]]
    labels = competition.train["label"].to_list()
    cards = []
    for pair in pairs.tolist():
        kinds = ", ".join(labels[position] if position < rows else "test" for position in pair)
        pictures = [_thumbnail(run, position) for position in pair]
        cards.append(Card(pictures, [kinds, *(str(ids[position]) for position in pair)]))
    return cards
