"""Labels under many biases at the cost of the rows that any of them can change."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]  # log-probabilities, [rows, classes]
Bias = npt.NDArray[np.floating]  # [classes]


class OpenRows:
    """Rows that are closed have the same label whatever the bias that is asked for; only the others are looked at."""

    def __init__(self, scores: Scores, labels: Labels, closed: npt.NDArray[np.bool_]) -> None:
        self._labels = labels
        self._open = np.flatnonzero(~closed)
        self._scores = scores[self._open].astype(np.float32)
        self._sum = np.empty_like(self._scores)

    @classmethod
    def in_box(cls, scores: Scores, limit: float) -> "OpenRows":
        """For biases whose parts lie in -limit .. limit: a lead of more than twice that is never lost."""
        labels = scores.argmax(axis=1)
        first = scores.max(axis=1)
        second = np.partition(scores, -2, axis=1)[:, -2]
        return cls(scores, labels, first - second > 2 * limit)

    @classmethod
    def between(cls, scores: Scores, one: Bias, other: Bias) -> "OpenRows":
        """For biases on the line from `one` to `other`: who leads at both ends leads all the way."""
        labels = (scores + one).argmax(axis=1)
        return cls(scores, labels, labels == (scores + other).argmax(axis=1))

    def labels(self, bias: Bias) -> Labels:
        """Return the class numbers [rows] under one bias."""
        labels = self._labels.copy()
        np.add(self._scores, bias.astype(np.float32), out=self._sum)
        labels[self._open] = self._sum.argmax(axis=1)
        return labels
