"""Logits that stay in prediction files: of more classes than are all kept, rows are read when they are needed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import HEAD, PROTOTYPES, blend
from supcon.metrics.top_k import Candidates
from supcon.storage.files import NpzArray

TOP = "top"  # class numbers that a file keeps of each row
REST = {HEAD: "rest", PROTOTYPES: "prototype_rest"}  # log-sum-exp of the logits that it does not keep

File = Mapping[str, NpzArray]
Places = npt.NDArray[np.int64]  # of rows in the files, laid one after the other


class StoredLogits:
    """Natural-prior log-odds [rows, views, classes] of chosen rows of some files; memory is taken by `load` alone."""

    def __init__(self, files: Sequence[File], places: Places, weight: float, classes: int) -> None:
        """Take the files, the rows' places, and the weight with which the class means are blended in."""
        self._files, self._places, self._weight, self._classes = files, places, weight, classes
        self._starts = np.cumsum([0, *(len(file[TOP]) for file in files)])

    @property
    def shape(self) -> tuple[int, int, int]:
        """[rows, views, classes]."""
        return len(self._places), self._files[0][HEAD].shape[1], self._classes

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: Any) -> "StoredLogits":
        """Choose rows by a slice, a mask or numbers."""
        return StoredLogits(self._files, self._places[rows], self._weight, self._classes)

    def load(self) -> Candidates:
        """Read the chosen rows."""
        names = (HEAD, PROTOTYPES) if self._weight > 0 else (HEAD,)
        numbers = self._read(TOP)
        found = {}
        for name in names:
            kept, rest = self._read(name), self._read(REST[name])
            other = rest - np.float32(np.log(self._classes - numbers.shape[1]))
            found[name] = Candidates(np.concatenate([kept, other[..., None]], axis=2), numbers, self._classes)
        blended = blend(found, self._weight)
        assert isinstance(blended, Candidates)
        return blended

    def _read(self, name: str) -> npt.NDArray[Any]:
        first = self._files[0][name]
        rows = np.empty((len(self._places), *first.shape[1:]), first.dtype)
        file_of = np.searchsorted(self._starts, self._places, side="right") - 1
        for number, file in enumerate(self._files):
            here = file_of == number
            if here.any():
                rows[here] = file[name][_as_slice(self._places[here] - self._starts[number])]
        return rows


def _as_slice(rows: Places) -> Places | slice:
    """Return successive rows as a slice, which is read at once."""
    first, last = int(rows[0]), int(rows[-1])
    successive = last - first + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    return slice(first, last + 1) if successive else rows
