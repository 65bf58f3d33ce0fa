"""A table whose columns are pixels is read as images: which pixel goes where, and to which id it belongs."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from supcon.competition.read import Competition, read_competition
from supcon.errors import UserError
from supcon.images.decode import decode
from supcon.settings.settings import DataSettings
from tests.competition.conftest import write_images

TRAIN = np.random.default_rng(0).integers(0, 256, (12, 64))
TEST = np.random.default_rng(1).integers(0, 256, (5, 64))
Names = Callable[[int], str]


def lines(values: np.ndarray, first: Sequence[object] | None = None) -> str:
    rows = [",".join(f"{value:g}" for value in row) for row in values]
    return "\n".join(f"{cell},{row}" for cell, row in zip(first, rows, strict=True)) if first else "\n".join(rows)


def write(
    folder: Path,
    name: Names = "pixel{}".format,
    train: np.ndarray = TRAIN,
    test: np.ndarray = TEST,
    test_ids: Sequence[object] | None = None,
    sample_ids: Sequence[object] = range(1, 6),
    order: Sequence[int] | None = None,
) -> None:
    """Write a competition of 8 x 8 pixels in three classes, the columns in another `order` where it is given."""
    folder.mkdir(parents=True, exist_ok=True)
    order = order or list(range(train.shape[1]))
    head = ",".join(name(column) for column in order)
    labels = [row % 3 for row in range(len(train))]
    (folder / "train.csv").write_text(f"label,{head}\n{lines(train[:, order], labels)}\n")
    (folder / "test.csv").write_text(f"{'ImageId,' if test_ids else ''}{head}\n{lines(test[:, order], test_ids)}\n")
    (folder / "sample_submission.csv").write_text("ImageId,Label\n" + "".join(f"{cell},0\n" for cell in sample_ids))


def read(root: Path, **data: object) -> Competition:
    return read_competition(root / "input", root / "cache", DataSettings(**data))  # type: ignore[arg-type]


def images(competition: Competition) -> np.ndarray:
    return np.stack([decode(file)[..., 0] for file in competition.files])


@pytest.mark.parametrize(
    "name",
    [
        "pixel{}".format, "pixel_{}".format, "Pixel {}".format, "px{}".format, "{}".format,
        lambda column: f"pixel{column + 1:04d}", lambda column: f"{column // 8 + 1}x{column % 8 + 1}",
        lambda column: f"pixel_{column // 8}_{column % 8}",
    ],
)  # fmt: skip
def test_columns_of_every_naming_are_put_in_the_order_of_their_numbers(tmp_path: Path, name: Names) -> None:
    order = np.random.default_rng(2).permutation(64).tolist()
    for columns in (None, order):
        shutil.rmtree(tmp_path / "input", ignore_errors=True)
        write(tmp_path / "input", name, order=columns)
        competition = read(tmp_path)
        np.testing.assert_array_equal(images(competition), np.concatenate([TRAIN, TEST]).reshape(-1, 8, 8))
        assert competition.train["label"].tolist() == [str(row % 3) for row in range(12)]
        assert competition.train["id"].tolist() == [str(row + 1) for row in range(12)]
        assert competition.test["id"].tolist() == ["1", "2", "3", "4", "5"]
        assert re.match(
            r"the images are the columns of pixels in train\.csv and test\.csv \(8 x 8\).*", competition.notes[0]
        )


def test_test_rows_have_the_ids_beside_them_or_the_number_that_the_sample_gives_them(tmp_path: Path) -> None:
    ids = ["x5", "x4", "x3", "x2", "x1"]
    write(tmp_path / "own" / "input", test_ids=ids, sample_ids=ids[::-1])
    write(tmp_path / "zero" / "input", sample_ids=range(5))
    write(tmp_path / "turned" / "input", sample_ids=[3, 2, 1, 5, 4])
    rows = {"own": [4, 3, 2, 1, 0], "zero": [0, 1, 2, 3, 4], "turned": [2, 1, 0, 4, 3]}
    for root, expected in rows.items():
        competition = read(tmp_path / root)
        np.testing.assert_array_equal(images(competition)[12:], TEST[expected].reshape(-1, 8, 8))


@pytest.mark.parametrize("ids", [["a", "b", "c", "d", "e"], range(7, 12), range(1, 5), range(1, 7)])
def test_test_rows_without_ids_are_asked_for_them(tmp_path: Path, ids: Sequence[object]) -> None:
    write(tmp_path / "input", sample_ids=ids)
    with pytest.raises(
        UserError, match=r"test\.csv has no column 'ImageId', and sample_submission\.csv does not number"
    ):
        read(tmp_path)
    assert not list((tmp_path / "cache").glob("*tables*"))


def test_three_numbers_a_pixel_are_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(0, 256, (12, 192))
    write(tmp_path / "input", train=colours, test=colours[:5])
    competition = read(tmp_path)
    np.testing.assert_array_equal(decode(competition.files[7]), colours[7].reshape(8, 8, 3))
    assert "(8 x 8, RGB pixel by pixel)" in competition.notes[0]


def test_all_numbers_in_one_cell_are_an_image_too(tmp_path: Path) -> None:
    folder = tmp_path / "input"
    write(folder)
    for name, values in (("train.csv", TRAIN), ("test.csv", TEST)):
        cells = [" ".join(map(str, row)) for row in values]
        first = "emotion,pixels\n" if name == "train.csv" else "pixels\n"
        labels = [f"{row % 3}," if name == "train.csv" else "" for row in range(len(values))]
        (folder / name).write_text(
            first + "".join(f"{label}{cell}\n" for label, cell in zip(labels, cells, strict=True))
        )
    np.testing.assert_array_equal(images(read(tmp_path)), np.concatenate([TRAIN, TEST]).reshape(-1, 8, 8))
    (folder / "train.csv").write_text((folder / "train.csv").read_text() + "0,1 2 3\n")
    with pytest.raises(UserError, match=r"train\.csv: row 14 does not hold 64 numbers, as the first does"):
        read(tmp_path)


def test_parts_of_one_are_stretched_in_both_tables(tmp_path: Path) -> None:
    write(tmp_path / "input", train=TRAIN / 255, test=TEST / 255)
    assert np.abs(images(read(tmp_path)).astype(int) - np.concatenate([TRAIN, TEST]).reshape(-1, 8, 8)).max() <= 1


def broken(value: str) -> str:
    first, *rest = lines(TRAIN, [0] * 12).split("\n")
    cells = rest[2].split(",")
    cells[5] = value
    rest[2] = ",".join(cells)
    return "label," + ",".join(f"pixel{column}" for column in range(64)) + "\n" + "\n".join([first, *rest]) + "\n"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("300", "row 5 holds 300 as pixel 5: whole numbers from 0 to 255 are read, or parts of 1"),
        ("-1", "row 5 holds -1 as pixel 5"),
        ("7.5", r"row 5 holds 7\.5 as pixel 5"),
        ("nan", r"cannot be read as a table of pixels \(.*mend that row"),
        ("", r"cannot be read as a table of pixels \(.*mend that row"),
        ("grey", r"cannot be read as a table of pixels \(.*grey.*mend that row"),
        ("1,2", r"cannot be read as a table of pixels \(.*mend that row"),
    ],
)
def test_a_cell_that_is_no_pixel_is_named_and_nothing_is_left_behind(tmp_path: Path, value: str, reason: str) -> None:
    write(tmp_path / "input")
    (tmp_path / "input" / "train.csv").write_text(broken(value))
    with pytest.raises(UserError, match=rf"train\.csv:? {reason}"):
        read(tmp_path)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_a_row_that_is_cut_off_is_named(tmp_path: Path) -> None:
    write(tmp_path / "input")
    table = tmp_path / "input" / "train.csv"
    table.write_text(table.read_text()[:-20])
    with pytest.raises(UserError, match=r"train\.csv cannot be read as a table of pixels"):
        read(tmp_path)


def test_pixels_that_make_no_square_and_places_that_leave_a_gap_are_named(tmp_path: Path) -> None:
    write(tmp_path / "input", train=TRAIN[:, :-1].repeat(2, axis=1), test=TEST.repeat(2, axis=1))
    with pytest.raises(UserError, match=r"train\.csv holds 126 pixels a row, which make no square"):
        read(tmp_path)
    write(tmp_path / "gap" / "input", lambda column: f"{column // 8 + (column == 63)}x{column % 8}")
    with pytest.raises(UserError, match="64 columns of pixels, not 9 x 8: a pixel is missing"):
        read(tmp_path / "gap")


def test_they_are_written_once_and_anew_when_the_table_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "input")
    first = images(read(tmp_path))
    assert "are written into" in capsys.readouterr().out
    read(tmp_path)
    assert capsys.readouterr().out == ""
    write(tmp_path / "input", train=TRAIN[::-1])
    assert not np.array_equal(images(read(tmp_path)), first)


def test_more_columns_stay_what_they_are(tmp_path: Path) -> None:
    write(tmp_path / "input")
    table = tmp_path / "input" / "train.csv"
    head, *rows = table.read_text().splitlines()
    named = [f"id{row},p{row % 4},{line}" for row, line in enumerate(rows)]
    table.write_text("\n".join([f"ImageId,patient,{head}", *named]) + "\n")
    competition = read(tmp_path, label_column="label", group_column="patient")
    assert competition.train["id"].tolist()[:2] == ["id0", "id1"]
    assert competition.train["group"].tolist()[:5] == ["p0", "p1", "p2", "p3", "p0"]
    np.testing.assert_array_equal(images(competition)[:12], TRAIN.reshape(-1, 8, 8))


def test_columns_of_pixels_beside_image_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "input")
    write_images(tmp_path / "input", [f"{part}/{row}.png" for part in ("train", "test") for row in range(1, 6)])
    with pytest.raises(UserError, match="ImageId"):
        read(tmp_path)
    assert not list((tmp_path / "cache").glob("tables-*"))


def test_a_picture_beside_them_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "input")
    write_images(tmp_path / "input", ["alphabet.png", "about/letters.png"])
    competition = read(tmp_path)
    np.testing.assert_array_equal(images(competition), np.concatenate([TRAIN, TEST]).reshape(-1, 8, 8))


def test_a_number_that_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path / "input", lambda column: f"pixel{column + (column > 30)}")
    with pytest.raises(UserError, match=r"64 columns of pixels, numbered from 0 to 64: a pixel is missing"):
        read(tmp_path)


def test_a_table_without_names_is_asked_for_them(tmp_path: Path) -> None:
    write(tmp_path / "input")
    table = tmp_path / "input" / "train.csv"
    table.write_text(table.read_text().split("\n", 1)[1])
    with pytest.raises(UserError, match=r"train\.csv has no line that names its columns: add one"):
        read(tmp_path)


@pytest.mark.parametrize(
    "head", ["label,pixels\n", "label," + ",".join(f"pixel{n}" for n in range(64)) + "\n", "\n", ""]
)
def test_a_table_without_rows_is_named(tmp_path: Path, head: str) -> None:
    write(tmp_path / "input")
    (tmp_path / "input" / "train.csv").write_text(head)
    with pytest.raises(UserError, match=r"train\.csv has a header and no rows|has no images"):
        read(tmp_path)


def test_tables_of_features_are_no_images(tmp_path: Path) -> None:
    write(tmp_path / "input", "feature{}".format)
    with pytest.raises(UserError, match="has no images: put the host's image folders"):
        read(tmp_path)
