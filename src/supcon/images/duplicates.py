"""Copies of one image, equal or nearly so: re-encoded, resized, brightened, mildly cropped or padded."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.images.geometry import Image
from supcon.images.perceptual import BITS, SIDE, VIEWS, Hashes, HashIndex, hashes, shrunk, waves

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

LIMIT = 0.16  # the largest `difference` of copies; how it was chosen stands there
_CHUNK = 2048  # images in memory at once
_RADIUS = 5  # bits: 97 % of the copies of each kind lie within it, in one view or another
_ALIKE = 0.98  # cosine of the low waves, which 99 % of the copies exceed; spares four fifths of the digits' candidates
_MOST = 4  # candidates kept an image, the likest
_FLAT = 4.0  # grey levels (standard deviation): below, a hash is the hash of noise


class Images(Protocol):
    """What is needed of an `ImageCache`."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, position: int, /) -> Image:
        """Return one image, [height, width, 3] RGB."""


def near_duplicates(images: Images, positions: Sequence[int] | None = None) -> Numbers:
    """Return pairs [pairs, 2] of positions, first < second, that join all copies of an image into one group.

    Looks at all images, or at `positions` only. The pairs are fewer than the images: what is joined already, by way of
    others, is not paired again. Images of nearly one colour are paired only when their pixels are equal; mirrored and
    turned copies are not looked for.
    """
    where = np.unique(np.arange(len(images)) if positions is None else np.asarray(positions, np.int64))
    seen, low, contrast, keys = _looked_at(images, where)
    first = _first_of_equals(images, where, keys)
    copies = np.flatnonzero(first != np.arange(len(where)))
    equal = np.stack([first[copies], copies], axis=1)
    clear = np.flatnonzero((first == np.arange(len(where))) & (contrast >= _FLAT))
    candidates = _candidates(images, where[clear], seen[clear], low[clear])
    pairs = where[np.concatenate([equal, _verified(images, where, clear[candidates])])]
    return pairs[np.lexsort(pairs.T[::-1])]


def thumbnail(image: Image) -> Floats:
    """Return [SIDE, SIDE, 3] as `difference` compares it, smoothed: a crop lays the thumbnail's grid anew."""
    return cv2.GaussianBlur(shrunk(image).astype(np.float32), (0, 0), 1.4)  # type: ignore[return-value]


_MARGIN, _BLOCK = 4, 5  # pixels of a thumbnail; the margin may be padding
_NOISE = 25.0  # grey levels squared: about what JPEG of quality 60 does to a smooth block
_GAIN = 1.5  # copies are not brightened more
_DISTINCT = 0.2  # the least mean square `difference` that an unrelated image would have
_BLOCKS = 40  # of 64, as photographs have them


def difference(first: Floats, second: Floats) -> float:
    """Return how much two thumbnails differ after alignment: 0 for equal, about 1 for unrelated images.

    The first is stretched and shifted by up to 9 % onto the second, and brightened. What then remains is compared block
    by block with the block's own contrast, so that a strong outline that many images share (a microscope's round field)
    does not hide that the rest differs. Where few blocks hold the picture, as in a written 1, two pictures agree more
    easily by chance, and the difference counts more.

    Copies of photographs of 128 pixels lie below `LIMIT` in 99 of 100 cases (JPEG of quality 60, half and double size,
    10 % brighter, 2 to 3 % cut off or added on one side or all). No two of 5,000 handwritten digits have less than
    0.25; all pairs below it among 11,841 traffic signs are frames of one sign, among 4,750 seedlings one plant. At 28
    to 32 pixels JPEG and halving destroy what is compared, and such copies are mostly missed (all of the signs; 90 % of
    the digits are found after JPEG, none after halving): a wrong pair would cost more, since it chains groups together.
    """
    aligned = _inner(_warped(first, _alignment(first.mean(axis=2), second.mean(axis=2))))
    target = _inner(second)
    aligned, target = aligned - aligned.mean(axis=(0, 1)), target - target.mean(axis=(0, 1))
    gain = float((aligned * target).sum() / max((aligned * aligned).sum(), 1e-6))
    left, blocks = _blocks(target - gain * aligned), _blocks(target)
    own = ((blocks - blocks.mean(axis=(1, 3), keepdims=True)) ** 2).mean(axis=(1, 3, 4)) + 1e-6
    share = np.sqrt(own) / np.sqrt(own).sum()
    if not 1 / _GAIN <= gain <= _GAIN or (share * own / (own + _NOISE)).sum() < _DISTINCT:
        return float("inf")
    simplicity = max(1.0, float(_BLOCKS * (share**2).sum()))
    return simplicity * float(np.sqrt((share * (left**2).mean(axis=(1, 3, 4)) / (own + _NOISE)).sum()))


def _looked_at(images: Images, where: Numbers) -> tuple[Hashes, npt.NDArray[np.float16], Floats, Numbers]:
    """Return for each image its hashes, the waves of the whole, its contrast, and a number that equal images share."""
    seen, low = np.zeros((len(where), VIEWS), np.uint64), np.zeros((len(where), BITS), np.float16)
    contrast, keys = np.zeros(len(where), np.float32), np.zeros(len(where), np.int64)
    for rows in _chunks(len(where), "hash"):
        greys = _greys(images, where[rows])
        of = waves(greys)
        seen[rows], low[rows], contrast[rows] = hashes(of), of[:, 0], greys.std(axis=(1, 2), dtype=np.float32)
        keys[rows] = [hash(grey.tobytes()) for grey in greys]
    return seen, low, contrast, keys


