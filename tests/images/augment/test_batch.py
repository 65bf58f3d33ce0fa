"""Views made in batches show what albumentations would: the same pixels where nothing is drawn, else a like spread."""

from collections import Counter

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from supcon.images.augment.batch import BatchViews, canvas
from supcon.images.augment.recipes import Recipe, draw, ranges_of
from supcon.images.augment.single import RandomView
from supcon.images.geometry import Fit, Image, fit_square
from supcon.settings.settings import AugmentSettings
from tests.devices import DEVICES

DRAW = np.random.default_rng(0)
SQUARE = DRAW.integers(0, 256, (32, 32, 3)).astype(np.uint8)
SMOOTH: Image = np.asarray(cv2.resize(DRAW.integers(0, 256, (5, 5, 3)).astype(np.uint8), (48, 36)), dtype=np.uint8)
SIDE = 32
RICH = AugmentSettings(
    hflip=True, vflip=True, rotate90=True, shift=0.1, scale=0.2, rotate=20, crop=0.4, color=0.4, gray=0.2, blur=0.3,
    erase=0.3,
)  # fmt: skip
DECLARED = {
    "nothing": AugmentSettings(hflip=False),
    "flips": AugmentSettings(hflip=True, vflip=True),
    "moves": AugmentSettings(hflip=False, shift=0.1, scale=0.2, rotate=20),
    "crops": AugmentSettings(hflip=False, crop=0.3),
    "crops that move": AugmentSettings(hflip=False, crop=0.5, shift=0.2, rotate=40),
    "colour": AugmentSettings(hflip=False, color=0.4),
    "grey": AugmentSettings(hflip=False, gray=0.5),
    "blur": AugmentSettings(hflip=False, blur=0.5),
    "erase": AugmentSettings(hflip=False, erase=0.5),
    "all": RICH,
}


