"""The rows of a table with the path of each row's image: what the cells of Parquet, or the rows of an array, are."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from supcon.competition.files.containers import Images
from supcon.competition.files.index import TRAIN
from supcon.competition.files.loose_names import loosened
from supcon.competition.files.row_numbers import row_numbers
from supcon.competition.sample import Sample, check_unique
from supcon.errors import UserError
from supcon.images.members import named_damage, use_container
from supcon.images.parquet import Parquet
from supcon.settings.settings import DataSettings
from supcon.storage.tables import read_table


def with_images(rows: pd.DataFrame, column: str, paths: Sequence[str]) -> pd.DataFrame:
    """Return rows with a column of the images' paths, of this name or a longer one."""
    while column in rows:
        column += "_"
    return rows.assign(**{column: list(paths)})


def rows_of_tables(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of a CSV file, or of Parquet files. Raises `UserError` where these differ in their columns."""
    tables = [_read(path) for path in paths]
    for path, other in zip(paths, tables, strict=True):
        if list(other.columns) != list(tables[0].columns):
            raise UserError(f"{paths[0]} and {path} have different columns: keep only the tables that are meant")
    if not any(map(len, tables)):
        raise UserError(f"{paths[0]} has no rows: copy the host's file again")
    return pd.concat(tables, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    if path.suffix.lower() != ".parquet":
        return read_table(path)
    with use_container(str(path)) as container, named_damage(str(path)):
        assert isinstance(container, Parquet)
        return container.table()


def numbered(rows: pd.DataFrame, part: str, path: Path, sample: Sample, settings: DataSettings) -> pd.DataFrame:
    """Return rows, those without ids with their numbers for ids: test rows as the sample numbers them.

    Raises `UserError` where it does not.
    """
    id_column = settings.id_column or sample.id_column
    if id_column in rows or settings.id_column:
        return rows
    ids = [str(row + 1) for row in range(len(rows))] if part == "train" else _test_ids(path, len(rows), sample)
    return pd.concat([pd.Series(ids, rows.index, str, id_column), rows], axis=1)


def _test_ids(path: Path, rows: int, sample: Sample) -> list[str]:
    by_number = {int(name): name for name in sample.ids if re.fullmatch(r"[0-9]{1,12}", name)}
    start = min(by_number, default=0)
    if start not in (0, 1) or sorted(by_number) != list(range(start, start + rows)) or len(sample.ids) != rows:
        raise UserError(
            f"{path} has no column {sample.id_column!r}, and {sample.path.name} does not number its {rows:,} rows"
            f" from 0 or 1 ({len(sample.ids):,} ids, the first {sample.ids.iloc[0]!r}): add the column of ids to it"
        )
    return [by_number[start + row] for row in range(rows)]


def rows_of_cells(
    rows: pd.DataFrame | None,
    tables: Sequence[Path],
    cells: Sequence[Images],
    part: str,
    sample: Sample,
    settings: DataSettings,
) -> pd.DataFrame:
    """Return `rows`, those of `tables`, with the images that Parquet files hold beside the same ids.

    Without `rows` those files' own are returned. Raises `UserError` for two columns of images, and without shared ids.
    """
    columns = list(dict.fromkeys(images.stack.name for images in cells))
    column = settings.image_column if settings.image_column in columns else columns[0]
    if len(columns) > 1 and column != settings.image_column:
        raise UserError(f"{cells[0].table}: the columns {columns} all hold images: choose one with --data.image_column")
    cells = [images for images in cells if images.stack.name == column]
    paths = [images.table for images in cells if images.table]
    beside = rows_of_tables(paths)
    images = [stack.path(row) for stack in cells for row in range(stack.stack.rows)]
    if rows is None:
        alike = any(loosened(str(name)) == loosened(sample.id_column) for name in beside)
        if not alike and not any(set(sample.ids) <= set(beside[name]) for name in beside):
            beside = numbered(beside, part, paths[0], sample, settings)
        return with_images(beside, column, images)
    known = (settings.id_column or sample.id_column, sample.id_column)
    shared = [name for name in known if name in rows and name in beside]
    if not shared:
        raise UserError(
            f"{paths[0]} holds images, and has no column {settings.id_column or sample.id_column!r} in common with"
            f" {tables[0].name}: name the column of ids with --data.id_column"
        )
    check_unique(beside[shared[0]], paths[0])
    by_id = dict(zip(beside[shared[0]], images, strict=True))
    return with_images(rows, "image", [by_id.get(id_, id_) for id_ in rows[shared[0]]])


def rows_of_array(
    rows: pd.DataFrame | None, tables: Sequence[Path], images: Images, part: str, sample: Sample, settings: DataSettings
) -> pd.DataFrame:
    """Return `rows`, those of `tables`, with the images in the array that they number.

    Without `rows` those of the sample are returned. Raises `UserError` where training rows have none, and no labels.
    """
    path = tables[0] if tables else sample.path
    if rows is None and part == "train":
        beside = f" ({images.file} also holds {images.others})" if images.others else ""
        label = "label" if sample.one_hot else sample.targets[0]
        raise UserError(
            f"{images.name} holds {images.stack.rows:,} training images, and no table their labels{beside}: write"
            f" {TRAIN} with them; of an array y by pandas.DataFrame({{{sample.id_column!r}: range(len(y)),"
            f" {label!r}: y}}).to_csv({TRAIN!r}, index=False)"
        )
    if rows is None:
        rows = pd.DataFrame({sample.id_column: sample.ids})
    numbers = row_numbers(rows, path, images.name, images.stack.rows, sample, settings)
    paths = [images.path(number) for number in numbers]
    column = settings.image_column or "image"
    if settings.image_column:
        rows = rows.drop(columns=column, errors="ignore")
    return numbered(with_images(rows, column, paths), part, path, sample, settings)
