"""Which image in a container is whose: by name, or by numbers that stand beside the ids; never by chance."""

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supcon.competition.files.index import ImageIndex
from supcon.competition.files.row_numbers import row_numbers
from supcon.competition.sample import read_sample
from supcon.errors import UserError
from supcon.images import parquet
from supcon.images.decode import decode
from supcon.images.members import open_image
from supcon.settings.settings import DataSettings
from tests.awkward.case import CLASSES, TEST, TRAIN, Case, images_in, ordinary, pixels
from tests.awkward.containers import CASES
from tests.awkward.shipped import damaged, instead, jpeg, keys, npy, opaque, stacked
from tests.competition.conftest import Read

Change = Callable[[Path], None]


@pytest.mark.parametrize("case", [case for case in CASES if not case.asks], ids=lambda case: case.name)
def test_every_row_has_its_own_image(case: Case, folder: Path, read: Read) -> None:
    ordinary(folder)
    case.change(folder)
    settings = dict(flag.removeprefix("--data.").split("=") for flag in case.flags)
    competition = read(**settings)
    train = competition.train
    files = dict(zip([*train["label"], *[""] * len(competition.test)], competition.files, strict=False))
    assert set(files) >= set(CLASSES)
    for file, label, id_ in zip(competition.files, train["label"], train["id"], strict=False):
        if (id_, settings) != ("img4", {"bad_images": "skip"}):
            assert decode(file).mean(axis=(0, 1)).argmax() == CLASSES.index(label), file
    for number, id_, file in zip(TEST, competition.test["id"], list(competition.files)[len(train) :], strict=True):
        assert id_ in (f"img{number}", str(number - TEST[0]), str(number - TEST[0] + 1))
        assert np.abs(decode(file).astype(int) - pixels(number)).mean() < 8  # a JPEG's loss


ROWS = ["4", "2", "0", "1", "3"]


@pytest.mark.parametrize(
    ("columns", "numbers"),
    [
        ({"id": ["a", "b", "c", "d", "e"], "row": ROWS}, [4, 2, 0, 1, 3]),
        ({"id": ["a", "b", "c", "d", "e"], "Unnamed: 0": ROWS}, [4, 2, 0, 1, 3]),
        ({"id": ["a", "b", "c", "d", "e"], "array_index": ROWS, "": list("01234")}, None),
        ({"id": list("01234")}, [0, 1, 2, 3, 4]),
        ({"ID": list("12345")}, [0, 1, 2, 3, 4]),
        ({"id": ["0001", "0002", "0003", "0004", "0005"]}, [0, 1, 2, 3, 4]),
        ({"label": list("aabbc")}, [0, 1, 2, 3, 4]),
        ({"label": list("aabb")}, None),
        ({"id": ROWS}, None),  # in another order: by number or by place, nobody can tell
        ({"id": list("23456")}, None),
        ({"id": list("0123")}, None),
        ({"id": list("01234"), "row": ROWS}, None),
        ({"id": list("01234"), "row": list("01234")}, [0, 1, 2, 3, 4]),
        ({"id": ["a", "b", "c", "d", "e"], "row": list("12345")}, None),
        ({"id": ["a", "b", "c", "d", "e"], "label": list("01234")}, None),
    ],
)
def test_a_row_is_known_by_a_number_that_nothing_contradicts(
    folder: Path, columns: dict[str, list[str]], numbers: list[int] | None
) -> None:
    (folder / "sample_submission.csv").write_text("id,label\n7,a\n")
    sample, table = read_sample(folder / "sample_submission.csv"), pd.DataFrame(columns, dtype=str)
    if numbers is not None:
        assert row_numbers(table, Path("train.csv"), "x.npy", 5, sample, DataSettings()) == numbers
        return
    with pytest.raises(UserError, match=r"--data\.image_column"):
        row_numbers(table, Path("train.csv"), "x.npy", 5, sample, DataSettings())


