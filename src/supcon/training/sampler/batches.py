"""What every batch sampler shares, the natural batches, and unlabelled rows beside any.

A batch is a list of keys (row, occurrence, epoch): `occurrence` counts how often the row was drawn before in the epoch,
so that a row drawn twice is augmented differently, whatever process or rank loads it.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Self

import numpy as np

from supcon.arrays import Rows
from supcon.errors import UserError
from supcon.randomness import seed_at

Key = tuple[int, int, int]  # row, occurrence in the epoch, epoch


class BatchSampler:
    """Common part: iterates over one epoch's batches; `set_epoch` chooses which. Subclasses define `rows_of`."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size  # of all ranks together
        self.batches = max(1, -(-rows // batch_size))
        self.seed = seed
        self._rank, self._ranks = 0, 1
        self._epoch = 0

    def __len__(self) -> int:
        """Return the batches of an epoch: as many as show `rows` images."""
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration shows."""
        self._epoch = epoch

    def take_share(self, rank: int, ranks: int) -> Self:
        """Iterate over the part of every batch that `rank` of `ranks` trains on: the places of `share_of`.

        Raises `UserError` for batches that leave a rank without two images.
        """
        if ranks > 1 and self.batch_size < 2 * ranks:
            raise UserError(
                f"a batch of {self.batch_size} images does not give each of {ranks} processes two:"
                " make the batch larger, or lower --nproc"
            )
        self._rank, self._ranks = rank, ranks
        return self

    def __iter__(self) -> Iterator[list[Key]]:
        drawn: Counter[int] = Counter()
        for number in range(self.batches):
            batch = []
            for row in self.rows_of(self._epoch, number).tolist():  # all ranks' rows: they share the count
                batch.append((row, drawn[row], self._epoch))
                drawn[row] += 1
            yield [batch[place] for place in share_of(len(batch), self._rank, self._ranks)]

    def unseen(self, epochs: int) -> float:
        """Return about what share of the rows so many epochs never show: none, where each of them shows all."""
        return 0.0

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch, of all ranks together, [batch_size]."""
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


class WithUnlabelled(BatchSampler):
    """Another sampler's batches, each followed by its share of further rows, which are shown once an epoch.

    The further rows are numbered `first`, `first` + 1, ...; the shares of an epoch's batches differ by at most one row.
    """

    def __init__(self, sampler: BatchSampler, first: int, rows: int, seed: int) -> None:
        super().__init__(sampler.batches * sampler.batch_size, sampler.batch_size, seed)
        self._sampler, self._first, self._rows = sampler, first, rows

    def unseen(self, epochs: int) -> float:
        """Return about what share of the other sampler's rows so many epochs never show."""
        return self._sampler.unseen(epochs)

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch, [batch_size + share]."""
        order = _permutation(self._rows, self.seed, "unlabelled", epoch)
        share = slice(number * self._rows // self.batches, (number + 1) * self._rows // self.batches)
        return np.concatenate([self._sampler.rows_of(epoch, number), self._first + order[share]])


def share_of(size: int, rank: int, ranks: int) -> list[int]:
    """Return the places of a batch of `size` that `rank` of `ranks` gets, ascending; shares differ by two at most.

    Places go round the ranks, so that the classes of a PK batch, which lie side by side, are spread over them: batch
    statistics of few classes would tell the label. Each place goes with its mirror image, with which it is mixed. Of a
    PK batch with K = `ranks` each rank holds one image of a class (some two, for an odd number of classes), so that
    positives meet in the gathered batch alone: in its own share a rank would find none.
    """
    return [place for place in range(size) if min(place, size - 1 - place) % ranks == rank]


@lru_cache(maxsize=4)
def _permutation(length: int, *where: int | str) -> Rows:
    return np.random.default_rng(seed_at(*where)).permutation(length)
