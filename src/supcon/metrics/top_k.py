"""The likeliest classes of each row, where there are too many classes to store a number for each.

Above LARGEST_DENSE classes a row keeps its KEPT likeliest ones, the same for all views. The rest of its probability is
shared evenly by all other classes. So a row is KEPT + 1 numbers: those of the kept classes, and one that stands for
each of the others. Whatever treats all classes alike (softmax, temperature, mean of views, clip) works on these numbers
as it does on those of all classes (`map_values`), and the log-probabilities of the kept classes stay exact. Only kept
classes are decided for: a row whose true class is not kept counts as wrong, and its log loss is that of its even share.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from supcon.arrays import ClassNumbers, FloatArray, Labels, RowIndex, RowMask, Rows

LARGEST_DENSE = 1000  # up to so many classes, each has its number
KEPT = 50  # above that, the classes that a row keeps

_LEAST = 1e-300  # in place of a sum that underflowed to 0
_BLOCK = 2**22  # values: in double precision 32 MB


@dataclass(frozen=True, eq=False)
class TopK:
    """The values of each row's kept classes, and one that each other class has; used like an array [rows, classes]."""

    values: FloatArray  # [rows, kept + 1] or [rows, views, kept + 1]; the last is that of each class not kept
    numbers: ClassNumbers  # [rows, kept], ascending
    classes: int

    @property
    def others(self) -> int:
        """How many classes the last value stands for."""
        return self.classes - int(self.numbers.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """[rows, classes] or [rows, views, classes]."""
        return (*self.values.shape[:-1], self.classes)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: RowIndex) -> "TopK":
        return replace(self, values=self.values[rows], numbers=self.numbers[rows])

    def of_view(self, view: int) -> "TopK":
        """Return the values of one view, [rows, 1, classes]."""
        return replace(self, values=self.values[:, view : view + 1])

    def argmax(self, axis: int = 1) -> Labels:
        """Return the number of the largest kept class, [rows]."""
        column = self.values[..., :-1].argmax(axis=axis)
        return np.take_along_axis(self.numbers, column[:, None], axis=1)[:, 0].astype(np.int64)

    def max(self, axis: int = 1) -> FloatArray:
        """Return the value of the largest kept class, [rows]."""
        return cast(FloatArray, self.values[..., :-1].max(axis=axis))

    def dense(self) -> FloatArray:
        """Return the values of all classes, [rows, classes]."""
        values = np.repeat(self.values[:, -1:], self.classes, axis=1)
        np.put_along_axis(values, self.numbers.astype(np.int64), self.values[:, :-1], axis=1)
        return values

    def __add__(self, bias: FloatArray) -> "TopK":
        """Add each class's `bias` [classes] to the kept ones."""
        values = self.values.astype(np.result_type(self.values, bias))
        values[:, :-1] += bias[self.numbers]
        return replace(self, values=values)

    def keep(self, numbers: ClassNumbers) -> "TopK":
        """Return log-probabilities [rows, classes] of which these classes are kept instead; their sum stays."""
        same = self.numbers[:, :, None] == numbers[:, None, :]  # [rows, kept before, kept now]
        values = np.where(same.any(axis=1), np.take_along_axis(self.values, same.argmax(axis=1), axis=1),
                          self.values[:, -1:])  # fmt: skip
        lost = np.where(same.any(axis=2), -np.inf, self.values[:, :-1])
        never = self.classes - self.numbers.shape[1] - (~same.any(axis=1)).sum(axis=1)
        rest = _log_sum(np.column_stack([lost, self.values[:, -1] + np.log(np.maximum(never, _LEAST))]))
        values = np.column_stack([values, rest - np.log(self.classes - numbers.shape[1])])
        return TopK(values.astype(self.values.dtype), numbers, self.classes)


def keeps_all(classes: int) -> bool:
    """Say whether each of so many classes has its number."""
    return classes <= LARGEST_DENSE


def width(classes: int) -> int:
    """Return how many numbers a row of so many classes takes."""
    return classes if keeps_all(classes) else KEPT + 1


Matrix = FloatArray | TopK  # [rows, classes] or [rows, views, classes]
M = TypeVar("M", bound=Matrix)


def map_values(matrix: M, function: Callable[[FloatArray, int], FloatArray]) -> M:
    """Return `matrix` with its values replaced by `function(values, how many classes the last value stands for)`."""
    if isinstance(matrix, TopK):
        return cast(M, replace(matrix, values=function(matrix.values, matrix.others)))
    return cast(M, function(matrix, 1))


def kept_values(matrix: Matrix) -> tuple[FloatArray, ClassNumbers | None]:
    """Return the values of the kept classes and their numbers, [rows, kept] each; None where all are kept in order."""
    return (matrix.values[:, :-1], matrix.numbers) if isinstance(matrix, TopK) else (matrix, None)


