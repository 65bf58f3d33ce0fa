"""Sections of images: confident mistakes, pairs that are confused, labels that are probably wrong, near-duplicates."""

from itertools import islice

import numpy as np

from supcon.competition.copies import Pairs
from supcon.report.classes import directions
from supcon.report.page import Block, Card, Gallery, Text
from supcon.report.pictures import Picture, of_image
from supcon.report.run import Run

_MISTAKES, _PAIRS, _OF_A_PAIR, _LABELS, _COPIES = 24, 6, 12, 24, 12  # cards at most


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
    for pair in run.pairs[:_PAIRS]:
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
    found = zip(suspicious.rows, suspicious.likely, suspicious.self_confidence, strict=True)
    cards = [
        _card(run, row, f"labelled {run.classes[run.true[row]]}", f"probably {run.classes[likely]}",
              f"label {probability:.1%} likely")
        for row, likely, probability in islice(found, _LABELS)
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
