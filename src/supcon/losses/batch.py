"""A batch in the order that makes its losses cheap: sorted by class, so that positives lie side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SortedBatch:
    """Unit embeddings and their classes, both ascending by class, and further columns that are never anchors.

    All that follows from labels alone is made on the CPU, from where the walk over tiles is steered: asking a GPU for
    it would wait for all that is under way there.
    """

    z: Tensor  # [N, D]
    classes: Tensor  # [N], 0 .. C-1
    extra: Tensor  # [M, D]: memory or prototypes
    extra_classes: Tensor  # [M]
    numbers: Tensor  # [N]: `classes` on the CPU
    extra_numbers: Tensor  # [M]
    class_count: int

    @cached_property
    def positives(self) -> Tensor:
        """|P(i)|, [N]."""
        return self._to_device((self._sizes + self._extra_sizes)[self.numbers] - 1)

    @cached_property
    def negatives(self) -> Tensor:
        """|N(i)|, [N]."""
        return len(self.z) + len(self.extra) - 1 - self.positives

    def class_sizes(self) -> Tensor:
        """Return the items and further columns of each class, [C]."""
        return self._to_device(self._sizes + self._extra_sizes)

    def same_class(self, rows: slice) -> tuple[slice, slice]:
        """Return the items, and the further columns, among which all positives of `rows` are."""
        first, last = self._class_list[rows.start], self._class_list[rows.stop - 1]
        return slice(self._starts[first], self._starts[last + 1]), slice(
            self._extra_starts[first], self._extra_starts[last + 1]
        )

    def mean_positive_similarity(self) -> Tensor:
        """Return mean_{p in P(i)} z_i . z_p, [N], by way of class sums: z_i . (S_c - z_i) / |P|; no N x N matrix."""
        sums = self.z.new_zeros(self.class_count, self.z.shape[1])
        sums = sums.index_add(0, self.classes, self.z).index_add(0, self.extra_classes, self.extra)
        return (self.z * (sums[self.classes] - self.z)).sum(dim=1) / self.positives.clamp(min=1)

    @cached_property
    def _sizes(self) -> Tensor:
        return torch.bincount(self.numbers, minlength=self.class_count)

    @cached_property
    def _extra_sizes(self) -> Tensor:
        return torch.bincount(self.extra_numbers, minlength=self.class_count)

    @cached_property
    def _class_list(self) -> list[int]:
        return self.numbers.tolist()

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *self._sizes.cumsum(0).tolist()]

    @cached_property
    def _extra_starts(self) -> list[int]:
        return [0, *self._extra_sizes.cumsum(0).tolist()]

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.z.device, non_blocking=True)


def sort_batch(embeddings: Tensor, labels: Tensor, extra: Tensor, extra_labels: Tensor) -> SortedBatch:
    """Return the batch at unit length, in float32 at least, with classes numbered from 0."""
    wide = embeddings.dtype if embeddings.dtype == torch.float64 else torch.float32
    names, numbers = torch.unique(torch.cat([labels.cpu(), extra_labels.cpu()]), return_inverse=True)
    classes, order = numbers[: len(labels)].sort(stable=True)
    extra_classes, extra_order = numbers[len(labels) :].sort(stable=True)

    def on_device(tensor: Tensor) -> Tensor:
        return tensor.to(embeddings.device, non_blocking=True)

    return SortedBatch(
        unit_length(embeddings.to(wide)[on_device(order)]),
        on_device(classes),
        unit_length(extra.to(wide)[on_device(extra_order)]),
        on_device(extra_classes),
        classes,
        extra_classes,
        len(names),
    )


def unit_length(rows: Tensor) -> Tensor:
    """Return `rows` [N, D] at length 1, however long or short; a row of zeros stays, with gradient 0.

    A row is first divided by its largest entry, so that no square leaves float32; over zeros this divides by infinity.
    """
    lowest, highest = rows.detach().aminmax(dim=1, keepdim=True)  # a tenth of the time of the norm
    largest = torch.maximum(-lowest, highest)
    return F.normalize(rows / largest.masked_fill(largest == 0, torch.inf), dim=1)


def count_positives(labels: Tensor, memory_labels: Tensor | None = None) -> Tensor:
    """Return |P(i)|, the number of other items (and memory keys) with i's label, [N]."""
    columns = labels if memory_labels is None else torch.cat([labels, memory_labels])
    _, numbers, sizes = torch.unique(columns, return_inverse=True, return_counts=True)
    positives: Tensor = sizes[numbers[: len(labels)]] - 1
    return positives


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Cut start .. stop into slices of `step`."""
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
