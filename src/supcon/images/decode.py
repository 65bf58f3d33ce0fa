"""An image file in, RGB pixels out: plain JPEG and PNG by cv2, all else by Pillow; what is damaged gets a reason.

cv2 takes a third of Pillow's time for a small JPEG (41 and 133 microseconds at 48 x 48). Both give the same pixels.
A JPEG holds no checksum: flipped bits within a whole file are decoded as they stand.
"""

import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from supcon.errors import UserError
from supcon.images.geometry import Image, Unreadable, check_pixels
from supcon.storage.pointers import HEAD, pointer, regular

DECODER = 2  # raised whenever a file's pixels would come out otherwise than before: then every cache is made anew

_SIGNATURE = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<WEBP>RIFF....WEBP)|(?P<BMP>BM)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])|(?P<GIF>GIF8)",  # a plus: the 64-bit kind of TIFF
    re.DOTALL,
)
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # neither a stuffed byte, a restart nor a filler
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_JPEG = 0xDA, 0xD9
_PNG_GREY, _PNG_RGB = 0, 2  # colour types
_GIF_EXTENSION, _GIF_FRAME, _GIF_END = 0x21, 0x2C, 0x3B

_TRUNCATED = "truncated: its end mark is missing"


def decode(path: Path) -> Image:
    """Decode an image file to RGB: EXIF orientation applied, first frame, transparency on white, 16 bit scaled to 8.

    Raises `UserError` for a file that is absent, truncated, empty, no image or over the pixel limit.
    """
    try:
        return read_image(str(path))[0]
    except Unreadable as error:
        raise UserError(f"{path} is not a readable image ({error}): replace it or remove its row") from None


def read_image(path: str) -> tuple[Image, str]:
    """Return a file's pixels and its format, one of `FORMATS`. Raises `Unreadable`; `UserError` where reading fails."""
    try:
        with open(path, "rb", buffering=0, opener=regular) as file:
            head = file.read(HEAD)
            kind = sniff(head)  # before the rest is read: a film named .jpg is not read to its end
            data = head + file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    image: Image | None = None
    if is_plain(data, kind):
        with suppress(cv2.error):  # then Pillow says why
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # type: ignore[assignment]
    if image is None:
        from supcon.images.pillow import by_pillow  # late: a host may lack Pillow, and plain files do without

        image = by_pillow(data)
    return image, kind


def sniff(head: bytes) -> str:
    """Return the format that a file's first bytes announce, one of `FORMATS`. Raises `Unreadable`."""
    if not head:
        raise Unreadable("empty file")
    match = _SIGNATURE.match(head)
    if match and match.lastgroup:
        return match.lastgroup
    if reason := pointer(head):
        raise Unreadable(reason)
    raise Unreadable("not an image: neither JPEG, PNG, WebP, BMP, TIFF nor GIF")


def is_plain(data: bytes, kind: str) -> bool:
    """Tell whether the file is a whole 8-bit grey or RGB JPEG or PNG without transparency, which cv2 decodes right.

    cv2 makes a full image of a truncated JPEG, and Pillow of a PNG or GIF without its end: these three are walked to
    their end marks. Raises `Unreadable` for a file that ends too soon, has a wrong checksum or too many pixels.
    """
    try:
        return kind in _WALKS and _WALKS[kind](data)
    except (IndexError, struct.error):
        raise Unreadable(_TRUNCATED) from None


def _walk_jpeg(data: bytes) -> bool:
    place, plain, scans = 2, False, 0
    while match := _MARKER.search(data, place):
        place = match.end()
        marker = data[place - 1]
        if marker == _END_OF_JPEG:
            return plain and scans > 0
        if marker in _FRAMES:
            depth, height, width, components = struct.unpack_from(">BHHB", data, place + 2)
            check_pixels(width, height)
            plain = marker in _HUFFMAN_FRAMES and depth == 8 and components in (1, 3)
        scans += marker == _START_OF_SCAN
        place += data[place] << 8 | data[place + 1]
    raise Unreadable(_TRUNCATED)


def _walk_png(data: bytes) -> bool:
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
            check_pixels(width, height)
            plain = depth == 8 and colours in (_PNG_GREY, _PNG_RGB)
        elif kind in (b"tRNS", b"acTL"):  # transparency; an animation
            plain = False
        place = end + 4
    raise Unreadable(_TRUNCATED)


def _walk_gif(data: bytes) -> bool:
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


def _gif_colours(flags: int) -> int:
    """Return the bytes of the colour table that these flags announce."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


_WALKS = {"JPEG": _walk_jpeg, "PNG": _walk_png, "GIF": _walk_gif}
