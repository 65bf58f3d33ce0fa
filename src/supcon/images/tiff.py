"""TIFF of several bands, or of numbers that Pillow does not know: satellites, microscopes, radar.

Pillow reads no such file, or reads it wrong (16-bit colour in planes), and so does cv2. But it unpacks every kind of
compression. So a file's tags are rewritten: to Pillow it is one grey band of 8 bits and as many columns as a row has
bytes; the bytes that come out are the numbers, once the predictor is undone.
"""

import io
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import IO, Any

import numpy as np
from PIL import TiffImagePlugin

from supcon.images.geometry import Unreadable, check_pixels
from supcon.images.reading import Reading, Values


class _Tag(IntEnum):
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    OFFSETS = 273
    ORIENTATION = 274
    BANDS = 277
    STRIP_ROWS = 278
    COUNTS = 279
    PLANAR = 284
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    EXTRA = 338
    SAMPLE_FORMAT = 339


_SIDES = (_Tag.WIDTH, _Tag.HEIGHT, _Tag.STRIP_ROWS, _Tag.TILE_WIDTH, _Tag.TILE_HEIGHT)
_STRIPS, _TILES = (_Tag.OFFSETS, _Tag.COUNTS), (_Tag.TILE_OFFSETS, _Tag.TILE_COUNTS)
_LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, Deflate, PackBits, Deflate, LZMA, Zstandard
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # of sample formats; 4: nobody knows
_OF_PILLOW = {"u1", "u2", "i2", "i4", "f4"}  # one band of these it reads well
_WHITE_IS_ZERO, _RGB = 0, 2  # photometric interpretations


@dataclass(frozen=True)
class Tiff:
    """The first picture in a file, as far as it is read here."""

    file: IO[bytes]
    tags: Mapping[_Tag, tuple[Any, ...]]
    dtype: np.dtype[Any]  # in the file's byte order

    @property
    def bands(self) -> int:
        """The numbers of each pixel."""
        return self._tag(_Tag.BANDS, 1)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before any turning."""
        return self._tag(_Tag.WIDTH), self._tag(_Tag.HEIGHT)

    def is_for(self, reading: Reading) -> bool:
        """Whether it is to be read here, and not as Pillow does: it lays transparency on white."""
        transparent = self._tag(_Tag.EXTRA) in (1, 2)
        return (self.bands > 1 or self.dtype.str[1:] not in _OF_PILLOW) and (reading.as_stored or not transparent)

    def values(self, limit: int) -> Values:
        """Return the numbers [height, width, bands], upright.

        Raises `Unreadable` for more than `limit` pixels, or 8 times as many bytes; at damage what Pillow raises.
        """
        check_pixels(*self.size, limit)
        check_pixels(self.size[0] * self.bands * self.dtype.itemsize // 8, self.size[1], limit)
        planes = self.bands if self._tag(_Tag.PLANAR, 1) == 2 else 1
        values = np.concatenate([self._plane(number, planes) for number in range(planes)], axis=2)
        if self._tag(_Tag.PHOTOMETRIC, 1) == _WHITE_IS_ZERO and self.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        return upright(values, self._tag(_Tag.ORIENTATION, 1))

    def _tag(self, tag: _Tag, default: int = 0) -> int:
        value = self.tags.get(tag, ())
        return int(value[0]) if value else default

    def _plane(self, number: int, planes: int) -> Values:
        """Return the numbers [height, width, bands] of one of the `planes`, each of which holds as many bands."""
        (width, height), bands = self.size, self.bands // planes
        packed = bands * self.dtype.itemsize  # bytes of a pixel
        if _Tag.TILE_OFFSETS in self.tags:
            names, across, rows = _TILES, self._tag(_Tag.TILE_WIDTH), self._tag(_Tag.TILE_HEIGHT)
            layout = {_Tag.TILE_WIDTH: (across * packed,), _Tag.TILE_HEIGHT: (rows,)}
        else:
            names, across, rows = _STRIPS, width, min(self._tag(_Tag.STRIP_ROWS, height), height)
            layout = {_Tag.STRIP_ROWS: (rows,)}
        layout |= {name: self._part(name, number, planes) for name in names}
        starts, lengths = (layout[name] for name in names)
        padded = -(-width // across) * across  # to whole tiles, whose rows a predictor needs
        needed = height * padded * packed if self._tag(_Tag.COMPRESSION, 1) == 1 else 0
        self.file.seek(0)
        data = self.file.read()
        if (  # Pillow would make the rest black
            len(starts) < -(-height // rows) * (padded // across)
            or sum(lengths) < needed
            or any(start + length > len(data) for start, length in zip(starts, lengths, strict=True))
        ):
            raise Unreadable("truncated: its pixels end too soon")
        layout |= {_Tag.WIDTH: (padded * packed,), _Tag.HEIGHT: (height,), _Tag.BITS: (8,)}
        layout |= {_Tag.PHOTOMETRIC: (1,), _Tag.BANDS: (1,)}
        with TiffImagePlugin.TiffImageFile(io.BytesIO(self._rewritten(data, layout))) as file:
            content = np.array(file).reshape(-1, across, packed)  # a row of a strip or tile each
        undone = _UNDO[self._tag(_Tag.PREDICTOR, 1)](content, self.dtype)
        return undone.reshape(height, padded, bands)[:, :width]

    def _part(self, tag: _Tag, number: int, planes: int) -> tuple[Any, ...]:
        each = len(self.tags[tag]) // planes
        return self.tags[tag][number * each : (number + 1) * each]

    def _rewritten(self, data: bytes, tags: Mapping[_Tag, tuple[int, ...]]) -> bytes:
        """Return a file's `data` with these tags, all of them numbers of 32 bits, in place of its own."""
        entries, start = sorted({**tags, _Tag.COMPRESSION: (self._tag(_Tag.COMPRESSION, 1),)}.items()), len(data)
        place, beyond, directory = start + 2 + 12 * len(entries) + 4, b"", struct.pack("<H", len(entries))
        for tag, numbers in entries:
            packed = struct.pack(f"<{len(numbers)}I", *numbers)
            if len(numbers) > 1:  # they stand behind the directory, which holds their place
                beyond, packed = beyond + packed, struct.pack("<I", place + len(beyond))
            directory += struct.pack("<HHI", tag, 4, len(numbers)) + packed
        return b"II*\0" + struct.pack("<I", start) + data[8:] + directory + bytes(4) + beyond


