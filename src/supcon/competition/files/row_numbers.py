"""Which row of an array is the image of which row of a table: by a column that numbers them, and by nothing else."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from supcon.competition.files.loose_names import loosened
from supcon.competition.sample import Sample, cells_of
from supcon.errors import UserError
from supcon.settings.settings import DataSettings

_NUMBERING = re.compile(r"|unnamed: \d+|#|no\.?|((array|image|img)[_ ]?)?(index|idx|row|position)", re.IGNORECASE)


def row_numbers(
    table: pd.DataFrame, path: Path, array: str, rows: int, sample: Sample, settings: DataSettings
) -> list[int]:
    """Return for each row of the table at `path` the number, from 0, of its image among the `rows` of an array.

    `data.image_column` names the column of these numbers. Without it one called index, row or the like does that holds
    each number once, or ids that count from 0 or 1 in the order of the table; a table without ids is in the array's
    order. Raises `UserError` where nothing numbers the rows, or two columns do otherwise.
    """
    if settings.image_column and settings.image_column in table:
        return _named(cells_of(table, path, settings.image_column, "image_column"), path, array, rows)
    known = {settings.id_column or sample.id_column, sample.id_column}
    columns = list(map(str, table))
    ids = [name for name in columns if name in known or loosened(name) == loosened(sample.id_column)]
    numbering = [name for name in columns if _NUMBERING.fullmatch(name)]
    counting = {name: numbers for name in numbering if (numbers := _counted(table[name], rows))}
    counting |= {name: numbers for name in ids[:1] if (numbers := _in_order(table[name], rows))}
    if not ids and not counting and len(table) == rows:
        return list(range(rows))
    if not counting:
        first = f", the first id {table[ids[0]].iloc[0]!r}" if ids else ""
        raise UserError(
            f"{array} holds {rows:,} images by number, and nothing in {path} ({len(table):,} rows{first}) says which is"
            " whose: add a column of these numbers, from 0, and name it with --data.image_column"
        )
    (name, numbers), *others = counting.items()
    for other, differing in others:
        if differing != numbers:
            raise UserError(
                f"{path}: the columns {name!r} and {other!r} both number the images in {array}, each otherwise: choose"
                " one with --data.image_column"
            )
    return numbers


def _whole(cells: Sequence[str]) -> list[int]:
    """Return cells as whole numbers; an empty list where one is none."""
    return [int(cell) for cell in cells] if all(re.fullmatch(r"[0-9]{1,12}", cell) for cell in cells) else []


def _counted(cells: pd.Series, rows: int) -> list[int]:
    numbers = _whole(cells.to_list())
    return numbers if sorted(numbers) == list(range(rows)) else []


def _in_order(cells: pd.Series, rows: int) -> list[int]:
    numbers = _whole(cells.to_list())
    counts = numbers in (list(range(rows)), list(range(1, rows + 1)))
    return list(range(rows)) if counts else []


def _named(cells: pd.Series, path: Path, array: str, rows: int) -> list[int]:
    numbers = _whole(cells.to_list())
    if len(set(numbers)) < len(cells) or max(numbers, default=0) >= rows:
        raise UserError(
            f"{path}: the column {cells.name!r} does not number the {rows:,} images in {array}, from 0 to {rows - 1},"
            " each once: mend it, or name another with --data.image_column"
        )
    return numbers
