"""P classes x K images of each: the batches of contrastive training."""

from functools import cached_property
from itertools import count

import numpy as np
import numpy.typing as npt

from supcon.arrays import Labels, Rows
from supcon.randomness import seed_at
from supcon.training.sampler.batches import BatchSampler
from supcon.training.sampler.rounds import Rounds, class_chances


class PKSampler(BatchSampler):
    """P distinct classes x K distinct images of each; images repeat only in classes of fewer than K.

    **Classes.** `balance` b sets how often a class of n images comes: in proportion to n^(1 - b), so 0 is its share of
    the images and 1 equally often. But a class comes at most once a batch, and what that cuts off goes to the others
    (`class_shares` is what comes out). P is lowered to the number of classes when above it; one class is a batch of K
    of its images. `Rounds` puts the classes together, every round in another way. Over time a class is never more than
    a few visits from its due.

    **Images.** Visit v of a class shows the v-th window of K images of a permutation of its images; after ceil(n / K)
    visits comes the next permutation. So every image is seen in the first `coverage` batches, whatever the balance.

    The plan of an epoch, a function of (seed, epoch), is made when its first batch is asked for, in time linear in rows
    but for sorting.
    Raises `ValueError` for arguments out of range.
    """

    def __init__(
        self,
        labels: Labels,
        classes: int,
        images: int,
        seed: int,
        *,
        balance: float = 1.0,
    ) -> None:
        """Take the rows' `labels` [rows], 0 or above, P `classes` and K `images`."""
        if len(labels) == 0 or labels.min() < 0 or min(classes, images) < 1 or not 0 <= balance <= 1:
            raise ValueError(
                f"{len(labels)} labels from {labels.min(initial=0)}, {classes} classes x {images} images, balance"
                f" {balance}: needed are labels from 0, 1 class x 1 image or more, balance 0 to 1"
            )
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

    @cached_property
    def coverage(self) -> int:
        """The number of batches, counted from the first, that show every image at least once."""
        return next(batch for batch in count(0, self._rounds.length) if not self._unseen_before(batch))

    def unseen(self, epochs: int) -> float:
        """Return what share of the rows so many epochs never show."""
        return self._unseen_before(epochs * self.batches)

    def _unseen_before(self, batch: int) -> float:
        shown = self._rounds.visits_before(batch) * self.images
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
