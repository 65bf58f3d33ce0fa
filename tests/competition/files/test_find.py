"""Images are found by exact names first; a looser match never takes what another name means."""

from pathlib import Path

import pytest

from supcon.competition.files import find
from supcon.competition.files.find import ABSENT, ImageFinder
from supcon.competition.files.index import ImageIndex, part_of
from supcon.competition.files.loose_names import LooseNames, difference, loosened
from supcon.errors import UserError
from tests.competition.conftest import write_images

MISREAD = "é".encode().decode("cp437")


def finder_of(folder: Path, *names: str) -> ImageFinder:
    write_images(folder, names)
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"%d" % number)  # no two are equal
    return ImageFinder(ImageIndex([folder]))


def test_the_search_by_looser_names_costs_nothing_where_all_names_are_exact(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "LooseNames", lambda paths: pytest.fail("it was built"))
    finder = finder_of(folder, "train/1.png", "train/2.png", "test/1.png")
    assert finder.find_all(["2", "1.png"], "train", "train.csv") == ["train/2.png", "train/1.png"]
    assert finder.notes() == []


def test_an_exact_name_wins_over_a_looser_one(folder: Path) -> None:
    finder = finder_of(folder, "a/7.png", "a/007.png", "a/7.JPG")
    assert finder.find_all(["007"], "train", "train.csv") == ["a/007.png"]
    assert finder.find_all(["7.JPG"], "train", "train.csv") == ["a/7.JPG"]


@pytest.mark.parametrize("first", ["train", "test"])
def test_an_image_that_the_other_table_means_is_not_taken_for_an_absent_one(folder: Path, first: str) -> None:
    finder = finder_of(folder, "images/7.png", "images/8.png")
    tables = {"train": ["007"], "test": ["7"]}
    second = "test" if first == "train" else "train"
    if first == "train":
        finder.find_all(tables[first], first, "train.csv")
        with pytest.raises(UserError, match=r"'7', and .*'007', both seem to mean images/7\.png"):
            finder.find_all(tables[second], second, "sample_submission.csv")
    else:
        finder.find_all(tables[first], first, "sample_submission.csv")
        assert finder.find_all(tables[second], second, "train.csv") == [f"{ABSENT}007"]


def test_absent_images_are_counted_in_each_table(folder: Path) -> None:
    finder = finder_of(folder, "train/1.png", "test/2.png")
    assert finder.find_all(["1", "x/../y\n", "/etc/passwd"], "train", "train.csv")[1:] == [
        f"{ABSENT}x_.._y_",
        f"{ABSENT}_etc_passwd",
    ]
    finder.find_all(["2", "3"], "test", "sample_submission.csv")
    with pytest.raises(UserError, match=r"2 of 3 rows .*; .*1 of 2 rows .*, first the id '3' below .*bad_images skip"):
        finder.require_present("error")
    finder.require_present("skip")
    assert [line.rpartition(": ")[2] for line in finder.notes()] == [
        "such rows are left out of training",
        "such rows are given the class shares",
    ]


def test_a_name_in_many_rows_is_one_image(folder: Path) -> None:
    finder = finder_of(folder, "train/0001.png")
    assert finder.find_all(["1", "1", "1"], "train", "train.csv") == ["train/0001.png"] * 3
    assert finder.notes() == ["1 images have other names than in the tables (leading zeros), first"
                              " 'train/0001.png' for '1'"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("train\\1.png", "train/1.png", "backslashes"),
        ("e\u0301", "a/é.png", "Unicode form"),
        (" 1 .png", "a/1.png", "blanks"),
        ("\ufeff1", "a/1.png", "blanks"),
        ("1.jpeg", "a/1.png", "suffix"),
        ("1.dcm", "a/1.png", "suffix"),
        ("IMG_1", "a/img_1.png", "upper and lower case"),
        ("1.0", "a/1.png", "a fraction of 0"),
        ("1.00.jpg", "a/001.png", "leading zeros"),
        ("0", "a/000.png", "leading zeros"),
        ("7\\1.0", "007/01.png", "leading zeros"),
        ("é", f"a/{MISREAD}.png", "code page"),
    ],
)
def test_names_that_differ_as_they_are_written_fit_and_it_is_told(name: str, path: str, kind: str) -> None:
    assert LooseNames([path, "a/other.png"]).fits(name) == [path]
    assert difference(name, path) == kind


@pytest.mark.parametrize(
    ("name", "path"), [("1", "10.png"), ("a.b", "a.png"), ("1.5", "1.png"), ("", ".png"), ("/", "1.png")]
)
def test_names_that_differ_otherwise_do_not_fit(name: str, path: str) -> None:
    assert LooseNames([path]).fits(name) == []


def test_loosening_twice_changes_nothing_more() -> None:
    for name in (" A\\007.0 .PNG", "É/e\u0301.jpg", "0.0", "İ", "ß.tif", " . /..", "a.png.png"):
        assert loosened(loosened(name)) == loosened(name) or name.count(".png") > 1


@pytest.mark.parametrize(
    ("folder_name", "part"),
    [
        *((name, "train") for name in ("train", "traindata", "Training Set", "train_images", "imgs-train", "train19")),
        *((name, "test") for name in ("testdata", "TestImages", "testing", "test-jpg", "dataset_test", "testset")),
        *((name, "") for name in ("trains", "contest", "strain", "latest", "trainer", "images", "tested", "restrain")),
    ],
)
def test_parts_are_told_by_words(folder_name: str, part: str) -> None:
    assert part_of(f"pack/{folder_name}/1.png") == part
