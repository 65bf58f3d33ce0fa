"""What lies beside the other cases: the same kinds, in other words."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.awkward.case import CLASSES, TEST, TRAIN, Case, images_in, pixels, write_tables

Change = Callable[[Path], None]


def labels(*spellings: str, sample: str = "ant") -> Change:
    """Write both tables; row n has the label of number n % len(spellings)."""

    def change(folder: Path) -> None:
        rows = "".join(f"img{number},{spellings[place % len(spellings)]}\n" for place, number in enumerate(TRAIN))
        (folder / "train.csv").write_text(f"id,label\n{rows}", encoding="utf-8")
        (folder / "sample_submission.csv").write_text(
            "id,label\n" + "".join(f"img{number},{sample}\n" for number in TEST), encoding="utf-8"
        )

    return change


def sample(header: str, cells: str) -> Change:
    """Write a sample whose rows have these cells behind the id."""

    def change(folder: Path) -> None:
        rows = "".join(f"img{number},{cells}\n" for number in TEST)
        (folder / "sample_submission.csv").write_text(f"{header}\n{rows}", encoding="utf-8")

    return change


def replaced(name: str, old: str, new: str) -> Change:
    """Replace text in a table."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def named(name: Callable[[int], str]) -> Change:
    """Write tables that call images so."""
    return lambda folder: write_tables(folder, name)


def renamed(name: Callable[[Path], str]) -> Change:
    """Give all images other names."""

    def change(folder: Path) -> None:
        for path in images_in(folder):
            path.rename(path.with_name(name(path)))

    return change


def test_as(suffix: str) -> Change:
    """Put files of a form that is not read in the place of the test images."""

    def change(folder: Path) -> None:
        for path in images_in(folder / "test"):
            path.rename(path.with_suffix(suffix))

    return change


def arrays(make: Callable[[int, np.ndarray], np.ndarray], suffix: str = ".tif") -> Change:
    """Write the images as numbers of another kind."""

    def change(folder: Path) -> None:
        for path in images_in(folder):
            number = int(path.stem.removeprefix("img"))
            Image.fromarray(make(number, pixels(number)[..., 1])).save(path.with_suffix(suffix))
            path.unlink()

    return change


def pages(folder: Path) -> None:
    for path in images_in(folder / "train"):
        first = Image.open(path)
        first.save(path.with_suffix(".tif"), save_all=True, append_images=[first, first])
        path.unlink()


def archived(name: str) -> Change:
    """Pack the test images into a zip below a folder."""

    def change(folder: Path) -> None:
        content = io.BytesIO()
        paths = list(images_in(folder / "test"))
        with zipfile.ZipFile(content, "w") as file:
            for path in paths:
                file.write(path, f"test/{path.name}")
        for path in paths:
            path.unlink()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.getvalue())

    return change


def zip_called_tar(folder: Path) -> None:
    archived("test.zip")(folder)
    (folder / "test.zip").rename(folder / "test.tar.gz")


def swapped(folder: Path) -> None:
    for path in images_in(folder / "test"):
        path.rename(folder / "train" / path.name)


def left_over(folder: Path) -> None:
    rows = "".join(f"img{number},p{number % 7}\n" for number in TRAIN)
    (folder / "train.csv").write_text(f"id,patient\n{rows}")


def bin_of_windows(folder: Path) -> None:
    for number in TRAIN:
        target = folder / "train" / CLASSES[number % 3] / f"img{number}.png"
        target.parent.mkdir(exist_ok=True)
        (folder / "train" / f"img{number}.png").rename(target)
    (folder / "train" / "$RECYCLE.BIN").mkdir()
    (folder / "train" / "$RECYCLE.BIN" / "old.png").write_bytes((folder / "test" / "img100.png").read_bytes())
    (folder / "train.csv").unlink()


def mapped(folder: Path) -> None:
    (folder / "label_map.json").write_text('{"0": "ant"}')
    for number in TRAIN[:2]:
        (folder / "train" / f"img{number}.png").unlink()


def seven_zip(folder: Path) -> None:
    for path in images_in(folder / "test"):
        path.unlink()
    (folder / "test" / "all.7z").write_bytes(b"7z")


def indexed(folder: Path) -> None:
    rows = "".join(f"{place},img{number},ant\n" for place, number in enumerate(TEST))
    (folder / "sample_submission.csv").write_text(f"index,id,label\n{rows}")


def both(first: Change, second: Change) -> Change:
    """Make two changes."""

    def change(folder: Path) -> None:
        first(folder)
        second(folder)

    return change


