"""Rows are joined by id, never by position."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from supcon.decision.logits import load_logits
from supcon.errors import UserError
from supcon.run.predictions import CLASS_MEANS, HEAD, join_rows, read_blended, write_predictions
from supcon.storage.files import read_npz, write_npz

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


def written(folder: Path, names: list[str], **changes: Any) -> Path:
    """A prediction file, with arrays replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(folder / "oof.npz", {**part(names, 0), **changes})
    return folder / "oof.npz"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused_by_run_fold_and_row(tmp_path: Path, value: float) -> None:
    logits = np.zeros((3, 1, 2), np.float32)
    logits[1, 0, 1] = value
    path = written(tmp_path / "runs" / "mine" / "fold2", ["r1", "r2", "r3"], logits=logits)
    with pytest.raises(UserError, match=r"runs/mine/fold2/oof\.npz: the logits of 'r2' are not finite: predict"):
        read_blended([path], pd.Series(["r1", "r2", "r3"]), CLASSES, {HEAD: 1.0})
    predicted = {HEAD: np.concatenate([logits, logits])}
    ids = pd.Series(["r1", "r2", "r3", "r4", "r5", "r6"])
    with pytest.raises(UserError, match=r"new\.npz: the logits of 'r2' \(and of 1 more\) are not finite: the class"):
        write_predictions(tmp_path / "new.npz", ids, predicted, CLASSES, ["plain"])
    assert not (tmp_path / "new.npz").exists()


@pytest.mark.parametrize("name", ["logits", "rest"])
def test_of_many_classes_the_row_is_named_when_it_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.metrics.top_k.LARGEST_DENSE", 2)
    classes, ids = ["a", "b", "c"], ["r1", "r2", "r3"]
    arrays: dict[str, Any] = {
        "logits": np.zeros((3, 1, 2), np.float32),
        "rest": np.zeros((3, 1), np.float32),
        "top": np.array([[0, 1]] * 3, np.int32),
        "classes": np.array(classes),
    }
    arrays[name][2] = np.nan
    logits = read_blended([written(tmp_path, ids, **arrays)], pd.Series(ids), classes, {HEAD: 1.0})
    load_logits(logits[np.array([0, 1])])
    with pytest.raises(UserError, match=r"oof\.npz: the logits of 'r3' are not finite"):
        load_logits(logits)
    arrays |= {name: np.zeros_like(arrays[name]), "top": np.array([[0, 7]] * 3, np.int32)}
    with pytest.raises(UserError, match=r"oof\.npz or one beside it names unknown classes"):
        load_logits(read_blended([written(tmp_path, ids, **arrays)], pd.Series(ids), classes, {HEAD: 1.0}))


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"ids": np.array("r1")},
        {"ids": np.array([1, 2, 3])},
        {"ids": np.array([["r1"], ["r2"], ["r3"]])},
        {"logits": np.zeros(6, np.float32)},
        {"logits": np.zeros((3, 1, 2), np.complex64)},
        {"logits": np.array([[["x", "y"]]] * 3)},
        {"classes": np.array("a")},
        {"views": np.array([1])},
        {"logits": np.zeros((2, 1, 2), np.float32)},
        {"logits": np.zeros((3, 2, 2), np.float32)},
    ],
)
def test_arrays_of_other_kinds_and_shapes_are_one_line(
    tmp_path: Path, changes: dict[str, Any], many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays: dict[str, Any] = dict(changes)
    if many:
        monkeypatch.setattr("supcon.metrics.top_k.LARGEST_DENSE", 1)
        arrays = {"top": np.array([[0, 1]] * 3, np.int32), "rest": np.zeros((3, 1), np.float32), **changes}
    ids = ["r1", "r2", "r3"]
    with pytest.raises(UserError, match=r"--force|none of ours"):
        load_logits(read_blended([written(tmp_path, ids, **arrays)], pd.Series(ids), CLASSES, {HEAD: 1.0}))
