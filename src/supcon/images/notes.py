"""What is worth telling of a competition's images: bands left out, and pixels that use little of their range."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from supcon.images.cache import ImageCache
from supcon.images.reading import Reading

_SAMPLE = 256  # images of a kind that are looked at
_NARROW = 64  # grey levels: pixels of ordinary images span more
_SHARE = 0.001  # of the pixels at either end that do not count: dead ones, letters

_SCALES = {255.0: "times 255", 1.0: "as they are", 1 / 257: "as 16 bits"}
_CURE = "try --data.pixel_range data, which takes the range of the training images, or --data.pixel_range=LOW,HIGH"


def image_notes(images: ImageCache, reading: Reading, rows: int) -> list[str]:
    """Return a line for each thing to tell, none of ordinary images; the first `rows` positions are training rows."""
    ranges = [] if reading.stretches else [*_scales(images), *_ranges(images, rows)]
    return [*_frames(images), *_bands(images, reading), *ranges]


def _frames(images: ImageCache) -> Iterator[str]:
    frames = images.fact("frames")
    if (frames > 1).any():
        yield f"in {_count(np.flatnonzero(frames > 1))} of up to {frames.max():,} pages or pictures the first is used"


def _bands(images: ImageCache, reading: Reading) -> Iterator[str]:
    bands = images.fact("bands")
    odd = np.flatnonzero((bands == 2) | (bands > 3))
    if len(odd) and not reading.bands:
        count = int(bands[odd[0]])
        used, others = ("first three are", "4,3,2") if count > 3 else ("first is", "1,2,2")
        yield f"of the {count} bands in {_count(odd)} the {used} used: --data.bands {others} chooses others"


def _scales(images: ImageCache) -> Iterator[str]:
    """Yield a line where images of wide numbers, whose largest one tells the scale, have different scales."""
    scales, wide = images.fact("scales"), images.fact("depths") > 2
    counts = {words: int((wide & np.isclose(scales, scale)).sum()) for scale, words in _SCALES.items()}
    if sum(count > 0 for count in counts.values()) > 1:
        told = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
        yield f"images of floats or wide numbers are scaled each by its own largest number ({told}): {_CURE}"


def _ranges(images: ImageCache, rows: int) -> Iterator[str]:
    """Yield a line on the images, by format, depth and part, whose pixels lie close together."""
    formats, training, deep = images.formats, np.arange(len(images)) < rows, images.fact("depths") > 1
    groups = [
        (np.flatnonzero((formats == kind) & (training == part) & (deep == is_deep)), is_deep)
        for kind in _kinds(formats)
        for part in (True, False)
        for is_deep in (False, True)
    ]
    groups = [group for group in groups if len(group[0]) > len(images) / 100]  # a few blank ones are no news
    narrow = [(group, levels) for group, is_deep in groups if (levels := _levels(images, group, is_deep))]
    if narrow:
        positions = np.concatenate([group for group, _ in narrow])
        low, high = min(levels[0] for _, levels in narrow), max(levels[1] for _, levels in narrow)
        where = f"in {_count(positions)} ({', '.join(_kinds(formats[positions]))})"
        if low == high:
            yield f"{where} all pixels are alike, {low} of 255: {_CURE}"
        else:
            share = f"{100 * (high - low) / 255:.0f} % of the range"
            yield f"{where} pixels use the grey levels {low} to {high} of 255, {share}: {_CURE}"


def _count(positions: npt.NDArray[np.int64]) -> str:
    return f"{len(positions):,} image{'s' * (len(positions) > 1)}"


def _kinds(formats: npt.NDArray[np.str_]) -> Sequence[str]:
    return [kind for kind in np.unique(formats).tolist() if kind]


def _levels(images: ImageCache, positions: npt.NDArray[np.int64], deep: bool) -> tuple[int, int] | None:
    """Return the lowest and the highest grey level of nearly all pixels where they lie close together, else None.

    Of `deep` images black and white do not count beside others: borders and missing values are often so.
    """
    counts = np.zeros(256, np.int64)
    for position in positions[:: -(-len(positions) // _SAMPLE)].tolist():
        counts += np.bincount(images[position].ravel(), minlength=256)
    if deep and counts[1:-1].any():
        counts[[0, -1]] = 0
    there = np.flatnonzero(counts)
    if len(there) > 1:
        share = np.cumsum(counts) / counts.sum()
        there = np.searchsorted(share, [_SHARE, 1 - _SHARE], side="left")
        if there[0] == there[-1] and not deep:  # little but a background, as of line drawings
            return None
    return (int(there[0]), int(there[-1])) if there[-1] - there[0] < _NARROW else None
