"""P classes x K images of each: the batches of contrastive training."""

from bisect import bisect_left
from functools import cached_property

import numpy as np
import numpy.typing as npt

from supcon.arrays import Labels, Rows
from supcon.training.sampler.batches import BatchSampler
from supcon.training.sampler.permutation import keys_of, permute
from supcon.training.sampler.visits import VISIT, VisitPlan, class_chances


class PKSampler(BatchSampler):
    """P distinct classes x K distinct images of each; images repeat only in classes of fewer than K.

    **Classes.** `balance` b sets how often a class of n images comes: in proportion to n^(1 - b), so 0 is its share of
    the images and 1 equally often. But a class comes at most once a batch, and what that cuts off goes to the others
    (`class_shares` is what comes out). P is lowered to the number of classes when above it; one class is a batch of K
    of its images. A round of batches, the smallest power of two that can, visits every class; the next round puts them
    together in another way. Over time a class is never more than a few visits from its due.

    **Images.** Visit v of a class shows the v-th window of K images of a permutation of its images; after ceil(n / K)
    visits comes the next permutation. So every image is seen in the first `coverage` batches, whatever the balance.

    A batch costs O(P K + P log C + 1,024) (the pieces that `visits` shuffles), whatever the number of rows; the
    construction sorts the rows once.
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
        self._plan = VisitPlan(class_chances(self._sizes, self.classes, balance), self.classes, seed)

    @property
    def class_shares(self) -> npt.NDArray[np.float64]:
        """Each label's expected share of the images shown, [largest label + 1]."""
        shares = np.zeros(self._present[-1] + 1)
        shares[self._present] = self._plan.lengths / self._plan.lengths.sum()
        return shares

    @cached_property
    def coverage(self) -> int:
        """The number of batches, counted from the first, that show every image at least once."""
        classes = np.arange(len(self._sizes))
        needed = -(-self._sizes // self.images)  # visits; a round brings at least one
        rounds = bisect_left(
            range(needed.max() + 1),
            True,
            key=lambda turn: bool((self._plan.visits_before(classes, turn) >= needed).all()),
        )
        return rounds * self._plan.round

    def unseen(self, epochs: int) -> float:
        """Return about what share of the rows so many epochs never show; 0 where `coverage` is within them."""
        batches = epochs * self.batches
        if self.coverage <= batches:
            return 0.0
        visits = batches * self._plan.lengths / (self._plan.round * VISIT)  # those due: never more than a few off
        return float((self._sizes - visits * self.images).clip(min=0).sum() / self._sizes.sum())

    def rows_of(self, epoch: int, number: int) -> Rows:
        """Return the rows of one batch of all ranks together, [P * K], class by class."""
        return self._images_of(*self._plan.batch(epoch * self.batches + number)).ravel()

    def _images_of(self, classes: Rows, visits: Rows) -> Rows:
        """Return the rows of numbered visits of classes, [P, K]."""
        sizes = self._sizes[classes]
        cycles, windows = np.divmod(visits, -(-sizes // self.images))
        places = (windows[:, None] * self.images + np.arange(self.images)) % sizes[:, None]
        keys = keys_of(self.seed, classes, cycles)
        return self._members[self._starts[classes][:, None] + permute(places, sizes[:, None], keys[:, None])]
