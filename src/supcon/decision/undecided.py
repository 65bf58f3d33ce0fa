"""Labels under many biases, fast: of each row only the classes are looked at that some bias can make its label."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supcon.arrays import ClassNumbers, Labels, Rows
from supcon.metrics.top_k import Matrix, kept_values

Bias = npt.NDArray[np.floating]  # [classes]


class UndecidedRows:
    """The classes that each row can be decided for, over all biases that are allowed: its candidates.

    A row with a single candidate has its label once and for all. The others are grouped by their number of candidates,
    rounded up to a power of two, so that a trial computes little more than the candidates.
    """

    def __init__(self, scores: Matrix, candidates: npt.NDArray[np.bool_]) -> None:
        """Take scores [rows, classes] and which of the kept classes are candidates [rows, kept]: one a row at least."""
        values, numbers = kept_values(scores)
        count, kept = candidates.sum(axis=1), candidates.shape[1]
        self._labels = _numbers(numbers, np.arange(len(count)), candidates.argmax(axis=1)[:, None])[:, 0].astype(int)
        self._parts = []
        for width in 2 ** np.arange(1, 1 + int(np.ceil(np.log2(max(count.max(initial=0), 1))))):
            rows = np.flatnonzero((count > width // 2) & (count <= width)).astype(np.int32)
            own = np.where(candidates[rows], values[rows], -np.inf).astype(np.float32)
            columns = np.tile(np.arange(kept), (len(rows), 1))
            if width < kept:
                columns = np.sort(np.argpartition(-own, width - 1, axis=1)[:, :width], axis=1)  # ties: the first class
            self._parts.append((rows, _numbers(numbers, rows, columns), np.take_along_axis(own, columns, axis=1)))

    @classmethod
    def in_box(cls, scores: Matrix, limit: float) -> "UndecidedRows":
        """Return the rows for biases within -limit .. limit: a class behind by more than twice that never leads."""
        values, _ = kept_values(scores)
        return cls(scores, values >= values.max(axis=1, keepdims=True) - 2 * limit)

    @classmethod
    def between(cls, scores: Matrix, start: Bias, end: Bias) -> "UndecidedRows":
        """Return the rows for biases on the line from `start` to `end`.

        Differences of two classes change linearly along it: a class that is behind the same other class at both ends is
        behind it everywhere. So a candidate has caught up, at each end, with the class that leads at the other.
        """
        ends = [kept_values(scores + bias)[0] for bias in (start, end)]
        leaders = [values.argmax(axis=1)[:, None] for values in ends]
        caught_up = [
            values >= np.take_along_axis(values, leader, axis=1)
            for values, leader in zip(ends, leaders[::-1], strict=True)
        ]
        return cls(scores, caught_up[0] & caught_up[1])

    def labels(self, bias: Bias) -> Labels:
        """Return the class numbers [rows] under one bias."""
        labels, bias = self._labels.copy(), bias.astype(np.float32)
        for rows, columns, scores in self._parts:
            best = (scores + bias[columns]).argmax(axis=1)
            labels[rows] = columns[np.arange(len(rows)), best]
        return labels


def labels_under(blocks: Sequence[UndecidedRows], bias: Bias) -> Labels:
    """Return the class numbers of several blocks' rows, one block after the other."""
    return np.concatenate([block.labels(bias) for block in blocks])


def _numbers(numbers: ClassNumbers | None, rows: npt.NDArray[np.integer], columns: Rows) -> ClassNumbers:
    """Return the class numbers of `columns` [rows, columns] of the kept classes; all classes are kept where None."""
    return columns.astype(np.int32) if numbers is None else np.take_along_axis(numbers[rows], columns, axis=1)