@pytest.mark.parametrize("cells", [["0", "1", "1"], ["0", "1", "5"], ["0", "1", "x"], ["0", "1", "-1"], ["0", "", "2"]])
def test_a_column_that_is_named_must_number_rows_that_there_are(folder: Path, cells: list[str]) -> None:
    (folder / "sample_submission.csv").write_text("id,label\n7,a\n")
    sample, settings = read_sample(folder / "sample_submission.csv"), DataSettings(image_column="at")
    table = pd.DataFrame({"id": list("abc"), "at": ["0", "4", "2"]}, dtype=str)
    assert row_numbers(table, Path("train.csv"), "x.npy", 5, sample, settings) == [0, 4, 2]
    table["at"] = cells
    with pytest.raises(UserError, match=r"train\.csv: the column 'at' does not number the 5 images in x\.npy"):
        row_numbers(table, Path("train.csv"), "x.npy", 5, sample, settings)


def write(folder: Path) -> None:
    ordinary(folder)
    keys(opaque)(folder)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_library_that_is_missing_is_told_to_those_who_need_it(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    write(folder)
    monkeypatch.setitem(sys.modules, "h5py", None)
    other = {"train": TEST, "test": TRAIN}[part]
    for number in other:
        path = folder / ("test" if part == "train" else "train") / f"img{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(number))
    with pytest.raises(UserError, match=r"-image\.hdf5 holds what h5py reads.* -m pip install h5py=="):
        read()
    for number in (*TRAIN, *TEST):
        path = folder / ("train" if number in TRAIN else "test") / f"img{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(number))
    assert len(read().train) == 24


def test_a_table_of_parquet_without_its_library_is_named(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary(folder)
    (folder / "train.csv").unlink()
    pq.write_table(pa.table({"id": ["img0"], "label": ["ant"]}), folder / "train.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"train\.parquet holds what pyarrow reads.* -m pip install pyarrow=="):
        read()


def test_a_container_that_nobody_needs_may_be_damaged(folder: Path, read: Read) -> None:
    ordinary(folder)
    (folder / "train-features.npy").write_bytes(b"rubbish")
    np.save(folder / "train-other.npy", np.ones((24, 512)))
    assert len(read().train) == 24


def test_an_array_without_a_table_of_labels_says_how_to_write_it(folder: Path, read: Read) -> None:
    ordinary(folder)
    instead(npy, counted=0)(folder)
    (folder / "train.csv").unlink()
    with h5py.File(folder / "train.h5", "w") as file:
        file["x"], file["y"] = stacked(TRAIN), np.zeros(24)
    (folder / "train_images.npy").unlink()
    with pytest.raises(UserError, match=r"x holds 24 training images, .*also holds y \[24\].*to_csv\('train\.csv'"):
        read()


def test_two_arrays_of_one_part_are_asked_about(folder: Path, read: Read) -> None:
    ordinary(folder)
    instead(npy, counted=0)(folder)
    np.save(folder / "train_masks.npy", stacked(TRAIN))
    with pytest.raises(UserError, match=r"train_images\.npy and .*train_masks\.npy both hold images of train"):
        read()


def test_an_array_whose_name_does_not_tell_its_part_is_asked_about_or_numbered(folder: Path, read: Read) -> None:
    ordinary(folder)
    for path in list(images_in(folder)):
        path.unlink()
    np.save(folder / "images.npy", stacked((*TEST, *TRAIN)))
    with pytest.raises(UserError, match=r"images\.npy holds 30 images by number, and no name says whether of train"):
        read()
    rows = "".join(f"img{number},{CLASSES[number % 3]},{number + len(TEST)}\n" for number in TRAIN)
    (folder / "train.csv").write_text(f"id,label,at\n{rows}")
    (folder / "test.csv").write_text("id,at\n" + "".join(f"img{n},{n - TEST[0]}\n" for n in TEST))
    competition = read(image_column="at")
    for number, file in zip((*TRAIN, *TEST), competition.files, strict=True):
        np.testing.assert_array_equal(decode(file), pixels(number))


@pytest.mark.parametrize("change", [lambda _: None, keys(opaque)])
def test_arrays_beside_images_with_names_are_left_alone(folder: Path, read: Read, change: Change) -> None:
    ordinary(folder)
    change(folder)
    np.save(folder / "train_masks.npy", stacked((*TRAIN, *TEST))[..., 0])
    assert not [path for path in read().paths if "masks" in path]


def test_a_key_in_two_containers_is_one_image_or_asked_about(folder: Path, read: Read) -> None:
    write(folder)
    twin = folder / "train-image-v2.hdf5"
    twin.write_bytes((folder / "train-image.hdf5").read_bytes())
    assert any("24 images lie there twice with equal contents" in note for note in read().notes)
    twin.unlink()
    with h5py.File(twin, "w") as file:
        for number in TRAIN:
            file[f"img{number}"] = np.void(jpeg(7 if number == 4 else number))
    with pytest.raises(UserError, match=r"'img4' fits train-image-v2\.hdf5/img4 and train-image\.hdf5/img4"):
        read()


def test_groups_of_keys_may_be_classes_as_folders_are(folder: Path, read: Read) -> None:
    ordinary(folder)
    for path in list(images_in(folder / "train")):
        path.unlink()
    (folder / "train.csv").unlink()
    with h5py.File(folder / "train.h5", "w") as file:
        for number in TRAIN:
            file[f"{CLASSES[number % 3]}/img{number}"] = np.void(jpeg(number))
    competition = read()
    assert competition.classes == list(CLASSES)
    assert len(competition.train) == 24


def test_what_lies_in_one_piece_is_copied_once_and_told(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ordinary(folder)
    instead(npy, counted=0)(folder)
    (folder / "train_images.npy").unlink()
    np.savez_compressed(folder / "train.npz", stacked(TRAIN))
    first = read()
    assert "train.npz cannot be read one image at a time: all are written once into" in capsys.readouterr().out
    assert capsys.readouterr().out == ""
    assert read().paths == first.paths
    assert capsys.readouterr().out == ""
    np.savez_compressed(folder / "train.npz", stacked(TRAIN[::-1]))
    second = read()
    np.testing.assert_array_equal(decode(second.files[0]), pixels(TRAIN[-1]))
    monkeypatch.setattr(parquet, "NEIGHBOURS", 100)
    table = pa.table({"id": [str(n) for n in TRAIN], "label": [CLASSES[n % 3] for n in TRAIN]})
    pq.write_table(table.append_column("image", pa.array(list(map(jpeg, TRAIN)))), folder / "train.parquet")
    (folder / "train.npz").unlink()
    (folder / "train.csv").unlink()
    for number, file in zip(TRAIN, read().files, strict=False):
        with open_image(str(file)) as image:
            assert image.read() == jpeg(number)


def test_a_bomb_is_not_unpacked(folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary(folder)
    instead(npy, counted=0)(folder)
    (folder / "train_images.npy").unlink()
    monkeypatch.setattr("supcon.competition.files.containers._BOMB_BYTES", 1000)
    np.savez_compressed(folder / "train.npz", np.zeros((24, 400, 400), np.uint8))
    with pytest.raises(UserError, match=r"train\.npz would unpack to .* looks like a decompression bomb"):
        read()
    assert not list((folder.parent / "cache").glob("*rows-*"))


def test_a_piece_that_is_damaged_leaves_no_copy(folder: Path, read: Read) -> None:
    ordinary(folder)
    instead(npy, counted=0)(folder)
    (folder / "train_images.npy").unlink()
    np.savez_compressed(folder / "train.npz", stacked(TRAIN))
    damaged(lambda _: None, "train.npz", lambda data: data[:9000] + bytes(900) + data[9900:])(folder)
    with pytest.raises(UserError, match=r"train\.npz is not a whole NumPy file"):
        read()
    assert not list((folder.parent / "cache").glob("*rows-*"))


def test_an_image_without_a_suffix_is_found_as_fast_as_any(tmp_path: Path) -> None:
    index = ImageIndex([tmp_path])
    index.include([f"train.hdf5/id{number}" for number in range(1000)], 0)
    assert max(len([paths] if isinstance(paths, str) else paths) for paths in index._by_stem.values()) == 1
    assert index.matches("id7", "train") == ["train.hdf5/id7"]
