"""Images that are not there, or not what they seem."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.awkward.case import Case, images_in

SKIP = ["--data.bad_images=skip"]
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{:064x}\nsize 1234\n"


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def linked_to(target: str) -> Callable[[Path], None]:
    """Make the ten images img10 ... img19 links."""

    def change(folder: Path) -> None:
        for path in (folder / "train").glob("img1?.png"):
            path.unlink()
            path.symlink_to(target.format(path.name))

    return change


def pointers(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for number, path in enumerate(images_in(folder)):
            path.write_text(text.format(number))

    return change


def table_as_pointer(folder: Path) -> None:
    (folder / "train.csv").write_text(LFS.format(1))


def pipe(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


THREE = ("train/img3.png", "train/img10.png", "test/img104.png")
COUNTS = (
    r"train\.csv: 2 of 24 rows have no image, first the id 'img3';"
    r" sample_submission\.csv: 1 of 6 rows have no image, first the id 'img104'"
)
CASES = [
    Case("absent images", remove(*THREE), asks=f"{COUNTS}.*--data.bad_images skip"),
    Case(
        "the first images of all are absent",
        remove("train/img0.png", "train/img1.png", "train/img2.png", "test/img100.png"),
        asks=r"3 of 24 rows have no image, first the id 'img0'",
    ),
    Case("absent images left out", remove(*THREE), says=r"(?s)3: img3 \(no such file\).*\nnote *train", flags=SKIP),
    Case("no image of train.csv", remove(*(f"train/img{n}.png" for n in range(24))), asks=r"24 of 24 rows", flags=SKIP),
    Case(
        "links of git-annex",
        linked_to("../.git/annex/objects/zQ/8f/SHA256E-s9--f0/{}"),
        asks="10 images cannot be read: .*link without a target; git-annex: fetch them",
    ),
    Case("links of DVC", linked_to("/nowhere/.dvc/cache/{}"), asks="10 images .*without a target; DVC: fetch them"),
    Case("broken links left out", linked_to("gone/{}"), says=r"unreadable *10: .*link without a target", flags=SKIP),
    Case("a link to itself", linked_to("{}"), asks="10 images cannot be read: .*link without a target"),
    Case("Git LFS pointers", pointers(LFS), asks="30 images cannot be read: .*Git LFS pointers: fetch them with"),
    Case("git-annex pointers", pointers("/annex/objects/MD5-s{}--0\n"), asks="30 images .*git-annex: fetch them with"),
    Case("a table as pointer", table_as_pointer, asks=r"train\.csv is no table \(Git LFS pointers: fetch them"),
    Case("a pipe for an image", pipe("train/img7.png"), asks=r"img7\.png \(not a regular file\)"),
    Case("a pipe for an image left out", pipe("train/img7.png"), says="unreadable *1: .*not a regular", flags=SKIP),
    Case("a device for an image", linked_to("/dev/zero"), asks="10 images cannot be read: .*not a regular file"),
    Case("a pipe for a table", pipe("train.csv"), asks=r"train\.csv cannot be read: not a regular file"),
    Case("a pipe for test.csv", pipe("test.csv"), asks=r"test\.csv cannot be read: not a regular file"),
]