def recipe_of(
    augment: AugmentSettings, count: int, views: int = 1, strength: float = 1.0, ratio: float = 1.0
) -> Recipe:
    rows = np.arange(count * views)
    addresses = np.stack([0 * rows, rows // views, 0 * rows, rows % views], axis=1)
    return draw(7, addresses, np.full(len(rows), ratio), ranges_of(augment, strength), SIDE)


def views_of(
    augment: AugmentSettings, image: Image, count: int, fit: Fit = "crop", strength: float = 1.0, device: str = "cpu"
) -> npt.NDArray[np.uint8]:
    ranges = ranges_of(augment, strength)
    square, ratio = canvas(image, ranges, SIDE, fit)
    recipe = recipe_of(augment, count, strength=strength, ratio=ratio)
    canvases = torch.from_numpy(np.stack([square] * count))
    made: npt.NDArray[np.uint8] = BatchViews(ranges, SIDE, torch.device(device))(canvases, recipe)[:, 0].cpu().numpy()
    return made


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_without_declared_invariances_a_view_is_the_plain_image(fit: Fit, device: str) -> None:
    for image in (SQUARE, SMOOTH, SMOOTH[:20]):
        plain = fit_square(image, SIDE, fit)
        for view in views_of(DECLARED["nothing"], image, 3, fit, device=device):
            np.testing.assert_array_equal(view, plain)


@pytest.mark.parametrize("device", DEVICES)
def test_strength_zero_leaves_flips_and_turns_alone_all_eight_equally_often(device: str) -> None:
    shown = Counter(view.tobytes() for view in views_of(RICH, SQUARE, 800, strength=0.0, device=device))
    dihedral = {np.rot90(base, turn).tobytes() for base in (SQUARE, SQUARE[:, ::-1]) for turn in range(4)}
    assert set(shown) == dihedral
    assert min(shown.values()) > 60


@pytest.mark.parametrize("device", DEVICES)
def test_a_view_is_the_same_whatever_batch_it_comes_in(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    canvases = torch.from_numpy(DRAW.integers(0, 256, (24, 37, 37, 3)).astype(np.uint8))
    recipe = recipe_of(RICH, 24, views=2)
    make = BatchViews(ranges_of(RICH, 1.0), SIDE, torch.device(device))
    together = make(canvases, recipe)
    assert together.shape == (24, 2, SIDE, SIDE, 3)
    assert together.dtype == torch.uint8
    for row in (0, 5, 23):
        alone = make(canvases[row : row + 1], Recipe(*(part[2 * row : 2 * row + 2] for part in recipe)))
        assert torch.equal(alone[0], together[row])
    monkeypatch.setattr("supcon.images.augment.batch._PIXELS_AT_ONCE", 5 * SIDE**2)
    assert torch.equal(make(canvases, recipe), together)
    assert len({view.numpy().tobytes() for view in together.flatten(0, 1).cpu()}) == 48


def test_one_affine_step_moves_pixels_as_opencv_does() -> None:
    recipe = recipe_of(DECLARED["moves"], 20)
    for view, turn in zip(views_of(DECLARED["moves"], SMOOTH, 20), recipe.turn.double().numpy(), strict=True):
        pixel = np.array([[2 / SIDE, 0, 1 / SIDE - 1], [0, 2 / SIDE, 1 / SIDE - 1], [0, 0, 1]])  # places to -1 .. 1
        back = np.linalg.inv(pixel) @ np.vstack([turn, [0, 0, 1]]) @ pixel
        plain = np.ascontiguousarray(fit_square(SMOOTH, SIDE, "crop"))
        expected = cv2.warpAffine(plain, back[:2], (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        assert np.abs(view.astype(int) - expected).mean() < 1  # opencv rounds places to a 32nd of a pixel
        assert np.abs(view.astype(int) - expected).max() < 12


def test_a_blur_is_opencvs() -> None:
    recipe = recipe_of(DECLARED["blur"], 40)
    views = views_of(DECLARED["blur"], SQUARE, 40)
    for view, sigma in zip(views, recipe.sigma.tolist(), strict=True):
        width = int(3.5 * sigma) * 2 + 1
        expected = cv2.GaussianBlur(SQUARE, (width, width), sigma) if sigma else SQUARE
        assert np.abs(view.astype(int) - expected).max() <= 2  # opencv's weights are of 8 bits


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_views_are_spread_like_those_of_albumentations(name: str, fit: Fit) -> None:
    """Per channel: mean and contrast of views, and how much each of these differs from view to view."""
    augment, count = DECLARED[name], 500
    ours = views_of(augment, SMOOTH, count, fit).astype(float)
    make = RandomView(augment, SIDE, fit, 1.0)
    theirs = np.stack([make(SMOOTH, seed) for seed in range(count)]).astype(float)
    for of_view in (lambda view: view.mean(axis=(1, 2)), lambda view: view.std(axis=(1, 2))):
        batched, single = of_view(ours), of_view(theirs)  # [views, 3]
        error = np.sqrt((batched.var(axis=0) + single.var(axis=0)) / count)
        np.testing.assert_array_less(np.abs(batched.mean(axis=0) - single.mean(axis=0)), 4 * error + 1.5)
        np.testing.assert_allclose(batched.std(axis=0), single.std(axis=0), rtol=0.15, atol=1.0)
    # and of the views' average: where the pixels are, but for half a pixel that small squares are padded unevenly
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).mean() < 9


def test_crops_show_the_same_parts_of_long_images_as_albumentations() -> None:
    ramp = np.zeros((40, 90, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, 90)[None], np.linspace(0, 255, 40)[:, None]
    augment, count = AugmentSettings(hflip=False, crop=0.2), 600
    make = RandomView(augment, SIDE, "crop", 1.0)
    both = [views_of(augment, ramp, count), np.stack([make(ramp, seed) for seed in range(count)])]
    edges = [np.stack([v[:, 16, 0, 0], v[:, 16, -1, 0], v[:, 0, 16, 1], v[:, -1, 16, 1]]).astype(float) for v in both]
    for ours, theirs in zip(*edges, strict=True):
        assert ours.mean() == pytest.approx(theirs.mean(), abs=4 * theirs.std() / np.sqrt(count / 2))
        assert ours.std() == pytest.approx(theirs.std(), rel=0.12)


@pytest.mark.parametrize("device", DEVICES)
def test_erased_pixels_are_black_and_the_others_untouched(device: str) -> None:
    augment = AugmentSettings(hflip=False, erase=1.0)
    image = np.maximum(SQUARE, 1)
    recipe = recipe_of(augment, 20)
    for view, (left, top, right, bottom) in zip(
        views_of(augment, image, 20, device=device), recipe.erased.int().tolist(), strict=True
    ):
        expected = image.copy()
        expected[top:bottom, left:right] = 0
        np.testing.assert_array_equal(view, expected)
