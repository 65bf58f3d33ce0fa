"""From the declared invariances to the ranges that random views are drawn from, one by one or in batches."""

from dataclasses import dataclass

from supcon.settings.settings import AugmentSettings

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)
CROP_RATIO = (3 / 4, 4 / 3)  # width over height of a random crop
JITTERED = 0.8  # probability of a colour jitter
SIGMA = (0.1, 2.0)  # of a Gaussian blur, pixels
ERASED, ERASED_RATIO = (0.02, 0.2), (0.3, 3.3)  # area of an erased rectangle, as a part of the view; width over height


@dataclass(frozen=True)
class Ranges:
    """What random views are drawn from."""

    hflip: bool
    vflip: bool
    rotate90: bool
    crop: float  # smallest area, as a part of the image; 1: no crop
    shift: float  # as a part of the side, to either side
    scale: tuple[float, float]  # factors; smaller and larger ones equally often
    rotate: float  # degrees, to either side
    color: tuple[float, float]  # factors of brightness, contrast and saturation
    hue: float  # as a part of a turn, to either side
    gray: float  # probability, as the next two
    blur: float
    erase: float

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
    """Return the ranges: `strength` multiplies every magnitude; flips and turns by 90 degrees stay."""
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
