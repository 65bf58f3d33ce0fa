"""Rows dealt to folds, as many of each class to each: in time linear in rows, whatever the number of classes.

scikit-learn's StratifiedKFold compares every class with every row, and its StratifiedGroupKFold every group with the
counts of all classes: minutes at 1,500 classes, days at 80,000.
"""

import numpy as np

from supcon.arrays import Rows

LARGEST_SLOW = 2**23  # groups x classes up to which scikit-learn deals groups, in seconds


def deal_rows(labels: Rows, folds: int, seed: int) -> Rows:
    """Return each row's fold [rows], exactly as scikit-learn's StratifiedKFold shuffles them with this seed.

    `labels` are class numbers in the order of their first rows.
    """
    sizes = np.bincount(labels)
    in_order = np.sort(labels)
    shares = np.stack([np.bincount(in_order[number::folds], minlength=len(sizes)) for number in range(folds)], axis=1)
    draw = np.random.RandomState(seed)
    fold = np.empty(len(labels), np.int64)
    for rows, share in zip(_rows_of_classes(labels, sizes), shares, strict=True):
        dealt = np.repeat(np.arange(folds), share)
        draw.shuffle(dealt)
        fold[rows] = dealt
    return fold


def deal_groups(labels: Rows, groups: Rows, folds: int, seed: int) -> Rows:
    """Return each row's fold [rows], the same for all rows of a group; class numbers and group numbers from 0.

    Groups of several rows go first, the largest first, each to the fold that has the least of its classes; lone rows
    then fill up what each class lacks.
    """
    draw = np.random.default_rng(seed)
    sizes, members = np.bincount(labels), np.bincount(groups)
    counts = np.zeros((len(sizes), folds))  # rows dealt so far, as a part of their class
    totals = np.zeros(folds)
    fold = np.full(len(labels), -1)
    in_order = np.argsort(groups, kind="stable")
    ends = np.cumsum(members)
    several = draw.permutation(np.flatnonzero(members > 1))
    for group in several[np.argsort(-members[several], kind="stable")].tolist():
        rows = in_order[ends[group] - members[group] : ends[group]]
        own = labels[rows]
        best = int(np.lexsort((totals, counts[own].sum(axis=0)))[0])
        np.add.at(counts[:, best], own, 1 / sizes[own])
        totals[best] += len(rows)
        fold[rows] = best
    dealt = np.rint(counts * sizes[:, None]).astype(np.int64)
    lone = draw.permutation(np.flatnonzero(fold < 0))
    for number, places in enumerate(_rows_of_classes(labels[lone], np.bincount(labels[lone], minlength=len(sizes)))):
        fold[lone[places]] = _fill(dealt[number], len(places), number % folds)
    return fold


def _fill(counts: Rows, rows: int, first: int) -> Rows:
    """Return the folds [rows] that bring `counts` [folds] as near to each other as can be, ties from `first` on."""
    top = -(-(counts.sum() + rows) // len(counts)) + counts.max()
    room = np.maximum(top - counts, 0)
    fold = np.repeat(np.arange(len(counts)), room)
    level = np.arange(len(fold)) - np.repeat(np.cumsum(room) - room, room) + counts[fold]
    chosen: Rows = fold[np.lexsort(((fold - first) % len(counts), level))[:rows]]
    return chosen


def _rows_of_classes(labels: Rows, sizes: Rows) -> list[Rows]:
    """Return each class's places among `labels`, ascending."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
