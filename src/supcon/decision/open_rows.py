"""Labels under many biases at the cost of what any of them can change: a few classes of the rows that are not clear."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.metrics.top_k import Matrix, kept_of

Labels = npt.NDArray[np.int64]
Bias = npt.NDArray[np.floating]  # [classes]


class OpenRows:
    """Of each row, the classes that lead under some bias that is allowed; rows with a single one are never looked at.

    Rows are kept by their number of candidates, rounded up to a power of two, so that a trial costs but these.
    """

    def __init__(self, scores: Matrix, candidates: npt.NDArray[np.bool_]) -> None:
        """Take scores [rows, classes] and which of the kept classes are candidates [rows, kept], one a row at least."""
        values, numbers = kept_of(scores)
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
    def in_box(cls, scores: Matrix, limit: float) -> "OpenRows":
        """For biases whose parts lie in -limit .. limit: who is behind by more than twice that never leads."""
        values, _ = kept_of(scores)
        return cls(scores, values >= values.max(axis=1, keepdims=True) - 2 * limit)

    @classmethod
    def between(cls, scores: Matrix, one: Bias, other: Bias) -> "OpenRows":
        """For biases on the line from `one` to `other`: who leads at one end must be caught up with at the other."""
        ends = [kept_of(scores + bias)[0] for bias in (one, other)]
        leads = [end.argmax(axis=1)[:, None] for end in ends]
        caught = [end >= np.take_along_axis(end, lead, axis=1) for end, lead in zip(ends, leads[::-1], strict=True)]
        return cls(scores, caught[0] & caught[1])

    def labels(self, bias: Bias) -> Labels:
        """Return the class numbers [rows] under one bias."""
        labels, bias = self._labels.copy(), bias.astype(np.float32)
        for rows, columns, scores in self._parts:
            best = (scores + bias[columns]).argmax(axis=1)
            labels[rows] = columns[np.arange(len(rows)), best]
        return labels


def all_labels(pieces: Sequence[OpenRows], bias: Bias) -> Labels:
    """Return the class numbers of several pieces' rows, one piece after the other."""
    return np.concatenate([piece.labels(bias) for piece in pieces])


def _numbers(numbers: npt.NDArray[np.int32] | None, rows: npt.NDArray[Any], columns: Labels) -> npt.NDArray[np.int32]:
    """Return the class numbers of some columns of some rows, [rows, columns]."""
    return columns.astype(np.int32) if numbers is None else np.take_along_axis(numbers[rows], columns, axis=1)
