"""Images in every format, of any depth and number of bands, or as columns of a table; what is no image is named."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.awkward.case import CLASSES, TEST, TRAIN, Case, images_in, pixels, write_tables
from tests.images.make import png_chunk, png_header
from tests.images.tiffs import tiff

Change = Callable[[Path], None]
STRETCH = "try --data.pixel_range data"


def number_of(path: Path) -> int:
    """Return the number of an image."""
    return int(path.stem.removeprefix("img"))


def saved(form: str, suffix: str, *, convert: str = "RGB", **options: object) -> Change:
    """Return the change that makes every image one of another format."""

    def change(folder: Path) -> None:
        for path in list(images_in(folder)):
            image = Image.open(path).convert(convert)
            path.unlink()
            image.save(path.with_suffix(suffix), form, **options)

    return change


def numbers(make: Callable[[int], npt.NDArray[np.generic]], **layout: object) -> Change:
    """Return the change that makes every image a TIFF of the numbers that `make` gives for its number."""

    def change(folder: Path) -> None:
        for path in list(images_in(folder)):
            path.with_suffix(".tif").write_bytes(tiff(make(number_of(path)), **layout))  # type: ignore[arg-type]
            path.unlink()

    return change


def grey(number: int) -> npt.NDArray[np.uint16]:
    """Return an image of 12 bits, [side, side, 1]."""
    return pixels(number)[..., :1].astype(np.uint16) * 16 + 7


def bands(count: int) -> Callable[[int], npt.NDArray[np.uint16]]:
    """Return what makes an image of 16 bits, all of them used, of `count` bands."""
    return lambda number: np.concatenate([pixels(number).astype(np.uint16) * 257] * 5, axis=2)[..., :count]


def decibel(number: int) -> npt.NDArray[np.floating]:
    """Return radar numbers from -35 to 0, some of them none."""
    values = pixels(number)[..., :1].astype(np.float32) / 8 - 35
    values[0, :3] = np.nan
    return values


def content(of: bytes, number: int = 4, suffix: str = "") -> Change:
    """Return the change that gives one training image other bytes."""

    def change(folder: Path) -> None:
        for path in list((folder / "train").glob(f"img{number}.*")):
            path.unlink()
            path.with_suffix(suffix or path.suffix).write_bytes(of)

    return change


def as_bytes(form: str) -> bytes:
    """Return image 4 in a format."""
    out = io.BytesIO()
    Image.fromarray(pixels(4)).save(out, form)
    return out.getvalue()


def renamed(suffix: str) -> Change:
    """Return the change that gives every image a suffix of no image."""

    def change(folder: Path) -> None:
        for path in list(images_in(folder)):
            path.rename(path.with_suffix(suffix))

    return change


def special(make: Callable[[Path], object]) -> Change:
    """Return the change that puts something else than a file in place of one training image."""

    def change(folder: Path) -> None:
        path = folder / "train" / "img4.png"
        path.unlink()
        make(path)

    return change


def panorama(folder: Path) -> None:
    """One image of 8000 x 6, one of 6 x 8000 and one of 1 x 1."""
    for number, shape in ((1, (6, 8000, 3)), (2, (8000, 6, 3)), (5, (1, 1, 3))):
        noise = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
        Image.fromarray(noise).save(folder / "train" / f"img{number}.png")


def table_of_pixels(name: Callable[[int], str], *, ids: bool = False, side: int = 8, first: int = 1) -> Change:
    """Return the change that makes both tables hold the images, a column a pixel, and leaves no files."""

    def change(folder: Path) -> None:
        for path in list(images_in(folder)):
            path.unlink()
        head = ",".join(name(column) for column in range(side * side))
        for part, rows in (("train", TRAIN), ("test", TEST)):
            label = "label," if part == "train" else ""
            lines = [f"{'id,' * ids}{label}{head}"]
            for number in rows:
                values = pixels(number)[:side, :side, number % 3].ravel()
                start = f"{f'img{number},' * ids}{f'{CLASSES[number % 3]},' * bool(label)}"
                lines.append(start + ",".join(map(str, values)))
            (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
        if not ids:
            sample = "".join(f"{first + row},ant\n" for row in range(len(TEST)))
            (folder / "sample_submission.csv").write_text(f"id,label\n{sample}")

    return change


def write_heic(folder: Path) -> None:
    """A phone's images, as it calls them, and tables with their names."""
    content(HEIC, suffix=".HEIC")(folder)
    write_tables(folder, lambda number: f"img{number}.{'HEIC' if number == 4 else 'png'}")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
