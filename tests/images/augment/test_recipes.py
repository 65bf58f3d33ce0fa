"""The numbers drawn for a view depend on its address alone, lie within the declared ranges and are independent."""

import numpy as np
import numpy.typing as npt
import pytest

from supcon.images.augment.recipes import Addresses, Recipe, draw, ranges_of, uniforms
from supcon.settings.settings import AugmentSettings

RICH = AugmentSettings(
    hflip=True, vflip=True, rotate90=True, shift=0.1, scale=0.2, rotate=20, crop=0.4, color=0.4, gray=0.2, blur=0.3,
    erase=0.4,
)  # fmt: skip
VIEWS = 4000


def addresses(views: int = VIEWS) -> Addresses:
    rows = np.arange(views)
    return np.stack([np.full(views, 3), rows // 2, rows % 2, np.zeros(views, int)], axis=1)


def drawn(augment: AugmentSettings, strength: float = 1.0, ratio: float = 1.0, side: int = 100) -> Recipe:
    return draw(11, addresses(), np.full(VIEWS, ratio), ranges_of(augment, strength), side)


def matrices(recipe: Recipe) -> npt.NDArray[np.float64]:
    """Where a pixel of the part goes to in the view, [N, 3, 3]."""
    turn = recipe.turn.double().numpy()
    return np.linalg.inv(np.concatenate([turn, np.tile([[[0, 0, 1.0]]], (len(turn), 1, 1))], axis=1))


def test_numbers_are_even_and_unrelated_whatever_of_the_address_differs() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(9)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    numbers = uniforms(5, grid, 8)
    assert len(np.unique(numbers)) == numbers.size
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    np.testing.assert_allclose(counts, numbers.size / 20, rtol=0.05)
    correlations = np.corrcoef(numbers.T) - np.eye(8)
    assert np.abs(correlations).max() < 5 / np.sqrt(len(grid))
    neighbours = [np.corrcoef(numbers[:-step, 0], numbers[step:, 0])[0, 1] for step in (1, 9, 81, 729)]
    assert np.abs(neighbours).max() < 5 / np.sqrt(len(grid) - 729)
    assert (uniforms(6, grid, 8) != numbers).mean() > 0.999


def test_a_recipe_is_the_same_whatever_else_is_drawn_with_it() -> None:
    together = drawn(RICH)
    subset = np.arange(0, VIEWS, 7)
    alone = draw(11, addresses()[subset], np.ones(len(subset)), ranges_of(RICH, 1.0), 100)
    for part, same in zip(together, alone, strict=True):
        np.testing.assert_array_equal(part.numpy()[subset], same.numpy())


def test_shifts_fill_their_range_and_no_more() -> None:
    moved = matrices(drawn(AugmentSettings(hflip=False, shift=0.1)))
    shifts = moved[:, :2, 2] / 2  # as parts of the side
    assert np.abs(shifts).max() == pytest.approx(0.1, rel=0.01)
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.004)
    np.testing.assert_allclose(shifts.std(axis=0), 0.2 / np.sqrt(12), rtol=0.03)


def test_rotations_fill_their_range_and_no_more() -> None:
    moved = matrices(drawn(AugmentSettings(hflip=False, rotate=20)))
    angles = np.rad2deg(np.arctan2(moved[:, 0, 1], moved[:, 0, 0]))
    assert np.abs(angles).max() == pytest.approx(20, rel=0.01)
    assert angles.mean() == pytest.approx(0, abs=0.8)
    np.testing.assert_allclose(np.linalg.det(moved), 1, atol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 0.5, 2.0])
def test_sizes_grow_and_shrink_equally_often_by_what_strength_makes_of_the_declared_part(strength: float) -> None:
    moved = matrices(drawn(AugmentSettings(hflip=False, scale=0.2), strength))
    factors = moved[:, [0, 1], [0, 1]]
    assert factors.min() == pytest.approx(1 - 0.2 * strength, abs=0.003)
    assert factors.max() == pytest.approx(1 + 0.2 * strength, abs=0.003)
    assert (factors > 1).mean() == pytest.approx(0.5, abs=0.03)


