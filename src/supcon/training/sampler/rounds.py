"""Which classes a batch visits, and how often each was visited before: planned a round of batches at a time."""

import numpy as np
import numpy.typing as npt

from supcon.randomness import seed_at

Numbers = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are evenly spread, however many are taken


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
