"""Test-time views follow the declared invariances, the plain image first."""

import pickle

import numpy as np
import pytest

from supcon.images.augment.views import prediction_views
from supcon.settings.settings import AugmentSettings

SQUARE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
RICH = AugmentSettings(hflip=True, vflip=True, rotate90=True, shift=0.1, scale=0.2, rotate=20, crop=0.4)


def test_the_flips_and_turns_at_test_time_are_the_eight_of_the_square() -> None:
    views = prediction_views(AugmentSettings(hflip=True, vflip=True, rotate90=True), 99)
    results = {view(SQUARE).tobytes() for view in views.values()}
    dihedral = {np.ascontiguousarray(np.rot90(b, k)).tobytes() for b in (SQUARE, SQUARE[:, ::-1]) for k in range(4)}
    assert results == dihedral
    assert list(views)[0] == "plain"


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_the_limit_keeps_the_first_views(limit: int) -> None:
    everything = prediction_views(RICH, 99)
    assert list(prediction_views(RICH, limit)) == list(everything)[:limit]


def test_every_test_time_view_keeps_the_size_and_shifts_move_the_image() -> None:
    views = prediction_views(AugmentSettings(hflip=False, shift=0.125, scale=0.2), 99)
    for view in (*views.values(), *prediction_views(RICH, 99).values()):
        assert view(SQUARE).shape == SQUARE.shape
        pickle.dumps(view)  # worker processes may be spawned
    np.testing.assert_array_equal(views["down"](SQUARE)[2:], SQUARE[:-2])
    np.testing.assert_array_equal(views["left"](SQUARE)[:, :-2], SQUARE[:, 2:])
    assert views["up"](SQUARE)[-1].max() == 0


def test_turned_views_turn_both_ways_about_the_centre() -> None:
    bar = np.zeros((33, 33, 3), np.uint8)
    bar[:, 16] = 255
    views = prediction_views(AugmentSettings(hflip=False, rotate=40), 99)
    assert list(views) == ["plain", "left turn", "right turn"]
    left, right = (views[name](bar)[..., 0] for name in ("left turn", "right turn"))
    assert left[16, 16] == right[16, 16] == 255
    assert left[3].argmax() < 16 < right[3].argmax()
