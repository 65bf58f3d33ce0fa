"""An image file in, RGB pixels out: plain JPEG and PNG by cv2, all else by Pillow; what is damaged gets a reason.

cv2 takes a third of Pillow's time for a small JPEG (41 and 133 microseconds at 48 x 48). Both give the same pixels.
A JPEG holds no checksum: flipped bits within a whole file are decoded as they stand.
"""

import io
import warnings
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from supcon.errors import UserError
from supcon.images.geometry import Image
from supcon.images.headers import FORMATS, PIXEL_LIMIT, Unreadable, check_pixels, is_plain, sniff

DECODER = 2  # raised whenever a file's pixels would come out otherwise than before: then every cache is made anew

_HEAD = 16  # bytes that tell the format, so that a film named .jpg is not read to its end


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
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            kind = sniff(head)
            data = head + file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    image = _by_cv2(data) if is_plain(data, kind) else None
    return (_by_pillow(data) if image is None else image), kind


def declared_size(path: str) -> tuple[int, int]:
    """Return height and width as the file's header gives them, before any turning; (1, 1) for a damaged file."""
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(path, formats=FORMATS) as file:
            return file.height, file.width
    except Exception:  # as in `_by_pillow`
        return 1, 1


def _by_cv2(data: bytes) -> Image | None:
    """Return the pixels, EXIF orientation applied; None where cv2 gives up, so that Pillow says why."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]
    except cv2.error:
        return None


def _by_pillow(data: bytes) -> Image:
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(io.BytesIO(data), formats=FORMATS) as file:
            check_pixels(*file.size)
            file.load()
            with suppress(Exception):  # damaged EXIF: the pixels are whole, only their orientation is unknown
                ImageOps.exif_transpose(file, in_place=True)
            return _rgb(file)
    except Unreadable:
        raise
    except PillowImage.DecompressionBombError:
        raise Unreadable(f"over the limit of {PIXEL_LIMIT:,} pixels") from None
    except Exception as error:  # Pillow's readers raise nearly anything at damaged bytes
        raise Unreadable(_one_line(error)) from None


def _one_line(error: Exception) -> str:
    if isinstance(error, PillowImage.UnidentifiedImageError):  # its text is the buffer's address
        return "damaged: its header cannot be read"
    return " ".join(str(error).split()) or type(error).__name__


def _rgb(image: PillowImage.Image) -> Image:
    if image.mode[0] in "IF":  # deep grey
        deep = np.asarray(image)
        grey = _eight_bits(deep)
        if "transparency" in image.info:
            grey[deep == image.info["transparency"]] = 255
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _eight_bits(deep: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale deep grey to 0..255: 16 bit by its format, wider numbers by the range their largest one lies in."""
    if deep.dtype.itemsize == 2:
        return (deep.astype(np.uint16) >> 8).astype(np.uint8)  # the high byte, as Pillow does in colour
    values = np.nan_to_num(deep.astype(np.float64))
    top = values.max(initial=0)
    scale = 255.0 if deep.dtype.kind == "f" and top <= 1 else 1.0 if top <= 255 else 1 / 257
    return np.clip(values * scale, 0, 255).astype(np.uint8)
