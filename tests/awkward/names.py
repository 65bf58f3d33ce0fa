"""Images whose files are called otherwise than the tables write them: what systems and spreadsheets do to names."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

from tests.awkward.case import TEST, TRAIN, Case, images_in, write_image, write_tables


def named(files: Callable[[str], str], ids: Callable[[int], str] | None = None) -> Callable[[Path], None]:
    """Rename the images by their stems, and write the tables anew with other ids."""

    def change(folder: Path) -> None:
        for path in images_in(folder):
            path.rename(path.with_name(files(path.stem) + path.suffix))
        if ids:
            write_tables(folder, ids)

    return change


def suffix(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in images_in(folder):
            write_image(path.with_suffix(kind), int(path.stem[3:]))
            path.unlink()
        write_tables(folder, "img{}.jpg".format)

    return change


def german(number: int) -> str:
    return f"Müller_é{number}"


def decomposed(stem: str) -> str:
    return unicodedata.normalize("NFD", german(int(stem[3:])))


def windows(number: int) -> str:
    return f"{'train' if number in TRAIN else 'test'}\\img{number}.png"


def moved_ids(number: int) -> str:
    return f"C:\\Users\\me\\comp\\{windows(number)}"


def everything_at_once(folder: Path) -> None:
    """Two kinds and more, one on top of the other: Windows' slashes, a spreadsheet's number, the camera's suffix."""
    for path in images_in(folder):
        write_image(path.with_name(f"{int(path.stem[3:]):06d}.JPG"), int(path.stem[3:]))
        path.unlink()
    write_tables(folder, lambda number: f" {'train' if number in TRAIN else 'test'}\\{number}.0.jpeg ")


def two_that_fit(folder: Path) -> None:
    """Neither is called as the table says, and either may be meant."""
    named(lambda stem: stem[3:].zfill(4), str)(folder)
    write_image(folder / "train" / "005.png", 8)


def taken_by_another(folder: Path) -> None:
    """The image of 007 is gone; 7.png is another row's."""
    named(lambda stem: stem[3:], str)(folder)
    (folder / "train" / "9.png").rename(folder / "train" / "x.png")
    table = folder / "train.csv"
    table.write_text(table.read_text().replace("\n9,", "\n007,"))


def two_ids_for_one_image(folder: Path) -> None:
    named(lambda stem: stem[3:].zfill(4), str)(folder)
    table = folder / "train.csv"
    table.write_text(table.read_text().replace("\n9,", "\n7.0,"))


def table_of_numbers(folder: Path) -> None:
    """The sample kept its zeros, test.csv went through a spreadsheet."""
    named(lambda stem: stem[3:].zfill(5), lambda number: f"{number:05d}")(folder)
    (folder / "test.csv").write_text("id,width\n" + "".join(f"{number}.0,24\n" for number in TEST))


def same_name_in_every_class(folder: Path) -> None:
    """Paths with other folders on top: the deepest folders tell which of several is meant."""
    for path in images_in(folder / "train"):
        number = int(path.stem[3:])
        target = folder / "pack" / "train" / f"c{number % 3}" / f"{number // 3}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    shutil.rmtree(folder / "train")
    write_tables(folder, lambda number: f"train/c{number % 3}/{number // 3}" if number in TRAIN else f"img{number}")


CASES = [
    Case("the table composed, the files decomposed", named(decomposed, german), says=r"30 images .*\(Unicode form\)"),
    Case(
        "the table decomposed, the files composed",
        named(lambda stem: german(int(stem[3:])), lambda number: decomposed(f"img{number}")),
        says=r"\(Unicode form\)",
    ),
    Case("backslashes", named(str, windows), says=r"\(backslashes\), first 'train/img0.png' for"),
    Case("paths of another computer", named(str, moved_ids), says="30 images .*backslashes"),
    Case("suffix in capitals", suffix(".JPG"), says=r"30 images .*\(suffix\), first 'train/img0.JPG' for"),
    Case("another suffix", suffix(".webp"), says=r"\(suffix\)"),
    Case(
        "converted from DICOM",
        lambda folder: write_tables(folder, "img{}.dcm".format),
        says=r"\(suffix\), .*'img0.dcm'",
    ),
    Case("a name in capitals", named(str.upper), says=r"\(upper and lower case\)"),
    Case("blanks around ids", lambda folder: write_tables(folder, " img{} ".format), says=r"\(blanks\)"),
    Case("blanks around file names", named(lambda stem: f" {stem} "), says=r"\(blanks\)"),
    Case("leading zeros lost", named(lambda stem: stem[3:].zfill(5), str), says="30 images .*leading zeros"),
    Case("leading zeros added", named(lambda stem: stem[3:], "{:04d}".format), says=r"\(leading zeros\)"),
    Case("numbers with a fraction", named(lambda stem: stem[3:], "{}.0".format), says=r"\(a fraction of 0\)"),
    Case("a fraction, a suffix and no zeros", everything_at_once, says="30 images .*leading zeros", composes=False),
    Case("two images fit", two_that_fit, asks=r"the id '5' fits train/0005\.png and train/005\.png", composes=False),
    Case("another row's image", taken_by_another, asks="1 of 24 rows have no image, first .*'007'", composes=False),
    Case("two ids, one image", two_ids_for_one_image, asks=r"'7\.0', and .*'7', both seem to mean", composes=False),
    Case("test.csv through a spreadsheet", table_of_numbers, says="6 images .*zeros", composes=False),
    Case("one name in every class", same_name_in_every_class, composes=False),
]
