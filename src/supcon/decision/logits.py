"""Logits of runs, in memory or in files, worked on in blocks of rows that fit into memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.arrays import FloatArray, ModelLogits, NumericArray, RowIndex, Rows
from supcon.decision.merge import CLASS_MEANS, HEAD, NEIGHBOURS, Shares, blend, merge_views
from supcon.errors import UserError
from supcon.metrics.top_k import M, Matrix, TopK, joined, width
from supcon.storage.files import NpzArray

TOP = "top"  # class numbers that a file keeps of each row
REST = {HEAD: "rest", CLASS_MEANS: "prototype_rest", NEIGHBOURS: "neighbour_rest"}  # log-sum-exp of all others

PREDICT_AGAIN = "predict that fold of the run anew with --force, or leave the run out"
_BLOCK = 2**22  # values: 32 MB in double precision, of which a few are held at a time


@dataclass(frozen=True, eq=False)
class LazyLogits:
    """Natural-prior log-odds [rows, views, classes] of chosen rows of some files; only `load` takes memory for them."""

    files: Sequence[Mapping[str, NpzArray]]
    rows: Rows  # as if the files were one
    shares: Shares  # in the blend
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """[rows, views, classes]."""
        return len(self.rows), self.files[0][HEAD].shape[1], self.classes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: RowIndex) -> "LazyLogits":
        return replace(self, rows=self.rows[rows])

    def load(self) -> TopK:
        """Read the chosen rows. Raises `UserError` where their logits are not finite, or their classes unknown."""
        numbers = self._read(TOP).astype(np.int32, copy=False)
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < self.classes):
            raise UserError(f"{self.files[0][TOP].path} or one beside it names unknown classes: {PREDICT_AGAIN}")
        predicted: dict[str, TopK] = {}
        for name in self.shares:
            kept, rest = self._read(name), self._read(REST[name])
            other = rest - np.float32(np.log(self.classes - numbers.shape[1]))
            predicted[name] = TopK(np.concatenate([kept, other[..., None]], axis=2), numbers, self.classes)
        return blend(predicted, self.shares)

    def _read(self, name: str) -> NumericArray:
        first = self.files[0][name]
        values = np.empty((len(self.rows), *first.shape[1:]), first.dtype)
        starts = np.cumsum([0, *(len(file[TOP]) for file in self.files)])
        file_of = np.searchsorted(starts, self.rows, side="right") - 1
        for number, file in enumerate(self.files):
            in_file = file_of == number
            if in_file.any():
                rows = _as_slice(self.rows[in_file] - starts[number])
                values[in_file] = part = file[name][rows]
                if name != TOP and not np.isfinite(part.sum(dtype=np.float64)):
                    require_finite(file[name].path, file["ids"][rows], part)
        return values


def require_finite(path: Path, ids: npt.NDArray[np.str_], logits: FloatArray, cure: str = PREDICT_AGAIN) -> None:
    """Raise `UserError`, naming the first row, where logits [rows, ...] of the file at `path` are not finite."""
    if np.isfinite(logits.sum(dtype=np.float64)):  # which takes no memory
        return
    finite = np.isfinite(logits).reshape(len(logits), -1).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        rows = "" if len(bad) == 1 else f" (and of {len(bad) - 1:,} more)"
        raise UserError(f"{path}: the logits of {str(ids[bad[0]])!r}{rows} are not finite: {cure}")


LoadedLogits = ModelLogits | TopK  # in memory
Logits = LoadedLogits | LazyLogits  # [rows, views, classes], natural-prior log-odds


def load_logits(logits: Logits) -> LoadedLogits:
    """Return logits in memory."""
    return logits.load() if isinstance(logits, LazyLogits) else logits


def logit_blocks(runs: Sequence[Logits]) -> Iterator[list[LoadedLogits]]:
    """Yield several runs' logits of the same rows in blocks of rows, one block at least."""
    rows = runs[0].shape[0]
    step = max(1, _BLOCK // sum(logits.shape[1] * width(logits.shape[2]) for logits in runs))
    for start in range(0, max(rows, 1), step):
        yield [load_logits(logits[start : start + step]) for logits in runs]


def map_blocks(function: Callable[[list[LoadedLogits]], M], runs: Sequence[Logits]) -> M:
    """Return what `function` returns for all rows, computed block by block."""
    return joined([function(block) for block in logit_blocks(runs)])


def plain_mean(logits: Logits, temperature: float = 1.0) -> Matrix:
    """Return one model's log-probabilities [rows, classes]: the views' mean, by default untuned."""
    return map_blocks(lambda block: merge_views(block[0], temperature), [logits])


def _as_slice(rows: Rows) -> Rows | slice:
    """Return successive rows as a slice, which is read in one piece; others as they are."""
    first, last = int(rows[0]), int(rows[-1])
    successive = last - first + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    return slice(first, last + 1) if successive else rows
