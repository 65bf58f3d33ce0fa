"""Files are whole or absent."""

import os
import subprocess
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.storage import files
from supcon.storage.files import (
    digest,
    digest_rows,
    read_json,
    read_npz,
    write_atomic,
    write_csv,
    write_json,
    write_npz,
)
from supcon.storage.processes import HOST
from supcon.storage.tables import read_table


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, lambda file: file.write(b"old"))

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_of_a_file_have_left_goes_with_the_next_write(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    others = [
        f".file.{HOST}-{os.getppid()}.tmp",  # it runs
        f".file.elsewhere-{ended.pid}.tmp",
        f".file2.{HOST}-{ended.pid}.tmp",  # what writes that file will see to
        f".file.{HOST}-own.tmp",
    ]
    for name in [f".file.{HOST}-{ended.pid}.tmp", *others]:
        (tmp_path / name).write_text("half")
    write_atomic(tmp_path / "file", lambda file: file.write(b"whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", *others])


def test_equal_arrays_give_equal_bytes_and_come_back(tmp_path: Path) -> None:
    arrays = {"ids": np.array(["a", "ü"]), "logits": np.arange(6, dtype=np.float32).reshape(2, 1, 3)}
    for name in ("one.npz", "two.npz"):
        write_npz(tmp_path / name, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(read_npz(tmp_path / "one.npz")) == ["ids", "logits"]
    np.testing.assert_array_equal(read_npz(tmp_path / "one.npz")["logits"], arrays["logits"])


def test_damaged_and_absent_files_are_named(tmp_path: Path) -> None:
    for read, name in ((read_npz, "a.npz"), (read_json, "a.json")):
        with pytest.raises(UserError, match=rf"{name} is missing"):
            read(tmp_path / name)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match=r"a\.npz is damaged"):
        read_npz(tmp_path / "a.npz")
    for text in ("{", "[1]"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match=r"a\.json"):
            read_json(tmp_path / "a.json")


def test_csv_cells_stay_the_strings_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["001", "NA"], "label": ["", "1.0"]})
    write_csv(tmp_path / "a.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.csv"), table, check_dtype=False)


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"class": "crème"})
    assert "crème" in (tmp_path / "a.json").read_text()
    assert read_json(tmp_path / "a.json") == {"class": "crème"}


def test_rows_are_hashed_in_parts_as_their_list_is_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 3)
    for count in (0, 1, 3, 4, 9):
        rows = [(f"é{number}", number) for number in range(count)]
        assert digest_rows(iter(rows)) == digest([list(row) for row in rows])
