"""Random views of one image, made by albumentations in loader processes.

A view depends on its seed alone (law 6); albumentations' own streams would be the same in every worker process.
"""

import os
import random
from collections.abc import Callable

import numpy as np

from supcon.images.augment.recipes import CROP_RATIO, ERASED, ERASED_RATIO, JITTERED, SIGMA, ranges_of
from supcon.images.geometry import Fit, Image, fit_square
from supcon.settings.settings import AugmentSettings

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import asks the package registry for updates
import albumentations as A  # noqa: E402


class RandomView:
    """Makes training and contrastive views: `random_view(image, seed)` returns a square of `side` pixels.

    `strength` multiplies every magnitude that `augment` declares, but not flips and turns by 90 degrees.
    """

    def __init__(self, augment: AugmentSettings, side: int, fit: Fit, strength: float) -> None:
        ranges = ranges_of(augment, strength)
        self.side, self._fit, self._crops = side, fit, ranges.crops
        shift, turn, hue = ((-largest, largest) for largest in (ranges.shift, ranges.rotate, ranges.hue))
        color = ranges.color
        crop = A.RandomResizedCrop((side, side), scale=(ranges.crop, 1.0), ratio=CROP_RATIO)
        move = A.Affine(translate_percent=shift, scale=ranges.scale, rotate=turn, balanced_scale=True, p=1.0)
        jitter = A.ColorJitter(brightness=color, contrast=color, saturation=color, hue=hue, p=JITTERED)
        geometry = [
            (ranges.crops, crop),
            (ranges.hflip, A.HorizontalFlip(p=0.5)),
            (ranges.vflip, A.VerticalFlip(p=0.5)),
            (ranges.rotate90, A.RandomRotate90(p=1.0)),
            (ranges.moves, move),
        ]
        looks = [
            (ranges.jitters, jitter),
            (ranges.gray > 0, A.ToGray(p=ranges.gray)),
            (ranges.blur > 0, A.GaussianBlur(sigma_limit=SIGMA, p=ranges.blur)),
            (ranges.erase > 0, A.Erasing(scale=ERASED, ratio=ERASED_RATIO, p=ranges.erase)),
        ]
        before, after = ([step for wanted, step in steps if wanted] for steps in (geometry, looks))
        self._transform = A.Compose([*before, *_policy(augment, strength), *after], strict=True)

    def __call__(self, image: Image, seed: int) -> Image:
        """Return one view, [side, side, 3]."""
        # One stream for all steps. set_random_seed would give every step the same numbers, so that both flips, the
        # crop and the jitter would happen together or not at all.
        self._transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        if not self._crops:
            image = fit_square(image, self.side, self._fit)
        elif self._fit != "crop":
            image = fit_square(image, max(image.shape[:2]), self._fit)
        return self._transform(image=np.ascontiguousarray(image))["image"]


class _ByPolicy(A.ImageOnlyTransform):
    """A policy as one more step, whose seed comes from the stream of all steps."""

    def __init__(self, policy: Callable[[Image, int], Image], p: float) -> None:
        super().__init__(p=p)
        self._policy = policy

    def get_params(self) -> dict[str, int]:
        """Draw the seed of one view."""
        return {"seed": self.py_random.getrandbits(63)}

    def apply(self, img: Image, seed: int, **params: object) -> Image:
        """Return the changed image."""
        return self._policy(img, seed)


def _policy(augment: AugmentSettings, strength: float) -> list[_ByPolicy]:
    """Return the step of `augment.policy`, if there is one."""
    if augment.policy == "none" or strength == 0:
        return []
    from supcon.images.augment.policies import Policy  # torchvision loads for a second

    policy = Policy(augment, strength)
    return [_ByPolicy(policy, policy.share)]