def test_all_eight_flips_and_turns_come_equally_often() -> None:
    moved = matrices(drawn(AugmentSettings(hflip=True, vflip=True, rotate90=True)))
    kinds, counts = np.unique(np.rint(moved[:, :2, :2]).reshape(-1, 4), axis=0, return_counts=True)
    assert len(kinds) == 8
    np.testing.assert_array_equal(np.rint(moved), moved)
    assert counts.min() > VIEWS / 8 * 0.85


def test_what_is_not_declared_does_not_happen() -> None:
    for strength in (0.0, 1.0):
        recipe = drawn(AugmentSettings(hflip=False) if strength else RICH, strength)
        assert (recipe.box.numpy() == [0, 0, 1, 1]).all()
        np.testing.assert_allclose(recipe.color.numpy(), np.tile(np.eye(3, 4), (VIEWS, 1, 1)), atol=1e-6)
        assert not recipe.sigma.any()
        assert not recipe.erased.any()


@pytest.mark.parametrize("ratio", [1.0, 1.7, 0.4, 6.0])
def test_crops_lie_within_the_image_with_the_declared_areas_and_shapes(ratio: float) -> None:
    x, y, width, height = drawn(AugmentSettings(hflip=False, crop=0.3), ratio=ratio).box.double().numpy().T
    assert (np.abs(x) + width).max() <= 1 + 1e-6
    assert (np.abs(y) + height).max() <= 1 + 1e-6
    shapes = width / height * ratio
    assert shapes.min() > 3 / 4 - 1e-3
    assert shapes.max() < 4 / 3 + 1e-3
    areas = width * height
    assert areas.max() <= 1
    if ratio < 3:
        assert areas.min() == pytest.approx(0.3, abs=0.005)
    else:  # none of ten tries fits: the centre, as large as it can be
        assert (areas == areas[0]).mean() > 0.9
        np.testing.assert_allclose(areas.max(), 4 / 3 / ratio, rtol=1e-5)


def test_probabilities_are_what_is_declared() -> None:
    recipe = drawn(RICH)
    gray = (np.abs(recipe.color.numpy()[:, 0] - recipe.color.numpy()[:, 1]) < 1e-6).all(axis=1)
    assert gray.mean() == pytest.approx(0.2, abs=0.02)
    sigma = recipe.sigma.numpy()
    assert (sigma > 0).mean() == pytest.approx(0.3, abs=0.025)
    assert sigma[sigma > 0].min() >= 0.1
    assert sigma.max() <= 2
    left, top, right, bottom = recipe.erased.numpy().T
    erased = right > left
    assert erased.mean() == pytest.approx(0.4, abs=0.025)
    area = ((right - left) * (bottom - top))[erased] / 100**2
    assert area.min() > 0.015
    assert area.max() < 0.21
    assert min(left.min(), top.min()) == 0
    assert max(right.max(), bottom.max()) == 100


def test_colour_changes_keep_grey_grey_and_hue_and_saturation_keep_luminance() -> None:
    color = drawn(AugmentSettings(color=0.4)).color.double().numpy()
    matrix, of_mean = color[:, :, :3], color[:, :, 3]
    factors = matrix.sum(axis=2)  # what grey pixels are multiplied by: brightness x contrast
    np.testing.assert_allclose(factors, factors[:, :1].repeat(3, axis=1), atol=1e-5)
    luminance = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(luminance @ matrix, factors[:, :1] * luminance, atol=1e-5)
    brightness = factors[:, 0] + of_mean[:, 0]
    assert (brightness == 1).mean() < 0.3
    assert brightness.min() == pytest.approx(0.6, abs=0.01)
    assert brightness.max() == pytest.approx(1.4, abs=0.01)
    assert (np.abs(brightness - 1) < 1e-6).mean() == pytest.approx(0.2, abs=0.03)  # no jitter