CASES = [
    Case("test images in DICOM", test_as(".dcm"), asks=r"the images below .* are 6 files of DICOM", composes=False),
    Case("test images in 7z", seven_zip, asks="all.7z is not unpacked here", composes=False),
    Case("test images among training images", swapped, asks=r"train/img100\.png is not in a folder of test images"),
    Case("images without suffix", renamed(lambda path: path.stem)),
    Case("a zip below a folder", archived("images/test.zip")),
    Case("a zip called tar.gz", zip_called_tar),
    Case("a column that is no label", left_over, asks=r"none is called 'label' .*: name one of .*label_column"),
    Case("no header", replaced("train.csv", "id,label\n", ""), asks="no line that names its columns, 'img0' is"),
    Case("true in three spellings", labels("True", "true", "False", sample="False"), classes=("True", "False"),
         says="'true' for 'True'"),
    Case("a soft hyphen and a wide letter", labels("ant", "a\u00adnt", "\uff41nt", "bee"), classes=("ant", "bee"),
         says="12 rows .* one class"),
    Case("underscores and blanks", labels("red ant", "red_ant", "bee", sample="red ant"), classes=("red ant", "bee"),
         says="'red_ant' for 'red ant'"),
    Case("a list of one", labels('"[\'ant\']"', '"[\'bee\']"'), classes=("ant", "bee"), says="2 classes are written"),
    Case("not a number", labels("ant", "bee", "NaN"), classes=("ant", "bee", "NaN"), says="8 training rows .* 'NaN'"),
    Case("a blank for a label", labels("ant", " ", "bee"), asks=r"row 3 .* has no label \(8 such\)"),
    Case("per cent", sample("id,label", "50%"), asks="holds '50%'"),
    Case("per cent in columns", sample("id,ant,bee,cat", "33%,33%,34%"), asks="holds '33%' in the column 'ant'"),
    Case("per cent settled", sample("id,ant,bee,cat", "33%,33%,34%"), flags=["--data.submit=probability"],
         says="a probability of each of 3 classes"),
    Case("numbers that are no probabilities", sample("id,ant,bee,cat,patient", "0,0,1,104"),
         asks="holds '104' in the column 'patient'"),
    Case("a probability by its name", both(labels("0", "1"), sample("id,probability", "0")),
         classes=("0", "1"), says="the probability of '1'", flags=["--data.label_column=label"]),
    Case("labels between slashes", sample("id,label", "ant/bee/cat"), says="the 3 likeliest labels"),
    Case("labels in capitals", sample("id,label", "Ant Bee"), asks="'Ant Bee'"),
    Case("words for numbers", labels("0", "1", "2"), asks="'ant'.*--data.submit label"),
    Case("usage", sample("id,label,Usage", "ant,Public"), asks=r"\['label', 'Usage'\] beside the ids"),
    Case("index", indexed, says="ids are in the column 'id'"),
    Case("percent signs", both(renamed(lambda path: f"a b{path.stem[3:]}.png"), named("a%20b{}".format)),
         says="30 images .*percent signs"),
    Case("two suffixes", named("img{}.jpg.png".format), says="30 images .*suffix"),
    Case("a dot at the end", named("img{}.".format), says="30 images .*suffix"),
    Case("zeros within", renamed(lambda path: f"img{int(path.stem[3:]):04}.png"), says="30 images .*zeros"),
    Case("blank lines first", replaced("train.csv", "id,label", "\n\nid,label")),
    Case("rows of nothing", replaced("train.csv", "img23,cat\n", "img23,cat\n,\n,\n")),
    Case("a spreadsheet called csv", replaced("train.csv", "id,label", "PK\3\4"), asks="is a spreadsheet or packed"),
    Case("a bin of deleted files", bin_of_windows),
    Case("a map of labels beside absent images", mapped, asks="2 of 24 rows .* is the image folder complete"),
    Case("words in a column called probability", sample("id,prob_label", "ant"), flags=["--data.label_column=label"]),
    Case("floats of two scales", arrays(lambda number, grey: np.multiply(grey, 4 if number % 3 else 0.5, dtype="f4")),
         says=r"scaled each by its own largest number \(10 as they are, 20 as 16 bits\)", composes=False),
    Case("a border without data", arrays(lambda _, grey: np.pad(np.uint16(8) * grey, 2, constant_values=65535)),
         says="pixels use the grey levels", composes=False),
    Case("pages", pages, says="in 24 images of up to 3 pages or pictures the first is used", composes=False),
]  # fmt: skip
