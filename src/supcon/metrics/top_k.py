"""The likeliest classes of each row, where there are too many classes to keep a number for all.

Above LARGEST_DENSE classes a row keeps its KEPT likeliest ones, the same for all views. What is left of its probability
is shared evenly by the other classes, so that each of them has one value: a row is KEPT + 1 numbers, of which the last
counts as often as there are other classes. What treats all classes alike (a softmax, a temperature, a mean of views, a
clip) is done to these numbers as to those of all classes, see `on_values`; the log-probabilities of the kept classes
stay exact. No other class is ever decided for: a row whose true class is not kept counts as wrong, and its log loss is
the logarithm of its even share.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

LARGEST_DENSE = 1000  # classes of which every number is kept
KEPT = 50  # classes of a row above that

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.int32]  # class numbers
_LEAST = 1e-300  # a sum that underflowed
_BLOCK = 2**22  # values: in double precision 32 MB


@dataclass(frozen=True, eq=False)
class Candidates:
    """Numbers of each row's kept classes, and one for each of its others; to decisions, an array [rows, classes]."""

    values: Array  # [rows, kept + 1] or [rows, views, kept + 1]; the last is that of each class which is not kept
    numbers: Numbers  # [rows, kept], ascending
    classes: int

    @property
    def many(self) -> int:
        """How many classes the last value stands for."""
        return self.classes - self.numbers.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """[rows, classes] or [rows, views, classes]."""
        return (*self.values.shape[:-1], self.classes)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> "Candidates":
        return replace(self, values=self.values[rows], numbers=self.numbers[rows])

    def of_view(self, view: int) -> "Candidates":
        """Return one view's, [rows, 1, classes]."""
        return replace(self, values=self.values[:, view : view + 1])

    def argmax(self, axis: int = 1) -> npt.NDArray[np.int64]:
        """Return the number of the largest kept class, [rows]."""
        place = self.values[..., :-1].argmax(axis=axis)
        return np.take_along_axis(self.numbers, place[:, None], axis=1)[:, 0].astype(np.int64)

    def max(self, axis: int = 1) -> Array:
        """Return the value of the largest kept class, [rows]."""
        largest: Array = self.values[..., :-1].max(axis=axis)
        return largest

    def dense(self) -> Array:
        """Return the numbers of all classes, [rows, classes]."""
        every = np.repeat(self.values[:, -1:], self.classes, axis=1)
        np.put_along_axis(every, self.numbers.astype(np.int64), self.values[:, :-1], axis=1)
        return every

    def __add__(self, bias: Array) -> "Candidates":
        """Add each class's `bias` [classes] to the kept ones."""
        values = self.values.astype(np.result_type(self.values, bias))
        values[:, :-1] += bias[self.numbers]
        return replace(self, values=values)

    def on(self, numbers: Numbers) -> "Candidates":
        """Return log-probabilities [rows, classes] with these classes kept instead; the sum stays."""
        same = self.numbers[:, :, None] == numbers[:, None, :]  # [rows, kept before, kept now]
        values = np.where(same.any(axis=1), np.take_along_axis(self.values, same.argmax(axis=1), axis=1),
                          self.values[:, -1:])  # fmt: skip
        lost = np.where(same.any(axis=2), -np.inf, self.values[:, :-1])
        never = self.classes - self.numbers.shape[1] - (~same.any(axis=1)).sum(axis=1)
        rest = _log_sum(np.column_stack([lost, self.values[:, -1] + np.log(np.maximum(never, _LEAST))]))
        values = np.column_stack([values, rest - np.log(self.classes - numbers.shape[1])])
        return Candidates(values.astype(self.values.dtype), numbers, self.classes)


def keeps_all(classes: int) -> bool:
    """Say whether of so many classes every number is kept."""
    return classes <= LARGEST_DENSE


def width(classes: int) -> int:
    """Return how many numbers a row of so many classes takes."""
    return classes if keeps_all(classes) else KEPT + 1


Matrix = Array | Candidates
M = TypeVar("M", bound=Matrix)


def on_values(matrix: M, function: Callable[[Array, int], Array]) -> M:
    """Return what a function of values and of how often the last one counts makes of `matrix`."""
    if isinstance(matrix, Candidates):
        return cast(M, replace(matrix, values=function(matrix.values, matrix.many)))
    return cast(M, function(matrix, 1))


def kept_of(matrix: Matrix) -> tuple[Array, Numbers | None]:
    """Return the values of the classes that can be decided for, [rows, kept], and their numbers; None: all in order."""
    return (matrix.values[:, :-1], matrix.numbers) if isinstance(matrix, Candidates) else (matrix, None)


def value_of(matrix: Matrix, labels: npt.NDArray[np.int64]) -> Array:
    """Return the value of one class of each row, [rows]."""
    rows = np.arange(len(labels))
    if not isinstance(matrix, Candidates):
        values: Array = matrix[rows, labels]
        return values
    same = matrix.numbers == labels[:, None]
    return np.where(same.any(axis=1), matrix.values[rows, same.argmax(axis=1)], matrix.values[:, -1])


