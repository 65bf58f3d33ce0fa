"""Random views of an image, for training and contrast: they follow from the declared invariances (law 9).

A view depends on the seed it is given and on nothing else (law 6): albumentations' own streams repeat themselves in
worker processes. Test-time views: `views`.
"""

import os
import random

import numpy as np

from supcon.config.settings import AugmentSettings
from supcon.images.geometry import Fit, Image, fit_square

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
