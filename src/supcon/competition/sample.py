"""sample_submission.csv: the exact form in which the host wants the submission."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.errors import UserError
from supcon.storage.tables import Dialect, read_with_dialect


@dataclass(frozen=True)
class Sample:
    """The form of the submission: a column of ids, and one column of labels or a column for each class."""

    path: Path
    ids: pd.Series
    id_column: str
    targets: list[str]  # one column of labels, or several, each of one class's probabilities
    dialect: Dialect
    counters: pd.DataFrame  # columns without meaning, which are written as they stand
    columns: list[str]  # all of them, in the sample's order
    cells: pd.DataFrame  # what the host wrote there: of one column its distinct cells, of several the first row's

    @property
    def one_hot(self) -> bool:
        """Whether the host asks for the probability of each class, in a column of its own, and not for a label."""
        return len(self.targets) > 1

    @property
    def told(self) -> list[str]:
        """The classes as the host spells them, as far as this file tells."""
        return self.targets if self.one_hot else list(self.cells[self.targets[0]])


def read_sample(path: Path) -> Sample:
    """Read sample_submission.csv. Raises `UserError` where it has fewer than two columns, or an id twice."""
    table, dialect = read_with_dialect(path)
    columns = list(table.columns)
    if len(columns) < 2:
        raise UserError(f"{path} has the columns {columns}; needed are an id column and what to submit")
    id_column = _id_column(table)
    check_unique(table[id_column], path)
    counting = [name for name in counters(table) if name != id_column]
    targets = [name for name in columns if name not in (id_column, *counting)]
    cells = table[targets].drop_duplicates() if len(targets) == 1 else table[targets].head(1)
    return Sample(path, table[id_column], id_column, targets, dialect, table[counting], columns, cells)


def counters(table: pd.DataFrame) -> list[str]:
    """Return the columns without a name, or called index, whose cells only count rows, as pandas writes them.

    Of a table of two columns each has its meaning.
    """
    names = r"|Unnamed: \d+(\.\d+)*|index|level_0|no\.?|#|row"
    unnamed = [name for name in table.columns if re.fullmatch(names, name.strip(" "), re.IGNORECASE)]
    return [name for name in unnamed if _counts(table[name])] if len(table.columns) > 2 else []


def _counts(cells: pd.Series) -> bool:
    return bool((cells == "").all() or (cells.is_unique and cells.str.fullmatch(r"[0-9]+").all()))


def _id_column(table: pd.DataFrame) -> str:
    """Return the sample's column of ids: the first one, unless it only counts rows or repeats its cells."""
    first, *others = table.columns
    counts = first in counters(table)
    if not counts and table[first].is_unique:
        return str(first)
    others = [name for name in others if name not in counters(table) and table[name].is_unique]
    ids = [name for name in others if not _are_probabilities(table[name])]
    return str(ids[0] if len(ids) == 1 or (ids and counts) else first)


def _are_probabilities(cells: pd.Series) -> bool:
    return bool(pd.to_numeric(cells, errors="coerce").between(0, 1).all())


def shown_columns(columns: list[str]) -> str:
    """Return column names for a message: all, or the first few of many."""
    return str(columns) if len(columns) <= 8 else f"{columns[:7]} and {len(columns) - 7} more"


def check_unique(ids: pd.Series, path: Path) -> None:
    """Raise `UserError` naming the first id that stands in two rows."""
    twice = ids[ids.duplicated()]
    if len(twice):
        raise UserError(f"{path}: the id {twice.iloc[0]!r} stands in two rows ({len(twice)} such): delete one of them")


def cells_of(table: pd.DataFrame, path: Path, name: str, setting: str) -> pd.Series:
    """Return the cells of a column that a setting may have named. Raises `UserError` naming the columns there are."""
    if name not in table.columns:
        raise UserError(f"{path} has no column {name!r}, only {list(table.columns)}: name one with --data.{setting}")
    return table[name]


def from_one_hot(columns: pd.DataFrame, path: Path) -> pd.Series:
    """Return each row's class: the name of its column that is 1. Raises `UserError` unless the others are 0."""
    marks = columns.apply(pd.to_numeric, errors="coerce").to_numpy()
    odd = np.flatnonzero(~(np.isin(marks, (0, 1)).all(axis=1) & (marks.sum(axis=1) == 1)))
    if len(odd):
        raise UserError(
            f"{path}: row {odd[0] + 2} marks {columns.iloc[odd[0]].to_dict()}, one class must be 1 and the others 0:"
            f" rows of several classes or none are not supported, leave them out ({len(odd)} such rows)"
        )
    return pd.Series(columns.columns.to_numpy(dtype=object)[marks.argmax(axis=1)], index=columns.index, dtype=str)
