"""Stratified folds, in which each class is spread evenly, in time linear in rows whatever the number of classes.

scikit-learn's StratifiedKFold compares every class with every row, and its StratifiedGroupKFold compares every group
with the counts of all classes: this takes minutes at 1,500 classes and days at 80,000.
"""

import numpy as np

from supcon.arrays import Rows

LARGEST_SLOW = 2**23  # largest groups x classes for which scikit-learn splits groups; it takes seconds


def stratify_rows(labels: Rows, folds: int, seed: int) -> Rows:
    """Return each row's fold [rows], the same as scikit-learn's StratifiedKFold with shuffling and this seed.

    `labels` [rows] are class numbers in the order of their first rows.
    """
    sizes = np.bincount(labels)
    in_order = np.sort(labels)
    counts = np.stack([np.bincount(in_order[number::folds], minlength=len(sizes)) for number in range(folds)], axis=1)
    random = np.random.RandomState(seed)
    fold = np.empty(len(labels), np.int64)
    for rows, fold_counts in zip(_rows_of_classes(labels, sizes), counts, strict=True):
        class_folds = np.repeat(np.arange(folds), fold_counts)
        random.shuffle(class_folds)
        fold[rows] = class_folds
    return fold


def stratify_groups(labels: Rows, groups: Rows, folds: int, seed: int) -> Rows:
    """Return each row's fold [rows], the same for all rows of a group; `labels` and `groups` are numbers from 0.

    Groups of several rows are assigned first, the largest ones first, each to the fold with the smallest share of the
    group's classes. Rows without a group then go where their class has fewest rows.
    """
    random = np.random.default_rng(seed)
    sizes, members = np.bincount(labels), np.bincount(groups)
    shares = np.zeros((len(sizes), folds))  # of a class's rows, assigned so far
    totals = np.zeros(folds)  # rows assigned so far
    fold = np.full(len(labels), -1)
    in_order = np.argsort(groups, kind="stable")
    ends = np.cumsum(members)
    several = random.permutation(np.flatnonzero(members > 1))
    for group in several[np.argsort(-members[several], kind="stable")].tolist():
        rows = in_order[ends[group] - members[group] : ends[group]]
        classes = labels[rows]
        best = int(np.lexsort((totals, shares[classes].sum(axis=0)))[0])
        np.add.at(shares[:, best], classes, 1 / sizes[classes])
        totals[best] += len(rows)
        fold[rows] = best
    counts = np.rint(shares * sizes[:, None]).astype(np.int64)
    single = random.permutation(np.flatnonzero(fold < 0))
    single_sizes = np.bincount(labels[single], minlength=len(sizes))
    for number, positions in enumerate(_rows_of_classes(labels[single], single_sizes)):
        fold[single[positions]] = _level(counts[number], len(positions), number % folds)
    return fold


def _level(counts: Rows, rows: int, first: int) -> Rows:
    """Return folds [rows] for `rows` more rows so that `counts` [folds] become as equal as possible.

    Of equal folds the one with number `first` comes first, then those after it.
    """
    top = -(-(counts.sum() + rows) // len(counts)) + counts.max()
    room = np.maximum(top - counts, 0)
    fold = np.repeat(np.arange(len(counts)), room)
    level = np.arange(len(fold)) - np.repeat(np.cumsum(room) - room, room) + counts[fold]
    chosen: Rows = fold[np.lexsort(((fold - first) % len(counts), level))[:rows]]
    return chosen


def _rows_of_classes(labels: Rows, sizes: Rows) -> list[Rows]:
    """Return the positions of each class in `labels`, ascending."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
