"""Folders that are classes, and others that are none."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.awkward.case import CLASSES, TEST, TRAIN, Case, write_image


def arranged(pattern: str, test: str = "test/img{n}.png") -> Callable[[Path], None]:
    """Lay the training images into folders, by a pattern of their number, class and one of four patients."""

    def change(folder: Path) -> None:
        for number in TRAIN:
            names = {"n": number, "label": CLASSES[number % 3], "patient": f"p{number // 3 % 4}", "day": number % 2}
            write_image(folder / pattern.format(**names), number)
        images = [(folder / "test" / f"img{n}.png", folder / test.format(n=n)) for n in TEST]
        for old, new in images:
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)
        (folder / "train.csv").unlink()
        for path in (folder / "train").glob("*.png"):
            path.unlink()
        if not pattern.startswith("train/"):
            (folder / "train").rmdir()

    return change


def then(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


def copied(source: str, target: str) -> Callable[[Path], None]:
    """Copy a folder, perhaps into itself."""

    def change(folder: Path) -> None:
        shutil.copytree(folder / source, folder / ".copy")
        shutil.move(folder / ".copy", folder / target)

    return change


def another(path: str, number: int = 500) -> Callable[[Path], None]:
    return lambda folder: write_image(folder / path, number)


def asks_for_columns(folder: Path) -> None:
    rows = "".join(f"img{n},0.3,0.3,0.4\n" for n in TEST)
    (folder / "sample_submission.csv").write_text(f"id,{','.join(CLASSES)}\n{rows}")


def clutter(folder: Path) -> None:
    (folder / "__MACOSX" / "train" / "ant").mkdir(parents=True)
    (folder / "__MACOSX" / "train" / "ant" / "._img0.png").write_bytes(b"\0\5\x16\7")


def without_words(folder: Path) -> None:
    """No folder says what it is for; the sample's ids do."""
    arranged("{label}/img{n}.png", "mystery/img{n}.png")(folder)
    sample = folder / "sample_submission.csv"
    sample.write_text(sample.read_text().replace("img", "mystery/img"))


def trains(folder: Path) -> None:
    """A word that only begins with train says nothing of the part."""
    arranged("{label}/img{n}.png", "test/img{n}.png")(folder)
    for old, new in zip(CLASSES, ("cars", "planes", "trains"), strict=True):
        (folder / old).rename(folder / new)


PLAIN = arranged("train/{label}/img{n}.png")
NESTED = arranged("train/{label}/{patient}/img{n}.png")
TWICE = "24 images lie there twice with equal contents"
ASKS_LEVEL = r"level 1 is ant, bee, cat; level 2 is p0, p1, p2 and 1 more: say which level .*--data.class_level"
CASES = [
    Case("folders", PLAIN),
    Case("folders and clutter", then(PLAIN, clutter)),
    Case("one folder name in all classes", arranged("train/{label}/images/img{n}.png")),
    Case("one folder name in all classes, without train", arranged("pack/{label}/images/png/img{n}.png")),
    Case("class, patient", NESTED, asks=ASKS_LEVEL),
    Case("class, patient: the first level", NESTED, flags=["--data.class_level=1"]),
    Case(
        "class, patient: the second level",
        NESTED,
        classes=("p0", "p1", "p2", "p3"),
        flags=["--data.class_level=2"],
        says="'ant' .* no class of the training rows: it is taken to hold",
    ),
    Case(
        "class, patient: a level too deep", NESTED, asks="class_level 3: train/ant/p0", flags=["--data.class_level=3"]
    ),
    Case("class, patient: the sample has a column a class", then(NESTED, asks_for_columns)),
    Case(
        "day, class", arranged("train/day{day}/{label}/img{n}.png"), asks="level 1 is day0, day1; level 2 is ant, bee"
    ),
    Case(
        "some classes in folders of their own",
        then(PLAIN, another("train/cat/kittens/img99.png")),
        asks="folders nest, as in train/ant and train/cat/kittens: level 1 is ant, bee, cat",
    ),
    Case("traindata, testdata", arranged("traindata/{label}/img{n}.png", "testdata/img{n}.png")),
    Case("train2019, test2019", arranged("train2019/{label}/img{n}.png", "test2019/img{n}.png")),
    Case("TrainImages, TestImages", arranged("TrainImages/{label}/img{n}.png", "TestImages/img{n}.png")),
    Case("imgs_train, imgs_test", arranged("imgs_train/{label}/img{n}.png", "imgs_test/unknown/img{n}.png")),
    Case("testset in a wrapper", arranged("bugs/trainset/{label}/img{n}.png", "bugs/testset/img{n}.png")),
    Case("no word for the test images", without_words),
    Case("a class called trains", trains, classes=("cars", "planes", "trains"), says="'ant' .* is taken to hold"),
    Case(
        "doubled within itself",
        then(arranged("bugs/train/{label}/img{n}.png"), copied("bugs", "bugs/bugs")),
        says=TWICE,
    ),
    Case(
        "doubled, without train",
        then(arranged("bugs/{label}/img{n}.png"), copied("bugs", "bugs/bugs")),
        says=f"{TWICE}; used is bugs/ant/img0.png, not bugs/bugs/ant/img0.png",
    ),
    Case("a copy elsewhere", then(PLAIN, copied("train", "backup/train")), says=TWICE),
    Case("all twice, test too", then(PLAIN, copied("test", "test/test")), says="6 images lie there twice"),
    Case(
        "doubled with another content",
        then(PLAIN, copied("train", "train/train"), another("train/train/cat/img2.png")),
        asks="train/.*cat",
    ),
    Case(
        "a copy with another content",
        then(PLAIN, copied("train", "backup/train"), another("backup/train/cat/img2.png")),
        asks=r"backup/train/cat/img2\.png and train/cat/img2\.png are called alike and differ \(1 such images\)",
    ),
    Case(
        "a copy of the images of train.csv",
        then(copied("train", "old/train"), copied("test", "old/test")),
        says="30 images lie there twice",
    ),
    Case(
        "a copy of the images of train.csv that differs",
        then(copied("train", "old/train"), another("old/train/img2.png")),
        asks=r"the id 'img2' fits old/train/img2\.png and train/img2\.png: give the id its folder",
    ),
]