def keep_likeliest(logits: Array, numbers: Numbers | None = None) -> Matrix:
    """Return logits [rows, views, classes] as they are kept: up to LARGEST_DENSE classes all of them.

    Above, those of `numbers` [rows, kept], ascending: of the likeliest ones by the mean over views if not given.
    """
    classes = logits.shape[2]
    if keeps_all(classes):
        return logits
    if numbers is None:
        numbers = np.sort(_largest(logits.mean(axis=1), KEPT), axis=1).astype(np.int32)
    places = np.broadcast_to(numbers[:, None], (*logits.shape[:2], numbers.shape[1])).astype(np.int64)
    kept = np.take_along_axis(logits, places, axis=2)
    top = logits.max(axis=2, keepdims=True)
    shares = np.exp(logits - top)
    np.put_along_axis(shares, places, 0, axis=2)
    rest = top[..., 0] + np.log(np.maximum(shares.sum(axis=2, dtype=np.float64), _LEAST))
    other = rest - np.log(classes - numbers.shape[1])
    return Candidates(np.concatenate([kept, other[..., None]], axis=2).astype(np.float32), numbers, classes)


def mean_of(members: Sequence[M], weights: Sequence[float] | None = None) -> M:
    """Return the weighted mean of several log-probabilities [rows, classes] of the same rows, not normalised.

    Where members keep different classes, a class has each member's even share where that member does not keep it; of
    all classes that any keeps, the likeliest are kept, as many as one member keeps.
    """
    if isinstance(members[0], Candidates):
        some = cast(Sequence[Candidates], members)
        return cast(M, _mean_of_candidates(some, weights or [1 / len(some)] * len(some)))
    dense = cast(Sequence[Array], members)
    if weights is None:
        return cast(M, np.mean(dense, axis=0))
    return cast(
        M, np.sum([each.dtype.type(weight) * each for each, weight in zip(dense, weights, strict=True)], axis=0)
    )


def _mean_of_candidates(members: Sequence[Candidates], weights: Sequence[float]) -> Candidates:
    kept, classes, dtype = members[0].numbers.shape[1], members[0].classes, members[0].values.dtype
    parts = list(zip(members, weights, strict=True))
    base = np.sum([weight * each.values[:, -1] for each, weight in parts], axis=0)  # of a class that no member keeps
    above = np.concatenate([weight * (each.values[:, :-1] - each.values[:, -1:]) for each, weight in parts], axis=1)
    numbers = np.concatenate([each.numbers for each in members], axis=1)
    order = np.argsort(numbers, axis=1, kind="stable")
    numbers, above = np.take_along_axis(numbers, order, axis=1), np.take_along_axis(above, order, axis=1)
    first = np.ones(numbers.shape, bool)
    first[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    scores = np.full(numbers.shape, -np.inf)
    scores[first] = np.add.reduceat(above.ravel(), np.flatnonzero(first))  # a class that several keep: their sum
    scores += base[:, None]
    places = np.sort(_largest(scores, kept), axis=1)
    values = np.take_along_axis(scores, places, axis=1)
    np.put_along_axis(scores, places, -np.inf, axis=1)
    rest = _log_sum(np.column_stack([scores, base + np.log(np.maximum(classes - first.sum(axis=1), _LEAST))]))
    values = np.column_stack([values, rest - np.log(classes - kept)]).astype(dtype)
    return Candidates(values, np.take_along_axis(numbers, places, axis=1), classes)


def blocks(matrix: M) -> Iterator[M]:
    """Yield all rows [rows, classes] in parts of which a few fit into memory, one at least."""
    step = max(1, _BLOCK // (matrix.values if isinstance(matrix, Candidates) else matrix).shape[1])
    for start in range(0, max(len(matrix), 1), step):
        yield cast(M, matrix[start : start + step])


def joined(parts: Sequence[M]) -> M:
    """Return the rows of several parts one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Candidates):
        some = cast(Sequence[Candidates], parts)
        values, numbers = (np.concatenate([getattr(one, name) for one in some]) for name in ("values", "numbers"))
        return cast(M, Candidates(values, numbers, first.classes))
    return cast(M, np.concatenate(cast(Sequence[Array], parts)))


def scattered(rows: int, parts: Iterable[tuple[Array, M]]) -> M:
    """Return `rows` rows of which each part, (which rows, theirs), gives some; -1 in those that none gives."""

    def scatter(pieces: Sequence[Array]) -> Array:
        whole = np.full((rows, *pieces[0].shape[1:]), -1, pieces[0].dtype)
        for where, piece in zip(places, pieces, strict=True):
            whole[where] = piece
        return whole

    places, given = zip(*parts, strict=True)
    first = given[0]
    if isinstance(first, Candidates):
        values, numbers = (scatter([getattr(one, name) for one in given]) for name in ("values", "numbers"))
        return cast(M, Candidates(values, numbers, first.classes))
    return cast(M, scatter(cast(Sequence[Array], given)))


def _largest(scores: Array, count: int) -> npt.NDArray[np.int64]:
    """Return the places of the `count` largest of each row, in no order."""
    return np.argpartition(scores, scores.shape[1] - count, axis=1)[:, -count:]


def _log_sum(values: Array) -> Array:
    """Return the logarithm of the sum of exponentials of each row, [rows]."""
    top = values.max(axis=1, keepdims=True)
    total: Array = top[:, 0] + np.log(np.exp(values - top).sum(axis=1))
    return total
