"""Find copies of images: equal ones, and those re-encoded, resized, brightened, mildly cropped or padded."""

import hashlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.images.cache import ImageCache
from supcon.images.geometry import Image
from supcon.images.perceptual import BITS, SIDE, VIEWS, Hashes, HashIndex, hashes, shrunk, waves

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

LIMIT = 0.16  # the largest `difference` of copies; its docstring says how it was chosen
_CHUNK = 2048  # images in memory at once
_RADIUS = 5  # bits: of each kind of copies 97 % have hashes this near, in one of the views
_ALIKE = 0.98  # least cosine of the low waves: 99 % of the copies have more; it removes 4 of 5 candidates of the digits
_MOST = 4  # candidates that are kept for each image: the most similar ones
_FLAT = 4.0  # standard deviation of grey levels: the hash of an image with less is noise

Images = ImageCache | Sequence[Image]


def near_duplicates(images: Images, positions: Sequence[int] | None = None) -> Numbers:
    """Return pairs [pairs, 2] of positions, first < second, that connect all copies of an image with each other.

    Only images at `positions` are compared, or all. There are fewer pairs than images: two copies that other pairs
    connect are not paired again. Images of nearly one colour are copies only where their pixels are equal. Mirrored and
    turned copies are not found.
    """
    selected = np.unique(np.arange(len(images)) if positions is None else np.asarray(positions, np.int64))
    view_hashes, low, contrast, keys = _describe(images, selected)
    first = _first_of_equals(images, selected, keys)
    copies = np.flatnonzero(first != np.arange(len(selected)))
    equal = np.stack([first[copies], copies], axis=1)
    clear = np.flatnonzero((first == np.arange(len(selected))) & (contrast >= _FLAT))
    candidates = _candidates(images, selected[clear], view_hashes[clear], low[clear])
    pairs = selected[np.concatenate([equal, _verified(images, selected, clear[candidates])])]
    return pairs[np.lexsort(pairs.T[::-1])]


def thumbnail(image: Image) -> Floats:
    """Return what `difference` compares, [SIDE, SIDE, 3]: smoothed, since in a cropped copy pixels lie elsewhere."""
    return cv2.GaussianBlur(shrunk(image).astype(np.float32), (0, 0), 1.4)  # type: ignore[return-value]


_MARGIN, _BLOCK = 4, 5  # pixels of a thumbnail; the margin may be padding
_NOISE = 25.0  # grey levels squared: about the variance that JPEG of quality 60 adds to a smooth block
_GAIN = 1.5  # the largest factor of brightness between copies
# least mean square `difference` of an unrelated image: images with too little contrast for that have no copies
_DISTINCT = 0.2
_BLOCKS = 40  # blocks of 64 that hold the picture in a photograph


def difference(first: Floats, second: Floats) -> float:
    """Return how much two thumbnails differ after alignment: 0 for equal, about 1 for unrelated images.

    The first thumbnail is stretched and shifted onto the second by up to 9 %, and brightened. The remaining error of
    each block is divided by the block's own contrast: a strong outline that many images share (the round field of a
    microscope) then cannot hide that everything else differs. Where few blocks hold the picture, as in a written 1, two
    pictures agree more easily by chance, so the difference is multiplied by a factor.

    Copies of photographs of 128 pixels are below `LIMIT` in 99 of 100 cases (JPEG of quality 60, half and double size,
    10 % brighter, 2 to 3 % cut off or added on one side or on all). No two of 5,000 handwritten digits are below 0.25;
    all pairs below 0.25 are frames of one sign among 11,841 traffic signs, and of one plant among 4,750 seedlings. At
    28 to 32 pixels JPEG and halving destroy the details that are compared, and such copies are mostly missed (all of
    the signs; of the digits 90 % are found after JPEG, none after halving). The limit is low because a wrong pair costs
    more than a missed one: it joins the groups of both images.
    """
    aligned = _inner(_warped(first, _alignment(first.mean(axis=2), second.mean(axis=2))))
    target = _inner(second)
    aligned, target = aligned - aligned.mean(axis=(0, 1)), target - target.mean(axis=(0, 1))
    gain = float((aligned * target).sum() / max((aligned * aligned).sum(), 1e-6))
    errors, blocks = _blocks(target - gain * aligned), _blocks(target)
    own = ((blocks - blocks.mean(axis=(1, 3), keepdims=True)) ** 2).mean(axis=(1, 3, 4)) + 1e-6
    share = np.sqrt(own) / np.sqrt(own).sum()
    if not 1 / _GAIN <= gain <= _GAIN or (share * own / (own + _NOISE)).sum() < _DISTINCT:
        return float("inf")
    simplicity = max(1.0, float(_BLOCKS * (share**2).sum()))
    return simplicity * float(np.sqrt((share * (errors**2).mean(axis=(1, 3, 4)) / (own + _NOISE)).sum()))


def _describe(images: Images, positions: Numbers) -> tuple[Hashes, npt.NDArray[np.float16], Floats, Numbers]:
    """Return each image's hashes of all views, low waves (of the whole), contrast, and a key that equal ones share."""
    view_hashes, low = np.zeros((len(positions), VIEWS), np.uint64), np.zeros((len(positions), BITS), np.float16)
    contrast, keys = np.zeros(len(positions), np.float32), np.zeros(len(positions), np.int64)
    for rows in _chunks(len(positions), "hash"):
        greys = _greys(images, positions[rows])
        low_waves = waves(greys)
        view_hashes[rows], low[rows] = hashes(low_waves), low_waves[:, 0]
        contrast[rows] = greys.std(axis=(1, 2), dtype=np.float32)
        keys[rows] = [hash(grey.tobytes()) for grey in greys]
    return view_hashes, low, contrast, keys


