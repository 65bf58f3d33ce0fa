"""Prediction files of a fold: logits of every view as npz, rows joined by id (law 7).

A file holds `ids` [rows]; `logits` float32 [rows, views, classes], natural-prior log-odds; the names `classes` and
`views`; and, where class means predict too, their `prototype_logits` in the same shape.

With more than LARGEST_DENSE (1,000) classes each row keeps its KEPT (50) likeliest, the same for all views: `top` int32
[rows, 50] holds their numbers, ascending; `logits` float32 [rows, views, 50] their logits; `rest` float32 [rows, views]
the log-sum-exp of all other logits, so that the log-probabilities of the kept classes stay exact. `prototype_logits`
and `prototype_rest` are the same for the class means, of the same classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.arrays import ModelLogits, Rows
from supcon.decision.logits import REST, TOP, LazyLogits, Logits
from supcon.decision.merge import CLASS_MEANS, HEAD, blend
from supcon.errors import UserError
from supcon.metrics.top_k import Matrix, TopK, keeps_all
from supcon.storage.files import NpzArray, open_npz, read_npz, write_npz

Predicted = Mapping[str, Matrix]  # logits by HEAD and, where asked for, by CLASS_MEANS
Content = Mapping[str, npt.NDArray[Any]]  # ids, logits [rows, views, classes], prototype_logits alike, classes, views

EMBEDDINGS = "embeddings.npz"
TRAINING, HELD_OUT, TEST = 0, 1, 2  # parts of a fold's embeddings


@dataclass(frozen=True)
class Embeddings:
    """The plain view of some rows, embedded by a fold's final encoder: a sample of each part."""

    ids: npt.NDArray[np.str_]  # [n]; an id of a test row may be one of a training row too
    part: npt.NDArray[np.int8]  # [n], TRAINING rows of the fold, HELD_OUT or TEST
    features: npt.NDArray[np.float32]  # [n, D], what the classifier sees, not normalised
    projections: npt.NDArray[np.float32] | None  # [n, P], after the projection head; None without one

    def of(self, part: int) -> "Embeddings":
        """Return the rows of one part."""
        rows = self.part == part
        projections = None if self.projections is None else self.projections[rows]
        return Embeddings(self.ids[rows], self.part[rows], self.features[rows], projections)


def read_embeddings(folder: Path) -> Embeddings:
    """Return the embeddings of a fold's folder. `UserError` where the file is missing or damaged.

    There are no rows where `predict.embeddings` is 0, and no `projections` where the final encoder was not trained with
    a projection head: with `contrast.projection none`, without contrast, or where it was trained further without one.
    """
    content = read_npz(folder / EMBEDDINGS)
    spaces = {name: content[name].astype(np.float32) for name in ("features", "projections") if name in content}
    return Embeddings(content["ids"], content["part"], spaces["features"], spaces.get("projections"))


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write embeddings.npz, in half precision."""
    arrays = {"ids": embeddings.ids, "part": embeddings.part, "features": embeddings.features.astype(np.float16)}
    if embeddings.projections is not None:
        arrays["projections"] = embeddings.projections.astype(np.float16)
    write_npz(path, arrays)


def write_predictions(path: Path, ids: pd.Series, predicted: Predicted, classes: list[str], views: list[str]) -> None:
    """Write one npz file of natural-prior log-odds, `predicted` [rows, views, classes]."""
    shape = (len(ids), len(views), len(classes))
    arrays: dict[str, npt.NDArray[Any]] = {"ids": np.array(list(ids), dtype=str)}
    for name, logits in predicted.items():
        if logits.shape != shape:
            raise ValueError(f"{name} must be [rows, views, classes] = {list(shape)}, not {list(logits.shape)}")
        kept = logits
        if isinstance(logits, TopK):
            kept = logits.values[..., :-1]
            arrays[TOP], arrays[REST[name]] = logits.numbers, logits.values[..., -1] + np.float32(np.log(logits.others))
        arrays[name] = np.ascontiguousarray(kept, dtype=np.float32)
    write_npz(path, arrays | {"classes": np.array(classes), "views": np.array(views)})


def read_blended(files: Sequence[Path], ids: pd.Series, classes: list[str], weight: float) -> Logits:
    """Return the logits of `ids` out of a run's files, the class means blended in with `weight`."""
    names = (HEAD, CLASS_MEANS) if weight > 0 else (HEAD,)
    if not keeps_all(len(classes)):
        return _stored([open_npz(file) for file in files], ids, classes, names, weight)
    parts = [read_npz(file) for file in files]
    return blend({name: join_rows(parts, ids, classes, name) for name in names}, weight)


