"""Arrays of pixels as the bytes of an image file without compression: equal pixels give equal bytes on every machine.

Grey or RGB of 8 bits is PGM or PPM, a line and the pixels; all other numbers and bands are TIFF, which keeps them.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.images.geometry import Unreadable

MOST_CHANNELS = 4  # of an image whose axes are told apart by their lengths alone

_KINDS = {"u": 1, "i": 2, "f": 3}  # TIFF's sample formats
_LONG = 4  # TIFF's number of 32 bits


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return which axis of an image holds the channels: the last or the first, which is shorter than both others.

    None where neither is, and where both are so short that either may be meant.
    """
    first, middle, last = shape
    if max(first, last) <= MOST_CHANNELS:
        return None
    return 2 if last < min(first, middle) else 0 if first < min(middle, last) else None


def file_of(values: npt.NDArray[Any]) -> bytes:
    """Return pixels [height, width], with the channels behind or before them, as the bytes of a file.

    Raises `Unreadable` for another shape, and for what are no numbers.
    """
    shown = f"{list(values.shape)} of {values.dtype}"
    if values.dtype.kind not in "buif" or values.dtype.itemsize > 8:
        raise Unreadable(f"no image: it holds {shown}, which are no numbers")
    if values.ndim not in (2, 3) or values.size == 0:
        raise Unreadable(f"no image: it holds {shown}, where [height, width] or [height, width, channels] belongs")
    if values.ndim == 3:
        axis = channel_axis(values.shape)
        if axis is None:
            raise Unreadable(f"no image: of {shown} nothing tells which axis holds the channels: write it as PNG")
        values = np.moveaxis(values, axis, 2)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(255)
    height, width, bands = np.atleast_3d(values).shape
    if values.dtype == np.uint8 and bands in (1, 3):
        return f"P{6 if bands == 3 else 5}\n{width} {height}\n255\n".encode() + values.tobytes()
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return _tiff_header(height, width, bands, little.dtype) + little.tobytes()


def _tiff_header(height: int, width: int, bands: int, dtype: np.dtype[Any]) -> bytes:
    tags = {
        256: width, 257: height, 258: 8 * dtype.itemsize, 259: 1, 262: 1, 273: 0, 277: bands, 278: height,
        279: height * width * bands * dtype.itemsize, 339: _KINDS[dtype.kind],
    }  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin: behind this header
    entries = b"".join(struct.pack("<HHII", tag, _LONG, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
