"""What Pillow decodes: all that is neither plain JPEG nor PNG."""

import io
import warnings
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from supcon.images.geometry import FORMATS, PIXEL_LIMIT, Image, Unreadable, check_pixels
from supcon.storage.pointers import regular


def declared_size(path: str) -> tuple[int, int]:
    """Return height and width as the file's header gives them, before any turning; (1, 1) for a damaged file."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            open(path, "rb", opener=regular) as whole,
            PillowImage.open(whole, formats=FORMATS) as file,
        ):
            return file.height, file.width
    except Exception:  # as in `_by_pillow`
        return 1, 1


def by_pillow(data: bytes) -> Image:
    """Return the pixels of a file's content. Raises `Unreadable` with the reason."""
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
    except PillowImage.UnidentifiedImageError:  # its text is the buffer's address
        raise Unreadable("damaged: its header cannot be read") from None
    except Exception as error:  # Pillow's readers raise nearly anything at damaged bytes
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from None


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
