"""Random views of a batch of images at once, on the device that trains: what `recipes` says is applied."""

import torch
from torch import Tensor
from torch.nn import functional as F

from supcon.images.augment.ranges import LUMINANCE, SIGMA, Ranges
from supcon.images.augment.recipes import Recipe
from supcon.images.geometry import Fit, Image, cached_side, fit_square

_PIXELS_AT_ONCE = 2**23  # of all views in work: each takes about 60 bytes on the way
_RADIUS = int(3.5 * SIGMA[1])  # of the widest blur, pixels


def canvas_side(side: int, ranges: Ranges) -> int:
    """Return the side of the squares that views of `side` pixels are taken from: with room for crops."""
    return cached_side(side) if ranges.crops else side


def canvas(image: Image, ranges: Ranges, side: int, fit: Fit) -> tuple[Image, float]:
    """Return the square that views of an image are taken from, and width over height of what it shows.

    Where views are parts of the image it is the whole image, squashed into a square: a part is sampled from it as it
    was before. Else it is what a view shows.
    """
    if not ranges.crops:
        return fit_square(image, side, fit), 1.0
    ratio = image.shape[1] / image.shape[0] if fit == "crop" else 1.0
    return fit_square(image, canvas_side(side, ranges), "pad" if fit == "pad" else "squash"), ratio


class BatchViews:
    """Makes views of `side` pixels on a device."""

    def __init__(self, ranges: Ranges, side: int, device: torch.device) -> None:
        self._ranges, self._side, self._device = ranges, side, device
        self._places = (torch.arange(side, device=device) + 0.5) * 2 / side - 1  # centres of pixels, -1 .. 1

    def __call__(self, canvases: Tensor, recipe: Recipe) -> Tensor:
        """Return uint8 views [B, V, side, side, 3] of canvases [B, S, S, 3] by the recipe of the B x V views.

        Both come from the CPU, pinned where the device is a GPU, which then waits for nothing.
        """
        views = len(recipe.turn) // len(canvases)
        blurred = recipe.sigma.nonzero()[:, 0]
        recipe = Recipe(*(part.to(self._device, non_blocking=True) for part in recipe))
        canvases = canvases.to(self._device, non_blocking=True)
        step = max(1, _PIXELS_AT_ONCE // self._side**2)
        result = canvases.new_empty(len(recipe.turn), self._side, self._side, 3)
        for first in range(0, len(result), step):
            rows = slice(first, min(first + step, len(result)))
            image = torch.arange(rows.start, rows.stop, device=self._device) // views
            here = blurred[(blurred >= rows.start) & (blurred < rows.stop)] - first
            part = Recipe(*(part[rows] for part in recipe))
            pixels = self._views(canvases[image], part, here.to(self._device, non_blocking=True))
            result[rows] = pixels.clamp_(0, 255).round_().permute(0, 2, 3, 1)
        return result.unflatten(0, (-1, views))

    def _views(self, canvases: Tensor, recipe: Recipe, blurred: Tensor) -> Tensor:
        """Return float views [n, 3, side, side] of canvases [n, S, S, 3]; those numbered `blurred` are."""
        pixels = self._sample(canvases.permute(0, 3, 1, 2).float(), recipe)
        if self._ranges.jitters or self._ranges.gray > 0:
            pixels = _recolor(pixels, recipe.color).clamp_(0, 255)
        if len(blurred):
            pixels[blurred] = _blur(pixels[blurred], recipe.sigma[blurred])
        if self._ranges.erase > 0:
            pixels = pixels.masked_fill_(self._inside(recipe.erased), 0)
        return pixels

    def _sample(self, canvases: Tensor, recipe: Recipe) -> Tensor:
        """Sample every view in one step, bilinearly; black where it shows what is beyond its part of the image."""
        turn, box = recipe.turn[..., None, None], recipe.box[..., None, None]
        x, y = self._places, self._places[:, None]
        u, v = (turn[:, axis, 0] * x + turn[:, axis, 1] * y + turn[:, axis, 2] for axis in (0, 1))  # [n, side, side]
        grid = torch.stack([box[:, 0] + box[:, 2] * u, box[:, 1] + box[:, 3] * v], dim=3)
        pixels = F.grid_sample(canvases, grid, padding_mode="border", align_corners=False)
        if not self._ranges.moves:
            return pixels
        within = [((1 - at.abs()) * (self._side / 2) + 0.5).clamp_(0, 1) for at in (u, v)]  # as bilinear weights fade
        return pixels * (within[0] * within[1])[:, None]

    def _inside(self, rectangles: Tensor) -> Tensor:
        """Return which pixels rectangles [n, 4] hold, [n, 1, side, side]."""
        left, top, right, bottom = rectangles[:, :, None].unbind(dim=1)
        places = torch.arange(self._side, device=self._device)
        across, along = (places >= left) & (places < right), (places >= top) & (places < bottom)
        return (along[:, :, None] & across[:, None])[:, None]


def _recolor(pixels: Tensor, color: Tensor) -> Tensor:
    """Return pixels [n, 3, side, side] by their new colours' matrices [n, 3, 4], free of TF32 and of the batch."""
    red, green, blue = (pixels[:, channel, None] for channel in range(3))
    luminance = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    by_red, by_green, by_blue, by_mean = color[..., None, None].unbind(dim=2)
    mean = luminance.mean(dim=(2, 3), keepdim=True)
    return by_red * red + by_green * green + by_blue * blue + by_mean * mean


def _blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Return Gaussian blurs of pixels [m, 3, side, side]: each has its own kernel, 3.5 sigma wide to either side."""
    places = torch.arange(-_RADIUS, _RADIUS + 1, device=pixels.device)
    kernel = (-0.5 * (places / sigma[:, None]) ** 2).exp() * (places.abs() <= (3.5 * sigma[:, None]).floor())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True))[:, :, None, None, None]
    for axis, border in ((2, (0, 0, _RADIUS, _RADIUS)), (3, (_RADIUS, _RADIUS, 0, 0))):
        padded, length = F.pad(pixels, border, mode="reflect"), pixels.shape[axis]
        pixels = torch.zeros_like(pixels)
        for place in range(2 * _RADIUS + 1):
            pixels += kernel[:, place] * padded.narrow(axis, place, length)
    return pixels
