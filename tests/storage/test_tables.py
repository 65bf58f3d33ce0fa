"""CSV files as hosts, spreadsheets and operating systems write them."""

import os
from pathlib import Path

import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.storage.tables import Dialect, read_table, read_with_dialect, write_table

TEXT = "id,label\n1,crème\n2,NA\n"


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        (TEXT.encode(), Dialect()),
        (TEXT.encode("utf-8-sig"), Dialect("utf-8-sig")),
        (TEXT.encode("utf-16"), Dialect("utf-16")),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), Dialect("utf-16")),
        (TEXT.replace(",", ";").encode(), Dialect(delimiter=";")),
        (TEXT.replace(",", "\t").encode(), Dialect(delimiter="\t")),
        (TEXT.replace("\n", "\r\n").encode(), Dialect(line_end="\r\n")),
        (TEXT.replace("\n", "\r").encode(), Dialect(line_end="\r")),
        (TEXT.replace("\n", "\n\n").encode(), Dialect()),
        (TEXT.replace(",", ", ").encode(), Dialect(padding=" ")),
        (b'"id", "label"\n"1",  "cr\xc3\xa8me"\n"2", NA\n', Dialect(padding=" ")),
        (("sep=;\r\n" + TEXT.replace(",", ";")).encode(), Dialect(delimiter=";", sep_line=True)),
        (('"sep=^"\r\n' + TEXT.replace(",", "^")).encode("utf-8-sig"), Dialect("utf-8-sig", "^", sep_line=True)),
    ],
)
def test_encodings_delimiters_and_line_ends_are_read(tmp_path: Path, content: bytes, dialect: Dialect) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert read_table(path).to_dict("list") == {"id": ["1", "2"], "label": ["crème", "NA"]}
    assert read_with_dialect(path)[1] == dialect


def test_a_table_is_written_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    contents = [TEXT.encode(), TEXT.encode("utf-16"), TEXT.replace(",", ";").replace("\n", "\r\n").encode()]
    contents += [TEXT.replace(",", ", ").encode(), ("sep=;\n" + TEXT.replace(",", ";")).encode()]
    for content in contents:
        path.write_bytes(content)
        write_table(tmp_path / "copy.csv", read_table(path), read_with_dialect(path)[1])
        assert (tmp_path / "copy.csv").read_bytes() == content


def test_the_delimiter_is_the_headers_outside_of_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for header in ('id;"a,b"', 'id;"two\nlines, ""so"""', '"id";"5|6, 7"'):
        path.write_text(f"{header}\n1;x\n")
        table, dialect = read_table(path), read_with_dialect(path)[1]
        assert (len(table.columns), table.iloc[0, 1], dialect) == (2, "x", Dialect(delimiter=";"))
        write_table(path, table, dialect)
        assert read_table(path).equals(table)
        assert read_with_dialect(path)[1] == dialect


def test_cells_survive_beside_blanks_behind_delimiters(tmp_path: Path) -> None:
    path, cells = tmp_path / "t.csv", ["a, b", " x", "", 'say "so"', "two\nlines", "5;6", "plain "]
    for name in ("a label", "a, label", " label", "say so"):
        table = pd.DataFrame({"id": cells, name: cells[::-1]}, dtype=str)
        write_table(path, table, Dialect(padding=" "))
        assert read_table(path).equals(table)
    assert path.read_text().startswith("id, say so\n")


def test_a_column_whose_name_begins_with_a_blank_keeps_it(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["1"], " spaced ": [" 0.5"]}, dtype=str)
    write_table(tmp_path / "t.csv", table, Dialect())
    assert read_table(tmp_path / "t.csv").equals(table)


def test_a_cell_with_an_old_line_end_stays_one_cell(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["1", "2"], "label": ["two\rlines", "x"]}, dtype=str)
    for line_end in ("\n", "\r\n", "\r"):
        write_table(tmp_path / "t.csv", table, Dialect(line_end=line_end))
        assert read_table(tmp_path / "t.csv").equals(table)


def test_commas_quotes_and_line_breaks_within_cells_survive(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,label\n1,"a, ""b"""\n2,"two\nlines"\n3,5" pipe\n')
    assert read_table(path)["label"].tolist() == ['a, "b"', "two\nlines", '5" pipe']
    write_table(tmp_path / "copy.csv", read_table(path), Dialect())
    assert read_table(tmp_path / "copy.csv").equals(read_table(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"id,label\n", "has a header and no rows"),
        (b"id,label\na,b,c\n", "line 2 has 3 cells, its header has 2"),
        (b"id,label\na,b\nc\n", "line 3 has 1 cells, its header has 2"),
        (b"id,id\na,b\n", "two columns called 'id'"),
        (b'id,label\n1,"open\n', "line 2 is not CSV"),
        (bytes(range(256)), "is not utf-8 text"),
        (b"PK\x03\x04\x00\x00", "is a spreadsheet or packed"),
        ("id,label\n1,x".encode("utf-16")[:-1], "is not utf-16 text"),
        (b"sep=;\nid;label\na;b;c\n", "line 3 has 3 cells"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is no table .Git LFS pointers: fetch them"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"t\.csv.*{message}"):
        read_table(path)


def test_a_pipe_or_a_device_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"t\.csv cannot be read: not a regular file"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "z.csv").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"z\.csv cannot be read: not a regular file"):
        read_table(tmp_path / "z.csv")
