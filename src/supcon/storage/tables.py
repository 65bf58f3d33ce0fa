"""CSV files as they come: other encodings and delimiters are read, cells stay the strings they are."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from supcon.errors import UserError
from supcon.storage.files import open_regular, write_atomic

_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_DELIMITERS = (",", ";", "\t", "|")  # the first that the header holds outside of quotes
_QUOTED = r'(?<![^,;\t|])"(?:[^"]|"")*+"'  # a cell in quotes
_BLOCK = 10_000  # rows of a file that are lists of cells at a time
_START = 1 << 20  # bytes that hold the header
_HEADER = re.compile(rf"(?:{_QUOTED}|[^\r\n])*")


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written."""

    encoding: str = "utf-8"
    delimiter: str = ","
    line_end: str = "\n"


def read_table(path: Path, *, may_be_empty: bool = False) -> pd.DataFrame:
    """Read a CSV file whose cells all stay strings (`001`, `NA` and empty ones too).

    UTF-8 with or without a byte order mark and UTF-16 are read, as are comma, semicolon, tab or bar between cells and
    any line end. Raises `UserError` naming the line that is ragged or holds no text, and for a file without rows unless
    it `may_be_empty`.
    """
    return read_with_dialect(path, may_be_empty=may_be_empty)[0]


def read_with_dialect(path: Path, *, may_be_empty: bool = False) -> tuple[pd.DataFrame, Dialect]:
    """Return what `read_table` does, and how the file is written."""
    content, dialect = _read_content(path)
    lines = io.TextIOWrapper(io.BytesIO(content), dialect.encoding, newline="")
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    try:
        header = next(reader, [])
        _check_header(path, header)
        columns, block = [_Column() for _ in header], []
        for row in reader:
            if len(row) != len(header) and row:
                raise UserError(
                    f"{path} line {reader.line_num} has {len(row)} cells, its header has {len(header)}: mend that line"
                )
            if row:
                block.append(row)
            if len(block) == _BLOCK:
                _extend(columns, block)
                block = []
        _extend(columns, block)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is not CSV ({error}): mend that line") from None
    if not columns[0].cells and not may_be_empty:
        raise UserError(f"{path} has a header and no rows: copy the host's file again")
    cells_of = {name: pd.Series(column.cells, dtype=str) for name, column in zip(header, columns, strict=True)}
    return pd.DataFrame(cells_of), dialect


def read_own_table(path: Path, cure: str, *, may_be_empty: bool = False) -> pd.DataFrame:
    """Read a table of this project as `read_table` does, with another cure than to copy the host's file again."""
    try:
        return read_table(path, may_be_empty=may_be_empty)
    except UserError as error:
        said = str(error)
        raise UserError(f"{said if 'cannot be read: ' in said else said.rpartition(': ')[0]}: {cure}") from None


def read_header(path: Path) -> tuple[list[str], Dialect]:
    """Return the names of a table's columns, none where it has no such line, and how it is written; no row is read."""
    try:
        with open_regular(path) as file:
            start = file.read(_START)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    mark = next((mark for mark in _BYTE_ORDER_MARKS if start.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS.get(mark, "utf-8")
    text = start.decode(encoding, errors="ignore")
    dialect = Dialect(encoding, *_marks(text))
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter), []), dialect
    except csv.Error:
        return [], dialect


def write_table(path: Path, table: pd.DataFrame, dialect: Dialect) -> None:
    """Write a table of strings without its index, atomically, the way `dialect` says."""
    lines = list[str]()
    out = SimpleNamespace(write=lines.append)  # gets a line at a time
    # before Python 3.13 only those line breaks are quoted that are the writer's own
    writer = partial(csv.writer, out, delimiter=dialect.delimiter, lineterminator="\r\n")
    odd_header = set("".join(table.columns)) & set(_DELIMITERS)
    writer(quoting=csv.QUOTE_ALL if odd_header else csv.QUOTE_MINIMAL).writerow(table.columns)
    writer().writerows(table.itertuples(index=False, name=None))
    text = "".join(line[:-2] + dialect.line_end for line in lines)
    write_atomic(path, lambda file: file.write(text.encode(dialect.encoding)))


class _Column:
    """The cells of a column; equal ones are the same string where there are few kinds, as of labels."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self._kinds: dict[str, str] | None = {}

    def extend(self, cells: Sequence[str]) -> None:
        if self._kinds is None:
            self.cells.extend(cells)
            return
        self.cells.extend([self._kinds.setdefault(cell, cell) for cell in cells])
        if len(self._kinds) > max(_BLOCK, len(self.cells) // 2):  # as of ids
            self._kinds = None


def _extend(columns: Sequence[_Column], rows: Sequence[list[str]]) -> None:
    for column, cells in zip(columns, zip(*rows, strict=True), strict=False):  # without rows there are no cells
        column.extend(cells)


def _read_content(path: Path) -> tuple[bytes, Dialect]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS.get(mark, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding} text (byte {error.start}): save it as UTF-8 CSV") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path} line {line} holds a zero byte, it is no CSV file: copy the host's file again")
    return content, Dialect(encoding, *_marks(text))


def _marks(text: str) -> tuple[str, str]:
    """Return the delimiter of the header, and the line end after it."""
    header = _HEADER.match(text)
    assert header is not None  # it matches nothing, too
    plain = re.sub(_QUOTED, "", header.group())
    delimiter = next((mark for mark in _DELIMITERS if mark in plain), ",")
    rest = text[header.end() : header.end() + 2]
    return delimiter, "\r\n" if rest == "\r\n" else "\r" if rest.startswith("\r") else "\n"


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise UserError(f"{path} is empty: copy the host's file again")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{path} has two columns called {twice[0]!r}: rename one")
