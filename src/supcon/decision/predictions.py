"""Prediction files, joined by id (law 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.decision.merge import Logits
from supcon.errors import UserError

Content = Mapping[str, npt.NDArray[Any]]  # ids, logits [rows, views, classes], classes, views


def join_rows(parts: Sequence[Content], ids: pd.Series, classes: list[str]) -> Logits:
    """Return the logits of `ids`, in their order, out of files that together hold each id once.

    Raises `UserError` when an id is missing or stands twice, or when a file has other classes or views.
    """
    for part in parts:
        if list(part["classes"]) != classes:
            raise UserError("a prediction file has other classes than the training rows: run predict with --force")
        if list(part["views"]) != list(parts[0]["views"]):
            raise UserError("the folds were predicted with different views: run predict with --force")
    found = np.concatenate([part["ids"] for part in parts])
    place = pd.Series(np.arange(len(found)), index=found)
    if place.index.has_duplicates or set(place.index) != set(ids):
        odd = sorted(set(place.index) ^ set(ids)) or list(place.index[place.index.duplicated()])
        raise UserError(f"the prediction files do not hold every row once, first {odd[0]!r}: run predict with --force")
    logits: Logits = np.concatenate([part["logits"] for part in parts])[place.loc[list(ids)].to_numpy()]
    return logits
