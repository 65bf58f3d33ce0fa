"""Random views of a batch of images, made at once on the training device by the recipe that `recipes` draws."""

import torch
from torch import Tensor
from torch.nn import functional as F

from supcon.images.augment.recipes import LUMINANCE, SIGMA, Ranges, Recipe
from supcon.images.geometry import Fit, Image, cached_side, fit_square

_PIXELS_AT_ONCE = 2**23  # pixels of the views that are made at the same time; each takes about 60 bytes of memory
_RADIUS = int(3.5 * SIGMA[1])  # of the widest blur, pixels


def canvas_side(side: int, ranges: Ranges) -> int:
    """Return the side of the canvas, the square that views of `side` pixels are taken from: larger where views crop."""
    return cached_side(side) if ranges.crops else side


def canvas(image: Image, ranges: Ranges, side: int, fit: Fit) -> tuple[Image, float]:
    """Return the canvas of an image, and the width over height of the picture on it.

    Where views are parts of the image, the canvas is the whole image, squashed into a square (sampling a part undoes
    the squashing). Otherwise it is the square that every view shows.
    """
    if not ranges.crops:
        return fit_square(image, side, fit), 1.0
    ratio = image.shape[1] / image.shape[0] if fit == "crop" else 1.0
    return fit_square(image, canvas_side(side, ranges), "pad" if fit == "pad" else "squash"), ratio


class BatchViews:
    """Makes views of `side` pixels on a device."""

    def __init__(self, ranges: Ranges, side: int, device: torch.device) -> None:
        self._ranges, self._side, self._device = ranges, side, device
        self._centres = (torch.arange(side, device=device) + 0.5) * 2 / side - 1  # of pixels, from -1 to 1

    def __call__(self, canvases: Tensor, recipe: Recipe) -> Tensor:
        """Return uint8 views [B, V, side, side, 3] of canvases [B, S, S, 3] by the recipe of the B x V views.

        Both arguments are on the CPU, in pinned memory where the device is a GPU, so that neither waits for the other.
        """
        views = len(recipe.turn) // len(canvases)
        blurred = recipe.sigma.nonzero()[:, 0]
        recipe = Recipe(*(numbers.to(self._device, non_blocking=True) for numbers in recipe))
        canvases = canvases.to(self._device, non_blocking=True)
        step = max(1, _PIXELS_AT_ONCE // self._side**2)
        result = canvases.new_empty(len(recipe.turn), self._side, self._side, 3)
        for first in range(0, len(result), step):
            rows = slice(first, min(first + step, len(result)))
            image = torch.arange(rows.start, rows.stop, device=self._device) // views
            blurred_rows = blurred[(blurred >= rows.start) & (blurred < rows.stop)] - first
            rows_recipe = Recipe(*(numbers[rows] for numbers in recipe))
            pixels = self._views(canvases[image], rows_recipe, blurred_rows.to(self._device, non_blocking=True))
            result[rows] = pixels.clamp_(0, 255).round_().permute(0, 2, 3, 1)
        return result.unflatten(0, (-1, views))

    def _views(self, canvases: Tensor, recipe: Recipe, blurred: Tensor) -> Tensor:
        """Return float views [n, 3, side, side] of canvases [n, S, S, 3]; the views numbered `blurred` are blurred."""
        pixels = self._sample(canvases.permute(0, 3, 1, 2).float(), recipe)
        if self._ranges.jitters or self._ranges.gray > 0:
            pixels = _recolor(pixels, recipe.color).clamp_(0, 255)
        if len(blurred):
            pixels[blurred] = _blur(pixels[blurred], recipe.sigma[blurred])
        if self._ranges.erase > 0:
            pixels = pixels.masked_fill_(self._inside(recipe.erased), 0)
        return pixels

    def _sample(self, canvases: Tensor, recipe: Recipe) -> Tensor:
        """Sample every view in one step, bilinearly; pixels outside its part of the image are black."""
        turn, box = recipe.turn[..., None, None], recipe.box[..., None, None]
        x, y = self._centres, self._centres[:, None]
        u, v = (turn[:, axis, 0] * x + turn[:, axis, 1] * y + turn[:, axis, 2] for axis in (0, 1))  # [n, side, side]
        grid = torch.stack([box[:, 0] + box[:, 2] * u, box[:, 1] + box[:, 3] * v], dim=3)
        pixels = F.grid_sample(canvases, grid, padding_mode="border", align_corners=False)
        if not self._ranges.moves:
            return pixels
        # 1 inside, and a ramp of one pixel at the edge, as bilinear sampling with a black border would give
        within = [((1 - position.abs()) * (self._side / 2) + 0.5).clamp_(0, 1) for position in (u, v)]
        return pixels * (within[0] * within[1])[:, None]

    def _inside(self, rectangles: Tensor) -> Tensor:
        """Return which pixels lie in rectangles [n, 4] (left, top, right, bottom), [n, 1, side, side]."""
        left, top, right, bottom = rectangles[:, :, None].unbind(dim=1)
        pixels = torch.arange(self._side, device=self._device)
        columns, rows = (pixels >= left) & (pixels < right), (pixels >= top) & (pixels < bottom)
        return (rows[:, :, None] & columns[:, None])[:, None]


def _recolor(pixels: Tensor, color: Tensor) -> Tensor:
    """Return pixels [n, 3, side, side] with new colours by matrices [n, 3, 4]."""
    # products are written out: a matrix product may use TF32, and may round by the size of the batch
    red, green, blue = (pixels[:, channel, None] for channel in range(3))
    luminance = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    by_red, by_green, by_blue, by_mean = color[..., None, None].unbind(dim=2)
    mean = luminance.mean(dim=(2, 3), keepdim=True)
    return by_red * red + by_green * green + by_blue * blue + by_mean * mean


def _blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Return pixels [m, 3, side, side] with Gaussian blurs of `sigma` [m], by kernels that reach 3.5 sigma."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=pixels.device)
    kernel = (-0.5 * (offsets / sigma[:, None]) ** 2).exp() * (offsets.abs() <= (3.5 * sigma[:, None]).floor())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True))[:, :, None, None, None]
    for axis, border in ((2, (0, 0, _RADIUS, _RADIUS)), (3, (_RADIUS, _RADIUS, 0, 0))):
        padded, length = F.pad(pixels, border, mode="reflect"), pixels.shape[axis]
        pixels = torch.zeros_like(pixels)
        for offset in range(2 * _RADIUS + 1):
            pixels += kernel[:, offset] * padded.narrow(axis, offset, length)
    return pixels