def open_tiff(file: IO[bytes]) -> Tiff | None:
    """Return the first picture where it is of numbers of 8 to 64 bits, packed without loss; None for any other."""
    try:
        head = file.read(16)
        directory = TiffImagePlugin.ImageFileDirectory_v2(head if b"+" in head[2:4] else head[:8])
        file.seek(directory.next)
        with warnings.catch_warnings(action="error"):  # of a tag that is cut off, which would be left out
            directory.load(file)
        found = {tag: directory[tag] for tag in _Tag if tag in directory}
        tags = {tag: value if isinstance(value, tuple) else (value,) for tag, value in found.items()}
        bits, kinds = set(tags.get(_Tag.BITS, (1,))), set(tags.get(_Tag.SAMPLE_FORMAT, (1,)))
        known = (
            tags.get(_Tag.COMPRESSION, (1,))[0] in _LOSSLESS
            and tags.get(_Tag.PHOTOMETRIC, (1,))[0] in (_WHITE_IS_ZERO, 1, _RGB)
            and tags.get(_Tag.PREDICTOR, (1,))[0] in _UNDO
            and len(bits) == len(kinds) == 1
            and bits <= {8, 16, 32, 64}
            and {_Tag.WIDTH, _Tag.HEIGHT} <= tags.keys()
            and all(prod(tags.get(tag, (1,))) > 0 for tag in _SIDES)
            and any(all(tag in tags for tag in names) for names in (_STRIPS, _TILES))
        )
        order, kind, size = ">" if head[:2] == b"MM" else "<", _KINDS[kinds.pop()], bits.pop() // 8
        return Tiff(file, tags, np.dtype(f"{order}{kind}{size}")) if known else None
    except Exception:  # of damaged tags; Pillow says why
        return None


def upright(values: Values, orientation: int) -> Values:
    """Return an image as EXIF's `orientation` says it is to be seen."""
    turns = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
    quarters, mirrored = turns.get(orientation, (0, False))
    turned = np.rot90(values, quarters)
    return turned[:, ::-1] if mirrored else turned


def _as_they_are(packed: Values, dtype: np.dtype[Any]) -> Values:
    return packed.view(dtype)


def _from_differences(packed: Values, dtype: np.dtype[Any]) -> Values:
    """Undo the horizontal predictor: each number is stored as its difference to the one on its left, and wraps."""
    unsigned = packed.view(dtype.str.replace(dtype.kind, "u"))
    summed = np.cumsum(unsigned, axis=1, dtype=unsigned.dtype.newbyteorder("="))
    return summed.astype(unsigned.dtype).view(dtype)


def _from_planes_of_bytes(packed: Values, dtype: np.dtype[Any]) -> Values:
    """Undo the floating-point predictor: a row holds all first bytes, then all second ones, ..., as differences.

    Adobe Photoshop TIFF Technical Note 3. The differences are to the byte as many places before as there are bands.
    """
    rows, columns, size = packed.shape
    bands = size // dtype.itemsize
    summed = np.cumsum(packed.reshape(rows, -1, bands), axis=1, dtype=np.uint8)
    planes = summed.reshape(rows, dtype.itemsize, columns * bands)  # the most significant byte first
    return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(dtype.newbyteorder(">")).astype(dtype)


_UNDO = {1: _as_they_are, 2: _from_differences, 3: _from_planes_of_bytes}  # by predictor
