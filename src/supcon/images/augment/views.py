"""Test-time views of an image, by name. They follow from the same declared invariances as random views do (law 9)."""

from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from supcon.images.geometry import Fit, Image, fit_square
from supcon.settings.settings import AugmentSettings

View = Callable[[Image], Image]


def prediction_views(augment: AugmentSettings, limit: int) -> dict[str, View]:
    """Return at most `limit` test-time views by name, the plain image first; each maps a square to a square."""
    quarter, mirrored = augment.rotate90, augment.hflip or augment.vflip
    # half the largest change, since most training views change by less than the largest
    scale, turn, shift = augment.scale / 2, augment.rotate / 2, augment.shift / 2
    cropped = augment.crop < 1 and augment.scale == 0  # training views are parts of the image, and so is its centre
    views: list[tuple[object, str, View]] = [
        (True, "plain", np.asarray),
        (augment.hflip, "hflip", np.fliplr),
        (augment.vflip, "vflip", np.flipud),
        (quarter or (augment.hflip and augment.vflip), "rotate180", partial(np.rot90, k=2)),
        (quarter, "rotate90", partial(np.rot90, k=1)),
        (quarter, "rotate270", partial(np.rot90, k=3)),
        (quarter and mirrored, "transpose", partial(np.transpose, axes=(1, 0, 2))),
        (quarter and mirrored, "antitranspose", _antitranspose),
        (scale, "larger", partial(_affine, scale=1 + scale)),
        (scale, "smaller", partial(_affine, scale=1 - scale)),
        (turn, "left turn", partial(_affine, degrees=turn)),
        (turn, "right turn", partial(_affine, degrees=-turn)),
        (shift, "up", partial(_affine, down=-shift)),
        (shift, "down", partial(_affine, down=shift)),
        (shift, "left", partial(_affine, right=-shift)),
        (shift, "right", partial(_affine, right=shift)),
        (cropped, "centre", partial(_affine, scale=1.15)),
    ]
    return dict([(name, view) for declared, name, view in views if declared][:limit])


def views_of(image: Image, views: Mapping[str, View], side: int, fit: Fit) -> npt.NDArray[np.uint8]:
    """Return every view of an image, [views, side, side, 3]."""
    square = fit_square(image, side, fit)
    return np.stack([view(square) for view in views.values()])


def _antitranspose(image: Image) -> Image:
    return image[::-1, ::-1].transpose(1, 0, 2)


def _affine(image: Image, scale: float = 1.0, degrees: float = 0.0, down: float = 0.0, right: float = 0.0) -> Image:
    """Scale and turn a square about its centre, then shift it by whole pixels; pixels from outside are black."""
    side = len(image)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, scale)
    matrix = matrix + np.array([[0, 0, _pixels(right * side)], [0, 0, _pixels(down * side)]])
    return cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _pixels(distance: float) -> float:
    """Round to whole pixels, but a distance that is not 0 to one at least."""
    return float(np.sign(distance) * max(1, round(abs(distance)))) if distance else 0.0
