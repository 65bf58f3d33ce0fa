"""Tables that hold the images themselves, a column a pixel: written once as files, then all goes on as with files.

`train.csv` of digit-recognizer holds label, pixel0, ..., pixel783; other hosts call the pixels 1x1 to 28x28, or put all
numbers of an image into one cell. The files lie in cache/, with smaller tables that name them.
"""

import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.competition.files.index import TEST, TRAIN, ImageIndex, find_table
from supcon.competition.sample import Sample
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.files import digest, digest_rows
from supcon.storage.lock import alone
from supcon.storage.tables import Dialect, read_header, write_table

_VERSION = 1  # raised whenever the files would come out otherwise
_LEAST = 64  # pixels of an image: 8 x 8
_ROWS = 8000  # rows in memory at a time
_NAME = re.compile(r"(?:pixels?|pix|px|image|img|)[ _.-]?(\d+)", re.IGNORECASE)
_PLACE = re.compile(r"(?:pixels?|pix|px|)[ _.-]?(\d+) ?[x_.,-] ?(\d+)", re.IGNORECASE)  # row and column
_WHOLE = {"pixels", "pixel", "image", "img"}  # columns that may hold all numbers of an image, parted by blanks

Pixels = npt.NDArray[np.uint8]  # [rows, height, width, 1 or 3]


@dataclass(frozen=True)
class _Table:
    """A table of a part, and where its pixels are."""

    path: Path
    dialect: Dialect
    header: list[str]
    pixels: list[str]  # names of their columns, in the order of the pixels; one where a cell holds all
    shape: tuple[int, int, int]  # height, width, colours

    @property
    def others(self) -> list[str]:
        """Names of the other columns."""
        return [name for name in self.header if name not in set(self.pixels)]


def unpack_pixels(
    index: ImageIndex, cache: Path, sample: Sample, settings: DataSettings, parts: Sequence[str] = ("train", "test")
) -> tuple[Path, str] | None:
    """Write the images that the tables of `parts` hold as files, with tables that name them; None where they hold none.

    Returns the folder below `cache` that holds both, and a line that says so. Done once for tables of a size and
    modification time. Test rows without ids have those of the sample where these number the rows from 0 or 1. Raises
    `UserError` where they do not, and for cells that are no pixels; then nothing is left behind.
    """
    found = {part: find_table(index, name) for part, name in (("train", TRAIN), ("test", TEST)) if part in parts}
    tables = {part: table for part, path in found.items() if path and (table := _look_into(path))}
    if not tables or ("train" in parts and "train" not in tables):
        return None
    facts = [(part, str(t.path), t.path.stat().st_size, t.path.stat().st_mtime_ns) for part, t in tables.items()]
    named = [sample.id_column, settings.id_column, digest_rows(sample.ids)]
    folder = cache / f"pixels-{digest([_VERSION, facts, named])[:16]}"
    if not folder.exists():
        with alone(cache / ".unpack.lock", f"writing images into {cache}"):
            if not folder.exists():
                print(f"pixels: the images in {_names(tables)} are written into {folder}", flush=True)
                _write_all(folder, tables, sample, settings)
    height, width, colours = next(iter(tables.values())).shape
    kind = f"{width} x {height}{', RGB pixel by pixel' if colours == 3 else ''}"
    return folder, f"the images are the columns of pixels in {_names(tables)} ({kind}), written as files into {folder}"


def _names(tables: dict[str, _Table]) -> str:
    return " and ".join(table.path.name for table in tables.values())


