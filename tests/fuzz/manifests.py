"""Competitions that no host has made yet: awkward names, labels, columns, dialects, and flaws in them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from supcon.storage.tables import Dialect
from tests.fuzz.mutate import mutated

PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
AWKWARD = [
    "NA", "None", "null", "nan", "-inf", "", " ", " spaced ", "1.0", "00014", "1e5", "yes", "True", "=1+1", "a,b",
    "a;b", "a\tb", "a|b", 'say "so"', '"', "'", "two\nlines", "two\rlines", "two\r\nlines", "\ufeff", "שלום",
    "\u202eabc\u202c", "é", "e\u0301", "🦊", "\ud7ff\ue000", "\u2028", "\x0b", "\x1c", "\x7f", "\x85", "\\", "\\n", "#",
    "%s", "{0}", "id", "-1", "9" * 30, "x" * 3000,
]  # fmt: skip
PATHS = ["../x", "/etc/hostname", "..", ".", "/", "//", "a//b", "./a", "~", "C:\\x", "a" * 300, "/".join("ab" * 99)]
CELLS = st.sampled_from(AWKWARD) | PLAIN_TEXT
FILE_NAMES = (CELLS | st.from_regex(r"[a-z]{1,3}[0-9]{1,3}", fullmatch=True)).map(
    lambda text: text.replace("/", "_").replace("\\", "_").lstrip(".")[:60]
)
FOLDERS = {
    "train": ["", "train", "images", "train/deep/er", "a b/train"],
    "test": ["", "test", "images", "testing set/Тест"],
}
DELIMITERS = [",", ",", ",", ";", "\t", "|"]
ENCODINGS = ["utf-8", "utf-8", "utf-8-sig", "utf-16"]


@dataclass
class Table:
    """A CSV file to be."""

    header: list[str]
    rows: list[list[str]]
    delimiter: str = ","
    encoding: str = "utf-8"
    line_end: str = "\n"
    quote_all: bool = False

    def rendered(self) -> bytes:
        lines = [self.delimiter.join(self._cell(cell) for cell in row) for row in [self.header, *self.rows]]
        return (self.line_end.join(lines) + self.line_end).encode(self.encoding)

    def _cell(self, text: str) -> str:
        if self.quote_all or any(mark in text for mark in ',;\t|"\r\n'):
            return '"' + text.replace('"', '""') + '"'
        return text


@dataclass
class Host:
    """What lies in input/, and the settings to read it with."""

    files: dict[str, bytes] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def cells_by_csv(content: bytes, dialect: Dialect) -> list[list[str]]:
    """The cells as Python's csv module reads them, blank lines and rows of empty cells left out: the oracle."""
    text = io.StringIO(content.decode(dialect.encoding), newline="")
    rows = csv.reader(text, delimiter=dialect.delimiter, skipinitialspace=bool(dialect.padding))
    header, *rest = [row for row in rows if row][dialect.sep_line :]
    return [header, *(row for row in rest if any(row) or len(row) == 1)]


@st.composite
def dialects(draw: st.DrawFn, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(
        list(header),
        [list(row) for row in rows],
        draw(st.sampled_from(DELIMITERS)),
        draw(st.sampled_from(ENCODINGS)),
        draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])),
        draw(st.booleans()),
    )


