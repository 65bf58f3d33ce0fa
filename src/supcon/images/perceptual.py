"""Perceptual hashes: find images that look alike without comparing each image with every other."""

import cv2
import numpy as np
import numpy.typing as npt

from supcon.arrays import Rows
from supcon.images.geometry import Image, resize

Waves = npt.NDArray[np.float32]  # [..., BITS]
Hashes = npt.NDArray[np.uint64]  # [...], of BITS bits each

SIDE = 48  # pixels of a thumbnail: a crop of 3 % moves its edges by more than a pixel
_BITS_OF_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
BITS, _BAND = 64, 16  # bits of a hash, and of one of its four bands
_CROWD = 16  # hashes compared on either side of a query in a crowded bucket: keeps a million similar hashes linear
# A copy that is cropped or padded by 2 to 3 % differs in 4 to 18 of 64 bits, spread over all bands. A window of one
# image that shows what the other image shows differs in 2 to 4 bits. So six smaller windows of each image are hashed
# beside the whole image.
_ENDS = {"all": (0.0, 1.0), "97": (0.015, 0.985), "94": (0.03, 0.97), "first": (0.0, 0.9725), "last": (0.0275, 1.0)}
_WINDOWS = [("all", "all"), ("97", "97"), ("94", "94")]
_WINDOWS += [(down, across) for down in ("first", "last") for across in ("first", "last")]
VIEWS = len(_WINDOWS)
# The share of a window over which its edge fades in, because pixels at the edge may be padding: without the fading a
# third of the copies with a black frame are missed, with it none.
_FADE = 0.1


def shrunk(image: Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an image, RGB or grey, squashed to SIDE x SIDE pixels."""
    while min(image.shape[:2]) >= 4 * SIDE:  # halving is several times faster than other ratios
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = resize(image[: 2 * height, : 2 * width], height, width)
    interpolation = cv2.INTER_AREA if min(image.shape[:2]) >= SIDE else cv2.INTER_LINEAR
    return cv2.resize(image, (SIDE, SIDE), interpolation=interpolation)  # type: ignore[return-value]


def waves(greys: npt.NDArray[np.uint8]) -> Waves:
    """Return unit vectors [images, VIEWS, BITS]: the lowest cosine waves of thumbnails [images, SIDE, SIDE]."""
    bases = np.concatenate(list(_BASES.values()))
    columns = (greys.reshape(-1, SIDE).astype(np.float32) @ bases.T).reshape(len(greys), SIDE, len(_BASES), -1)
    by_ends = dict(zip(_BASES, columns.transpose(2, 0, 3, 1), strict=True))  # each [images, waves across, SIDE]
    views = [(by_ends[across] @ _BASES[down].T)[:, _ACROSS, _DOWN] for down, across in _WINDOWS]
    lowest = np.stack(views, axis=1)
    return lowest / np.maximum(np.linalg.norm(lowest, axis=-1, keepdims=True), 1e-6)


def hashes(low_waves: Waves) -> Hashes:
    """Return the hash of waves [..., BITS]: a bit for the sign of each wave (pHash, Zauner 2010)."""
    return np.packbits(low_waves > 0, axis=-1).view(np.uint64)[..., 0]


class HashIndex:
    """Finds hashes that are near to queries, by their bands: of four bands of 16 bits, 3 changed bits leave one equal.

    So all hashes at a distance of up to 3 bits are found; at 4 and 5 bits 91 and 77 % are, and a copy can be found by
    each of its views. In a bucket (the hashes with one band equal) of more than 32 hashes only the 32 nearest in sorted
    order are compared.
    """

    def __init__(self, image_hashes: Hashes) -> None:
        """Sort `image_hashes` [images] once for each band, which takes 64 bytes an image."""
        self._count = len(image_hashes)
        self._bands = []
        for band in range(BITS // _BAND):
            rotated = _rotated(image_hashes, band)
            order = np.argsort(rotated, kind="stable")
            buckets = np.arange(1 << _BAND, dtype=np.uint64) << np.uint64(BITS - _BAND)
            starts = np.append(np.searchsorted(rotated[order], buckets), len(image_hashes))
            self._bands.append((rotated[order], order, starts))

    def near(self, queries: Hashes, radius: int) -> Rows:
        """Return sorted pairs [pairs, 2]: rows of `queries` [rows, views], hashes within `radius` bits of a view."""
        views = queries.shape[1]
        pairs = []  # row x number of hashes + hash
        for band, (in_order, order, starts) in enumerate(self._bands):
            rotated = _rotated(queries.ravel(), band)
            bucket = (rotated >> np.uint64(BITS - _BAND)).astype(np.int64)
            low, high = starts[bucket], starts[bucket + 1]
            crowded = high - low > 2 * _CROWD
            middle = np.searchsorted(in_order, rotated[crowded])
            low[crowded] = np.maximum(low[crowded], middle - _CROWD)
            high[crowded] = np.minimum(high[crowded], middle + _CROWD)
            rows = np.repeat(np.arange(len(rotated)), high - low)
            positions = np.arange(len(rows)) + np.repeat(high - np.cumsum(high - low), high - low)
            near = _bits_set(rotated[rows] ^ in_order[positions]) <= radius
            pairs.append(rows[near] // views * self._count + order[positions[near]])
        return np.stack(np.divmod(np.unique(np.concatenate(pairs)), max(self._count, 1)), axis=1)


def _bits_set(values: Hashes) -> npt.NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # from NumPy 2 on
        return np.bitwise_count(values)
    return _BITS_OF_BYTES[values.view(np.uint8)].reshape(*values.shape, 8).sum(axis=-1, dtype=np.uint8)


def _rotated(image_hashes: Hashes, band: int) -> Hashes:
    """Return the hashes with their bits rotated so that the band comes first."""
    bits = band * _BAND
    return (image_hashes << np.uint64(bits)) | (image_hashes >> np.uint64(-bits % BITS))


def _basis(start: float, stop: float) -> Waves:
    """Return cosine waves [waves, SIDE] over the window from `start` to `stop` of an image from 0 to 1.

    A pixel that is partly inside the window counts by that part. Every wave but the first gives 0 for a constant.
    """
    edges = np.arange(SIDE + 1) / SIDE
    low, high = np.clip(edges[:-1], start, stop), np.clip(edges[1:], start, stop)
    middle = ((low + high) / 2 - start) / (stop - start)
    weight = (high - low) * np.clip(np.minimum(middle, 1 - middle) / _FADE, 0, 1)
    basis = np.cos(np.pi * np.arange(_ACROSS.max() + 1)[:, None] * middle) * weight
    basis[1:] -= np.outer(basis[1:].sum(axis=1), weight) / weight.sum()
    return basis.astype(np.float32)


_FREQUENCIES = sorted((i + j, abs(i - j), i, j) for i in range(11) for j in range(11))[1 : BITS + 1]  # lowest first
_DOWN, _ACROSS = np.array([(i, j) for *_, i, j in _FREQUENCIES]).T
_BASES = {name: _basis(*ends) for name, ends in _ENDS.items()}