def _first_of_equals(images: Images, where: Numbers, keys: Numbers) -> Numbers:
    """Return for each image the number of the first one with equal pixels."""
    first = np.arange(len(where))
    _, kind, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    names: dict[bytes, int] = {}
    for number in np.flatnonzero(sizes[kind] > 1).tolist():  # only these are read whole
        image = images[where[number]]
        name = hashlib.blake2b(str(image.shape).encode() + image.tobytes(), digest_size=16).digest()
        first[number] = names.setdefault(name, number)
    return first


def _candidates(images: Images, where: Numbers, seen: Hashes, low: npt.NDArray[np.float16]) -> Numbers:
    """Return [candidates, 2] numbers of images, smaller first, that look alike in some view; the likest first."""
    index = HashIndex(seen[:, 0])
    pairs, scores = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    for rows in _chunks(len(where), "compare"):
        near = index.near(seen[rows], _RADIUS)
        near = near[near[:, 0] + rows.start != near[:, 1]]
        asked, place = np.unique(near[:, 0], return_inverse=True)
        if len(asked) > 0:
            of = waves(_greys(images, where[rows][asked]))
            alike = _cosines(of, place, low, near[:, 1])
            order = np.lexsort((-alike, near[:, 0]))
            rank = np.arange(len(near)) - np.searchsorted(near[order, 0], near[order, 0])
            best = order[(rank < _MOST) & (alike[order] >= _ALIKE)]
            pairs.append(near[best] + [rows.start, 0])
            scores.append(alike[best])
    in_order = np.concatenate(pairs)[np.argsort(-np.concatenate(scores), kind="stable")]
    return np.sort(in_order, axis=1)


def _cosines(of: Floats, asked: Numbers, low: npt.NDArray[np.float16], found: Numbers) -> Floats:
    """Return the best cosine of any view of[asked] with the whole image low[found]."""
    parts = [slice(start, start + _CHUNK) for start in range(0, len(asked), _CHUNK)]
    views = [np.einsum("pvk,pk->pv", of[asked[part]], low[found[part]].astype(np.float32)) for part in parts]
    return np.concatenate(views).max(axis=1)


def _verified(images: Images, where: Numbers, candidates: Numbers) -> Numbers:
    """Return the candidates that are copies, without those that others have joined already."""
    above: dict[int, int] = {}

    def root(number: int) -> int:
        while (parent := above.get(number, number)) != number:
            above[number] = number = above.get(parent, parent)
        return number

    pairs = []
    for first, second in dict.fromkeys(map(tuple, candidates.tolist())):
        one, other = root(first), root(second)
        if one != other and difference(thumbnail(images[where[first]]), thumbnail(images[where[second]])) <= LIMIT:
            above[max(one, other)] = min(one, other)
            pairs.append((first, second))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _greys(images: Images, where: Numbers) -> npt.NDArray[np.uint8]:
    return np.stack([shrunk(np.asarray(cv2.cvtColor(images[place], cv2.COLOR_RGB2GRAY), np.uint8)) for place in where])


def _chunks(count: int, title: str) -> Iterator[slice]:
    with tqdm(total=count, desc=title, unit="image", disable=None) as bar:
        for start in range(0, count, _CHUNK):
            yield slice(start, min(start + _CHUNK, count))
            bar.update(min(_CHUNK, count - start))


_CENTRE = (SIDE - 1) / 2
_ACROSS = ((np.arange(SIDE, dtype=np.float32) - _CENTRE) / _CENTRE)[None, :]  # -1 to 1


def _alignment(first: Floats, second: Floats) -> Floats:
    """Return the shift and the growth (right, down, wide, high; 1 is half the side) of grey `first` onto `second`.

    Three steps of Gauss and Newton from none at all, with the gain as a fifth unknown.
    """
    shape = np.zeros(4, np.float32)
    target = _inner(second).ravel() - _inner(second).mean()
    for _ in range(3):
        warped = _warped(first, shape)
        right = (np.roll(warped, -1, axis=1) - np.roll(warped, 1, axis=1)) * (_CENTRE / 2)
        down = (np.roll(warped, -1, axis=0) - np.roll(warped, 1, axis=0)) * (_CENTRE / 2)
        slopes = np.stack([_inner(of).ravel() for of in (warped, right, down, right * _ACROSS, down * _ACROSS.T)])
        slopes -= slopes.mean(axis=1, keepdims=True)
        normal = slopes @ slopes.T
        normal[np.diag_indices(5)] = normal.diagonal() * 1.0001 + 0.01  # solvable whatever the image
        gain, *step = np.linalg.solve(normal, slopes @ target)
        shape = np.clip(shape + np.clip(np.array(step) / max(gain, 0.3), -0.06, 0.06), -0.09, 0.09)
    return shape


def _warped(image: Floats, shape: Floats) -> Floats:
    right, down, wide, high = (float(each) for each in shape)
    matrix = np.array([[1 + wide, 0, _CENTRE * (right - wide)], [0, 1 + high, _CENTRE * (down - high)]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _inner(image: Floats) -> Floats:
    return image[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _blocks(inner: Floats) -> Floats:
    count = (SIDE - 2 * _MARGIN) // _BLOCK
    return inner.reshape(count, _BLOCK, count, _BLOCK, 3)
