"""The split of the training rows into folds: stratified and grouped, made once, kept in folds/folds.csv."""

import re
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from supcon.arrays import RowMask, Rows
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.tables import Dialect, read_own_table, write_table

COLUMNS = ["id", "label", "group", "fold"]
# fold of rows that are in every training set, and fold of rows that are in none (an empty cell in the file); the
# settings' FULL is another number below 0
TRAIN_ONLY, LEFT_OUT = -1, -2
LARGEST_SLOW = 2**23  # largest groups x classes for which scikit-learn splits groups; it takes seconds
_SEEDS_TRIED = 20  # a grouped split may leave a fold without a class, which another seed often mends


def make_folds(train: pd.DataFrame, copies: Rows, left_out: Rows, settings: DataSettings) -> pd.DataFrame:
    """Split the training rows; return a table of id, label, group, fold.

    `copies` [pairs, 2] are rows whose images are copies: they share a group, hence a fold, as rows of equal `group` do.
    `left_out` rows get no fold. Every fold holds every class. A class that is too small for that raises `UserError`;
    with `data.rare_classes train_only` its rows, and all rows that share a group with one of them, get the fold -1.
    """
    groups = join_groups(train["group"].to_list(), copies)
    labels = train["label"].to_numpy()
    fold = np.full(len(train), TRAIN_ONLY)
    fold[left_out] = LEFT_OUT
    split = np.flatnonzero((fold != LEFT_OUT) & ~_rare(labels, groups, fold, settings))
    fold[split] = _split(labels[split], groups[split], settings)
    shared = np.bincount(groups)[groups] > 1
    names = np.full(len(train), "", dtype=object)
    names[shared] = groups[shared].astype(str)
    return pd.DataFrame({"id": train["id"], "label": labels, "group": names, "fold": fold})


