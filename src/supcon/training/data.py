"""Datasets: uint8 views from the image cache, batch by batch, whole or to be made on the training device."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from supcon.arrays import Labels, Rows
from supcon.images.augment.batch import canvas, canvas_side
from supcon.images.augment.recipes import Ranges, Recipe, draw
from supcon.images.augment.single import RandomView
from supcon.images.augment.views import View, views_of
from supcon.images.cache import ImageCache
from supcon.images.geometry import Fit, Image
from supcon.randomness import seed_at
from supcon.training.sampler import Key

Batch = tuple[Tensor, Tensor]  # views uint8 [B, V, side, side, 3], labels [B]
CanvasBatch = tuple[Tensor, Recipe, Tensor]  # images uint8 [B, S, S, 3], the recipe of their B x V views, labels [B]


class TrainingViews(Dataset[Batch]):
    """`views` random views of rows; a view depends on (seed, epoch, row, occurrence, view) alone."""

    def __init__(
        self,
        cache: ImageCache,
        positions: Rows,
        labels: Labels,
        transforms: Sequence[RandomView],
        views: int,
        seed: int,
    ) -> None:
        """Take the `transforms` of each epoch; the keys of a batch say which epoch it belongs to."""
        self._cache, self._positions, self._labels = cache, positions, labels
        self._transforms, self._views, self._seed = transforms, views, seed
        self.row_bytes = views * max(transform.side for transform in transforms) ** 2 * 3  # of a batch, at most

    def __getitems__(self, keys: list[Key]) -> Batch:
        """Return one batch by its sampler's keys."""
        images = np.stack([self._view(key, view) for key in keys for view in range(self._views)])
        labels = self._labels[[row for row, _, _ in keys]]
        return torch.from_numpy(images.reshape(len(keys), self._views, *images.shape[1:])), torch.from_numpy(labels)

    def _view(self, key: Key, view: int) -> Image:
        row, occurrence, epoch = key
        image = self._cache[self._positions[row]]
        return self._transforms[epoch](image, seed_at(self._seed, epoch, row, occurrence, view))


class Canvases(Dataset[CanvasBatch]):
    """Unchanged images of rows, each with the recipe of its `views` random views, which the device makes."""

    def __init__(
        self,
        cache: ImageCache,
        positions: Rows,
        labels: Labels,
        ranges: Ranges,
        sides: Sequence[int],
        fit: Fit,
        views: int,
        seed: int,
    ) -> None:
        """Take the `sides` of each epoch's images; the keys of a batch say which epoch it belongs to."""
        self._cache, self._positions, self._labels = cache, positions, labels
        self._ranges, self._sides, self._fit, self._views, self._seed = ranges, sides, fit, views, seed
        self.row_bytes = canvas_side(max(sides), ranges) ** 2 * 3  # of a batch, at most

    def __getitems__(self, keys: list[Key]) -> CanvasBatch:
        """Return one batch by its sampler's keys."""
        rows, side, views = np.array([row for row, _, _ in keys]), self._sides[keys[0][2]], range(self._views)
        stored = (self._cache[self._positions[row]] for row in rows)
        images, ratios = zip(*(canvas(image, self._ranges, side, self._fit) for image in stored), strict=True)
        addresses = np.array([(epoch, row, occurrence, view) for row, occurrence, epoch in keys for view in views])
        recipe = draw(self._seed, addresses, np.repeat(ratios, self._views), self._ranges, side)
        return torch.from_numpy(np.stack(images)), recipe, torch.from_numpy(self._labels[rows])


class ViewsOnDevice:
    """Batches of views, made on the device from a loader of `Canvases`."""

    def __init__(self, loader: Iterable[CanvasBatch], make_views: Callable[[Tensor, Recipe], Tensor]) -> None:
        self._loader, self._make_views = loader, make_views

    def __iter__(self) -> Iterator[Batch]:
        for canvases, recipe, labels in self._loader:
            yield self._make_views(canvases, recipe), labels


class FixedViews(Dataset[Tensor]):
    """Named views of rows, always the same: for prediction, monitoring and the features of a frozen encoder."""

    def __init__(self, cache: ImageCache, positions: Rows, views: Mapping[str, View], side: int, fit: Fit) -> None:
        self._cache, self._positions, self._views = cache, positions, views
        self._side, self._fit = side, fit
        self.row_bytes = len(views) * side**2 * 3  # of a batch

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, rows: Sequence[int]) -> Tensor:
        """Return the views of `rows`, uint8 [rows, views, side, side, 3]; each image is read once."""
        images = [self._cache[self._positions[row]] for row in rows]
        return torch.from_numpy(np.stack([views_of(image, self._views, self._side, self._fit) for image in images]))