@st.composite
def tables(draw: st.DrawFn, columns: int = 2) -> Table:
    """Any table of distinct columns, the first of which has a name."""
    header = draw(st.lists(CELLS, min_size=columns, max_size=columns + 2, unique=True))
    header[0] = header[0].lstrip("\ufeff") or "id"
    header = [*dict.fromkeys(header)]
    while len(header) < columns:
        header.append(f"column {len(header)}")
    wide = st.lists(CELLS, min_size=len(header), max_size=len(header))
    return draw(dialects(header, draw(st.lists(wide, min_size=1, max_size=5))))


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    """A competition that is whole, or has a flaw or two."""
    stems = draw(st.lists(FILE_NAMES.filter(bool), min_size=6, max_size=10, unique=True))
    test_count = draw(st.integers(1, 3))
    folders = {part: draw(st.sampled_from(FOLDERS[part])) for part in ("train", "test")}
    classes = draw(st.lists(CELLS.filter(bool), min_size=2, max_size=4, unique=True))
    suffix = draw(st.sampled_from([".png", ".JPG", ".x.tiff"]))
    odd = draw(st.integers(0, 3 * len(stems)))  # often beyond the last
    ids = [
        draw(bad_ids() if n == odd else id_forms(stem, folders["test" if n < test_count else "train"], suffix))
        for n, stem in enumerate(stems)
    ]
    host = Host()
    for number, stem in enumerate(stems):
        part = folders["test" if number < test_count else "train"]
        host.files[f"{part}/{stem}{suffix}".lstrip("/")] = b"pixels"

    id_name, target = draw(st.lists(CELLS.filter(bool), min_size=2, max_size=2, unique=True))
    id_name = "the id" if id_name.startswith("\ufeff") else id_name
    one_hot = draw(st.booleans()) and id_name not in classes
    targets = classes if one_hot else [target]
    labels = [classes[n % len(classes)] for n in range(len(stems) - test_count)]
    odd_cell = draw(st.sampled_from(["0.5", "0", "", " ".join(classes)]))
    cells = ["0"] * len(targets) if one_hot else [draw(st.sampled_from([*classes, odd_cell]))]
    sample = [[name, *cells] for name in ids[:test_count]]
    parts = {
        "sample_submission.csv": draw(dialects([id_name, *targets], sample)),
        "train.csv": draw(train_tables(id_name, target, classes, one_hot, ids[test_count:], labels)),
    }
    if draw(st.booleans()):
        parts["test.csv"] = draw(dialects([id_name, "extra"], [[name, draw(CELLS)] for name in ids[:test_count]]))
        if id_name == "extra":
            del parts["test.csv"]
    if one_hot and target in parts["train.csv"].header:
        host.settings["label_column"] = target
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        draw(flaws(parts[draw(st.sampled_from(sorted(parts)))]))
    host.files |= {name: table.rendered() for name, table in parts.items()}
    if draw(st.integers(0, 7)) == 7:
        name = draw(st.sampled_from(sorted(parts)))
        host.files[name] = draw(mutated(host.files[name]))
    return host


@st.composite
def id_forms(draw: st.DrawFn, stem: str, folder: str, suffix: str) -> str:
    """A name that a table may give an image: with or without its folder and suffix."""
    whole = f"{folder}/{stem}{suffix}".lstrip("/")
    return draw(st.sampled_from([stem, stem, stem + suffix, whole, "elsewhere/" + whole]))


def bad_ids() -> st.SearchStrategy[str]:
    return st.sampled_from(PATHS) | CELLS


@st.composite
def train_tables(
    draw: st.DrawFn, id_name: str, target: str, classes: list[str], one_hot: bool, ids: list[str], labels: list[str]
) -> Table:
    """Ids with labels, or with a column of 0 and 1 a class; at times with further columns."""
    if one_hot and draw(st.booleans()):
        marked = draw(st.sampled_from(["1", "1.0", "01"]))
        header = [id_name, *classes]
        rows = [
            [name, *(marked if label == each else "0" for each in classes)]
            for name, label in zip(ids, labels, strict=True)
        ]
    else:
        header, rows = [id_name, target], [[name, label] for name, label in zip(ids, labels, strict=True)]
    for name in draw(st.lists(CELLS, max_size=2, unique=True)):
        if name not in header:
            header.append(name)
            rows = [[*row, draw(CELLS)] for row in rows]
    return draw(dialects(header, rows))


@st.composite
def flaws(draw: st.DrawFn, table: Table) -> None:
    """Something wrong with a table, in place."""
    row, column = draw(st.integers(0, len(table.rows) - 1)), draw(st.integers(0, len(table.header) - 1))
    cells = table.rows[row]
    match draw(st.sampled_from(["ragged", "short", "twice", "gone", "cell", "path", "huge", "nul", "header", "none"])):
        case "ragged":
            cells.append(draw(CELLS))
        case "short":
            cells.pop()
        case "twice":
            table.rows.append(list(cells))
        case "gone" if len(table.rows) > 1:
            del table.rows[row]
        case "cell" if column < len(cells):
            cells[column] = draw(CELLS)
        case "path" if cells:
            cells[0] = draw(bad_ids())
        case "huge" if column < len(cells):
            cells[column] = draw(st.sampled_from(["x", "/", "é", '"'])) * draw(
                st.sampled_from([20_000, 131_072, 140_000])
            )
        case "nul" if column < len(cells):
            cells[column] += "\0"
        case "header":
            table.header[column] = draw(CELLS)
        case "none":
            table.rows.clear()
            table.rows.append([""] * len(table.header))
