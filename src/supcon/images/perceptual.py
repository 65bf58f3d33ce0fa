"""Perceptual hashes: which images look alike at a glance, found without comparing all with all."""

import cv2
import numpy as np
import numpy.typing as npt

from supcon.arrays import Rows
from supcon.images.geometry import Image

Grey = npt.NDArray[np.uint8]  # [SIDE, SIDE]
Waves = npt.NDArray[np.float32]  # [..., BITS]
Hashes = npt.NDArray[np.uint64]

SIDE = 48  # pixels of a thumbnail: a crop of 3 % moves its edge by more than one of them
BITS, _BAND = 64, 16
_CROWD = 16  # hashes looked at on either side of a query in a crowded bucket: a million alike stay linear
# A copy cropped or padded by 2 to 3 % differs in 4 to 18 bits of 64, spread over all bands. But a window of the one
# that shows what the other shows differs in 2 to 4: so each image is also looked at through six smaller windows.
_ENDS = {"all": (0.0, 1.0), "97": (0.015, 0.985), "94": (0.03, 0.97), "first": (0.0, 0.9725), "last": (0.0275, 1.0)}
_WINDOWS = [("all", "all"), ("97", "97"), ("94", "94")]
_WINDOWS += [(down, across) for down in ("first", "last") for across in ("first", "last")]
VIEWS = len(_WINDOWS)
# The share of a window over which its edge fades in. Cells at the edge still hold some padding: without the fading a
# third of the copies with a black frame are lost, with it none.
_FADE = 0.1


def shrunk(image: Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an image, RGB or grey, squashed to SIDE x SIDE."""
    while min(image.shape[:2]) >= 4 * SIDE:  # halving is several times faster than any other ratio
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = _resized(image[: 2 * height, : 2 * width], width, height, cv2.INTER_AREA)
    return _resized(image, SIDE, SIDE, cv2.INTER_AREA if min(image.shape[:2]) >= SIDE else cv2.INTER_LINEAR)


def waves(greys: npt.NDArray[np.uint8]) -> Waves:
    """Return unit vectors [images, VIEWS, BITS]: the lowest cosine waves of thumbnails [images, SIDE, SIDE].

    The first view is the whole image, the others are slightly smaller windows of it.
    """
    bases = np.concatenate(list(_BASES.values()))
    columns = (greys.reshape(-1, SIDE).astype(np.float32) @ bases.T).reshape(len(greys), SIDE, len(_BASES), -1)
    by_ends = dict(zip(_BASES, columns.transpose(2, 0, 3, 1), strict=True))  # each [images, waves across, SIDE]
    views = [(by_ends[across] @ _BASES[down].T)[:, _ACROSS, _DOWN] for down, across in _WINDOWS]
    lowest = np.stack(views, axis=1)
    return lowest / np.maximum(np.linalg.norm(lowest, axis=-1, keepdims=True), 1e-6)


def hashes(of: Waves) -> Hashes:
    """Return the signs of the waves, a bit each (pHash, Zauner 2010)."""
    return np.packbits(of > 0, axis=-1).view(np.uint64)[..., 0]


class HashIndex:
    """Finds hashes near others by the pigeonhole: of four bands of 16 bits one survives any 3 changed bits.

    Exact to a distance of 3 bits, and at 4 and 5 it finds 91 and 77 %: a copy has several views to be found by. In a
    bucket of more than 32 hashes it looks at the 32 nearest in order only.
    """

    def __init__(self, of: Hashes) -> None:
        """Sort the hashes [images] once for each band: 64 bytes an image."""
        self._count = len(of)
        self._bands = []
        for band in range(BITS // _BAND):
            turned = _turned(of, band)
            order = np.argsort(turned, kind="stable")
            buckets = np.arange(1 << _BAND, dtype=np.uint64) << np.uint64(BITS - _BAND)
            starts = np.append(np.searchsorted(turned[order], buckets), len(of))
            self._bands.append((turned[order], order, starts))

    def near(self, queries: Hashes, radius: int) -> Rows:
        """Return [found, 2], in order: rows of `queries` [rows, views] and hashes within `radius` bits of a view."""
        views = queries.shape[1]
        found = []
        for band, (in_order, order, starts) in enumerate(self._bands):
            turned = _turned(queries.ravel(), band)
            bucket = (turned >> np.uint64(BITS - _BAND)).astype(np.int64)
            low, high = starts[bucket], starts[bucket + 1]
            crowded = high - low > 2 * _CROWD
            here = np.searchsorted(in_order, turned[crowded])
            low[crowded] = np.maximum(low[crowded], here - _CROWD)
            high[crowded] = np.minimum(high[crowded], here + _CROWD)
            rows = np.repeat(np.arange(len(turned)), high - low)
            places = np.arange(len(rows)) + np.repeat(high - np.cumsum(high - low), high - low)
            near = np.bitwise_count(turned[rows] ^ in_order[places]) <= radius
            found.append(rows[near] // views * self._count + order[places[near]])
        return np.stack(np.divmod(np.unique(np.concatenate(found)), max(self._count, 1)), axis=1)


def _turned(of: Hashes, band: int) -> Hashes:
    """Return the hashes rotated so that the band comes first."""
    bits = band * _BAND
    return of if bits == 0 else (of << np.uint64(bits)) | (of >> np.uint64(BITS - bits))


def _resized(image: npt.NDArray[np.uint8], width: int, height: int, how: int) -> npt.NDArray[np.uint8]:
    return cv2.resize(image, (width, height), interpolation=how)  # type: ignore[return-value]


def _basis(start: float, stop: float) -> Waves:
    """Return [waves, SIDE]: cosine waves over a window of [0, 1], blind to a constant, fractions of pixels weighed."""
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