def _first_of_equals(images: Images, positions: Numbers, keys: Numbers) -> Numbers:
    """Return for each image the number of the first image with equal pixels."""
    first = np.arange(len(positions))
    _, kind, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    numbers: dict[bytes, int] = {}  # by the digest of the pixels
    for number in np.flatnonzero(sizes[kind] > 1).tolist():  # only these are read in full
        image = images[positions[number]]
        digest = hashlib.blake2b(str(image.shape).encode() + image.tobytes(), digest_size=16).digest()
        first[number] = numbers.setdefault(digest, number)
    return first


def _candidates(images: Images, positions: Numbers, view_hashes: Hashes, low: npt.NDArray[np.float16]) -> Numbers:
    """Return [candidates, 2] numbers of similar images, the smaller number first; the most similar pair first."""
    index = HashIndex(view_hashes[:, 0])
    pairs, scores = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    for rows in _chunks(len(positions), "compare"):
        near = index.near(view_hashes[rows], _RADIUS)
        near = near[near[:, 0] + rows.start != near[:, 1]]
        queries, query = np.unique(near[:, 0], return_inverse=True)
        if len(queries) > 0:
            low_waves = waves(_greys(images, positions[rows][queries]))
            cosines = _cosines(low_waves, query, low, near[:, 1])
            order = np.lexsort((-cosines, near[:, 0]))
            rank = np.arange(len(near)) - np.searchsorted(near[order, 0], near[order, 0])
            best = order[(rank < _MOST) & (cosines[order] >= _ALIKE)]
            pairs.append(near[best] + [rows.start, 0])
            scores.append(cosines[best])
    in_order = np.concatenate(pairs)[np.argsort(-np.concatenate(scores), kind="stable")]
    return np.sort(in_order, axis=1)


def _cosines(low_waves: Floats, queries: Numbers, low: npt.NDArray[np.float16], others: Numbers) -> Floats:
    """Return the largest cosine of any view in low_waves[queries] with the whole image in low[others], [pairs]."""
    parts = [slice(start, start + _CHUNK) for start in range(0, len(queries), _CHUNK)]
    views = [np.einsum("pvk,pk->pv", low_waves[queries[part]], low[others[part]].astype(np.float32)) for part in parts]
    return np.concatenate(views).max(axis=1)


def _verified(images: Images, positions: Numbers, candidates: Numbers) -> Numbers:
    """Return the candidates that are copies, without pairs that earlier pairs connect already."""
    from scipy.cluster.hierarchy import DisjointSet  # late: it takes a while to import

    joined, pairs = DisjointSet(np.unique(candidates).tolist()), []
    for first, second in dict.fromkeys(map(tuple, candidates.tolist())):
        if not joined.connected(first, second):
            thumbnails = (thumbnail(images[positions[number]]) for number in (first, second))
            if difference(*thumbnails) <= LIMIT:
                joined.merge(first, second)
                pairs.append((first, second))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _greys(images: Images, positions: Numbers) -> npt.NDArray[np.uint8]:
    """Return grey thumbnails [images, SIDE, SIDE]."""
    greys = (np.asarray(cv2.cvtColor(images[position], cv2.COLOR_RGB2GRAY), np.uint8) for position in positions)
    return np.stack([shrunk(grey) for grey in greys])


def _chunks(count: int, title: str) -> Iterator[slice]:
    with tqdm(total=count, desc=title, unit="image", disable=None) as bar:
        for start in range(0, count, _CHUNK):
            yield slice(start, min(start + _CHUNK, count))
            bar.update(min(_CHUNK, count - start))


_CENTRE = (SIDE - 1) / 2
_ACROSS = ((np.arange(SIDE, dtype=np.float32) - _CENTRE) / _CENTRE)[None, :]  # -1 to 1


def _alignment(first: Floats, second: Floats) -> Floats:
    """Return shift and growth (right, down, wide, high; 1 is half the side) of grey `first` onto `second`."""
    shape = np.zeros(4, np.float32)
    target = _inner(second).ravel() - _inner(second).mean()
    for _ in range(3):  # Gauss-Newton steps from 0, with the gain as a fifth unknown
        warped = _warped(first, shape)
        right = (np.roll(warped, -1, axis=1) - np.roll(warped, 1, axis=1)) * (_CENTRE / 2)
        down = (np.roll(warped, -1, axis=0) - np.roll(warped, 1, axis=0)) * (_CENTRE / 2)
        changes = (warped, right, down, right * _ACROSS, down * _ACROSS.T)  # by gain, right, down, wide, high
        slopes = np.stack([_inner(change).ravel() for change in changes])
        slopes -= slopes.mean(axis=1, keepdims=True)
        normal = slopes @ slopes.T
        normal[np.diag_indices(5)] = normal.diagonal() * 1.0001 + 0.01  # solvable whatever the image
        gain, *step = np.linalg.solve(normal, slopes @ target)
        shape = np.clip(shape + np.clip(np.array(step) / max(gain, 0.3), -0.06, 0.06), -0.09, 0.09)
    return shape


def _warped(image: Floats, shape: Floats) -> Floats:
    right, down, wide, high = (float(number) for number in shape)
    matrix = np.array([[1 + wide, 0, _CENTRE * (right - wide)], [0, 1 + high, _CENTRE * (down - high)]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _inner(image: Floats) -> Floats:
    return image[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _blocks(inner: Floats) -> Floats:
    count = (SIDE - 2 * _MARGIN) // _BLOCK
    return inner.reshape(count, _BLOCK, count, _BLOCK, 3)