SLIDE = b"\x89PNG\r\n\x1a\n" + png_chunk(*png_header(14_000, 14_000, 8, 0)) + png_chunk(b"IEND", b"")
FORMATS = {
    ".ppm": "PPM", ".pnm": "PPM", ".jfif": "JPEG", ".jpe": "JPEG", ".avif": "AVIF", ".jp2": "JPEG2000",
    ".j2k": "JPEG2000", ".tga": "TGA", ".TGA": "TGA", ".ico": "ICO", ".dds": "DDS", ".qoi": "QOI", ".pcx": "PCX",
    ".sgi": "SGI",
}  # fmt: skip
UNREAD = {
    "HEIC": HEIC,
    "a film": b"\0\0\0\x18ftypmp42" + bytes(400),
    "DICOM": bytes(128) + b"DICM" + bytes(300),
    "NIfTI": struct.pack("<i", 348) + bytes(340) + b"n+1\0",
    "a NumPy array": b"\x93NUMPY\x01\0",
    "PSD": b"8BPS\0\1",
    "SVG": b"<svg/>",
    "a web page": b"<!DOCTYPE html><html></html>",
}
LAYOUTS: dict[str, dict[str, object]] = {
    "": {}, " in colour": {"photometric": 2}, " in planes": {"planar": True},
    " in tiles": {"tile": 16, "compression": 8, "predictor": 2, "photometric": 2}, " of a Mac": {"big_endian": True},
}  # fmt: skip

CASES = [
    *(Case(f"images are {suffix}", saved(form, suffix), composes=False) for suffix, form in FORMATS.items()),
    Case("images are .pgm", saved("PPM", ".pgm", convert="L"), composes=False),
    *(Case(f"{form} called .png", content(as_bytes(form))) for form in ("AVIF", "JPEG", "WEBP", "TIFF", "JPEG2000")),
    *(Case(f"{name} called .png", content(data), asks=f"img4.png .*but {name}: ") for name, data in UNREAD.items()),
    Case("a phone's HEIC", write_heic, asks="img4.HEIC .*HEIC: convert it to JPEG", composes=False),
    Case("unreadable ones left out", content(HEIC), says="unreadable  1: .*HEIC", flags=["--data.bad_images=skip"]),
    *(
        Case(f"files are {suffix}", renamed(suffix), asks=f"30 files of {name}", composes=False)
        for suffix, name in {".dcm": "DICOM", ".nii": "NIfTI", ".mp4": "films"}.items()
    ),
    *(
        Case(f"{count} bands of 16 bits{how}", numbers(bands(count), **layout),
             says=f"of the {count} bands in 30 images the first three are used: --data.bands", composes=False)
        for count in (4, 5, 9) for how, layout in LAYOUTS.items()
    ),
    Case("3 bands of 16 bits", numbers(bands(3)), composes=False),
    Case("bands are chosen", numbers(bands(4)), flags=["--data.bands=4,3,2"], composes=False),
    Case("a band is lacking", numbers(bands(4)), flags=["--data.bands=5,3,2"],
         asks=r"names band 5, but .*\.tif has 4: name bands from 1 to 4", composes=False),
    Case("12 bits in 16", numbers(grey), says=f"30 images .TIFF. .* % of the range: {STRETCH}", composes=False),
    Case("12 bits stretched", numbers(grey), flags=["--data.pixel_range=data"], composes=False),
    Case("12 bits by numbers", numbers(grey), flags=["--data.pixel_range=0,4095"], composes=False),
    Case("decibel", numbers(decibel), says=f"in 30 images .TIFF. all pixels are alike, 0 of 255: {STRETCH}",
         composes=False),
    Case("decibel stretched", numbers(decibel), flags=["--data.pixel_range=data"], composes=False),
    Case("decibel by numbers", numbers(decibel), flags=["--data.pixel_range=-35,0"], composes=False),
    Case("a huge slide", content(SLIDE), asks="14000 x 14000 pixels, over .* --data.pixel_limit"),
    Case("a limit of one's own", lambda _: None, flags=["--data.pixel_limit=500"], asks="24 x 24 pixels, over"),
    Case("panoramas", panorama),
    Case("a FIFO for an image", special(os.mkfifo), asks="img4.png.*not a regular file"),
    Case("zeros without end for an image", special(lambda path: path.symlink_to("/dev/zero")),
         asks="img4.png.*not a regular file"),
    Case("columns of pixels", table_of_pixels("pixel{}".format), says="the images are the columns of pixels",
         composes=False),
    Case("columns of places", table_of_pixels(lambda column: f"{column // 8 + 1}x{column % 8 + 1}"),
         says=r"\(8 x 8\)", composes=False),
    Case("columns of numbers", table_of_pixels(str, first=0), says="the columns of pixels", composes=False),
    Case("pixels with ids", table_of_pixels("pixel{}".format, ids=True), says="the columns of pixels", composes=False),
    Case("pixels without ids", table_of_pixels("pixel{}".format, first=7),
         asks="test.csv has no column 'id', .* add the column of ids", composes=False),
]  # fmt: skip
