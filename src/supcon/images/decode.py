"""An image file in, RGB pixels out: plain JPEG and PNG by cv2, all else by Pillow; what is damaged gets a reason.

cv2 takes a third of Pillow's time for a small JPEG (41 and 133 microseconds at 48 x 48). Both give the same pixels.
A JPEG holds no checksum: flipped bits within a whole file are decoded as they stand.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from supcon.errors import UserError
from supcon.images.formats import HEAD, sniff
from supcon.images.geometry import Image, Unreadable, check_pixels
from supcon.images.members import open_image
from supcon.images.reading import DEFAULT, Reading, Values, scale_of

DECODER = 3  # raised whenever a file's pixels would come out otherwise than before: then every cache is made anew

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # neither a stuffed byte, a restart nor a filler
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_JPEG = 0xDA, 0xD9
_PNG_GREY, _PNG_RGB = 0, 2  # colour types
_GIF_EXTENSION, _GIF_FRAME, _GIF_END = 0x21, 0x2C, 0x3B

_TRUNCATED = "truncated: its end mark is missing"

# of an image's height and width, those that are enough of it
Enough = Callable[[int, int], tuple[int, int]]
_REDUCED = {  # flags by the divisor of the sides: of grey, since RGB comes beside and must not be named twice
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}


class Decoded(NamedTuple):
    """The content of an image file."""

    image: Image
    kind: str  # its format, one of `FORMATS`
    bands: int  # that the file holds, 3 of a grey JPEG too
    frames: int  # pages, or pictures of an animation; the first is read
    scale: float  # what its numbers were multiplied by; 1 of 8 bits
    depth: int  # bytes of a number in the file
    size: tuple[int, int]  # width and height in the file, turned upright


def decode(path: Path, reading: Reading = DEFAULT) -> Image:
    """Decode an image file to RGB: EXIF orientation applied, first frame, transparency on white, 16 bit scaled to 8.

    Raises `UserError` for a file that is absent, truncated, empty, no image or over the pixel limit.
    """
    with told(path):
        return read_image(str(path), reading).image


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Raise `UserError`, with the path and the cure, for what is `Unreadable`."""
    try:
        yield
    except Unreadable as error:
        raise UserError(f"{path} is not a readable image ({error}): replace it or remove its row") from None


def read_image(path: str, reading: Reading = DEFAULT, enough: Enough | None = None) -> Decoded:
    """Return a file's pixels. Raises `Unreadable`; `UserError` where reading fails or a band is lacking.

    A JPEG is decoded at a half, a quarter or an eighth of its size where that is `enough`, in a part of the time.
    """
    values, kind, bands, frames, size = read_values(path, reading, enough)
    image = np.ascontiguousarray(reading.pixels(values))
    return Decoded(image, kind, bands, frames, scale_of(values), values.dtype.itemsize, size)


def read_values(
    path: str, reading: Reading, enough: Enough | None = None
) -> tuple[Values, str, int, int, tuple[int, int]]:
    """Return the numbers that `reading` makes pixels of, [height, width, 1 or 3], the format, bands, frames and size.

    The size is the `Decoded`'s. Raises as `read_image` does.
    """
    try:
        with open_image(path) as file:
            head = file.read(HEAD)
            kind = sniff(head, path)
            data = head + file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    values, frames, full = None, 1, None
    if is_plain(data, kind, reading.pixel_limit):
        flag, full = _reduction(data, enough) if enough and kind == "JPEG" else (0, None)
        with suppress(cv2.error):  # then Pillow says why
            values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | flag)
    if values is None:
        from supcon.images.pillow import by_pillow  # late: a host may lack Pillow, and plain files do without

        values, frames = by_pillow(data, kind, reading)
        full = None
    height, width = full[values.shape[:2]] if full else values.shape[:2]
    return reading.chosen(values, path), kind, values.shape[2], frames, (width, height)