def _look_into(path: Path) -> _Table | None:
    """Return what a table holds where it holds pixels. Raises `UserError` where these make no image."""
    header, dialect = read_header(path)
    places = [(int(match[1]), int(match[2]), name) for name in header if (match := _PLACE.fullmatch(name))]
    numbers = [(int(match[1]), name) for name in header if (match := _NAME.fullmatch(name))]
    if len(places) >= _LEAST:
        height, width = (max(sides) - min(sides) + 1 for sides in list(zip(*places, strict=True))[:2])
        if height * width != len(places):
            raise UserError(f"{path} has {len(places)} columns of pixels, not {height} x {width}: a pixel is missing")
        return _Table(path, dialect, header, [name for *_, name in sorted(places)], (height, width, 1))
    if len(numbers) >= _LEAST:
        if len(set(header)) < len(header):  # as in a row of pixels
            raise UserError(f"{path} has no line that names its columns: add one, such as label,pixel0,pixel1")
        first, last = min(numbers)[0], max(numbers)[0]
        if last - first + 1 != len(numbers):
            raise UserError(
                f"{path} has {len(numbers)} columns of pixels, numbered from {first} to {last}: a pixel is missing, or"
                " another column has a name like theirs"
            )
        return _Table(path, dialect, header, [name for _, name in sorted(numbers)], _shape(path, len(numbers)))
    for name in header:
        if name.strip().lower() in _WHOLE and (count := _numbers_in(path, dialect, header, name)) >= _LEAST:
            return _Table(path, dialect, header, [name], _shape(path, count))
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


def _write_all(folder: Path, tables: dict[str, _Table], sample: Sample, settings: DataSettings) -> None:
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process
    try:
        partial.mkdir(parents=True)
        scale = 0.0
        for part, table in tables.items():
            others, scale = _write_images(partial / part, table, scale)
            id_column = settings.id_column or sample.id_column
            if id_column not in others and not settings.id_column:
                others.insert(0, id_column, _ids(part, table, len(others), sample), allow_duplicates=True)
            name = "image"
            while name in others:
                name += "_"
            others[name] = [f"{part}/{_file_name(row, table.shape)}" for row in range(len(others))]
            write_table(partial / f"{part}.csv", others, Dialect())
        partial.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _ids(part: str, table: _Table, rows: int, sample: Sample) -> list[str]:
    """Return the ids of rows that have none: their numbers, for test rows as the sample has them."""
    if part == "train":
        return [str(row + 1) for row in range(rows)]
    by_number = {int(name): name for name in sample.ids if re.fullmatch(r"[0-9]{1,12}", name)}
    start = min(by_number, default=0)
    if start not in (0, 1) or sorted(by_number) != list(range(start, start + rows)) or len(sample.ids) != rows:
        raise UserError(
            f"{table.path} has no column {sample.id_column!r}, and {sample.path.name} does not number its {rows:,} rows"
            f" from 0 or 1 ({len(sample.ids):,} ids, the first {sample.ids.iloc[0]!r}): add the column of ids to it"
        )
    return [by_number[start + row] for row in range(rows)]


def _file_name(row: int, shape: tuple[int, int, int]) -> str:
    return f"row-{row + 1:06d}.{'ppm' if shape[2] == 3 else 'pgm'}"


def _write_images(folder: Path, table: _Table, scale: float) -> tuple[pd.DataFrame, float]:
    """Write the images of a table and return its other columns, and what its numbers were multiplied by.

    PGM and PPM are the bytes of the pixels after a line: equal pixels give equal files on every machine.
    """
    folder.mkdir()
    height, width, colours = table.shape
    head = f"P{6 if colours == 3 else 5}\n{width} {height}\n255\n".encode()
    kinds = dict.fromkeys(table.others, "str") | dict.fromkeys(table.pixels, "str" if len(table.pixels) == 1 else "f4")
    others, row = [], 0
    for chunk in _read(table.path, table.dialect, table.header, kinds):
        numbers = _numbers(chunk, table, row)
        scale = scale or (255.0 if numbers.max(initial=0) <= 1 and (numbers % 1).any() else 1.0)
        for image in _checked(numbers * scale, table, row, scale):
            (folder / _file_name(row, table.shape)).write_bytes(head + image.tobytes())
            row += 1
        others.append(chunk[table.others].fillna(""))
    if not row:
        raise UserError(f"{table.path} has a header and no rows: copy the host's file again")
    return pd.concat(others, ignore_index=True), scale


def _numbers(chunk: pd.DataFrame, table: _Table, row: int) -> npt.NDArray[np.float32]:
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


def _checked(numbers: npt.NDArray[np.float32], table: _Table, row: int, scale: float) -> Pixels:
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
