"""What Pillow decodes: all that is neither plain JPEG nor PNG. TIFF of several bands goes by way of `tiff.py`."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, features

from supcon.images.geometry import FORMATS, Unreadable, check_pixels
from supcon.images.members import open_image
from supcon.images.reading import Reading, Values
from supcon.images.tiff import open_tiff, upright

_DEEP_COLOUR = {"PNG", "JPEG2000", "PPM"}  # formats of which Pillow makes 8 bits where they hold 16 in colour
_OPTIONAL = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}  # formats that Pillow may be built without
_WHITE = 65535
_ORIENTATION = 0x0112  # EXIF's tag


def declared_size(path: str) -> tuple[int, int]:
    """Return height and width as the file's header gives them, before any turning; (1, 1) for a damaged file."""
    try:
        with warnings.catch_warnings(action="ignore"), open_image(path) as file:
            if tiff := open_tiff(file):
                return tiff.size[1], tiff.size[0]
            file.seek(0)
            with PillowImage.open(file, formats=FORMATS) as image:
                return image.height, image.width
    except Exception:  # as in `_named_damage`
        return 1, 1


def by_pillow(data: bytes, kind: str, reading: Reading) -> tuple[Values, int]:
    """Return the numbers [height, width, bands] of a file's first frame, upright, and how many frames there are.

    Raises `Unreadable` with the reason.
    """
    PillowImage.MAX_IMAGE_PIXELS = 4 * reading.pixel_limit  # an error from twice as many: `Tiff` counts bytes as pixels
    with _named_damage(kind, reading.pixel_limit), warnings.catch_warnings(action="ignore"):
        tiff = open_tiff(io.BytesIO(data)) if kind == "TIFF" else None
        if tiff and tiff.is_for(reading):
            return tiff.values(reading.pixel_limit), _frames(data, kind)
        with PillowImage.open(io.BytesIO(data), formats=(kind,)) as file:
            check_pixels(*file.size, reading.pixel_limit)
            if reading.as_stored and kind in _DEEP_COLOUR and (values := _deep_colour(data)) is not None:
                return upright(values, file.getexif().get(_ORIENTATION, 1)), 1
            file.load()
            with suppress(Exception):  # damaged EXIF: the pixels are whole, only their orientation is unknown
                ImageOps.exif_transpose(file, in_place=True)
            return _bands(file) if reading.bands else _grey_or_rgb(file), _frames(data, kind)


def _frames(data: bytes, kind: str) -> int:
    """Return the pages of a TIFF, or the pictures of an animation; 1 where nobody can tell."""
    with suppress(Exception), PillowImage.open(io.BytesIO(data), formats=(kind,)) as file:
        return int(getattr(file, "n_frames", 1))
    return 1


@contextmanager
def _named_damage(kind: str, limit: int) -> Iterator[None]:
    try:
        yield
    except Unreadable:
        raise
    except PillowImage.DecompressionBombError:
        raise Unreadable(f"over the limit of {limit:,} pixels, which --data.pixel_limit raises") from None
    except Exception as error:  # Pillow's readers raise nearly anything at damaged bytes
        if kind in _OPTIONAL and not features.check(_OPTIONAL[kind]):
            raise Unreadable(f"{kind}, which this Pillow was built without: pip install --upgrade pillow") from None
        if isinstance(error, PillowImage.UnidentifiedImageError):  # its text is the buffer's address
            rare = ", or it is a rare kind of TIFF" if kind == "TIFF" else ""
            raise Unreadable(f"damaged: its header cannot be read{rare}") from None
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from None


def _grey_or_rgb(image: PillowImage.Image) -> Values:
    """Return deep grey as it is stored, anything else as RGB on white."""
    if image.mode[0] in "IF":
        return _deep_grey(image)
    if image.has_transparency_data:
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _bands(image: PillowImage.Image) -> Values:
    """Return the bands as they are stored, transparency as one of them."""
    if image.mode[0] in "IF":
        return _deep_grey(image)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("L" if image.mode == "1" else "RGBA" if image.has_transparency_data else "RGB")
    return np.atleast_3d(np.asarray(image))


def _deep_grey(image: PillowImage.Image) -> Values:
    deep = np.asarray(image)
    if image.format == "PPM" and image.mode == "I":  # 16 bits, in more
        deep = deep.astype(np.uint16)
    if "transparency" in image.info:
        deep = np.where(deep == image.info["transparency"], _WHITE, deep).astype(deep.dtype)
    return deep[..., None]


def _deep_colour(data: bytes) -> Values | None:
    """Return bands of 16 bits, RGB first, not turned upright; None for a file of 8 bits."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype == np.uint8:
        return None
    values = np.atleast_3d(values)
    return values[..., [2, 1, 0, 3][: values.shape[2]]] if values.shape[2] >= 3 else values