def _reduction(data: bytes, enough: Enough) -> tuple[int, dict[tuple[int, ...], tuple[int, int]] | None]:
    """Return the flag by which a plain JPEG is decoded as small as is `enough`, and full sizes by those that come out.

    EXIF may turn it: which it did is told by the sides, so that it is not reduced where these would become equal.
    """
    height, width = _frame_size(data)
    least, narrow = enough(height, width) if height and width else (1, 1)
    for divisor, flag in _REDUCED.items():
        reduced = -(-height // divisor), -(-width // divisor)  # as libjpeg rounds
        told = height == width or reduced[0] != reduced[1]
        if least * divisor <= height and narrow * divisor <= width and told:
            return flag, {reduced[::-1]: (width, height), reduced: (height, width)}
    return 0, None


def _frame_size(data: bytes) -> tuple[int, int]:
    """Return the height and width that a JPEG declares."""
    place = 2
    while match := _MARKER.search(data, place):
        place = match.end()
        if data[place - 1] in _FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 3)
            return height, width
        place += data[place] << 8 | data[place + 1]
    raise Unreadable(_TRUNCATED)


def is_plain(data: bytes, kind: str, limit: int) -> bool:
    """Tell whether the file is a whole 8-bit grey or RGB JPEG or PNG without transparency, which cv2 decodes right.

    cv2 makes a full image of a truncated JPEG, and Pillow of a PNG or GIF without its end: these three are walked to
    their end marks. Raises `Unreadable` for a file that ends too soon, has a wrong checksum or over `limit` pixels.
    """
    try:
        return kind in _WALKS and _WALKS[kind](data, limit)
    except (IndexError, struct.error):
        raise Unreadable(_TRUNCATED) from None


def _walk_jpeg(data: bytes, limit: int) -> bool:
    place, plain, scans = 2, False, 0
    while match := _MARKER.search(data, place):
        place = match.end()
        marker = data[place - 1]
        if marker == _END_OF_JPEG:
            return plain and scans > 0
        if marker in _FRAMES:
            depth, height, width, components = struct.unpack_from(">BHHB", data, place + 2)
            check_pixels(width, height, limit)
            plain = marker in _HUFFMAN_FRAMES and depth == 8 and components in (1, 3)
        scans += marker == _START_OF_SCAN
        place += data[place] << 8 | data[place + 1]
    raise Unreadable(_TRUNCATED)


def _walk_png(data: bytes, limit: int) -> bool:
    place, plain, view = 8, False, memoryview(data)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise Unreadable(_TRUNCATED if end + 4 > len(data) else "damaged: a checksum is wrong")
        if kind == b"IEND":
            return plain
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack_from(">IIBB", data, place + 8)
            check_pixels(width, height, limit)
            plain = depth == 8 and colours in (_PNG_GREY, _PNG_RGB)
        elif kind in (b"tRNS", b"acTL"):  # transparency; an animation
            plain = False
        place = end + 4
    raise Unreadable(_TRUNCATED)


def _walk_gif(data: bytes, _: int) -> bool:
    place = 13 + _gif_colours(data[10])
    while data[place] != _GIF_END:
        if data[place] == _GIF_FRAME:
            place += 11 + _gif_colours(data[place + 9])
        elif data[place] == _GIF_EXTENSION:
            place += 2
        else:
            raise Unreadable("damaged: an unknown block")
        while data[place]:
            place += 1 + data[place]
        place += 1
    return False


def _walk_webp(data: bytes, limit: int) -> bool:
    if data[12:16] == b"VP8X":
        sides = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        sides = bits % 2**14 + 1, (bits >> 14) % 2**14 + 1
    else:
        width, height = struct.unpack_from("<HH", data, 26)
        sides = width % 2**14, height % 2**14
    check_pixels(*sides, limit)  # before Pillow, whose decoder makes room for all of them when it opens the file
    return False


def _walk_jpeg2000(data: bytes, _: int) -> bool:
    if b"\xff\xd9" not in data:
        raise Unreadable(_TRUNCATED)
    return False


def _walk_ico(data: bytes, limit: int) -> bool:
    for match in re.finditer(rb"IHDR", data):  # a PNG within, which the outer header's size says nothing of
        width, height = struct.unpack_from(">II", data, match.end())
        check_pixels(width, height, limit)
    return False


def _gif_colours(flags: int) -> int:
    """Return the bytes of the colour table that these flags announce."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


_WALKS = {
    "JPEG": _walk_jpeg,
    "PNG": _walk_png,
    "GIF": _walk_gif,
    "WEBP": _walk_webp,
    "JPEG2000": _walk_jpeg2000,
    "ICO": _walk_ico,
}
