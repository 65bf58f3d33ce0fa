"""Batches as pure functions of (seed, epoch, batch number): resuming needs no state.

A batch is a list of keys (row, occurrence, epoch): `occurrence` counts how often the row was drawn before in the epoch,
so that a row drawn twice is augmented differently, whatever process loads it.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from supcon.randomness import address

Key = tuple[int, int, int]  # row, occurrence in the epoch, epoch
Rows = npt.NDArray[np.int64]


class BatchSampler:
    """Common part: iterates over one epoch's batches; `set_epoch` chooses which. Subclasses define `rows_of`."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.batches = max(1, -(-rows // batch_size))
        self.seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        """Return the batches of an epoch: as many as show `rows` images."""
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration shows."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[Key]]:
        drawn: Counter[int] = Counter()
        for number in range(self.batches):
            batch = []
            for row in self.rows_of(self._epoch, number).tolist():
                batch.append((row, drawn[row], self._epoch))
                drawn[row] += 1
            yield batch

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch, [batch_size]."""
        raise NotImplementedError


class NaturalSampler(BatchSampler):
    """Every row once an epoch, shuffled; the last batch is filled from the epoch's beginning, so all are equal in size.

    Fewer rows than a batch holds make one batch of them all.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        super().__init__(rows, min(batch_size, rows), seed)
        self._rows = rows

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch, [batch_size]."""
        order = _permutation(self._rows, self.seed, "natural", epoch)
        return order[(number * self.batch_size + np.arange(self.batch_size)) % self._rows]


class PKSampler(BatchSampler):
    """P classes x K distinct images of each; repeats only in classes of fewer than K.

    Classes come in rounds: a round is ceil(C / P) batches and visits every class. Visit v of a class shows the v-th
    window of K images of a permutation of its images, so every image is seen within
    `coverage` = max_c ceil(n_c / K) x ceil(C / P) batches. P is lowered to the number of classes when above it.
    """

    def __init__(self, labels: npt.NDArray[np.int64], classes: int, images: int, seed: int) -> None:
        present = np.unique(labels)
        self.classes, self.images = min(classes, len(present)), images
        super().__init__(len(labels), self.classes * images, seed)
        self._members = [np.flatnonzero(labels == label) for label in present]
        self._round = -(-len(present) // self.classes)  # batches a round
        self.coverage = self._round * max(-(-len(members) // images) for members in self._members)

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch, [P * K], class by class."""
        turn, slot = divmod(epoch * self.batches + number, self._round)
        order = _permutation(len(self._members), self.seed, "classes", turn)
        places = slot * self.classes + np.arange(self.classes)
        return np.concatenate(
            [self._window(int(order[place % len(order)]), turn, extra=bool(place >= len(order))) for place in places]
        )

    def _window(self, label: int, turn: int, extra: bool) -> Rows:
        """Return K rows of a class. The round's last batch is filled with `extra` visits, which are counted apart."""
        members = self._members[label]
        windows = -(-len(members) // self.images)
        cycle, window = divmod(turn, windows)
        order = _permutation(len(members), self.seed, "extra" if extra else "images", label, cycle)
        return members[order[(window * self.images + np.arange(self.images)) % len(members)]]


class WithUnlabelled(BatchSampler):
    """Another sampler's batches, each followed by its share of further rows, which are shown once an epoch.

    The further rows are numbered `first`, `first` + 1, ...; the shares of an epoch's batches differ by at most one row.
    """

    def __init__(self, sampler: BatchSampler, first: int, rows: int, seed: int) -> None:
        super().__init__(sampler.batches * sampler.batch_size, sampler.batch_size, seed)
        self._sampler, self._first, self._rows = sampler, first, rows

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch, [batch_size + share]."""
        order = _permutation(self._rows, self.seed, "unlabelled", epoch)
        share = slice(number * self._rows // self.batches, (number + 1) * self._rows // self.batches)
        return np.concatenate([self._sampler.rows_of(epoch, number), self._first + order[share]])


@lru_cache(maxsize=4096)
def _permutation(length: int, *where: int | str) -> Rows:
    return np.random.default_rng(address(*where)).permutation(length)
