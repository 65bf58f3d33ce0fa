"""An image file in, RGB pixels out: plain JPEG and PNG by cv2, all else by Pillow; what is damaged gets a reason.

cv2 takes a third of Pillow's time for a small JPEG (41 and 133 microseconds at 48 x 48). Both give the same pixels.
A JPEG holds no checksum: flipped bits within a whole file are decoded as they stand.
"""

import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from supcon.errors import UserError
from supcon.images.formats import HEAD, sniff
from supcon.images.geometry import Image, Unreadable, check_pixels
from supcon.images.reading import DEFAULT, Reading, Values, scale_of
from supcon.storage.pointers import regular

DECODER = 3  # raised whenever a file's pixels would come out otherwise than before: then every cache is made anew

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # neither a stuffed byte, a restart nor a filler
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_JPEG = 0xDA, 0xD9
_PNG_GREY, _PNG_RGB = 0, 2  # colour types
_GIF_EXTENSION, _GIF_FRAME, _GIF_END = 0x21, 0x2C, 0x3B

_TRUNCATED = "truncated: its end mark is missing"


class Decoded(NamedTuple):
    """The content of an image file."""

    image: Image
    kind: str  # its format, one of `FORMATS`
    bands: int  # that the file holds, 3 of a grey JPEG too
    frames: int  # pages, or pictures of an animation; the first is read
    scale: float  # what its numbers were multiplied by; 1 of 8 bits
    depth: int  # bytes of a number in the file


def decode(path: Path, reading: Reading = DEFAULT) -> Image:
    """Decode an image file to RGB: EXIF orientation applied, first frame, transparency on white, 16 bit scaled to 8.

    Raises `UserError` for a file that is absent, truncated, empty, no image or over the pixel limit.
    """
    try:
        return read_image(str(path), reading).image
    except Unreadable as error:
        raise UserError(f"{path} is not a readable image ({error}): replace it or remove its row") from None


def read_image(path: str, reading: Reading = DEFAULT) -> Decoded:
    """Return a file's pixels. Raises `Unreadable`; `UserError` where reading fails or a band is lacking."""
    values, kind, bands, frames = read_values(path, reading)
    image = np.ascontiguousarray(reading.pixels(values))
    return Decoded(image, kind, bands, frames, scale_of(values), values.dtype.itemsize)


def read_values(path: str, reading: Reading) -> tuple[Values, str, int, int]:
    """Return the numbers that `reading` makes pixels of, [height, width, 1 or 3], the format, the bands and frames.

    Raises as `read_image` does.
    """
    try:
        with open(path, "rb", buffering=0, opener=regular) as file:
            head = file.read(HEAD)
            kind = sniff(head, path)
            data = head + file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    values, frames = None, 1
    if is_plain(data, kind, reading.pixel_limit):
        with suppress(cv2.error):  # then Pillow says why
            values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if values is None:
        from supcon.images.pillow import by_pillow  # late: a host may lack Pillow, and plain files do without

        values, frames = by_pillow(data, kind, reading)
    return reading.chosen(values, path), kind, values.shape[2], frames


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
