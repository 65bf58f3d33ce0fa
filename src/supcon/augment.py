"""Views of an image: contrastive and training views at random, test-time views by name.

All follow from the invariances declared in the settings (law 9). A random view depends on the seed it is given and on
nothing else (law 6): albumentations' own streams repeat themselves in worker processes.
"""

import os
import random
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from supcon.config.settings import AugmentSettings
from supcon.images.geometry import Fit, Image, fit_square

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask a registry for news
import albumentations as A  # noqa: E402

View = Callable[[Image], Image]


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
        # one stream for all steps: set_random_seed would give every step the same numbers, so that both flips, the
        # crop and the jitter happen together or not at all
        self._transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        if not self._crops:
            image = fit_square(image, self._side, self._fit)
        elif self._fit != "crop":
            image = fit_square(image, max(image.shape[:2]), self._fit)
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


def prediction_views(augment: AugmentSettings, limit: int) -> dict[str, View]:
    """Return at most `limit` test-time views by name, the plain image first; each maps a square to a square."""
    views: dict[str, View] = {"plain": np.asarray}
    if augment.hflip:
        views["hflip"] = np.fliplr
    if augment.vflip:
        views["vflip"] = np.flipud
    if augment.rotate90 or (augment.hflip and augment.vflip):
        views["rotate180"] = partial(np.rot90, k=2)
    if augment.rotate90:
        views["rotate90"] = partial(np.rot90, k=1)
        views["rotate270"] = partial(np.rot90, k=3)
        if augment.hflip or augment.vflip:
            views["transpose"] = partial(np.transpose, axes=(1, 0, 2))
            views["antitranspose"] = _antitranspose
    # half the largest change: where most training views lie
    if augment.scale > 0:
        views["larger"] = partial(_affine, scale=1 + augment.scale / 2)
        views["smaller"] = partial(_affine, scale=1 - augment.scale / 2)
    if augment.rotate > 0:
        views["left turn"] = partial(_affine, degrees=augment.rotate / 2)
        views["right turn"] = partial(_affine, degrees=-augment.rotate / 2)
    if augment.shift > 0:
        for name, down, right in (("up", -0.5, 0.0), ("down", 0.5, 0.0), ("left", 0.0, -0.5), ("right", 0.0, 0.5)):
            views[name] = partial(_affine, down=down * augment.shift, right=right * augment.shift)
    if augment.crop < 1 and augment.scale == 0:  # trained on parts of the image: a larger centre is one of them
        views["centre"] = partial(_affine, scale=1.15)
    return dict(list(views.items())[:limit])


def _antitranspose(image: Image) -> Image:
    return image[::-1, ::-1].transpose(1, 0, 2)


def _affine(image: Image, scale: float = 1.0, degrees: float = 0.0, down: float = 0.0, right: float = 0.0) -> Image:
    """Scale and turn a square about its centre, then shift it by whole pixels; new borders are black."""
    side = len(image)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, scale)
    matrix = matrix + np.array([[0, 0, _pixels(right * side)], [0, 0, _pixels(down * side)]])
    return cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _pixels(distance: float) -> float:
    """Return whole pixels, at least one for a distance that is not 0."""
    return float(np.sign(distance) * max(1, round(abs(distance)))) if distance else 0.0
