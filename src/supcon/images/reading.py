"""From the numbers in an image file to RGB pixels of 8 bits: which bands, and which range of numbers they show."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.errors import UserError
from supcon.images.geometry import PIXEL_LIMIT, Image
from supcon.settings.settings import DataSettings

Values = npt.NDArray[Any]  # [height, width, bands], the numbers in a file


@dataclass(frozen=True)
class Reading:
    """How files become pixels; the default takes RGB, or the first three bands, in the range of the number format."""

    low: float = 0.0  # numbers from low to high become 0 to 255; equal: the range of the number format
    high: float = 0.0
    bands: tuple[int, ...] = ()  # counted from 1; empty: the first three, or the one that there is
    pixel_limit: int = PIXEL_LIMIT

    @property
    def stretches(self) -> bool:
        """Whether numbers are scaled by a range that was given, and not by that of their format."""
        return self.low < self.high

    @property
    def as_stored(self) -> bool:
        """Whether it needs the numbers as they are stored, and not the 8 bits that a decoder makes of them."""
        return self.stretches or bool(self.bands)

    @property
    def key(self) -> str:
        """What tells the pixels of one reading from those of another; empty for the default."""
        return "" if self == DEFAULT else f" {self.low!r} {self.high!r} {self.bands} {self.pixel_limit}"

    def chosen(self, values: Values, path: str) -> Values:
        """Return one band or three of the `values` at `path`. Raises `UserError` where they have no such band."""
        count = values.shape[2]
        if self.bands:
            if max(self.bands) > count:
                raise UserError(
                    f"--data.bands names band {max(self.bands)}, but {path} has {count}: name bands from 1 to {count}"
                )
            return values[..., [band - 1 for band in self.bands]]
        return values[..., : 3 if count >= 3 else 1]

    def pixels(self, values: Values) -> Image:
        """Return one band or three of any numbers as RGB."""
        image = _stretched(values, self.low, self.high) if self.stretches else _eight_bits(values)
        return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


DEFAULT = Reading()


def fixed_reading(data: DataSettings) -> Reading:
    """Return the reading that the settings describe by themselves, without a look at the images."""
    low, high = data.fixed_range or (0.0, 0.0)
    return Reading(low, high, data.band_numbers, data.pixel_limit)


def _eight_bits(values: Values) -> Image:
    """Scale to 0..255: 16 bits by their format, wider numbers by the range their largest one lies in."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "ub" and size == 1:
        return values
    if kind == "u" and size == 2:
        return (values >> 8).astype(np.uint8)  # the high byte, as Pillow does in colour
    if kind == "i" and size == 2:
        return (np.maximum(values, 0) >> 7).astype(np.uint8)
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0)
    with np.errstate(over="ignore"):  # infinity is nan_to_num's largest number
        return np.clip(wide * scale_of(values), 0, 255).astype(np.uint8)


def scale_of(values: Values) -> float:
    """Return what numbers are multiplied by to be 0..255; for wider ones than 16 bits their largest tells."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "ub" and size == 1:
        return 1.0
    if kind in "iu" and size == 2:
        return 1 / 256 if kind == "u" else 1 / 128
    finite = values[np.isfinite(values)]
    top = float(finite.max(initial=0))
    return 255.0 if kind == "f" and top <= 1 else 1.0 if top <= 255 else 1 / 257


def _stretched(values: Values, low: float, high: float) -> Image:
    """Scale numbers from `low` to `high` to 0..255; what lies beyond, or is none, takes the nearer end or 0."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:  # by a table, which is fast
        table = _stretched(np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64), low, high)
        return np.take(table, values)
    share = (values.astype(np.float64) - low) / (high - low)
    return np.rint(np.clip(np.nan_to_num(share, nan=0.0), 0, 1) * 255).astype(np.uint8)