def value_of(matrix: Matrix, labels: Labels) -> FloatArray:
    """Return the value of one class of each row, [rows]."""
    rows = np.arange(len(labels))
    if not isinstance(matrix, TopK):
        return matrix[rows, labels]
    same = matrix.numbers == labels[:, None]
    return np.where(same.any(axis=1), matrix.values[rows, same.argmax(axis=1)], matrix.values[:, -1])


def keep_likeliest(logits: FloatArray, numbers: ClassNumbers | None = None) -> Matrix:
    """Return logits [rows, views, classes] as they are stored: up to LARGEST_DENSE classes unchanged.

    Above that, the classes `numbers` [rows, kept], ascending, are kept: by default the likeliest by the views' mean.
    """
    classes = logits.shape[2]
    if keeps_all(classes):
        return logits
    if numbers is None:
        numbers = np.sort(_largest(logits.mean(axis=1), KEPT), axis=1).astype(np.int32)
    columns = np.broadcast_to(numbers[:, None], (*logits.shape[:2], numbers.shape[1])).astype(np.int64)
    kept = np.take_along_axis(logits, columns, axis=2)
    top = logits.max(axis=2, keepdims=True)
    shares = np.exp(logits - top)
    np.put_along_axis(shares, columns, 0, axis=2)
    rest = top[..., 0] + np.log(np.maximum(shares.sum(axis=2, dtype=np.float64), _LEAST))
    other = rest - np.log(classes - numbers.shape[1])
    return TopK(np.concatenate([kept, other[..., None]], axis=2).astype(np.float32), numbers, classes)


def mean_of(members: Sequence[M], weights: Sequence[float] | None = None) -> M:
    """Return the weighted mean of several log-probabilities [rows, classes] of the same rows, not normalised.

    Members may keep different classes: a class that a member does not keep has that member's even share. Of all classes
    that some member keeps, the likeliest are kept, as many as one member keeps.
    """
    if isinstance(members[0], TopK):
        top_k = cast(Sequence[TopK], members)
        return cast(M, _mean_of_top_k(top_k, weights or [1 / len(top_k)] * len(top_k)))
    dense = cast(Sequence[FloatArray], members)
    if weights is None:
        return cast(M, np.mean(dense, axis=0))
    return cast(
        M, np.sum([each.dtype.type(weight) * each for each, weight in zip(dense, weights, strict=True)], axis=0)
    )


def _mean_of_top_k(members: Sequence[TopK], weights: Sequence[float]) -> TopK:
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
    columns = np.sort(_largest(scores, kept), axis=1)
    values = np.take_along_axis(scores, columns, axis=1)
    np.put_along_axis(scores, columns, -np.inf, axis=1)
    rest = _log_sum(np.column_stack([scores, base + np.log(np.maximum(classes - first.sum(axis=1), _LEAST))]))
    values = np.column_stack([values, rest - np.log(classes - kept)]).astype(dtype)
    return TopK(values, np.take_along_axis(numbers, columns, axis=1), classes)


def blocks(matrix: M) -> Iterator[M]:
    """Yield the rows of `matrix` [rows, classes] in blocks so small that a few fit into memory; one block at least."""
    step = max(1, _BLOCK // (matrix.values if isinstance(matrix, TopK) else matrix).shape[1])
    for start in range(0, max(len(matrix), 1), step):
        yield cast(M, matrix[start : start + step])


def joined(parts: Sequence[M]) -> M:
    """Return the rows of several parts one after the other."""
    return parts[0] if len(parts) == 1 else _combined(parts, np.concatenate)


def scattered(rows: int, parts: Iterable[tuple[RowMask, M]]) -> M:
    """Return `rows` rows, put together from parts (which rows, their values); -1 in the rows of no part."""

    def scatter(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        whole = np.full((rows, *arrays[0].shape[1:]), -1, arrays[0].dtype)
        for mask, array in zip(masks, arrays, strict=True):
            whole[mask] = array
        return whole

    masks, matrices = zip(*parts, strict=True)
    return cast(M, _combined(matrices, scatter))


def _combined(parts: Sequence[M], combine: Callable[[list[npt.NDArray[Any]]], npt.NDArray[Any]]) -> M:
    top_k = [part for part in parts if isinstance(part, TopK)]
    if not top_k:
        return cast(M, combine(list(cast(Sequence[FloatArray], parts))))
    values, numbers = combine([part.values for part in top_k]), combine([part.numbers for part in top_k])
    return cast(M, replace(top_k[0], values=values, numbers=numbers))


def _largest(scores: FloatArray, count: int) -> Rows:
    """Return the columns of the `count` largest of each row, in no order, [rows, count]."""
    return np.argpartition(scores, scores.shape[1] - count, axis=1)[:, -count:]


def _log_sum(values: FloatArray) -> FloatArray:
    top = values.max(axis=1, keepdims=True)
    return cast(FloatArray, top[:, 0] + np.log(np.exp(values - top).sum(axis=1)))
