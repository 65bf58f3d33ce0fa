"""Datasets and loaders: uint8 views from the image cache, in batches, by worker processes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from supcon.augment import RandomView
from supcon.images.cache import ImageCache
from supcon.images.geometry import Fit, Image
from supcon.randomness import address
from supcon.sampler import BatchSampler, Key
from supcon.views import View, views_of

Batch = tuple[Tensor, Tensor]  # views uint8 [B, V, side, side, 3], labels [B]


class TrainingViews(Dataset[Batch]):
    """`views` random views of rows; a view depends on (seed, epoch, row, occurrence, view) alone."""

    def __init__(
        self,
        cache: ImageCache,
        positions: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        transform: RandomView,
        views: int,
        seed: int,
    ) -> None:
        self._cache, self._positions, self._labels = cache, positions, labels
        self._transform, self._views, self._seed = transform, views, seed

    def __getitems__(self, keys: list[Key]) -> Batch:
        """Return one batch by its sampler's keys."""
        images = np.stack([self._view(key, view) for key in keys for view in range(self._views)])
        labels = self._labels[[row for row, _, _ in keys]]
        return torch.from_numpy(images.reshape(len(keys), self._views, *images.shape[1:])), torch.from_numpy(labels)

    def __getitem__(self, key: Key) -> Batch:
        """Return a batch of one."""
        return self.__getitems__([key])

    def _view(self, key: Key, view: int) -> Image:
        row, occurrence, epoch = key
        image = self._cache[self._positions[row]]
        return self._transform(image, address(self._seed, epoch, row, occurrence, view))


class FixedViews(Dataset[Tensor]):
    """Named views of rows, always the same: for prediction, monitoring and the features of a frozen encoder."""

    def __init__(
        self,
        cache: ImageCache,
        positions: npt.NDArray[np.int64],
        views: Mapping[str, View],
        side: int,
        fit: Fit,
    ) -> None:
        self._cache, self._positions, self._views = cache, positions, views
        self._side, self._fit = side, fit

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, rows: Sequence[int]) -> Tensor:
        """Return the views of `rows`, uint8 [rows, views, side, side, 3]; each image is read once."""
        images = [self._cache[self._positions[row]] for row in rows]
        return torch.from_numpy(np.stack([views_of(image, self._views, self._side, self._fit) for image in images]))

    def __getitem__(self, row: int) -> Tensor:
        """Return the views of one row."""
        return self.__getitems__([row])


def training_loader(dataset: TrainingViews, sampler: BatchSampler, workers: int) -> "DataLoader[Batch]":
    """Return a loader of the sampler's batches; its worker processes live as long as it does."""
    return DataLoader(dataset, batch_sampler=sampler, **loader_options(workers))


def fixed_loader(dataset: Dataset[Tensor], batch_size: int, workers: int) -> "DataLoader[Tensor]":
    """Return a loader of all rows in order, in batches of views [B, V, side, side, 3]."""
    return DataLoader(dataset, batch_size=batch_size, **loader_options(workers))


def worker_count(setting: int, processes: int = 1) -> int:
    """Return the worker processes that `machine.workers` asks for, where so many `processes` share the machine."""
    return max(1, (os.cpu_count() or 2) // processes - 1) if setting < 0 else setting


def loader_options(workers: int) -> dict[str, Any]:
    """Return the options that every loader shares."""
    return {
        "generator": torch.Generator(),  # a loader draws from it at every start; the global stream is the model's
        "num_workers": workers,
        "collate_fn": _as_is,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


def _as_is(batch: Any) -> Any:
    return batch
