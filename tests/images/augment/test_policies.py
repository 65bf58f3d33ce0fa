"""Policies change a view by draws of its seed alone, and leave all other streams as they were."""

import random
from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from supcon.images.augment import policies
from supcon.images.augment.policies import Policy
from supcon.images.augment.single import RandomView
from supcon.images.geometry import Image
from supcon.settings.settings import AugmentSettings

NAMES = ("randaugment", "trivialaugment", "augmix")


def smooth(side: int) -> Image:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (side, side)), dtype=np.uint8)


def views_of(name: Any, side: int, count: int, strength: float = 1.0) -> list[Image]:
    make = RandomView(AugmentSettings(hflip=False, policy=name), side, "crop", strength)
    image = smooth(side)
    image.flags.writeable = False  # as those of the cache are
    return [make(image, seed) for seed in range(count)]


def set_streams(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [8, 33, 224])
def test_a_view_depends_on_its_seed_alone_and_moves_no_other_stream(name: str, side: int) -> None:
    set_streams(1)
    views = views_of(name, side, 20)
    set_streams(2)
    expected = [random.random(), np.random.random(), torch.rand(1).item()]
    set_streams(2)
    for view, same in zip(views, views_of(name, side, 20), strict=True):
        assert (view.shape, view.dtype) == ((side, side, 3), np.uint8)
        np.testing.assert_array_equal(view, same)
    assert [random.random(), np.random.random(), torch.rand(1).item()] == expected
    assert len({view.tobytes() for view in views}) > 10


def noted(monkeypatch: pytest.MonkeyPatch, kind: str) -> list[tuple[str, float]]:
    """Let every policy of a kind note its changes and magnitudes in place of making them."""
    changes: list[tuple[str, float]] = []

    def note(self: object, image: object, change: str, magnitude: float, **_: object) -> object:
        changes.append((change, magnitude))
        return image

    monkeypatch.setattr(getattr(policies.v2, kind), "_apply_image_or_video_transform", note)
    return changes


def test_randaugment_draws_its_changes_evenly_and_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = noted(monkeypatch, "RandAugment")
    views_of("randaugment", 8, 3000)
    pairs = list(zip(changes[::2], changes[1::2], strict=True))
    assert len(pairs) == 3000
    counts = Counter(change for change, _ in changes)
    assert len(counts) == 14
    assert min(counts.values()) > 6000 / 14 * 0.85
    together = Counter((first, second) for (first, _), (second, _) in pairs)
    assert len(together) == 14 * 14


@pytest.mark.parametrize(("strength", "degrees"), [(0.5, 5), (1.0, 10), (2.0, 20), (10.0, 30)])
def test_strength_multiplies_the_magnitude_up_to_the_largest(
    strength: float, degrees: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = noted(monkeypatch, "RandAugment")
    change = Policy(AugmentSettings(policy="randaugment", num_ops=40, magnitude=10), strength)
    change(smooth(8), 0)
    turns = [abs(magnitude) for name, magnitude in changes if name == "Rotate"]
    assert len(changes) == 40
    assert turns == pytest.approx([degrees] * len(turns))
    assert turns


@pytest.mark.parametrize(("strength", "severity"), [(0.1, 1), (1.0, 2), (2.0, 4), (10.0, 10)])
def test_strength_multiplies_the_severity_up_to_the_largest(
    strength: float, severity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A severity of s draws from the first s of ten magnitudes, 0 to 30 degrees."""
    changes = noted(monkeypatch, "AugMix")
    change = Policy(AugmentSettings(policy="augmix", severity=2), strength)
    for seed in range(300):
        change(smooth(8), seed)
    largest = max(abs(magnitude) for name, magnitude in changes if name == "Rotate")
    assert largest == pytest.approx((severity - 1) * 30 / 9)


@pytest.mark.parametrize(("strength", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (4.0, 1.0)])
def test_strength_is_the_share_of_views_that_trivialaugment_changes(
    strength: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = noted(monkeypatch, "TrivialAugmentWide")
    views_of("trivialaugment", 8, 400, strength)
    assert len(changes) / 400 == pytest.approx(share, abs=0.07)


def test_a_mix_is_made_by_one_thread_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of a large image, by which its contrast changes, is rounded by how many threads take it."""
    threads = set[int]()

    def note(self: object, image: object, *_: object, **__: object) -> object:
        threads.add(torch.get_num_threads())
        return image

    monkeypatch.setattr(policies.v2.AugMix, "_apply_image_or_video_transform", note)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        Policy(AugmentSettings(policy="augmix"), 1.0)(smooth(8), 0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert threads == {1}


def test_a_policy_comes_between_the_geometry_and_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = AugmentSettings(
        hflip=True, vflip=True, rotate90=True, shift=0.1, crop=0.4, color=0.4, gray=0.2, blur=0.2, erase=0.3,
        policy="trivialaugment",
    )  # fmt: skip
    steps = [type(step).__name__ for step in RandomView(everything, 8, "crop", 1.0)._transform.transforms]
    assert steps == [
        "RandomResizedCrop", "HorizontalFlip", "VerticalFlip", "RandomRotate90", "Affine", "_ByPolicy",
        "ColorJitter", "ToGray", "GaussianBlur", "Erasing",
    ]  # fmt: skip
