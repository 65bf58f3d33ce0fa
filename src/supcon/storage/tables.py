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
from supcon.storage.files import write_atomic
from supcon.storage.pointers import HEAD, pointer, regular

_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_DELIMITERS = (",", ";", "\t", "|")  # the first that the header holds outside of quotes
_QUOTED = r'(?:(?<![^,;\t|])|(?<=[,;\t|] ))"(?:[^"]|"")*+"'  # a cell in quotes
_BLOCK = 10_000  # rows of a file that are lists of cells at a time
_START = 1 << 20  # bytes that hold the header
_HEADER = re.compile(rf"(?:{_QUOTED}|[^\r\n])*")
_BLANK_LINES = re.compile(r"[\r\n]*")
_SEP_LINE = re.compile(r'"?sep=([^"\w\r\n ])"?(?:\r\n|\r|\n)', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written."""

    encoding: str = "utf-8"
    delimiter: str = ","
    line_end: str = "\n"
    padding: str = ""  # a blank, where one follows each delimiter of the header
    sep_line: bool = False  # whether a line `sep=;`, which names the delimiter for Excel, comes before the header


def read_table(path: Path, *, may_be_empty: bool = False) -> pd.DataFrame:
    """Read a CSV file whose cells all stay strings (`001`, `NA` and empty ones too).

    UTF-8 with or without a byte order mark and UTF-16 are read, as are comma, semicolon, tab or bar between cells and
    any line end. A first line `sep=;` is obeyed and left out, as are blanks behind delimiters where every delimiter of
    the header has one. Raises `UserError` naming the line that is ragged or holds no text, and for a file without rows
    unless it `may_be_empty`.
    """
    return read_with_dialect(path, may_be_empty=may_be_empty)[0]


def read_with_dialect(path: Path, *, may_be_empty: bool = False) -> tuple[pd.DataFrame, Dialect]:
    """Return what `read_table` does, and how the file is written."""
    content, dialect = _read_content(path)
    lines = io.TextIOWrapper(io.BytesIO(content), dialect.encoding, newline="")
    if dialect.sep_line:
        lines.readline()
    reader = csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=bool(dialect.padding), strict=True)
    try:
        header = next(filter(None, reader), [])
        _check_header(path, header)
        columns, block = [_Column() for _ in header], []
        for row in reader:
            if len(row) != len(header) and row:
                line = reader.line_num + dialect.sep_line
                raise UserError(
                    f"{path} line {line} has {len(row)} cells, its header has {len(header)}: mend that line"
                )
            if any(row) or len(row) == 1:  # spreadsheets write rows of empty cells
                block.append(row)
            if len(block) == _BLOCK:
                _extend(columns, block)
                block = []
        _extend(columns, block)
    except csv.Error as error:
        line = reader.line_num + dialect.sep_line
        raise UserError(f"{path} line {line} is not CSV ({error}): mend that line") from None
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
        with open(path, "rb", opener=regular) as file:
            start = file.read(_START)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    mark = next((mark for mark in _BYTE_ORDER_MARKS if start.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS.get(mark, "utf-8")
    text = start.decode(encoding, errors="ignore")
    dialect = _dialect(text, encoding)
    lines = io.StringIO(text, newline="")
    if dialect.sep_line:
        lines.readline()
    try:
        return next(csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=bool(dialect.padding)), []), dialect
    except csv.Error:
        return [], dialect


def write_table(path: Path, table: pd.DataFrame, dialect: Dialect) -> None:
    """Write a table of strings without its index, atomically, the way `dialect` says."""
    lines = [f"sep={dialect.delimiter}\r\n"] if dialect.sep_line else list[str]()
    out = SimpleNamespace(write=lines.append)  # gets a line at a time
    # before Python 3.13 only those line breaks are quoted that are the writer's own
    writer = partial(csv.writer, out, delimiter=dialect.delimiter, lineterminator="\r\n")
    rows = table.itertuples(index=False, name=None)
    if dialect.padding:
        lines += [_padded_line(row, dialect) for row in [tuple(table.columns), *rows]]
    else:
        header = list(table.columns)
        odd_header = set("".join(header)) & set(_DELIMITERS) or any(name.startswith(" ") for name in header)
        writer(quoting=csv.QUOTE_ALL if odd_header else csv.QUOTE_MINIMAL).writerow(header)
        writer().writerows(rows)
    text = "".join(line[:-2] + dialect.line_end for line in lines)
    write_atomic(path, lambda file: file.write(text.encode(dialect.encoding)))


def _padded_line(cells: Sequence[str], dialect: Dialect) -> str:
    """Return a line with a blank behind each delimiter, which the csv module cannot write."""
    odd = {*_DELIMITERS, dialect.delimiter, *'"\r\n'}

    def rendered(cell: str) -> str:
        plain = cell[:1] not in ("", " ") and not odd & set(cell)
        return cell if plain else '"' + cell.replace('"', '""') + '"'

    return (dialect.delimiter + dialect.padding).join(map(rendered, cells)) + "\r\n"


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
        with open(path, "rb", opener=regular) as file:
            content = file.read()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    if reason := pointer(content[:HEAD]):
        raise UserError(f"{path} is no table ({reason})")
    if content.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise UserError(f"{path} is a spreadsheet or packed: unpack it, or save it as UTF-8 CSV")
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS.get(mark, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding} text (byte {error.start}): save it as UTF-8 CSV") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path} line {line} holds a zero byte, it is no CSV file: copy the host's file again")
    return content, _dialect(text, encoding)


def _dialect(text: str, encoding: str) -> Dialect:
    """Return how a file with this text is written; what follows its header tells the line end."""
    sep_line = _SEP_LINE.match(text)
    start = _BLANK_LINES.match(text, sep_line.end() if sep_line else 0)
    assert start is not None  # it matches nothing, too
    header = _HEADER.match(text, start.end())
    assert header is not None  # as well
    plain = re.sub(_QUOTED, "", header.group())
    delimiter = sep_line[1] if sep_line else next((mark for mark in _DELIMITERS if mark in plain), ",")
    padded = plain.count(delimiter) == plain.count(f"{delimiter} ") > 0
    rest = text[header.end() : header.end() + 2]
    line_end = "\r\n" if rest == "\r\n" else "\r" if rest.startswith("\r") else "\n"
    return Dialect(encoding, delimiter, line_end, " " if padded else "", bool(sep_line))


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise UserError(f"{path} is empty: copy the host's file again")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{path} has two columns called {twice[0]!r}: rename one")
