"""Files are whole or absent."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.storage import files
from supcon.storage.files import (
    check_seal,
    digest,
    digest_rows,
    open_npz,
    read_checked_json,
    read_json,
    read_npz,
    remove,
    remove_leftovers,
    sha256_file,
    whole_folder,
    write_atomic,
    write_checked_json,
    write_csv,
    write_json,
    write_npz,
    write_sealed,
)
from supcon.storage.processes import MACHINE
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


def test_a_sealed_file_tells_that_it_is_as_written_and_one_without_a_seal_that_it_has_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_sealed(path, lambda file: [file.write(b"some "), file.write(b"state" * 2_000_000)])
    assert path.read_bytes().startswith(b"some statestate")
    assert check_seal(path)
    content = bytearray(path.read_bytes())
    for place in (0, 5_000_000, len(content) - 30):
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not what was written"):
            check_seal(path)
        content[place] ^= 4
    for whole in (b"", b"made by an earlier version", content[:-100]):
        path.write_bytes(whole)
        assert not check_seal(path)


def test_json_with_a_checksum_comes_back_and_a_change_in_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"ü": [1, 2.5, None], "nested": {"b": True, "a": float("inf")}}
    write_checked_json(path, content)
    assert read_checked_json(path) == content
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(UserError, match=r"a\.json has changed since it was written, or is damaged: mend it"):
        read_checked_json(path, "mend it")
    write_json(path, content)  # an earlier version's
    assert read_checked_json(path) == content


def test_a_folder_in_place_of_a_file_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for read in (read_json, read_npz, open_npz, sha256_file):
        with pytest.raises(UserError, match=r"x cannot be read.*a folder is in its place"):
            read(tmp_path / "x")
    with pytest.raises(UserError, match=r"x cannot be removed \(a folder is in its place\): move it away"):
        remove(tmp_path / "x")
    with pytest.raises(UserError, match=r"x could not be written"):
        write_json(tmp_path / "x", {})
    remove(tmp_path / "absent")


def test_json_of_a_great_depth_is_damaged_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"a\.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_an_array_that_says_to_be_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, {"logits": np.zeros((100, 3), np.float32)})
    assert open_npz(path)["logits"].shape == (100, 3)
    path.write_bytes(path.read_bytes().replace(b"(100, 3)", b"(999, 3)"))
    with pytest.raises(UserError, match="damaged"):
        open_npz(path)


def test_what_dead_writers_of_this_host_left_goes_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = f".classifier.safetensors.{MACHINE}-{dead.pid}.tmp"
    kept = {
        f".classifier.safetensors.{MACHINE}-{os.getpid()}.tmp",  # is being written
        f".classifier.safetensors.{MACHINE}-1.tmp",  # a number used again
        f".classifier.safetensors.other-{dead.pid}.tmp",  # another host's
        f".classifier.safetensors.other-{MACHINE}-x{dead.pid}.tmp",
        f"classifier.{MACHINE}-{dead.pid}.tmp",  # none of ours
        "classifier.safetensors",
    }
    for name in (left, *kept):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / left).touch()  # another lock's
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"below"}
    assert (tmp_path / "below" / left).exists()
    remove_leftovers(tmp_path / "absent")


def test_a_folder_is_there_whole_or_not_at_all_and_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (tmp_path / ".made").mkdir()
    (tmp_path / ".made" / "left").touch()
    with suppress(ZeroDivisionError), whole_folder(folder) as partial:
        assert list(partial.iterdir()) == []
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(folder) as partial:
        (partial / "a").touch()
        assert not folder.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a"]
