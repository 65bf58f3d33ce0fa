"""Which column of the host's tables is the id, the image, the label: recognised, or named by a setting."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.index import ImageIndex
from supcon.competition.sample import Sample
from supcon.errors import UserError
from supcon.settings.settings import DataSettings


def id_column(table: pd.DataFrame, path: Path, sample: Sample, settings: DataSettings) -> str:
    """Return the column of ids: the one that the settings name, else the one with the sample's name for it.

    Raises `UserError` naming the columns to choose from.
    """
    name = settings.id_column or sample.id_column
    if name in table.columns:
        return name
    raise UserError(f"{path} has no column {name!r}, only {list(table.columns)}: name one with --data.id_column")


def image_column(
    table: pd.DataFrame, path: Path, ids: str, part: str, index: ImageIndex, settings: DataSettings
) -> str:
    """Return the column that names the images of `part` ("train" or "test").

    This is the column that the settings name, else the column `ids` where its first cells are names of images or no
    column's are, else the only column whose first cells are. Raises `UserError` where there are several.
    """
    if settings.image_column:
        return _named(table, path, settings.image_column, "--data.image_column")
    candidates = [name for name in table.columns if _names_images(table[name], part, index)]
    if ids in candidates or not candidates:
        return ids
    if len(candidates) > 1:
        raise UserError(f"{path}: the columns {candidates} all name images: choose one with --data.image_column")
    return candidates[0]


def _names_images(cells: pd.Series, part: str, index: ImageIndex) -> bool:
    return all(index.holds(name, part) for name in cells[:3])


def train_labels(
    table: pd.DataFrame, path: Path, sample: Sample, others: Sequence[str], settings: DataSettings
) -> pd.Series:
    """Return the label of every row, unchanged, as a string.

    The settings may name the column. Otherwise, where the sample has a column for each class, labels are in columns of
    0 and 1 with the names of the classes, or in the one column whose cells are these names. Where the sample has one
    column of labels, they are in the column of that name, or in the only column that is not one of `others`. Raises
    `UserError` naming the columns to choose from, or the row without a label.
    """
    if settings.label_column:
        labels = table[_named(table, path, settings.label_column, "--data.label_column")]
    elif sample.one_hot and set(sample.targets) <= set(table.columns):
        labels = from_one_hot(table[sample.targets], path)
    else:
        labels = table[_label_column(table, path, sample, others)]
    empty = np.flatnonzero((labels == "").to_numpy())
    if len(empty):
        raise UserError(
            f"{path}: row {empty[0] + 2} ({table.iloc[empty[0], 0]!r}) has no label; {len(empty)} such rows"
        )
    return labels


def group_cells(table: pd.DataFrame, path: Path, settings: DataSettings) -> pd.Series:
    """Return the group of every row; empty strings where the settings name no group column."""
    if not settings.group_column:
        return pd.Series("", index=table.index)
    return table[_named(table, path, settings.group_column, "--data.group_column")]


def _label_column(table: pd.DataFrame, path: Path, sample: Sample, others: Sequence[str]) -> str:
    rest = [name for name in table.columns if name not in others]
    if sample.one_hot:
        candidates = [name for name in rest if set(table[name]) == set(sample.targets)]
    elif sample.targets[0] in table.columns:
        candidates = sample.targets
    else:
        candidates = rest
    if len(candidates) != 1:
        wanted = "holds the classes of" if sample.one_hot else f"is called {sample.targets[0]!r} as in"
        raise UserError(
            f"{path}: no single column {wanted} {sample.path.name}:"
            f" name one of {candidates or rest} with --data.label_column"
        )
    return candidates[0]


def from_one_hot(columns: pd.DataFrame, path: Path) -> pd.Series:
    """Return each row's class: the name of its column that is 1. Raises `UserError` unless the others are 0."""
    marks = columns.apply(pd.to_numeric, errors="coerce").to_numpy()
    odd = np.flatnonzero(~(np.isin(marks, (0, 1)).all(axis=1) & (marks.sum(axis=1) == 1)))
    if len(odd):
        raise UserError(
            f"{path}: row {odd[0] + 2} marks {columns.iloc[odd[0]].to_dict()}, one class must be 1 and the others 0:"
            " rows of several classes or none are not supported, leave them out"
        )
    return pd.Series(np.array(columns.columns, dtype=object)[marks.argmax(axis=1)], index=columns.index, dtype=str)


def _named(table: pd.DataFrame, path: Path, name: str, setting: str) -> str:
    if name not in table.columns:
        raise UserError(f"{path} has no column {name!r}, only {list(table.columns)}: name one with {setting}")
    return name
