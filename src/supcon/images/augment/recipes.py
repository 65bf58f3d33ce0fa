"""The recipes of random views: the numbers that say how to make each view of a batch, drawn for all views at once.

They lie in ranges that follow from the declared invariances, and every number is a hash of its address (law 6): seed,
epoch, row, occurrence, view, and the index of the number. This is own code because the batched augmentations of kornia
and torchvision draw from one stream: a view would depend on the batch, the process and the epoch at which a run was
resumed. It takes 1 to 4 microseconds a view.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.settings.settings import AugmentSettings

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)
CROP_RATIO = (3 / 4, 4 / 3)  # width over height of a random crop
JITTERED = 0.8  # probability of a colour jitter
SIGMA = (0.1, 2.0)  # of a Gaussian blur, pixels
ERASED, ERASED_RATIO = (0.02, 0.2), (0.3, 3.3)  # area of an erased rectangle, as a share of the view; width over height

Numbers = npt.NDArray[np.float64]
Addresses = npt.NDArray[np.int64]  # [N, 4]: epoch, row, occurrence, view

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CROP_TRIES = 10
_MOVES, _COLORS, _REST, _CROPS = 10, 6, 8, 2 + 2 * _CROP_TRIES  # how many numbers each kind of change uses
_TO_YIQ = np.array([LUMINANCE, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


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


class Recipe(NamedTuple):
    """The recipe of N views; coordinates x, y are from -1 to 1 over a square: a view, the part it shows, the canvas."""

    turn: Tensor  # [N, 2, 3] coordinates in the part by those in the view: (x, y, 1) -> (x, y)
    box: Tensor  # [N, 4] the part in the canvas: centre x, y, half the width, half the height
    color: Tensor  # [N, 3, 4] new colours by the old colours and the view's mean luminance
    sigma: Tensor  # [N] of the blur, pixels; 0: no blur
    erased: Tensor  # [N, 4] left, top, right, bottom of the erased pixels; all 0: none


def draw(seed: int, addresses: Addresses, ratios: Numbers, ranges: Ranges, side: int) -> Recipe:
    """Return the recipe of views at `addresses`, `side` pixels wide, of images with width over height `ratios`."""
    numbers = uniforms(seed, addresses, _MOVES + _COLORS + _REST + _CROPS).T
    moves, colors, rest, crops = np.split(numbers, np.cumsum([_MOVES, _COLORS, _REST]))
    parts = (_turns(moves, ranges), _boxes(crops, ratios, ranges), _colors(colors, ranges))
    blurred, sigma, erased = rest[0] < ranges.blur, _between(rest[1], SIGMA), rest[2] < ranges.erase
    effects = (np.where(blurred, sigma, 0.0), erased[:, None] * _rectangles(rest[3:], side))
    return Recipe(*(torch.from_numpy(array.astype(np.float32)) for array in (*parts, *effects)))


def uniforms(seed: int, addresses: Addresses, count: int) -> Numbers:
    """Return numbers in [0, 1), [N, count], by SplitMix64 (Steele et al. 2014)."""
    state = np.full(len(addresses), seed, np.uint64)
    for column in addresses.T.astype(np.uint64):
        state = _mixed(state + column + _GOLDEN)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return (_mixed(state[:, None] + steps) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _between(number: Numbers, limits: tuple[float, float]) -> Numbers:
    return limits[0] + (limits[1] - limits[0]) * number


def _turns(moves: Numbers, ranges: Ranges) -> Numbers:
    """Return [N, 2, 3]: the inverse of a flip, a turn by 90 degrees, then a scale, rotation and shift."""
    hflip, vflip, quarter, right, down, angle, *scales = moves
    x_factor, y_factor = (_scale(scales[first : first + 2], ranges.scale) for first in (0, 2))
    angle = np.deg2rad(ranges.rotate) * (2 * angle - 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    moved = np.array([[cosine / x_factor, -sine / x_factor], [sine / y_factor, cosine / y_factor]])
    shift = 2 * ranges.shift * (2 * np.array([right, down]) - 1)  # a side is 2 wide
    affine = np.concatenate([moved, -(moved * shift).sum(axis=1, keepdims=True)], axis=1)  # [2, 3, N]
    turns = np.floor(4 * quarter).astype(int) if ranges.rotate90 else np.zeros(len(quarter), int)
    cosine, sine = np.array([1, 0, -1, 0])[turns], np.array([0, 1, 0, -1])[turns]
    x, y = cosine * affine[0] - sine * affine[1], sine * affine[0] + cosine * affine[1]
    flips = [1 - 2.0 * (allowed & (number < 0.5)) for allowed, number in ((ranges.hflip, hflip), (ranges.vflip, vflip))]
    return np.stack([flips[0] * x, flips[1] * y]).transpose(2, 0, 1)


def _scale(numbers: list[Numbers], limits: tuple[float, float]) -> Numbers:
    """Return factors that are below and above 1 equally often."""
    return np.where(numbers[0] < 0.5, _between(numbers[1], (limits[0], 1.0)), _between(numbers[1], (1.0, limits[1])))


def _boxes(crops: Numbers, ratios: Numbers, ranges: Ranges) -> Numbers:
    """Return boxes [N, 4]: the first of ten random parts that fits into the image, or else the centre of the image."""
    if not ranges.crops:
        return np.tile([0.0, 0.0, 1.0, 1.0], (len(ratios), 1))
    position, areas, shapes = crops[:2], _between(crops[2::2], (ranges.crop, 1.0)), crops[3::2]
    low, high = np.log(CROP_RATIO)
    shapes = np.exp(low + (high - low) * shapes) / ratios  # width over height, where the image is a square
    tries = np.sqrt(np.stack([areas * shapes, areas / shapes]))  # [2, tries, N]
    fits = (tries <= 1).all(axis=0)
    first = fits.argmax(axis=0)
    centre = np.stack([np.minimum(1, CROP_RATIO[1] / ratios), np.minimum(1, ratios / CROP_RATIO[0])])
    size = np.where(fits.any(axis=0), tries[:, first, np.arange(len(ratios))], centre)
    middle = np.where(fits.any(axis=0), (2 * position - 1) * (1 - size), 0.0)
    return np.concatenate([middle, size]).T


def _colors(numbers: Numbers, ranges: Ranges) -> Numbers:
    """Return matrices [N, 3, 4] that change brightness, contrast, saturation and hue, and make grey, all in one.

    The hue is turned in YIQ, where this is linear and keeps luminance; a turn in HSV keeps the largest channel instead.
    """
    jittered = numbers[0] < JITTERED
    brightness, contrast, saturation = (np.where(jittered, _between(x, ranges.color), 1.0) for x in numbers[1:4])
    angle = np.where(jittered, 2 * np.pi * ranges.hue * (2 * numbers[4] - 1), 0.0)
    gray = numbers[5] < ranges.gray
    turn = np.zeros((len(angle), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 2, 1] = np.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    hue = np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ
    kept = np.where(gray, 0.0, saturation)[:, None, None]
    mixed = kept * hue + (1 - kept) * np.array(LUMINANCE)
    by_mean = np.broadcast_to(((1 - contrast) * brightness)[:, None, None], (len(angle), 3, 1))
    return np.concatenate([(contrast * brightness)[:, None, None] * mixed, by_mean], axis=2)


def _rectangles(numbers: Numbers, side: int) -> Numbers:
    """Return rectangles [N, 4]: left, top, right, bottom in whole pixels."""
    area, ratio = _between(numbers[0], ERASED), _between(numbers[1], ERASED_RATIO)
    size = np.rint(side * np.sqrt(np.stack([area * ratio, area / ratio])))
    corner = np.floor(numbers[2:4] * (side - size + 1))
    return np.concatenate([corner, corner + size]).T
