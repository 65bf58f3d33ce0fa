"""Rows are joined by id, never by position."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.predictions import join_rows

CLASSES = ["a", "b"]


def part(ids: list[str], start: int, classes: list[str] = CLASSES, views: tuple[str, ...] = ("plain",)) -> Any:
    logits = np.arange(start, start + len(ids) * len(views) * 2, dtype=np.float32).reshape(len(ids), len(views), 2)
    return {"ids": np.array(ids), "logits": logits, "classes": np.array(classes), "views": np.array(views)}


def test_files_in_any_order_give_the_rows_asked_for() -> None:
    logits = join_rows([part(["r3", "r1"], 0), part(["r2"], 4)], pd.Series(["r1", "r2", "r3"]), CLASSES)
    np.testing.assert_array_equal(logits[:, 0, 0], [2, 4, 0])


def test_missing_double_and_foreign_rows_classes_and_views_are_refused() -> None:
    ids = pd.Series(["r1", "r2"])
    cases = {
        "first 'r2'": [part(["r1"], 0)],
        "first 'r1'": [part(["r1", "r2"], 0), part(["r1"], 0)],
        "first 'r9'": [part(["r1", "r2", "r9"], 0)],
        "other classes": [part(["r1", "r2"], 0, classes=["b", "a"])],
        "different views": [part(["r1"], 0), part(["r2"], 0, views=("plain", "hflip"))],
    }
    for said, parts in cases.items():
        with pytest.raises(UserError, match=said):
            join_rows(parts, ids, CLASSES)
