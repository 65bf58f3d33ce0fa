"""Images damaged on purpose, in twelve ways and five severities, to test a model on images worse than the host's.

The kinds are among those of Hendrycks & Dietterich 2019 (arXiv 1903.12261), drawn by albumentations; the severities are
our own. Blurs and low resolution grow with the square root of the side, so that they matter at 28 pixels and at 224.
Scores are therefore not comparable with ImageNet-C.
"""

import os
import random
from collections.abc import Callable

import cv2
import numpy as np

from supcon.images.geometry import Image
from supcon.randomness import seed_at
from supcon.storage.files import digest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would look for updates on the network
import albumentations as A  # noqa: E402

Step = Callable[[float, int], A.BasicTransform]  # takes a strength and the image's side


def _motion_blur(strength: float, side: int) -> A.BasicTransform:
    length = max(3, 2 * round((strength * side**0.5 - 1) / 2) + 1)  # odd
    return A.MotionBlur((length, length), allow_shifted=False, p=1)


def _low_resolution(strength: float, side: int) -> A.BasicTransform:
    pixels = min(side - 1, max(1, round(side**0.5 / strength)))  # whole, or the image would be shifted
    scale = pixels / side
    return A.Downscale((scale, scale), {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}, p=1)


def _light(add: float, times: float) -> A.BasicTransform:
    return A.RandomBrightnessContrast((add, add), (times - 1, times - 1), p=1)


def _elastic(strength: float, side: int) -> A.BasicTransform:
    sigma = max(1.0, 0.06 * side)
    alpha = strength * side * sigma / 0.28  # smoothed noise has a standard deviation of 0.28 / sigma
    return A.ElasticTransform(alpha, sigma, border_mode=cv2.BORDER_REFLECT_101, p=1)


_KINDS: dict[str, tuple[tuple[float, ...], Step]] = {  # strengths of the severities, mildest first
    "gaussian noise": ((0.04, 0.07, 0.11, 0.16, 0.22), lambda x, _: A.GaussNoise((x, x), p=1)),
    "shot noise": ((0.01, 0.03, 0.06, 0.12, 0.2), lambda x, _: A.ShotNoise((x, x), p=1)),
    "salt and pepper": ((0.01, 0.025, 0.05, 0.09, 0.15), lambda x, _: A.SaltAndPepper((x, x), p=1)),
    "gaussian blur": ((0.1, 0.15, 0.22, 0.3, 0.4), lambda x, side: A.GaussianBlur(0, (x * side**0.5,) * 2, p=1)),
    "motion blur": ((0.6, 0.9, 1.2, 1.6, 2.1), _motion_blur),
    "zoom blur": ((1.1, 1.17, 1.25, 1.36, 1.5), lambda x, _: A.ZoomBlur((x, x), (0.01, 0.01), p=1)),
    "brighter": ((0.1, 0.2, 0.3, 0.4, 0.5), lambda x, _: _light(x, 1)),
    "darker": ((0.7, 0.55, 0.4, 0.28, 0.18), lambda x, _: _light(0, x)),
    "less contrast": ((0.7, 0.55, 0.4, 0.28, 0.18), lambda x, _: _light((1 - x) / 2, x)),  # toward grey
    "jpeg": ((40, 25, 15, 9, 5), lambda x, _: A.ImageCompression("jpeg", (int(x), int(x)), p=1)),
    "low resolution": ((0.25, 0.32, 0.4, 0.52, 0.68), _low_resolution),
    "elastic": ((0.015, 0.03, 0.045, 0.065, 0.09), _elastic),
}
NAMES = tuple(_KINDS)
SEVERITIES = (1, 2, 3, 4, 5)  # 0: undamaged
STATES = [("", 0), *((name, severity) for name in NAMES for severity in SEVERITIES)]
DEFINITION = digest({name: strengths for name, (strengths, _) in _KINDS.items()})  # changes with any severity
_SEED = 0  # the same damage in every run, so that runs can be compared row by row


class Corruptions:
    """All corruptions of square images of one side. The damage to an image depends on its row alone (law 6)."""

    def __init__(self, side: int) -> None:
        self._transforms = {
            (name, severity): A.Compose([step(strength, side)], strict=True)
            for name, (strengths, step) in _KINDS.items()
            for severity, strength in zip(SEVERITIES, strengths, strict=True)
        }

    def damage(self, image: Image, row: int, name: str, severity: int) -> Image:
        """Return a row's image [side, side, 3] in one of the `STATES`."""
        if severity == 0:
            return image
        seed = seed_at(_SEED, "corruption", row, name, severity)
        transform = self._transforms[name, severity]
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        damaged: Image = transform(image=np.ascontiguousarray(image))["image"]
        return damaged
