"""Rows are joined by id, never by position."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.run.predictions import CLASS_MEANS, HEAD, join_rows, write_predictions
from supcon.storage.files import read_npz

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
    for message, parts in cases.items():
        with pytest.raises(UserError, match=message):
            join_rows(parts, ids, CLASSES)


def test_both_classifiers_logits_are_written_and_joined_each_by_its_name(tmp_path: Path) -> None:
    parts = []
    for name, names in (("one.npz", ["r3", "r1"]), ("two.npz", ["r2"])):
        logits = np.arange(len(names) * 2.0).reshape(len(names), 1, 2)
        predicted = {HEAD: logits.astype(np.float32), CLASS_MEANS: (logits + 10).astype(np.float32)}
        write_predictions(tmp_path / name, pd.Series(names), predicted, CLASSES, ["plain"])
        parts.append(read_npz(tmp_path / name))
    ids = pd.Series(["r1", "r2", "r3"])
    np.testing.assert_array_equal(join_rows(parts, ids, CLASSES)[:, 0, 0], [2, 0, 0])
    np.testing.assert_array_equal(join_rows(parts, ids, CLASSES, CLASS_MEANS)[:, 0, 0], [12, 10, 10])


def test_logits_that_are_absent_or_of_another_shape_are_refused(tmp_path: Path) -> None:
    ids = pd.Series(["r1"])
    with pytest.raises(UserError, match=r"no prototype_logits: .*--predict\.class_means true and --force"):
        join_rows([part(["r1"], 0)], ids, CLASSES, CLASS_MEANS)
    with pytest.raises(UserError, match="prototype_logits of another shape"):
        join_rows([part(["r1"], 0) | {CLASS_MEANS: np.zeros((1, 2, 2), np.float32)}], ids, CLASSES, CLASS_MEANS)
    predicted = {HEAD: np.zeros((1, 1, 2), np.float32), CLASS_MEANS: np.zeros((1, 2), np.float32)}
    with pytest.raises(ValueError, match=r"prototype_logits must be .* \[1, 1, 2\], not \[1, 2\]"):
        write_predictions(tmp_path / "oof.npz", ids, predicted, CLASSES, ["plain"])
    assert not list(tmp_path.iterdir())