def join_groups(groups: list[str], copies: Rows) -> Rows:
    """Return each row's group number [rows]; rows are joined that share a non-empty group or are a pair of `copies`."""
    names = pd.Series(groups)
    named = names[names != ""]
    first = named.groupby(named).transform(lambda rows: rows.index[0])
    pairs = np.concatenate([copies.reshape(-1, 2), np.column_stack([named.index, first]).reshape(-1, 2)])
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(groups), len(groups)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def read_folds(
    path: Path, train: pd.DataFrame, settings: DataSettings, maker: str = "python src/make_folds.py"
) -> pd.DataFrame:
    """Read and check folds.csv, whether `make_folds` or the user wrote it: rows in the order of `train`, integer folds.

    Raises `UserError` where it is absent (the message names `maker`, the command that writes it), does not have the
    training rows, has another number of folds than the settings, or splits a group.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: run `{maker}` first")
    table = read_own_table(path, "mend it, or delete it to split anew")
    if not {"id", "fold"} <= set(table.columns):
        raise UserError(f"{path} has the columns {list(table.columns)}; needed are id and fold, of {COLUMNS}")
    ids, twice = pd.Index(table["id"]), table["id"][table["id"].duplicated()]
    positions = np.full(1, -1) if len(twice) else ids.get_indexer(pd.Index(train["id"]))
    if len(ids) != len(train) or (positions < 0).any():
        odd = sorted(set(ids) ^ set(train["id"])) or list(twice)
        error = "stands in it twice" if len(twice) else "is unknown" if odd[0] in set(table["id"]) else "is missing"
        raise UserError(
            f"{path} does not match the training rows: id {odd[0]!r} {error}: mend it, or delete it to split anew"
        )
    table = table.iloc[positions].reset_index(drop=True)
    different = table["id"][table.get("label", train["label"]).to_numpy() != train["label"].to_numpy()]
    if len(different):
        raise UserError(f"{path} has another label for id {different.iloc[0]!r}: delete it and split anew")
    cells = {name: train[name].to_numpy() for name in ("id", "label")}  # equal strings, which are held in memory once
    table = table.assign(**cells, group=table.get("group", ""), fold=_numbers(path, table))
    count = table["fold"].max() + 1
    folds = set(table["fold"].unique().tolist())
    if folds - {TRAIN_ONLY, LEFT_OUT} != set(range(settings.folds)):
        raise UserError(
            f"{path} has the folds {sorted(folds - {LEFT_OUT})}, the settings ask for {settings.folds}:"
            f" use another --root for another split (or --data.folds {count})"
        )
    _check_groups(path, table["group"], table["fold"])
    _check_groups(path, train["group"], table["fold"])
    scored = (table["fold"] >= 0).to_numpy()
    if missing := _missing_class(table["label"].to_numpy()[scored], table["fold"].to_numpy()[scored], settings.folds):
        raise UserError(missing)
    return table[COLUMNS]


def check_copies(path: Path, table: pd.DataFrame, copies: Rows) -> None:
    """Raise `UserError` where a pair of `copies` [pairs, 2] is in two folds: no row may be predicted from its copy."""
    fold = table["fold"].to_numpy()[copies]
    apart = np.flatnonzero((fold[:, 0] != fold[:, 1]) & (fold != LEFT_OUT).all(axis=1))
    if len(apart):
        first, second = table["id"].to_numpy()[copies[apart[0]]]
        raise UserError(
            f"{path}: the images of {first!r} and {second!r} are copies but stand in the folds {fold[apart[0], 0]} and"
            f" {fold[apart[0], 1]} ({len(apart)} such pairs): give copies one fold, or delete it to split anew"
        )


def write_folds(path: Path, table: pd.DataFrame) -> None:
    """Write folds.csv."""
    write_table(path, table[COLUMNS].assign(fold=table["fold"].astype(str).replace(str(LEFT_OUT), "")), Dialect())


def _rare(labels: npt.NDArray[np.object_], groups: Rows, fold: Rows, settings: DataSettings) -> RowMask:
    """Return which rows are of a class too small to be in every fold, or share a group with such a row."""
    numbers, names = pd.factorize(labels, sort=True)
    rare = np.zeros(len(labels), bool)
    while True:
        rest = ~rare & (fold != LEFT_OUT)
        pairs = pd.DataFrame({"label": numbers[rest], "group": groups[rest]}).drop_duplicates()
        sizes = np.bincount(pairs["label"], minlength=len(names))  # groups
        small = (sizes > 0) & (sizes < settings.folds)
        if not small.any():
            return rare
        if settings.rare_classes == "error":
            worst = int(np.argmin(np.where(small, sizes, len(labels))))
            _refuse(str(names[worst]), int(sizes[worst]), int((numbers[rest] == worst).sum()), settings.folds)
        rare_groups = np.zeros(groups.max() + 1, bool)
        rare_groups[groups[small[numbers]]] = True
        rare |= rare_groups[groups]  # then other classes may have become too small


def _refuse(name: str, size: int, count: int, folds: int) -> None:
    what = f"{count} training row{'s' * (count > 1)}" + (f" in {size} group{'s' * (size > 1)}" if size < count else "")
    fewer = f", or --data.folds {size} (or fewer)" if size > 1 else ""
    raise UserError(
        f"class {name!r} has {what}, fewer than the {folds} folds: --data.rare_classes train_only keeps it in every"
        f" training set and never scores it{fewer}"
    )


def _split(labels: npt.NDArray[np.object_], groups: Rows, settings: DataSettings) -> Rows:
    if len(np.unique(labels)) < 2:
        raise UserError("fewer than two classes are left to split: use a smaller --data.folds")
    if len(np.unique(groups)) == len(groups):
        return stratify_rows(pd.factorize(labels)[0], settings.folds, settings.fold_seed)
    for seed in range(settings.fold_seed, settings.fold_seed + _SEEDS_TRIED):
        fold = _assign(labels, groups, settings.folds, seed)
        missing = _missing_class(labels, fold, settings.folds)
        if not missing:
            return fold
    raise UserError(missing)


def _assign(labels: npt.NDArray[np.object_], groups: Rows, folds: int, seed: int) -> Rows:
    numbers, names = pd.factorize(labels)
    groups = np.unique(groups, return_inverse=True)[1]
    if (groups.max() + 1) * len(names) > LARGEST_SLOW:
        return stratify_groups(numbers, groups, folds, seed)
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    fold = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes too small, for which our own checks raise
        parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        for number, (_, held_out) in enumerate(parts):
            fold[held_out] = number
    return fold


def _missing_class(labels: npt.NDArray[np.object_], fold: Rows, folds: int) -> str:
    """Return what to say of the first class that some fold lacks; "" where every fold holds every class."""
    numbers, names = pd.factorize(labels, sort=True)
    counts = np.bincount(numbers * folds + fold, minlength=len(names) * folds).reshape(-1, folds)
    lacking = np.flatnonzero((counts == 0).any(axis=1))
    if len(lacking) == 0:
        return ""
    return (
        f"class {names[lacking[0]]!r} is missing from fold {int(counts[lacking[0]].argmin())}: its rows or groups are"
        f" too few for {folds} folds, so set a smaller --data.folds"
    )


def _numbers(path: Path, table: pd.DataFrame) -> pd.Series:
    numbers, cells = pd.factorize(table["fold"])
    bad = [number for number, cell in enumerate(cells) if not re.fullmatch(rf"[0-9]{{0,9}}|{TRAIN_ONLY}", cell)]
    if bad:
        odd = table[np.isin(numbers, bad)]
        raise UserError(
            f"{path}: the fold of id {odd['id'].iloc[0]!r} is {odd['fold'].iloc[0]!r}: needed is a number from 0,"
            f" {TRAIN_ONLY} for a row that is only trained on, or nothing for one that is left out"
        )
    return pd.Series(np.array([int(cell or LEFT_OUT) for cell in cells])[numbers], index=table.index)


def _check_groups(path: Path, groups: pd.Series, fold: pd.Series) -> None:
    named = (groups.to_numpy() != "") & (fold.to_numpy() != LEFT_OUT)
    spread = fold[named].groupby(groups.to_numpy()[named]).nunique()
    if (spread > 1).any():
        raise UserError(
            f"{path}: group {spread.idxmax()!r} stands in {spread.max()} folds: use another --root for a grouped split"
        )


def stratify_rows(labels: Rows, folds: int, seed: int) -> Rows:
    """Return each row's fold [rows], the same as scikit-learn's StratifiedKFold with shuffling and this seed.

    It takes time linear in rows, where StratifiedKFold compares every class with every row.
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
    group's classes. Rows without a group then go where their class has fewest rows. scikit-learn's StratifiedGroupKFold
    compares every group with the counts of all classes: that takes minutes at 1,500 classes and days at 80,000.
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
    """Return folds of `rows` more rows that level `counts` [folds]; of equals `first` goes first, then those after."""
    top = -(-(counts.sum() + rows) // len(counts)) + counts.max()
    room = np.maximum(top - counts, 0)
    fold = np.repeat(np.arange(len(counts)), room)
    level = np.arange(len(fold)) - np.repeat(np.cumsum(room) - room, room) + counts[fold]
    return fold[np.lexsort(((fold - first) % len(counts), level))[:rows]]


def _rows_of_classes(labels: Rows, sizes: Rows) -> list[Rows]:
    """Return the positions of each class in `labels`, ascending."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
