"""The settings of augmentation: typed, documented, with defaults and bounds."""

from dataclasses import dataclass
from typing import Literal

from supcon.settings.bounds import bounded


@dataclass(frozen=True)
class AugmentSettings:
    """The invariances of the images, declared once: training views and test-time views both follow."""

    hflip: bool = True
    """Mirrored left to right it is still the same class."""
    vflip: bool = False
    """Mirrored top to bottom it is still the same class."""
    rotate90: bool = False
    """Turned by 90 degrees it is still the same class."""
    shift: float = bounded(0.0, 0, 0.5)
    """Largest shift, as a part of the side."""
    scale: float = bounded(0.0, 0, 0.9)
    """Largest change of size, as a part of 1."""
    rotate: float = bounded(0.0, 0, 180)
    """Largest rotation, degrees."""
    crop: float = bounded(1.0, 0.01, 1)
    """Smallest area of a random resized crop, as a part of the image; 1: no such crop."""
    color: float = bounded(0.0, 0, 1)
    """Jitter of brightness, contrast and saturation; hue gets a quarter of it."""
    gray: float = bounded(0.0, 0, 1)
    """Probability of a grey image."""
    blur: float = bounded(0.0, 0, 1)
    """Probability of a Gaussian blur."""
    erase: float = bounded(0.0, 0, 1)
    """Probability that a rectangle is erased."""
    policy: Literal["none", "randaugment", "trivialaugment", "augmix"] = "none"
    """Changes drawn by a published policy, beside the above, whose invariances it does not know: each turns, shears,
    shifts, recolours and solarizes. randaugment: `num_ops` of 14 changes, one after another (Cubuk et al. 2020);
    trivialaugment: one, of any magnitude (Mueller and Hutter 2021); augmix: a mix of the image with three chains of one
    to three changes (Hendrycks et al. 2020). Not with `on_device`; test-time views do not follow."""
    num_ops: int = bounded(2, 1, 20)
    """Changes that randaugment makes, one after another."""
    magnitude: int = bounded(9, 0, 30)
    """How far each change of randaugment goes: at 30 turns by 30 degrees, shifts by 0.45 of the side."""
    severity: int = bounded(3, 1, 10)
    """How far changes of augmix go at most: at 10 turns by 30 degrees, shifts by a third of the side."""
    on_device: bool = False
    """Make the random views in batches on the training device, not one by one in loader processes: for a GPU that waits
    for these. The ranges are the same, the views are others."""
