"""Views of an image: contrastive and training views at random, test-time views by name.

All follow from the invariances declared in the settings (law 9). A random view depends on the seed it is given and on
nothing else (law 6): albumentations' own streams repeat themselves in worker processes.
"""

import os
from collections.abc import Callable

import numpy as np

from supcon.config.settings import AugmentSettings
from supcon.images.geometry import Fit, Image, fit_square, resize

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask a registry for news
import albumentations as A  # noqa: E402


class RandomView:
    """Training and contrastive views: `view(image, seed)` gives a square of `side` pixels.

    `strength` multiplies every magnitude that `augment` declares; flips and turns are invariances and stay.
    """

    def __init__(self, augment: AugmentSettings, side: int, fit: Fit, strength: float) -> None:
        self._side, self._fit = side, fit
        self._crops = augment.crop < 1 and strength > 0
        self._transform = A.Compose(_transforms(augment, side, strength), strict=True)

    def __call__(self, image: Image, seed: int) -> Image:
        """Return one view, [side, side, 3]."""
        self._transform.set_random_seed(seed % 2**32)
        if not self._crops:
            image = fit_square(image, self._side, self._fit)
        view: Image = self._transform(image=np.ascontiguousarray(image))["image"]
        return view


def _transforms(augment: AugmentSettings, side: int, strength: float) -> list[A.BasicTransform]:
    """Return albumentations' steps: geometry first, then colour."""
    steps: list[A.BasicTransform] = []
    if augment.crop < 1 and strength > 0:
        smallest = max(0.01, 1 - (1 - augment.crop) * strength)
        steps.append(A.RandomResizedCrop((side, side), scale=(smallest, 1.0)))
    if augment.hflip:
        steps.append(A.HorizontalFlip(p=0.5))
    if augment.vflip:
        steps.append(A.VerticalFlip(p=0.5))
    if augment.rotate90:
        steps.append(A.RandomRotate90(p=1.0))
    shift, scale, rotate = (strength * x for x in (augment.shift, augment.scale, augment.rotate))
    if max(shift, scale, rotate) > 0:
        steps.append(
            A.Affine(
                translate_percent=(-shift, shift),
                scale=(max(0.1, 1 - scale), 1 + scale),
                rotate=(-rotate, rotate),
                balanced_scale=True,
                p=1.0,
            )
        )
    color = augment.color * strength
    if color > 0:
        steps.append(
            A.ColorJitter(
                brightness=(max(0.0, 1 - color), 1 + color),
                contrast=(max(0.0, 1 - color), 1 + color),
                saturation=(max(0.0, 1 - color), 1 + color),
                hue=(-min(0.5, color / 4), min(0.5, color / 4)),
                p=0.8,
            )
        )
    if augment.gray * strength > 0:
        steps.append(A.ToGray(p=min(1.0, augment.gray * strength)))
    if augment.blur * strength > 0:
        steps.append(A.GaussianBlur(sigma_limit=(0.1, 2.0), p=min(1.0, augment.blur * strength)))
    if augment.erase * strength > 0:
        steps.append(A.Erasing(scale=(0.02, 0.2), p=min(1.0, augment.erase * strength)))
    return steps


def prediction_views(augment: AugmentSettings, limit: int) -> dict[str, Callable[[Image], Image]]:
    """Return at most `limit` test-time views by name, the plain image first; each maps a square to a square."""
    views: dict[str, Callable[[Image], Image]] = {"plain": lambda image: image}
    if augment.hflip:
        views["hflip"] = lambda image: image[:, ::-1]
    if augment.vflip:
        views["vflip"] = lambda image: image[::-1]
    if augment.rotate90 or (augment.hflip and augment.vflip):
        views["rotate180"] = lambda image: image[::-1, ::-1]
    if augment.rotate90:
        views["rotate90"] = lambda image: np.rot90(image, 1)
        views["rotate270"] = lambda image: np.rot90(image, 3)
        if augment.hflip or augment.vflip:
            views["transpose"] = lambda image: image.transpose(1, 0, 2)
            views["antitranspose"] = lambda image: image[::-1, ::-1].transpose(1, 0, 2)
    if augment.scale > 0:  # half the largest change: where most training views lie
        views["larger"] = lambda image: _zoom(image, 1 + augment.scale / 2)
        views["smaller"] = lambda image: _zoom(image, 1 - augment.scale / 2)
    if augment.shift > 0:
        for name, down, right in (("up", -1, 0), ("down", 1, 0), ("left", 0, -1), ("right", 0, 1)):
            views[name] = _shifter(down * augment.shift / 2, right * augment.shift / 2)
    if augment.crop < 1 and augment.scale == 0:  # trained on parts of the image: a larger centre is one of them
        views["centre"] = lambda image: _zoom(image, 1.15)
    return dict(list(views.items())[:limit])


def _zoom(image: Image, factor: float) -> Image:
    """Enlarge or shrink about the centre, keeping the size; new borders are black."""
    side = len(image)
    inner = max(1, round(side * factor))
    scaled = resize(image, inner, inner)
    if inner >= side:
        start = (inner - side) // 2
        return scaled[start : start + side, start : start + side]
    result, start = np.zeros_like(image), (side - inner) // 2
    result[start : start + inner, start : start + inner] = scaled
    return result


def _shifter(down: float, right: float) -> Callable[[Image], Image]:
    def shift(image: Image) -> Image:
        side = len(image)
        rows, columns = (np.sign(part) * max(1, round(abs(part) * side)) if part else 0 for part in (down, right))
        rows, columns = int(rows), int(columns)
        result = np.zeros_like(image)
        source = image[max(0, -rows) : side - max(0, rows), max(0, -columns) : side - max(0, columns)]
        result[max(0, rows) : side + min(0, rows), max(0, columns) : side + min(0, columns)] = source
        return result

    return shift
