"""Labels under many biases at the cost of what any of them can change: a few classes of the rows that are not clear."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]  # log-probabilities, [rows, classes]
Bias = npt.NDArray[np.floating]  # [classes]


class OpenRows:
    """Of each row, the classes that lead under some bias that is allowed; rows with a single one are never looked at.

    Rows are kept by their number of candidates, rounded up to a power of two, so that a trial costs but these.
    """

    def __init__(self, scores: Scores, candidates: npt.NDArray[np.bool_]) -> None:
        """Take scores and which classes are candidates, [rows, classes] both, one a row at least."""
        count, classes = candidates.sum(axis=1), candidates.shape[1]
        self._labels = candidates.argmax(axis=1)
        self._parts = []
        for width in 2 ** np.arange(1, 1 + int(np.ceil(np.log2(max(count.max(initial=0), 1))))):
            rows = np.flatnonzero((count > width // 2) & (count <= width))
            own = np.where(candidates[rows], scores[rows], -np.inf).astype(np.float32)
            columns = np.tile(np.arange(classes), (len(rows), 1))
            if width < classes:
                columns = np.sort(np.argpartition(-own, width - 1, axis=1)[:, :width], axis=1)  # ties: the first class
            self._parts.append((rows, columns, np.take_along_axis(own, columns, axis=1)))

    @classmethod
    def in_box(cls, scores: Scores, limit: float) -> "OpenRows":
        """For biases whose parts lie in -limit .. limit: who is behind by more than twice that never leads."""
        return cls(scores, scores >= scores.max(axis=1, keepdims=True) - 2 * limit)

    @classmethod
    def between(cls, scores: Scores, one: Bias, other: Bias) -> "OpenRows":
        """For biases on the line from `one` to `other`: who leads at one end must be caught up with at the other."""
        ends = scores + one, scores + other
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
