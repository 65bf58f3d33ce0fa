"""sample_submission.csv: the exact form in which the host wants the submission, and its rows with their images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.index import SAMPLE, ImageIndex, part_of
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.tables import Dialect, read_table, read_with_dialect


@dataclass(frozen=True)
class Sample:
    """The form of the submission: a first column of ids, then one column of labels or a column for each class."""

    path: Path
    ids: pd.Series
    id_column: str
    targets: list[str]  # the other columns: one of labels, or several, each of one class's probabilities
    dialect: Dialect
    cells: pd.DataFrame  # what the host wrote there: of one column its distinct cells, of several the first row's

    @property
    def one_hot(self) -> bool:
        """Whether the host asks for the probability of each class, in a column of its own, and not for a label."""
        return len(self.targets) > 1


def read_sample(path: Path) -> Sample:
    """Read sample_submission.csv. Raises `UserError` where it has fewer than two columns, or an id twice."""
    table, dialect = read_with_dialect(path)
    if len(table.columns) < 2:
        raise UserError(f"{path} has the columns {list(table.columns)}; needed are an id column and what to submit")
    ids, targets = table.iloc[:, 0], table.iloc[:, 1:]
    check_unique(ids, path)
    cells = targets.drop_duplicates() if len(targets.columns) == 1 else targets.head(1)
    return Sample(path, ids, table.columns[0], list(targets.columns), dialect, cells)


def shown_columns(columns: list[str]) -> str:
    """Return column names for a message: all, or the first few of many."""
    return str(columns) if len(columns) <= 8 else f"{columns[:7]} and {len(columns) - 7} more"


def check_unique(ids: pd.Series, path: Path) -> None:
    """Raise `UserError` naming the first id that stands in two rows."""
    twice = ids[ids.duplicated()]
    if len(twice):
        raise UserError(f"{path}: the id {twice.iloc[0]!r} stands in two rows; {len(twice)} rows repeat an id: mend it")


def cells_of(table: pd.DataFrame, path: Path, name: str, setting: str) -> pd.Series:
    """Return the cells of a column that a setting may have named. Raises `UserError` naming the columns there are."""
    if name not in table.columns:
        raise UserError(f"{path} has no column {name!r}, only {list(table.columns)}: name one with --data.{setting}")
    return table[name]


def read_rows(
    path: Path, part: str, sample: Sample, settings: DataSettings, index: ImageIndex
) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return a table of `part` ("train" or "test"), its column of ids and the one that names its images.

    Ids are in the column that the settings name, else in the one with the sample's name for it. Images are named in the
    column that the settings name, else in that of the ids where its first cells are names of images or no column's are,
    else in the only column whose first cells are. Raises `UserError` naming the columns to choose from, or an id that
    stands in two rows.
    """
    table = read_table(path)
    ids = images = cells_of(table, path, settings.id_column or sample.id_column, "id_column")
    candidates = [name for name in table.columns if all(index.holds(cell, part) for cell in table[name][:3])]
    if settings.image_column:
        images = cells_of(table, path, settings.image_column, "image_column")
    elif candidates and ids.name not in candidates:
        if len(candidates) > 1:
            raise UserError(f"{path}: the columns {candidates} all name images: choose one with --data.image_column")
        images = table[candidates[0]]
    check_unique(ids, path)
    return table, ids, images


def sample_rows(
    path: Path | None,
    sample: Sample,
    settings: DataSettings,
    index: ImageIndex,
    *,
    hidden: Callable[[pd.Series], bool] = lambda _: False,
    allow_extra: bool = False,
) -> pd.DataFrame:
    """Return the sample's ids with the paths of their images, in its order: columns id, path.

    Where the table at `path`, test.csv, has a column of images, that names them; else the ids do. There are no rows
    where `hidden` says of these names that the host hides all their images. Raises `UserError` where a row has no image
    otherwise; and, without `allow_extra`, where there are test rows or test images that the sample does not list.
    """
    names = sample.ids
    if path is not None:
        _, ids, images = read_rows(path, "test", sample, settings, index)
        _check_ids(sample, set(ids), path.name, allow_extra)
        names = images.set_axis(ids).loc[sample.ids]
    if hidden(names):
        return pd.DataFrame({"id": [], "path": []}, dtype=str)
    paths = [index.find(name, "test", SAMPLE) for name in names.to_numpy(dtype=object)]
    if path is None and not allow_extra:
        lacking = sorted({path for path in index.paths if part_of(path) == "test"} - set(paths))
        if lacking:
            raise UserError(
                f"{sample.path} has no row for {lacking[0]} ({len(lacking)} such test images): copy the host's file"
                " again, or move images that are not asked for elsewhere"
            )
    return pd.DataFrame({"id": sample.ids, "path": paths})


def _check_ids(sample: Sample, ids: set[str], name: str, allow_extra: bool) -> None:
    wanted = set(sample.ids)
    odd = sorted(wanted - ids if allow_extra else ids ^ wanted)
    if odd:
        table, other = (name, SAMPLE) if odd[0] in ids else (SAMPLE, name)
        raise UserError(f"{table} has the id {odd[0]!r}, which {other} lacks ({len(odd)} such ids): mend one")


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
