"""Published policies of augmentation, as torchvision makes them: each view by draws from a seed of its own (law 6)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL.Image
import torch

from supcon.images.augment.operators import declare_missing_operators
from supcon.images.geometry import Image
from supcon.settings.settings import AugmentSettings

declare_missing_operators()
from torchvision.transforms import v2  # noqa: E402

_LARGEST_MAGNITUDE, _LARGEST_SEVERITY = 30, 10


class Policy:
    """Changes an image as a policy draws it: `policy(image, seed)` is of the same size, [height, width, 3].

    `strength` multiplies magnitude and severity. TrivialAugment has neither (Mueller and Hutter 2021): `share` of the
    views get it, all where `strength` is 1 or more.
    """

    def __init__(self, augment: AugmentSettings, strength: float) -> None:
        magnitude = min(_LARGEST_MAGNITUDE, round(strength * augment.magnitude))
        severity = min(_LARGEST_SEVERITY, max(1, round(strength * augment.severity)))
        look = v2.InterpolationMode.BILINEAR
        self.share, self._mixes = 1.0, augment.policy == "augmix"
        match augment.policy:
            case "randaugment":
                self._change: Any = v2.RandAugment(augment.num_ops, magnitude, interpolation=look)
            case "trivialaugment":
                self._change, self.share = v2.TrivialAugmentWide(interpolation=look), min(1.0, strength)
            case "augmix":
                self._change = v2.AugMix(severity, interpolation=look)

    def __call__(self, image: Image, seed: int) -> Image:
        """Return the image, changed."""
        with _draws_from(seed):
            if not self._mixes:  # by Pillow: in 0.6 of the time that tensors take
                return np.array(self._change(PIL.Image.fromarray(image)))
            with _one_thread():
                changed = self._change(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
        mixed: Image = changed.permute(1, 2, 0).contiguous().numpy()
        return mixed


@contextmanager
def _draws_from(seed: int) -> Iterator[None]:
    """Let torch's global stream, which torchvision draws from, begin at `seed`; then it goes on as it was."""
    stream = torch.default_generator
    before = stream.get_state()
    stream.manual_seed(seed)
    try:
        yield
    finally:
        stream.set_state(before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, as loader processes do: the mean of a large image is rounded by how many threads take it."""
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
