"""How a competition's files are read: by its settings and, where they say `data`, by what the training images hold."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.errors import UserError
from supcon.images.decode import DECODER, read_values
from supcon.images.geometry import Unreadable
from supcon.images.hashes import ABSENT
from supcon.images.reading import Reading, fixed_reading
from supcon.settings.settings import DataSettings
from supcon.storage.files import digest, read_json, write_json

_IMAGES, _NUMBERS = 256, 10_000  # at most: images, and numbers of each, that the percentiles are of
_SHARES = (0.1, 99.9)  # percentiles; nnU-Net (Isensee et al. 2021) clips computed tomography at 0.5 and 99.5


def reading_of(data: DataSettings, cache: Path, files: Sequence[Path], hashes: Sequence[str], rows: int) -> Reading:
    """Return how all images are read: with `pixel_range: data` by percentiles of the first `rows`, the training images.

    These are of the inputs of all folds, without labels, and the same for every image. They are kept in the cache.
    `hashes` are the content hashes of `files`. Raises `UserError` where the images hold one number alone.
    """
    reading = fixed_reading(data)
    if data.pixel_range != "data":
        return reading
    first = {content: number for number, content in reversed(list(enumerate(hashes[:rows])))}
    present = sorted(content for content in first if not content.startswith(ABSENT))
    sample = present[:: -(-len(present) // _IMAGES) or 1]  # whatever the order of the rows
    path = cache / f"pixel-range-{digest([DECODER, reading.key, sample])[:16]}.json"
    if path.exists():
        with suppress(UserError, KeyError, TypeError, ValueError):  # damaged: it is made anew
            kept = read_json(path)
            return replace(reading, low=float(kept["low"]), high=float(kept["high"]))
    low, high = _percentiles([files[first[content]] for content in sample], reading)
    write_json(path, {"low": low, "high": high})
    return replace(reading, low=low, high=high)


def _percentiles(files: Sequence[Path], reading: Reading) -> tuple[float, float]:
    numbers = np.concatenate([np.empty(0), *_numbers(files, reading)])
    if len(numbers) == 0 or numbers.min() == numbers.max():
        held = f"hold nothing but {numbers[0]:g}" if len(numbers) else "hold no numbers"
        raise UserError(f"--data.pixel_range data: the training images {held}: choose format, or two numbers")
    low, high = np.percentile(numbers, _SHARES).tolist()
    return (low, high) if low < high else (float(numbers.min()), float(numbers.max()))


def _numbers(files: Sequence[Path], reading: Reading) -> Iterator[npt.NDArray[np.float64]]:
    """Yield finite numbers of each image, evenly spread over it."""
    for file in tqdm(files, "range", unit="image", disable=None):
        with suppress(Unreadable):  # listed with its reason when the cache is built
            values = read_values(str(file), reading)[0].ravel()
            values = values[:: -(-len(values) // _NUMBERS)].astype(np.float64)
            yield values[np.isfinite(values)]
