"""Which images there are, and their sizes: shrunk for the cache, and made square by `crop`, `pad` or `squash`."""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # [height, width, 3], RGB
Fit = Literal["crop", "pad", "squash"]

FORMATS = (
    *("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"),
    *("PPM", "AVIF", "JPEG2000", "DDS", "ICO", "QOI", "PCX", "SGI", "SUN", "TGA"),
)
PIXEL_LIMIT = 178_000_000  # declared pixels beyond which a file is taken for a decompression bomb, not a photograph
_ROOM = 1.15  # the cached side over the training side

cv2.setNumThreads(0)  # otherwise each of the worker processes would use every core


class Unreadable(Exception):
    """Why a file cannot be used as an image, in words that do not name the file."""


def check_pixels(width: int, height: int, limit: int) -> None:
    """Raise `Unreadable` when an image of this size is too large to be decoded."""
    if width * height > limit:
        raise Unreadable(
            f"{width} x {height} pixels, over the limit of {limit:,}, which --data.pixel_limit raises where the memory"
            " holds such images"
        )


def resize(image: Image, height: int, width: int) -> Image:
    """Resize an image: by area averaging to a smaller size, linearly to a larger one."""
    if image.shape[:2] == (height, width):
        return image
    smaller = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)  # type: ignore[return-value]


def cached_side(side: int) -> int:
    """Return the side at which the cache keeps images for squares of `side` pixels: larger, for crops and shifts."""
    return round(side * _ROOM)


def shrunk_size(height: int, width: int, side: int, fit: Fit) -> tuple[int, int]:
    """Return the height and width at which an image is kept: never enlarged, no larger than `side` needs."""
    if fit == "squash":
        return min(height, side), min(width, side)
    ratio = side / (max(height, width) if fit == "pad" else min(height, width))
    return (height, width) if ratio >= 1 else (max(1, round(height * ratio)), max(1, round(width * ratio)))


def fit_square(image: Image, side: int, fit: Fit) -> Image:
    """Return the whole image (`pad`, `squash`) or its centre (`crop`) as a square of `side` pixels."""
    if fit == "squash":
        return resize(image, side, side)
    height, width = image.shape[:2]
    ratio = side / (max(height, width) if fit == "pad" else min(height, width))
    height, width = max(1, round(height * ratio)), max(1, round(width * ratio))
    image, top, left = resize(image, height, width), abs(height - side) // 2, abs(width - side) // 2
    if fit == "crop":
        return image[top : top + side, left : left + side]
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = image
    return square
