"""Which classes a batch visits, and how often each was visited before: in closed form, without a pass over the classes.

The classes lie on a line, each as long as its visits a round; points one visit apart are the visits, and a batch takes
every R-th point of a round of R batches. That is systematic sampling (Madow 1949): a class no longer than R is in a
batch at most once, and exactly as often as its length says. Two sequences are counted on: the offset of the points from
round to round, and the order of the batches in a round. Both are van der Corput's (1935), which is evenly spread and
whose counts have a closed form.
"""

import numpy as np
import numpy.typing as npt

from supcon.randomness import seed_at

Numbers = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]

_BITS = 24
VISIT = 1 << _BITS  # the length of one visit: lengths are integers, so that counts are exact
CHUNKS = 1024  # pieces of a line that change places every round


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


class VisitPlan:
    """The classes of every batch: P of C, by their `chances` [C], which sum to P.

    A round is the smallest power of two of batches in which every class is visited. The rounds take turns between two
    orders of the classes: those that are too close to meet in one are apart in the other.
    """

    def __init__(self, chances: Chances, classes: int, seed: int) -> None:
        self.round = 1 << int(np.ceil(np.log2(1 / chances.min()) - 1e-9))
        self.lengths = visit_lengths(chances, classes, self.round)
        self._lines = [_Line(order, self.lengths, self.round, seed) for order in two_orders(len(chances), seed)]

    def batch(self, number: int) -> tuple[Numbers, Numbers]:
        """Return the classes of a batch [P] and how often each was visited before [P]; O(P log C + CHUNKS)."""
        turn, place = divmod(number, self.round)
        classes, visits = self._lines[turn % 2].batch(turn // 2, place)
        return classes, visits + self.visits_before(classes, turn)

    def visits_before(self, classes: Numbers, turn: int) -> Numbers:
        """Return how often classes are visited in the first `turn` rounds."""
        first, second = self._lines
        return first.visits_before(classes, (turn + 1) // 2) + second.visits_before(classes, turn // 2)


def visit_lengths(chances: Chances, classes: int, batches: int) -> Numbers:
    """Return the classes' visits a round, [C]: in units of 1 / VISIT, summing to `classes` x `batches` visits."""
    lengths = np.rint(chances * (batches * VISIT)).astype(np.int64)
    excess = int(lengths.sum()) - classes * batches * VISIT  # of rounding, at most half a unit a class
    free = np.flatnonzero(lengths < batches * VISIT)[: abs(excess)]
    lengths[free] -= np.sign(excess)
    return lengths


def two_orders(classes: int, seed: int) -> tuple[Numbers, Numbers]:
    """Return two orders of the classes; no two of up to CHUNKS^2 classes share a chunk in both."""
    first = np.random.default_rng(seed_at(seed, "order")).permutation(classes)
    return first, first[np.argsort(np.arange(classes) % _chunk(classes), kind="stable")]


class _Line:
    """The classes in one order. Its turns are rounds of `batches` batches.

    In every turn the chunks of the line change places, and each is rotated by whole classes. So classes of different
    chunks meet in some turns; a class's points stay together, and it is still at most once in a batch.
    """

    def __init__(self, order: Numbers, lengths: Numbers, batches: int, seed: int) -> None:
        self._order = order
        self._place = np.argsort(order)
        self._edges = np.concatenate([[0], np.cumsum(lengths[order])])  # [C + 1]
        self._bounds = np.append(np.arange(0, len(order), _chunk(len(order))), len(order))  # of the chunks
        self._batches, self._seed = batches, seed
        self._points = np.arange(0, self._edges[-1] // VISIT, batches)  # of the batch in slot 0

    def batch(self, turn: int, number: int) -> tuple[Numbers, Numbers]:
        """Return the classes of a batch of a turn [P] and how often each was visited before in this turn [P]."""
        offset = _spread(turn, VISIT)
        slot = _spread(number, self._batches)
        points = self._unshuffled(turn, offset, slot + self._points)
        places = np.searchsorted(self._edges, points * VISIT + offset, side="right") - 1
        first, end = (_points_below(self._edges[places + side], offset) for side in (0, 1))
        begin = (slot - (points - first)) % self._batches  # slots begin .. begin + end - first - 1 hold the class
        return self._order[places], self._slots_before(number, begin, begin + end - first)

    def visits_before(self, classes: Numbers, turn: int) -> Numbers:
        """Return how often classes are visited in the first `turn` turns of this line."""
        places = self._place[classes]
        begin, end = (_points_in_turns(self._edges[places + side], turn) for side in (0, 1))
        return end - begin

    def _slots_before(self, number: int, begin: Numbers, end: Numbers) -> Numbers:
        """Return how many of the slots begin .. end - 1, which go round, come before the batch `number`."""
        limits = np.stack([begin, np.minimum(end, self._batches), np.maximum(end - self._batches, 0)])
        below = _spread_below(limits, number, self._batches)
        return below[1] - below[0] + below[2]

    def _unshuffled(self, turn: int, offset: int, points: Numbers) -> Numbers:
        """Return where points of the line, as it is shuffled in this turn, lie in the line as it was built."""
        random = np.random.default_rng(seed_at(self._seed, "turn", turn))
        first = _points_below(self._edges[self._bounds], offset)
        sizes = np.diff(first)
        heads = random.integers(self._bounds[:-1], self._bounds[1:])  # the class that a chunk begins with
        rotation = _points_below(self._edges[heads], offset) - first[:-1]
        order = random.permutation(len(sizes))
        ends = np.cumsum(sizes[order])
        position = np.searchsorted(ends, points, side="right")
        chunk = order[position]
        inside = points - ends[position] + sizes[chunk]
        return first[chunk] + (inside + rotation[chunk]) % sizes[chunk]


def _chunk(classes: int) -> int:
    return -(-classes // CHUNKS)


def _points_below(lengths: Numbers, offset: int) -> Numbers:
    """Return how many of the points offset, offset + VISIT, offset + 2 VISIT, ... are below each length."""
    return -((offset - lengths) // VISIT)


def _points_in_turns(lengths: Numbers, turns: int) -> Numbers:
    """Return the sum of `_points_below` over the first `turns` turns."""
    whole, part = np.divmod(lengths, VISIT)
    cycles, rest = divmod(turns, VISIT)
    return turns * whole + cycles * part + _spread_below(part, rest, VISIT)


def _spread(number: int, length: int) -> int:
    """Return the number's place in range(length), a power of two, by van der Corput: its bits in reverse."""
    bits = length.bit_length() - 1
    return int(f"{number % length:0{bits}b}"[::-1], 2) if bits else 0


def _spread_below(limits: Numbers, numbers: int, length: int) -> Numbers:
    """Return how many of the places of range(numbers) are below each limit, 0 to length.

    A block of 2^b numbers for each bit b of `numbers`: the places of a block are length / 2^b apart.
    """
    count = np.zeros_like(limits)
    for bit in range(numbers.bit_length()):
        if numbers >> bit & 1:
            smallest = _spread(numbers >> (bit + 1) << (bit + 1), length)
            spacing = length >> bit
            count += (limits - smallest + spacing - 1) // spacing
    return count
