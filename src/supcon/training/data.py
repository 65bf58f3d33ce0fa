"""Datasets and loaders: uint8 views from the image cache, in batches, by worker processes or on the training device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from supcon.arrays import Labels, Rows
from supcon.images.augment.batch import canvas
from supcon.images.augment.recipes import Ranges, Recipe, draw
from supcon.images.augment.single import RandomView
from supcon.images.augment.views import View, views_of
from supcon.images.cache import ImageCache
from supcon.images.geometry import Fit, Image
from supcon.randomness import seed_at
from supcon.storage.processes import available_cores, end_with_parent
from supcon.training.sampler import BatchSampler, Key

Batch = tuple[Tensor, Tensor]  # views uint8 [B, V, side, side, 3], labels [B]
CanvasBatch = tuple[Tensor, Recipe, Tensor]  # images uint8 [B, S, S, 3], the recipe of their B x V views, labels [B]

Item = TypeVar("Item")


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

    def __init__(self, loader: "DataLoader[CanvasBatch]", make_views: Callable[[Tensor, Recipe], Tensor]) -> None:
        self._loader, self._make_views = loader, make_views

    def __iter__(self) -> Iterator[Batch]:
        for canvases, recipe, labels in self._loader:
            yield self._make_views(canvases, recipe), labels


def growing_sides(first: int, last: int, epochs: int) -> list[int]:
    """Return the side of the images in each of `epochs` epochs, pixels: Tan and Le 2021 (arXiv 2104.00298), section 4.

    The side grows evenly from `first` to `last`, in steps of 16 pixels; the last third of the epochs have `last`. With
    `first` 0 all epochs have `last`.
    """
    growing = round(2 / 3 * (epochs - 1))  # epochs before the last side is reached
    shares = [min(1.0, epoch / growing) if growing and first else 1.0 for epoch in range(epochs)]  # of the growth
    return [last - int((last - first) * (1 - share)) // 16 * 16 for share in shares]


class FixedViews(Dataset[Tensor]):
    """Named views of rows, always the same: for prediction, monitoring and the features of a frozen encoder."""

    def __init__(self, cache: ImageCache, positions: Rows, views: Mapping[str, View], side: int, fit: Fit) -> None:
        self._cache, self._positions, self._views = cache, positions, views
        self._side, self._fit = side, fit

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, rows: Sequence[int]) -> Tensor:
        """Return the views of `rows`, uint8 [rows, views, side, side, 3]; each image is read once."""
        images = [self._cache[self._positions[row]] for row in rows]
        return torch.from_numpy(np.stack([views_of(image, self._views, self._side, self._fit) for image in images]))


def training_loader(dataset: Dataset[Item], sampler: BatchSampler, workers: int) -> "DataLoader[Item]":
    """Return a loader of the sampler's batches; its worker processes live as long as it does."""
    return DataLoader(dataset, batch_sampler=sampler, **_loader_options(workers))


def fixed_loader(dataset: Dataset[Tensor], batch_size: int, workers: int) -> "DataLoader[Tensor]":
    """Return a loader of all rows in order, in batches of views [B, V, side, side, 3]."""
    return DataLoader(dataset, batch_size=batch_size, **_loader_options(workers))


def worker_count(setting: int, processes: int = 1) -> int:
    """Return the number of worker processes that `machine.workers` asks for, where `processes` share the cores.

    With a single core that trains as well there are none: a worker would only take turns with the training.
    """
    if setting >= 0:
        return setting
    cores = available_cores() // processes
    return max(1, cores) if cores > 1 or torch.cuda.is_available() else 0


def _loader_options(workers: int) -> dict[str, Any]:
    return {
        "generator": torch.Generator(),  # a loader draws from one at every start: never from the model's global stream
        "num_workers": workers,
        "collate_fn": _unchanged,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": _start_worker,
    }


def _unchanged(batch: Item) -> Item:
    return batch


def _start_worker(worker: int) -> None:
    """Let the worker end with its parent.

    torch's own check misses a parent that ends before the check begins; the worker would then keep the parent's locks.
    """
    end_with_parent()
