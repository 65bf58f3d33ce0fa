"""A batch sorted by class, so that the positives of an anchor lie side by side and its losses are cheap."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SortedBatch:
    """Embeddings and their classes in ascending order of class, and further columns that are never anchors.

    Whatever depends on labels alone is computed on the CPU, because the loops over tiles need its values there, and
    reading a value from a GPU waits for all that runs on it.
    """

    z: Tensor  # [N, D]
    classes: Tensor  # [N], 0 .. C-1
    extra: Tensor  # [M, D] further columns: memory or prototypes
    extra_classes: Tensor  # [M]
    numbers: Tensor  # [N]: `classes` on the CPU
    extra_numbers: Tensor  # [M]
    class_count: int
    unit: bool  # whether no row is longer than 1

    @cached_property
    def positives(self) -> Tensor:
        """|P(i)|, the number of positives of each item, [N]."""
        return self._to_device((self._sizes[0] + self._sizes[1])[self.numbers] - 1)

    @cached_property
    def negatives(self) -> Tensor:
        """|N(i)|, the number of negatives of each item, [N]."""
        return len(self.z) + len(self.extra) - 1 - self.positives

    def class_sizes(self) -> Tensor:
        """Return the number of items and further columns of each class, [C]."""
        return self._to_device(self._sizes[0] + self._sizes[1])

    def same_class(self, rows: slice) -> tuple[slice, slice]:
        """Return the range of items, and the range of further columns, that hold all positives of `rows`."""
        first, last = self._class_list[rows.start], self._class_list[rows.stop - 1]
        own, extra = (slice(starts[first], starts[last + 1]) for starts in self._starts)
        return own, extra

    def mean_positive_similarity(self) -> Tensor:
        """Return mean_{p in P(i)} z_i . z_p, [N], computed as z_i . (S_c - z_i) / |P(i)|, S_c the sum of i's class."""
        sums = self.z.new_zeros(self.class_count, self.z.shape[1])
        sums = sums.index_add(0, self.classes, self.z).index_add(0, self.extra_classes, self.extra)
        return (self.z * (sums[self.classes] - self.z)).sum(dim=1) / self.positives.clamp(min=1)

    @cached_property
    def _sizes(self) -> list[Tensor]:
        return [torch.bincount(part, minlength=self.class_count) for part in (self.numbers, self.extra_numbers)]

    @cached_property
    def _class_list(self) -> list[int]:
        return self.numbers.tolist()

    @cached_property
    def _starts(self) -> list[list[int]]:
        return [[0, *sizes.cumsum(0).tolist()] for sizes in self._sizes]

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.z.device, non_blocking=True)


def sort_batch(
    embeddings: Tensor, labels: Tensor, extra: Tensor, extra_labels: Tensor, normalize: bool = True
) -> SortedBatch:
    """Return the batch in float32 or float64, with classes numbered from 0.

    `embeddings` [N, D] with `labels` [N] are the items, `extra` [M, D] with `extra_labels` [M] the further columns.
    With `normalize` all rows are brought to unit length.
    """
    wide = embeddings.dtype if embeddings.dtype == torch.float64 else torch.float32
    names, numbers = torch.unique(torch.cat([labels.cpu(), extra_labels.cpu()]), return_inverse=True)
    classes, order = numbers[: len(labels)].sort(stable=True)
    extra_classes, extra_order = numbers[len(labels) :].sort(stable=True)

    def on_device(tensor: Tensor) -> Tensor:
        return tensor.to(embeddings.device, non_blocking=True)

    z, extra = embeddings.to(wide)[on_device(order)], extra.to(wide)[on_device(extra_order)]
    return SortedBatch(
        unit_length(z) if normalize else z,
        on_device(classes),
        unit_length(extra) if normalize else extra,
        on_device(extra_classes),
        classes,
        extra_classes,
        len(names),
        unit=normalize,
    )


def unit_length(rows: Tensor) -> Tensor:
    """Return `rows` [N, D] scaled to length 1, whatever their length; a row of zeros stays, with gradient 0.

    A row is first divided by its largest absolute entry, so that no square overflows or underflows float32. A row of
    zeros is divided by infinity.
    """
    lowest, highest = rows.detach().aminmax(dim=1, keepdim=True)  # takes a tenth of the time that the norm takes
    largest = torch.maximum(-lowest, highest)
    return F.normalize(rows / largest.masked_fill(largest == 0, torch.inf), dim=1)


def count_positives(labels: Tensor, memory_labels: Tensor | None = None) -> Tensor:
    """Return |P(i)|, the number of other items (and memory keys) with i's label, [N]."""
    columns = labels if memory_labels is None else torch.cat([labels, memory_labels])
    _, numbers, sizes = torch.unique(columns, return_inverse=True, return_counts=True)
    positives: Tensor = sizes[numbers[: len(labels)]] - 1
    return positives


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Yield the slices of `step` items that cover start .. stop; the last one may be shorter."""
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
