"""The ranges that random views are drawn from, which follow from the declared invariances."""

from dataclasses import dataclass

from supcon.settings.settings import AugmentSettings

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)
CROP_RATIO = (3 / 4, 4 / 3)  # width over height of a random crop
JITTERED = 0.8  # probability of a colour jitter
SIGMA = (0.1, 2.0)  # of a Gaussian blur, pixels
ERASED, ERASED_RATIO = (0.02, 0.2), (0.3, 3.3)  # area of an erased rectangle, as a share of the view; width over height


@dataclass(frozen=True)
class Ranges:
    """The ranges that random views are drawn from."""

    hflip: bool
    vflip: bool
    rotate90: bool
    crop: float  # smallest area, as a share of the image; 1: no crop
    shift: float  # largest, as a share of the side, in either direction
    scale: tuple[float, float]  # factors; below and above 1 equally often
    rotate: float  # largest angle in degrees, in either direction
    color: tuple[float, float]  # factors of brightness, contrast and saturation
    hue: float  # largest turn of the colour circle, as a share of a full turn, in either direction
    gray: float  # probability
    blur: float  # probability
    erase: float  # probability

    @property
    def crops(self) -> bool:
        """Whether views are parts of an image."""
        return self.crop < 1

    @property
    def moves(self) -> bool:
        """Whether views are shifted, scaled or turned by any angle."""
        return self.shift > 0 or self.scale[1] > 1 or self.rotate > 0

    @property
    def jitters(self) -> bool:
        """Whether colours change."""
        return self.color[1] > 1


def ranges_of(augment: AugmentSettings, strength: float) -> Ranges:
    """Return the ranges for `augment`; `strength` multiplies every magnitude, but not flips and turns by 90 degrees."""
    scale, color = strength * augment.scale, strength * augment.color
    return Ranges(
        augment.hflip,
        augment.vflip,
        augment.rotate90,
        max(0.01, 1 - (1 - augment.crop) * strength),
        strength * augment.shift,
        (max(0.1, 1 - scale), 1 + scale),
        strength * augment.rotate,
        (max(0.0, 1 - color), 1 + color),
        min(0.5, color / 4),
        *(min(1.0, strength * probability) for probability in (augment.gray, augment.blur, augment.erase)),
    )
