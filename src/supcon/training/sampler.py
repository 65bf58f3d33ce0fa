"""Batches as pure functions of (seed, epoch, batch number): resuming needs no state.

A batch is a list of keys (row, occurrence, epoch): `occurrence` counts how often the row was drawn before in the epoch,
so that a row drawn twice is augmented differently, whatever process or rank loads it.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from supcon.arrays import Labels, Rows
from supcon.errors import UserError
from supcon.randomness import seed_at

Key = tuple[int, int, int]  # row, occurrence in the epoch, epoch
Numbers = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are evenly spread, however many are taken


class BatchSampler:
    """Common part: iterates over one epoch's batches; `set_epoch` chooses which. Subclasses define `rows_of`."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size  # of all ranks together
        self.batches = max(1, -(-rows // batch_size))
        self.seed = seed
        self._whole = batch_size  # images of all ranks together, at most
        self._rank, self._ranks = 0, 1
        self._epoch = 0

    def __len__(self) -> int:
        """Return the batches of an epoch: as many as show `rows` images."""
        return self.batches

    @property
    def largest(self) -> int:
        """The images of a batch of this rank, at most."""
        return min(self._whole, self._whole // self._ranks + 2)  # as `share_of` deals them

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
        self._whole += -(-rows // self.batches)

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


class PKSampler(BatchSampler):
    """P distinct classes x K distinct images of each; images repeat only in classes of fewer than K.

    **Classes.** `balance` b sets how often a class of n images comes: in proportion to n^(1 - b), so 0 is its share of
    the images and 1 equally often. But a class comes at most once a batch, and what that cuts off goes to the others
    (`class_shares` is what comes out). P is lowered to the number of classes when above it; one class is a batch of K
    of its images. `Rounds` puts the classes together, every round in another way. Over time a class is never more than
    a few visits from its due.

    **Images.** Visit v of a class shows the v-th window of K images of a permutation of its images; after ceil(n / K)
    visits comes the next permutation. So every image is seen sooner or later, whatever the balance.

    The plan of an epoch, a function of (seed, epoch), is made when its first batch is asked for, in time linear in rows
    but for sorting.
    """

    def __init__(self, labels: Labels, classes: int, images: int, seed: int, *, balance: float = 1.0) -> None:
        """Take the rows' `labels` [rows], 0 or above, P `classes` and K `images`."""
        counts = np.bincount(labels)
        self._present = np.flatnonzero(counts)
        self._sizes = counts[self._present]
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._members = np.argsort(labels, kind="stable")  # class by class
        self.classes, self.images = min(classes, len(self._present)), images
        super().__init__(len(labels), self.classes * images, seed)
        self._chances = class_chances(self._sizes, self.classes, balance)
        self._rounds = Rounds(self._chances, self.classes, seed)
        self._planned: tuple[int, Rows] | None = None  # an epoch and its rows

    @property
    def class_shares(self) -> npt.NDArray[np.float64]:
        """Each label's expected share of the images shown, [largest label + 1]."""
        shares = np.zeros(self._present[-1] + 1)
        shares[self._present] = self._chances / self.classes
        return shares

    def unseen(self, epochs: int) -> float:
        """Return what share of the rows so many epochs never show."""
        shown = self._rounds.visits_before(epochs * self.batches) * self.images
        return float((self._sizes - shown).clip(min=0).sum() / self._sizes.sum())

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch of all ranks together, [P * K], class by class."""
        if self._planned is None or self._planned[0] != epoch:
            classes, visits = self._rounds.batches(epoch * self.batches, (epoch + 1) * self.batches)
            rows = self._images_of(classes.ravel(), visits.ravel())
            self._planned = epoch, rows.reshape(self.batches, self.batch_size)
        return self._planned[1][number]

    def _images_of(self, classes: Rows, visits: Rows) -> Rows:
        """Return the rows of numbered visits of classes, [visits, K]."""
        sizes = self._sizes[classes]
        cycles, windows = np.divmod(visits, -(-sizes // self.images))
        # the permutations that these visits need, each once: one after the other
        known, which = np.unique(classes + cycles * len(self._sizes), return_inverse=True)
        cycle, of_class = np.divmod(known, len(self._sizes))
        lengths = self._sizes[of_class]
        ends = np.cumsum(lengths)
        owner = np.repeat(np.arange(len(known)), lengths)
        members = np.arange(ends[-1]) - np.repeat(ends - lengths - self._starts[of_class], lengths)
        members = members[np.argsort(owner + self._draws(members, cycle[owner]), kind="stable")]
        places = (windows[:, None] * self.images + np.arange(self.images)) % sizes[:, None]
        return self._members[members[(ends - lengths)[which][:, None] + places]]

    def _draws(self, members: Rows, cycles: Rows) -> npt.NDArray[np.float64]:
        """Return a number in [0, 1) for each member in each cycle, by hashing both (splitmix64, Steele et al. 2014)."""
        hashed = np.uint64(seed_at(self.seed, "images")) + members.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for number in (cycles.astype(np.uint64), np.uint64(0)):
            hashed = (hashed ^ number ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            hashed = (hashed ^ (hashed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (hashed >> np.uint64(36)) / 2.0**28  # exact beside the number of a permutation


def class_chances(sizes: Numbers, classes: int, balance: float) -> Chances:
    """Return each class's probability to be among a batch's `classes`, [C]: as size^(1 - balance), at most 1.

    What classes above 1 would have too much goes to the others, in proportion.
    """
    weights = sizes.astype(np.float64) ** (1 - balance)
    chances = np.ones(len(sizes))
    free = np.ones(len(sizes), bool)
    while free.any():
        chances[free] = (classes - (~free).sum()) * weights[free] / weights[free].sum()
        above = chances > 1
        if not above.any():
            break
        chances[above] = 1
        free &= ~above
    return chances


class Rounds:
    """The classes of every batch: P of C, by their `chances` [C], which sum to P.

    In a round, the fewest batches that can, every class is visited. How often is told by systematic sampling (Madow
    1949): the classes lie on a line, each as long as the visits it is due; points one visit apart are the visits, and
    move on from round to round. So a class has its due but for less than one visit, and is never more than a few from
    it over all rounds. The visits are then laid out class by class, in an order that every round draws anew, and dealt
    to the batches in turn: none of a class's, which are no more than there are batches, meet in one.
    """

    def __init__(self, chances: Chances, classes: int, seed: int) -> None:
        self.length = int(np.ceil(1 / chances.min() - 1e-9))  # batches of a round
        self._order = np.argsort(-chances, kind="stable")  # classes of every batch first: their edges are exact
        self._edges = np.append(0, np.cumsum(chances[self._order])) * self.length
        self._edges[-1] = classes * self.length
        self._seed = seed
        self._counted, self._visits = 0, np.zeros(len(chances), np.int64)  # rounds, and the visits in them

    def batches(self, first: int, end: int) -> tuple[Numbers, Numbers]:
        """Return the classes of the batches first .. end - 1, and how often each was visited before; [batches, P]."""
        start = first // self.length
        rounds = [self._round(number) for number in range(start, -(-end // self.length))]
        classes = np.concatenate(rounds)[first - start * self.length :][: end - first]
        order = np.argsort(classes, axis=None, kind="stable")  # visits class by class, in the order of the batches
        counts = np.bincount(classes.ravel(), minlength=len(self._order))
        visits = np.empty(classes.size, np.int64)
        visits[order] = np.arange(classes.size) - np.repeat(np.cumsum(counts) - counts, counts)
        return classes, visits.reshape(classes.shape) + self.visits_before(first)[classes]

    def visits_before(self, batch: int) -> Numbers:
        """Return how often each class is visited before a batch, [C]; rounds counted once are remembered."""
        number, place = divmod(batch, self.length)
        if number < self._counted:
            self._counted, self._visits = 0, np.zeros_like(self._visits)
        while self._counted < number:
            self._visits = self._visits + self._counts(self._counted)
            self._counted += 1
        if place == 0:
            return self._visits
        return self._visits + np.bincount(self._round(number)[:place].ravel(), minlength=len(self._visits))

    def _counts(self, number: int) -> Numbers:
        """Return how often a round visits each class, [C]."""
        counts = np.empty(len(self._order), np.int64)
        offset = (number + 1) * GOLDEN % 1  # never 0, where edges may be whole numbers
        counts[self._order] = np.diff(np.floor(self._edges + offset))
        return counts

    def _round(self, number: int) -> Numbers:
        """Return the classes of a round's batches, [length, P]."""
        draw = np.random.default_rng(seed_at(self._seed, "round", number))
        order = draw.permutation(len(self._order))
        turns = np.repeat(order, self._counts(number)[order]).reshape(-1, self.length)
        spread = np.argsort((np.arange(self.length) * GOLDEN + draw.random()) % 1)  # visits of a class lie apart
        return turns[:, spread].T
