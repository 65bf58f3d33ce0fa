"""The rows of train.csv and test.csv: their ids, and the images that they name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.files.find import ImageFinder
from supcon.competition.files.index import LABELS, SAMPLE, TRAIN, find_table, part_of, tables_called
from supcon.competition.files.loose_names import loosened
from supcon.competition.sample import Sample, cells_of, check_unique, counters
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.tables import read_table

_LOOKED_AT = 20  # cells of a column, where the first ones name no images


@dataclass(frozen=True)
class HostRows:
    """A table with its column of ids and the one that names its images."""

    table: pd.DataFrame
    ids: pd.Series
    images: pd.Series
    others: list[str]  # columns that cannot hold labels: ids, names of images, counters


def find_train(sample: Sample, finder: ImageFinder) -> Path | None:
    """Return train.csv, or else the table called labels.csv or the like that names images and may hold labels."""
    path = find_table(finder.index, TRAIN)
    if path is not None:
        return path
    fitting = [path for path in tables_called(finder.index, LABELS) if _is_train(path, sample, finder)]
    if len(fitting) > 1 and fitting[0].parent == fitting[1].parent:
        raise UserError(f"{fitting[0]} and {fitting[1].name} both name images: rename the one that is meant to {TRAIN}")
    if not fitting:
        return None
    finder.remarks.append(f"{fitting[0].name} is read in place of {TRAIN}")
    return fitting[0]


def _is_train(path: Path, sample: Sample, finder: ImageFinder) -> bool:
    table = read_table(path)
    columns = [name for name in table.columns if name not in counters(table)]
    wanted = {loosened(name) for name in sample.targets}
    labelled = wanted <= {loosened(name) for name in columns} or len(columns) == 2
    labelled = labelled or any({loosened(cell) for cell in table[name].unique()} <= wanted for name in columns)
    return labelled and len(columns) > 1 and bool(_naming_columns(table, columns, "train", finder))


def read_rows(path: Path, part: str, sample: Sample, settings: DataSettings, finder: ImageFinder) -> HostRows:
    """Read a table of `part` ("train" or "test").

    Ids are in the column that the settings name (for train.csv; for test.csv where it lacks the sample's), else in the
    one with the sample's name for it, else in the only one that names images. Images are named in the column that the
    settings name, else in that of the ids where its first cells are names of images or no column's are, else in the
    only column whose first cells are. Raises `UserError` naming the columns to choose from, or an id that stands in two
    rows.
    """
    table = read_table(path)
    named = next((name for name in table.columns if finder.index.matches(name, part)), "")
    if named and sample.id_column not in table.columns:
        raise UserError(f"{path} has no line that names its columns, {named!r} is an image: add one, such as id,label")
    columns = [name for name in table.columns if name not in counters(table) or name == sample.id_column]
    naming = _naming_columns(table, columns, part, finder)
    name = _id_column(table, path, part, sample, settings, naming)
    if name not in (sample.id_column, settings.id_column):
        finder.remarks.append(f"{path.name}: ids are in the column {name!r}, as none is called {sample.id_column!r}")
    ids = images = table[name]
    if settings.image_column and (part == "train" or settings.image_column in table.columns):
        images = cells_of(table, path, settings.image_column, "image_column")
    elif naming and ids.name not in naming:
        if len(naming) > 1:
            raise UserError(f"{path}: the columns {naming} all name images: choose one with --data.image_column")
        images = table[naming[0]]
    check_unique(ids, path)
    others = {*(set(naming) - set(sample.targets)), *(set(table.columns) - set(columns))}
    others |= {str(ids.name), str(images.name)}
    return HostRows(table, ids, images, [name for name in table.columns if name in others])


def _id_column(
    table: pd.DataFrame, path: Path, part: str, sample: Sample, settings: DataSettings, naming: list[str]
) -> str:
    """Return the name of the column of ids. Raises `UserError` where it cannot be told."""
    named = [settings.id_column] * bool(settings.id_column)
    if part == "train" and named:
        return str(cells_of(table, path, settings.id_column, "id_column").name)
    alike = [name for name in table.columns if loosened(name) == loosened(sample.id_column)]
    known = [name for name in [sample.id_column, *named] if name in table.columns] or alike
    if not known and part == "test":
        known = [name for name in table.columns if set(table[name]) == set(sample.ids)]
    if not known and len(naming) == 1:
        known = naming
    return known[0] if known else str(cells_of(table, path, sample.id_column, "id_column").name)


def _naming_columns(table: pd.DataFrame, columns: Iterable[str], part: str, finder: ImageFinder) -> list[str]:
    """Return the columns whose first cells all name images, or else those most of whose cells loosely do."""
    exact = [name for name in columns if all(finder.index.matches(cell, part) for cell in table[name][:3])]
    if exact:
        return exact
    spread = table.iloc[np.unique(np.linspace(0, len(table) - 1, _LOOKED_AT, dtype=int))]
    return [name for name in columns if _mostly_names(spread[name], part, finder)]


def _mostly_names(cells: pd.Series, part: str, finder: ImageFinder) -> bool:
    names = set(cells)
    known = sum(bool(finder.index.matches(name, part)) or finder.resembles(name, part) for name in names)
    return len(names) == len(cells) and 2 * known >= len(names)


def sample_rows(
    path: Path | None, sample: Sample, settings: DataSettings, finder: ImageFinder, *, allow_extra: bool = False
) -> pd.DataFrame:
    """Return the sample's ids with the paths of their images, in its order: columns id, path.

    Where the table at `path`, test.csv, has a column of images, that names them; else the ids do. Raises `UserError`,
    without `allow_extra`, where there are test rows or test images that the sample does not list.
    """
    names = sample.ids
    if path is not None:
        rows = read_rows(path, "test", sample, settings, finder)
        names = rows.images.set_axis(_matched_ids(rows.ids, sample, path.name, allow_extra)).loc[sample.ids]
    paths = finder.find_all(names.to_list(), "test", SAMPLE)
    if path is None and not allow_extra:
        lacking = sorted({path for path in finder.index.paths if part_of(path) == "test"} - set(paths) - finder.copies)
        absent = next((absent for absent in finder.absent if absent.part == "test"), None)
        if lacking and absent:
            absent.unnamed = f"{lacking[0]} has no row ({len(lacking):,} such images)"
        elif lacking:
            raise UserError(
                f"{sample.path} has no row for {lacking[0]} ({len(lacking)} such test images): copy the host's file"
                " again, or move images that are not asked for elsewhere"
            )
    return pd.DataFrame({"id": sample.ids, "path": paths})


def _matched_ids(ids: pd.Series, sample: Sample, name: str, allow_extra: bool) -> pd.Series:
    """Return the ids of the table `name` as the sample writes them. Raises `UserError` where they are not the same."""
    wanted, there = set(sample.ids), set(ids)
    if not wanted <= there:
        spelled = {loosened(id_): id_ for id_ in sample.ids}
        ids = ids.where(ids.isin(wanted), ids.map(lambda id_: spelled.get(loosened(id_), id_)))
        there = set(ids)
    lacking = [(name, sorted(there - wanted), SAMPLE)] * (not allow_extra) + [(SAMPLE, sorted(wanted - there), name)]
    told = [
        f"{one} has the id {odd[0]!r}, which {other} lacks ({len(odd):,} such ids)"
        for one, odd, other in lacking
        if odd
    ]
    if told:
        raise UserError(f"{'; '.join(told)}: make the ids of both files equal")
    check_unique(ids, sample.path.with_name(name))
    return ids
