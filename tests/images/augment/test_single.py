"""Random views follow the declared invariances, and depend on their seed alone."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest

from supcon.images.augment.single import RandomView
from supcon.images.augment.views import prediction_views
from supcon.settings.settings import AugmentSettings

DRAW = np.random.default_rng(0)
IMAGE = DRAW.integers(0, 256, (40, 30, 3)).astype(np.uint8)
SQUARE = DRAW.integers(0, 256, (32, 32, 3)).astype(np.uint8)
PLAIN = AugmentSettings(hflip=False)
RICH = AugmentSettings(
    hflip=True, vflip=True, rotate90=True, shift=0.1, scale=0.2, rotate=20, crop=0.4, color=0.4, gray=0.2, blur=0.2,
    erase=0.3,
)  # fmt: skip


def test_a_view_is_a_function_of_image_and_seed() -> None:
    first, second = (RandomView(RICH, 24, "crop", 1.0) for _ in range(2))
    seeds = [11, 12, 11, 2**62]
    views = [first(IMAGE, seed) for seed in seeds]
    for view, seed in zip(views, seeds, strict=True):
        assert view.shape == (24, 24, 3)
        np.testing.assert_array_equal(view, second(IMAGE, seed))
    np.testing.assert_array_equal(views[0], views[2])
    assert (views[0] != views[1]).any()


def test_without_declared_invariances_the_training_view_is_the_plain_image() -> None:
    np.testing.assert_array_equal(RandomView(PLAIN, 32, "crop", 1.0)(SQUARE, 5), SQUARE)


def test_images_that_may_not_flip_are_never_flipped() -> None:
    views = prediction_views(AugmentSettings(hflip=False, shift=0.1, scale=0.2), 99)
    assert not {"hflip", "vflip", "rotate90"} & set(views)
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, :16] = 255
    random_view = RandomView(AugmentSettings(hflip=False, shift=0.1, scale=0.1, rotate=10), 32, "crop", 1.0)
    for seed in range(60):
        view = random_view(half, seed)
        assert view[8:24, :16].mean() > view[8:24, 16:].mean() + 50


@pytest.mark.parametrize("policy", ["none", "randaugment", "trivialaugment", "augmix"])
def test_strength_zero_leaves_only_flips_and_turns(policy: Any) -> None:
    view = RandomView(dataclasses.replace(RICH, policy=policy), 32, "crop", 0.0)
    dihedral = [np.rot90(base, turn) for base in (SQUARE, SQUARE[:, ::-1]) for turn in range(4)]
    for seed in range(30):
        result = view(SQUARE, seed)
        assert any((result == view).all() for view in dihedral)


def test_training_shows_all_eight_flips_and_turns_equally_often() -> None:
    """Each step draws its own numbers: with one seed for all, both flips would happen together or not at all."""
    view = RandomView(AugmentSettings(hflip=True, vflip=True, rotate90=True), 32, "crop", 1.0)
    shown = Counter(view(SQUARE, seed).tobytes() for seed in range(800))
    assert len(shown) == 8
    assert min(shown.values()) > 60


def test_crops_and_flips_are_independent() -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    view = RandomView(AugmentSettings(hflip=True, crop=0.2), 32, "crop", 1.0)
    contrast = {False: [], True: []}  # type: dict[bool, list[float]]
    for seed in range(400):
        row = view(ramp, seed).astype(float)[16, :, 0]
        contrast[bool(row[0] > row[-1])].append(abs(row[-1] - row[0]))  # grows with the crop's width
    assert np.mean(contrast[True]) == pytest.approx(np.mean(contrast[False]), rel=0.08)


def test_padding_comes_before_cropping_so_that_long_images_are_seen_whole() -> None:
    long = np.full((20, 60, 3), 100, np.uint8)
    long[:, :6] = 255
    view = RandomView(AugmentSettings(hflip=False, crop=0.8), 32, "pad", 1.0)
    views = [view(long, seed) for seed in range(40)]
    assert any((view == 255).any() for view in views)
    assert any((view == 0).any() for view in views)
