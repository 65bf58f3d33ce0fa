"""Logits that stay in prediction files until they are needed: with many classes they may not fit into memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from supcon.arrays import NumericArray, RowIndex, Rows
from supcon.decision.merge import CLASS_MEANS, HEAD, blend
from supcon.metrics.top_k import TopK
from supcon.storage.files import NpzArray

TOP = "top"  # class numbers that a file keeps of each row
REST = {HEAD: "rest", CLASS_MEANS: "prototype_rest"}  # log-sum-exp of the logits that it does not keep

File = Mapping[str, NpzArray]


class LazyLogits:
    """Natural-prior log-odds [rows, views, classes] of chosen rows of some files; only `load` takes memory."""

    def __init__(self, files: Sequence[File], rows: Rows, weight: float, classes: int) -> None:
        """Take the files, row numbers as if the files were one, and the weight of the class means in the blend."""
        self._files, self._rows, self._weight, self._classes = files, rows, weight, classes
        self._starts = np.cumsum([0, *(len(file[TOP]) for file in files)])

    @property
    def shape(self) -> tuple[int, int, int]:
        """[rows, views, classes]."""
        return len(self._rows), self._files[0][HEAD].shape[1], self._classes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: RowIndex) -> "LazyLogits":
        """Choose rows by a slice, a mask or numbers."""
        return LazyLogits(self._files, self._rows[rows], self._weight, self._classes)

    def load(self) -> TopK:
        """Read the chosen rows."""
        names = (HEAD, CLASS_MEANS) if self._weight > 0 else (HEAD,)
        numbers = self._read(TOP).astype(np.int32, copy=False)
        predicted = {}
        for name in names:
            kept, rest = self._read(name), self._read(REST[name])
            other = rest - np.float32(np.log(self._classes - numbers.shape[1]))
            predicted[name] = TopK(np.concatenate([kept, other[..., None]], axis=2), numbers, self._classes)
        blended = blend(predicted, self._weight)
        assert isinstance(blended, TopK)
        return blended

    def _read(self, name: str) -> NumericArray:
        first = self._files[0][name]
        values = np.empty((len(self._rows), *first.shape[1:]), first.dtype)
        file_of = np.searchsorted(self._starts, self._rows, side="right") - 1
        for number, file in enumerate(self._files):
            in_file = file_of == number
            if in_file.any():
                values[in_file] = file[name][_as_slice(self._rows[in_file] - self._starts[number])]
        return values


def _as_slice(rows: Rows) -> Rows | slice:
    """Return successive rows as a slice, which is read in one piece; others as they are."""
    first, last = int(rows[0]), int(rows[-1])
    successive = last - first + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    return slice(first, last + 1) if successive else rows
