"""Tables that hold the images themselves, a column a pixel: written once as one array, which is read row by row.

`train.csv` of digit-recognizer holds label, pixel0, ..., pixel783; other hosts call the pixels 1x1 to 28x28, or put all
numbers of an image into one cell.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.errors import UserError
from supcon.storage.tables import Dialect, read_header

_LEAST = 64  # pixels of an image: 8 x 8
_ROWS = 8000  # rows in memory at a time
_NAME = re.compile(r"(?:pixels?|pix|px|image|img|)[ _.-]?(\d+)", re.IGNORECASE)
_PLACE = re.compile(r"(?:pixels?|pix|px|)[ _.-]?(\d+) ?[x_.,-] ?(\d+)", re.IGNORECASE)  # row and column
_WHOLE = {"pixels", "pixel", "image", "img"}  # columns that may hold all numbers of an image, parted by blanks

Pixels = npt.NDArray[np.uint8]  # [rows, height, width, 1 or 3]


@dataclass(frozen=True)
class PixelTable:
    """A table of a part, and where its pixels are."""

    path: Path
    dialect: Dialect
    header: list[str]
    pixels: list[str]  # names of their columns, in the order of the pixels; one where a cell holds all
    shape: tuple[int, int, int]  # height, width, colours

    @property
    def kind(self) -> str:
        """The size of its images, for a message."""
        height, width, colours = self.shape
        return f"{width} x {height}{', RGB pixel by pixel' if colours == 3 else ''}"

    @property
    def others(self) -> list[str]:
        """Names of the other columns."""
        return [name for name in self.header if name not in set(self.pixels)]


def pixel_table(path: Path) -> PixelTable | None:
    """Return what a table holds where it holds pixels. Raises `UserError` where these make no image."""
    header, dialect = read_header(path)
    places = [(int(match[1]), int(match[2]), name) for name in header if (match := _PLACE.fullmatch(name))]
    numbers = [(int(match[1]), name) for name in header if (match := _NAME.fullmatch(name))]
    if len(places) >= _LEAST:
        height, width = (max(sides) - min(sides) + 1 for sides in list(zip(*places, strict=True))[:2])
        if height * width != len(places):
            raise UserError(f"{path} has {len(places)} columns of pixels, not {height} x {width}: a pixel is missing")
        return PixelTable(path, dialect, header, [name for *_, name in sorted(places)], (height, width, 1))
    if len(numbers) >= _LEAST:
        if len(set(header)) < len(header):  # as in a row of pixels
            raise UserError(f"{path} has no line that names its columns: add one, such as label,pixel0,pixel1")
        first, last = min(numbers)[0], max(numbers)[0]
        if last - first + 1 != len(numbers):
            raise UserError(
                f"{path} has {len(numbers)} columns of pixels, numbered from {first} to {last}: a pixel is missing, or"
                " another column has a name like theirs"
            )
        return PixelTable(path, dialect, header, [name for _, name in sorted(numbers)], _shape(path, len(numbers)))
    for name in header:
        if name.strip().lower() in _WHOLE and (count := _numbers_in(path, dialect, header, name)) >= _LEAST:
            return PixelTable(path, dialect, header, [name], _shape(path, count))
    return None


def _shape(path: Path, count: int) -> tuple[int, int, int]:
    for colours in (1, 3):
        side = isqrt(count // colours)
        if side * side * colours == count:
            return side, side, colours
    raise UserError(
        f"{path} holds {count} pixels a row, which make no square, grey or RGB: write the images as PNG files, named by"
        " their ids"
    )


def _numbers_in(path: Path, dialect: Dialect, header: list[str], name: str) -> int:
    """Return how many numbers the first cell of a column holds; 0 where it holds anything else."""
    first = next(_read(path, dialect, header, dict.fromkeys(header, "str"), rows=1), None)
    words = "" if first is None or first.empty else str(first[name].iloc[0]).split()
    return len(words) if all(re.fullmatch(r"[0-9.]+", word) for word in words) else 0


def _read(
    path: Path, dialect: Dialect, header: list[str], kinds: dict[str, str], rows: int = _ROWS
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table, its columns as `kinds` names their types, `rows` at a time."""
    try:
        with (
            warnings.catch_warnings(action="error", category=pd.errors.ParserWarning),
            pd.read_csv(
                path,
                sep=dialect.delimiter,
                skiprows=int(dialect.sep_line),
                skipinitialspace=bool(dialect.padding),
                encoding=dialect.encoding,
                names=header,
                header=0,
                index_col=False,
                dtype=kinds,
                keep_default_na=False,
                chunksize=rows,
            ) as chunks,
        ):
            yield from chunks
    except (ValueError, OverflowError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as a table of pixels ({reason}): mend that row") from None


def write_pixels(target: Path, table: PixelTable, scale: float) -> tuple[pd.DataFrame, float]:
    """Write the images of a table as an array [N, height, width], of colours with them behind.

    Returns the other columns, and what the numbers were multiplied by; `scale`, where it is not 0, says that. Raises
    `UserError` for cells that are no pixels.
    """
    kinds = dict.fromkeys(table.others, "str") | dict.fromkeys(table.pixels, "str" if len(table.pixels) == 1 else "f4")
    others, rows = [], 0
    shape = table.shape if table.shape[2] > 1 else table.shape[:2]
    with target.open("wb") as file:
        _write_header(file, 0, shape)
        for chunk in _read(table.path, table.dialect, table.header, kinds):
            numbers = _numbers(chunk, table, rows)
            scale = scale or (255.0 if numbers.max(initial=0) <= 1 and (numbers % 1).any() else 1.0)
            file.write(_checked(numbers * scale, table, rows, scale).tobytes())
            rows += len(chunk)
            others.append(chunk[table.others].fillna(""))
        if not rows:
            raise UserError(f"{table.path} has a header and no rows: copy the host's file again")
        file.seek(0)
        _write_header(file, rows, shape)  # of the same length: NumPy leaves room for the first axis to grow
    return pd.concat(others, ignore_index=True), scale


def _write_header(file: IO[bytes], rows: int, shape: tuple[int, ...]) -> None:
    facts = {"descr": "|u1", "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(file, facts)


def _numbers(chunk: pd.DataFrame, table: PixelTable, row: int) -> npt.NDArray[np.float32]:
    """Return the numbers of some rows, [rows, pixels]; the first is row `row` of the table."""
    if len(table.pixels) > 1:
        return chunk[table.pixels].to_numpy(np.float32)
    count, lines = int(np.prod(table.shape)), list[npt.NDArray[np.float32]]()
    for place, cell in enumerate(chunk[table.pixels[0]], row):
        try:
            lines.append(np.array(str(cell).split(), np.float32))
        except ValueError:
            lines.append(np.empty(0, np.float32))
        if len(lines[-1]) != count:
            raise UserError(f"{table.path}: row {place + 2} does not hold {count} numbers, as the first does: mend it")
    return np.stack(lines) if lines else np.empty((0, count), np.float32)


def _checked(numbers: npt.NDArray[np.float32], table: PixelTable, row: int, scale: float) -> Pixels:
    """Return numbers as pixels. Raises `UserError` naming the first row with one that is none."""
    whole = np.rint(numbers)
    odd = ~((numbers >= 0) & (numbers <= 255))  # also true of what is no number
    if scale == 1:
        odd |= whole != numbers
    if odd.any():
        place, column = np.argwhere(odd)[0].tolist()
        raise UserError(
            f"{table.path}: row {row + place + 2} holds {numbers[place, column] / scale:g} as pixel {column + 1}: whole"
            " numbers from 0 to 255 are read, or parts of 1"
        )
    return whole.astype(np.uint8).reshape(len(numbers), *table.shape)
