"""Prediction files of a fold: logits of every view as npz, rows joined by id (law 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.artifacts.files import read_npz, write_npz
from supcon.decision.merge import (
    HEAD,
    PROTOTYPES,
    Logits,
    blend,
)
from supcon.errors import UserError

LEAST_PROBABILITY = 1e-12  # what a table's 0 is taken for
Predicted = Mapping[str, Logits]  # HEAD and, where asked for, PROTOTYPES
Content = Mapping[str, npt.NDArray[Any]]  # ids, logits [rows, views, classes], prototype_logits alike, classes, views


EMBEDDINGS = "embeddings.npz"
TRAINING, HELD_OUT, TEST = 0, 1, 2  # parts of a fold's embeddings


@dataclass(frozen=True)
class Embeddings:
    """What a fold's final encoder makes of the plain view of some rows: a sample of each part."""

    ids: npt.NDArray[np.str_]  # [n]; an id of a test row may be one of a training row too
    part: npt.NDArray[np.int8]  # [n], TRAINING rows of the fold, HELD_OUT or TEST
    features: npt.NDArray[np.float32]  # [n, D], what the classifier sees, not normalised
    projections: npt.NDArray[np.float32] | None  # [n, P], after the projection head; None where none belongs to it

    def of(self, part: int) -> "Embeddings":
        """Return the rows of one part."""
        rows = self.part == part
        projections = None if self.projections is None else self.projections[rows]
        return Embeddings(self.ids[rows], self.part[rows], self.features[rows], projections)


def read_embeddings(folder: Path) -> Embeddings:
    """Return the embeddings of a fold's folder. `UserError` where the file is missing or damaged.

    Without rows where `predict.embeddings` is 0. Without `projections` where no projection head was trained on the
    final encoder: with `pretrain.projection none`, without contrast, or where the encoder was trained on without it.
    """
    content = read_npz(folder / EMBEDDINGS)
    projections = content.get("projections")
    return Embeddings(
        content["ids"],
        content["part"],
        content["features"].astype(np.float32),
        None if projections is None else projections.astype(np.float32),
    )


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write embeddings.npz, of half precision."""
    arrays = {"ids": embeddings.ids, "part": embeddings.part, "features": embeddings.features.astype(np.float16)}
    if embeddings.projections is not None:
        arrays["projections"] = embeddings.projections.astype(np.float16)
    write_npz(path, arrays)


def write_predictions(path: Path, ids: pd.Series, predicted: Predicted, classes: list[str], views: list[str]) -> None:
    """Write one npz file: `predicted` [rows, views, classes] are natural-prior log-odds."""
    shape = (len(ids), len(views), len(classes))
    for name, logits in predicted.items():
        if logits.shape != shape:
            raise ValueError(f"{name} must be [rows, views, classes] = {list(shape)}, not {list(logits.shape)}")
    names = {"ids": np.array(list(ids), dtype=str), "classes": np.array(classes), "views": np.array(views)}
    arrays = {name: np.ascontiguousarray(logits, dtype=np.float32) for name, logits in predicted.items()}
    write_npz(path, {"ids": names["ids"], **arrays, **names})


def read_blended(files: Sequence[Path], ids: pd.Series, classes: list[str], weight: float) -> Logits:
    """Return the logits of `ids` out of a run's files, the class means blended in with `weight`."""
    parts = [read_npz(file) for file in files]
    names = (HEAD, PROTOTYPES) if weight > 0 else (HEAD,)
    return blend({name: join_rows(parts, ids, classes, name) for name in names}, weight)


def join_rows(parts: Sequence[Content], ids: pd.Series, classes: list[str], by: str = HEAD) -> Logits:
    """Return the logits of `ids`, in their order, out of files that together hold each id once.

    `by` says whose: HEAD or PROTOTYPES. Raises `UserError` when an id is missing or stands twice, or when a file has
    other classes or views, or no logits of that kind.
    """
    for part in parts:
        if by not in part:
            raise UserError(f"a prediction file has no {by}: run predict with --predict.prototypes true and --force")
        if part[by].shape != (len(part["ids"]), len(part["views"]), len(part["classes"])):
            raise UserError(f"a prediction file has {by} of another shape than its ids: run predict with --force")
        if list(part["classes"]) != classes:
            raise UserError("a prediction file has other classes than the training rows: run predict with --force")
        if list(part["views"]) != list(parts[0]["views"]):
            raise UserError("the folds were predicted with different views: run predict with --force")
    found = np.concatenate([part["ids"] for part in parts])
    place = pd.Series(np.arange(len(found)), index=found)
    if place.index.has_duplicates or set(place.index) != set(ids):
        odd = sorted(set(place.index) ^ set(ids)) or list(place.index[place.index.duplicated()])
        raise UserError(f"the prediction files do not hold every row once, first {odd[0]!r}: run predict with --force")
    logits: Logits = np.concatenate([part[by] for part in parts])[place.loc[list(ids)].to_numpy()]
    return logits