def join_rows(parts: Sequence[Content], ids: pd.Series, classes: list[str], by: str = HEAD) -> ModelLogits:
    """Return the logits of `ids`, in their order, out of files that together hold each id once.

    `by` is HEAD or CLASS_MEANS. Raises `UserError` where an id is missing or stands twice, or where a file has other
    classes or views, or no logits of that kind.
    """
    for part in parts:
        _check_names(part, parts[0], classes, by)
        if part[by].shape != (len(part["ids"]), len(part["views"]), len(part["classes"])):
            raise UserError(f"a prediction file has {by} of another shape than its ids: run predict with --force")
    positions = positions_of([part["ids"] for part in parts], ids)
    return cast(ModelLogits, np.concatenate([part[by] for part in parts])[positions])


def positions_of(ids_of_files: Iterable[npt.NDArray[np.str_]], ids: pd.Series) -> Rows:
    """Return the position of each of `ids` in the ids of several files, counted as if the files were one.

    Raises `UserError` where an id is missing, stands twice, or is not among `ids`.
    """
    wanted, start = pd.Index(ids), 0
    positions = np.full(len(ids), -1, np.int64)
    for names in ids_of_files:  # one file at a time: millions of names take gigabytes
        numbers = np.arange(start, start + len(names))
        rows = wanted.get_indexer(pd.Index(names.astype(object)))
        unknown = rows < 0
        twice = ~unknown & (positions[rows] >= 0)
        positions[rows[~unknown]] = numbers[~unknown]
        twice |= ~unknown & (positions[rows] != numbers)
        if (unknown | twice).any():
            _refuse_row(names[unknown | twice][0])
        start += len(names)
    if (positions < 0).any():
        _refuse_row(ids.iloc[int(positions.argmin())])
    return positions


def _refuse_row(name: str) -> NoReturn:
    raise UserError(f"the prediction files do not hold every row once, first {str(name)!r}: run predict with --force")


def _stored(
    files: Sequence[Mapping[str, NpzArray]], ids: pd.Series, classes: list[str], names: Sequence[str], weight: float
) -> LazyLogits:
    for file in files:
        for name in names:
            _check_names(file, files[0], classes, name)
            if TOP not in file or REST[name] not in file:
                raise UserError(f"a prediction file has no likeliest classes of {name}: run predict with --force")
            rows, views, kept = len(file["ids"]), len(file["views"]), file[TOP].shape[1]
            if (file[name].shape, len(file[TOP])) != ((rows, views, kept), rows):
                raise UserError(f"a prediction file has {name} of another shape than its ids: run predict with --force")
    return LazyLogits(files, positions_of((file["ids"][:] for file in files), ids), weight, len(classes))


def _check_names(part: Mapping[str, Any], first: Mapping[str, Any], classes: list[str], by: str) -> None:
    if by not in part:
        raise UserError(f"a prediction file has no {by}: run predict with --predict.class_means true and --force")
    if list(part["classes"][:]) != classes:
        raise UserError("a prediction file has other classes than the training rows: run predict with --force")
    if list(part["views"][:]) != list(first["views"][:]):
        raise UserError("the folds were predicted with different views: run predict with --force")
