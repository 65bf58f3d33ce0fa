"""The split: stratified, grouped, made once, kept in folds/folds.csv."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.artifacts.files import read_csv, write_csv
from supcon.competition.read import Competition
from supcon.config.settings import DataSettings
from supcon.errors import UserError

COLUMNS = ["id", "label", "group", "fold"]
_SEEDS_TRIED = 20  # a grouped split can leave a fold without a class; another seed often does not


def make_folds(competition: Competition, hashes: list[str], settings: DataSettings) -> pd.DataFrame:
    """Split the training rows: id, label, group, fold.

    `hashes` are the content hashes of the rows' images: equal images share a group, hence a fold, as do rows of equal
    `group`. Every fold holds every class, or `UserError` says which one is too small.
    """
    train = competition.train
    _check_sizes(train["label"], settings.folds)
    groups = join_groups(train["group"].to_list(), hashes)
    labels = train["label"].to_numpy()
    if len(np.unique(groups)) == len(groups):
        fold = _assign(labels, None, settings.folds, settings.fold_seed)
    else:
        fold = _grouped(labels, groups, settings)
    shared = pd.Series(groups).duplicated(keep=False).to_numpy()
    return pd.DataFrame(
        {
            "id": train["id"],
            "label": labels,
            "group": np.where(shared, groups.astype(str), ""),
            "fold": fold,
        }
    )


def join_groups(groups: list[str], hashes: list[str]) -> npt.NDArray[np.int64]:
    """Number the connected components of rows that share a non-empty group or an image hash."""
    parent = list(range(len(groups)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, (group, image) in enumerate(zip(groups, hashes, strict=True)):
        for key in [("image", image)] + ([("group", group)] if group else []):
            parent[root(row)] = root(first.setdefault(key, row))
    return np.array([root(row) for row in range(len(groups))], dtype=np.int64)


def read_folds(path: Path, competition: Competition, settings: DataSettings) -> pd.DataFrame:
    """Read and check folds.csv: rows in the order of the training table, `fold` as integers.

    Raises `UserError` when it is absent, does not cover the training rows, or has another number of folds.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: run `python src/make_folds.py` first")
    table = read_csv(path)
    if not set(COLUMNS) <= set(table.columns):
        raise UserError(f"{path} has the columns {list(table.columns)}; needed are {COLUMNS}")
    train = competition.train
    if table["id"].duplicated().any() or set(table["id"]) != set(train["id"]):
        odd = sorted(set(table["id"]) ^ set(train["id"])) or list(table["id"][table["id"].duplicated()])
        raise UserError(f"{path} does not match the training rows, first at id {odd[0]!r}: delete it and split anew")
    table = table.set_index("id").loc[train["id"]].reset_index()
    different = np.flatnonzero(table["label"].to_numpy() != train["label"].to_numpy())
    if len(different):
        raise UserError(f"{path} has another label for id {table['id'][different[0]]!r}: delete it and split anew")
    if not table["fold"].str.fullmatch(r"\d+").all():
        odd_row = table[~table["fold"].str.fullmatch(r"\d+")].iloc[0]
        raise UserError(f"{path}: the fold of id {odd_row['id']!r} is {odd_row['fold']!r}, not a number")
    table["fold"] = table["fold"].astype(int)
    count = table["fold"].nunique()
    if count != settings.folds or set(table["fold"]) != set(range(count)):
        raise UserError(
            f"{path} has the folds {sorted(table['fold'].unique())}, the settings ask for {settings.folds}: use another"
            f" --root for another split (or --data.folds {count})"
        )
    _check_groups(path, table["group"], table["fold"])
    _check_groups(path, train["group"], table["fold"])
    _check_every_class(table["label"].to_numpy(), table["fold"].to_numpy(), settings.folds)
    return table


def write_folds(path: Path, table: pd.DataFrame) -> None:
    """Write folds.csv."""
    write_csv(path, table[COLUMNS])


def _check_sizes(labels: pd.Series, folds: int) -> None:
    counts = labels.value_counts()
    if counts.min() < 2:
        raise UserError(f"class {counts.idxmin()!r} has 1 training row, every fold needs one: merge or drop that class")
    if counts.min() < folds:
        raise UserError(
            f"class {counts.idxmin()!r} has {counts.min()} training rows, fewer than the {folds} folds: every fold"
            f" needs one, so set --data.folds {counts.min()} or fewer"
        )


def _assign(
    labels: npt.NDArray[np.object_], groups: npt.NDArray[np.int64] | None, folds: int, seed: int
) -> npt.NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # a second to import, once in a root

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    fold = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes smaller than the folds are our own error above
        parts = kind(folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        for number, (_, held_out) in enumerate(parts):
            fold[held_out] = number
    return fold


def _grouped(
    labels: npt.NDArray[np.object_], groups: npt.NDArray[np.int64], settings: DataSettings
) -> npt.NDArray[np.int64]:
    error: UserError | None = None
    for seed in range(settings.fold_seed, settings.fold_seed + _SEEDS_TRIED):
        fold = _assign(labels, groups, settings.folds, seed)
        try:
            _check_every_class(labels, fold, settings.folds)
        except UserError as found:
            error = found
        else:
            return fold
    assert error is not None
    raise error


def _check_every_class(labels: npt.NDArray[np.object_], fold: npt.NDArray[np.int64], folds: int) -> None:
    table = pd.crosstab(labels, fold).reindex(columns=range(folds), fill_value=0)
    lacking = table.index[(table == 0).any(axis=1)]
    if len(lacking):
        name = lacking[0]
        raise UserError(
            f"class {name!r} is missing from fold {int(np.argmin(table.loc[name].to_numpy()))}: its rows or groups are"
            f" too few for {folds} folds, so set a smaller --data.folds"
        )


def _check_groups(path: Path, groups: pd.Series, fold: pd.Series) -> None:
    named = groups.to_numpy() != ""
    spread = fold[named].groupby(groups.to_numpy()[named]).nunique()
    if (spread > 1).any():
        raise UserError(
            f"{path}: group {spread.idxmax()!r} stands in {spread.max()} folds: use another --root for a grouped split"
        )
