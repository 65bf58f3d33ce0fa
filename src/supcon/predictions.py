"""A run's prediction files: logits of every view as npz, probabilities as CSV, rows joined by id (law 7)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.artifacts.files import read_npz, write_csv, write_npz
from supcon.artifacts.stage import StageRun
from supcon.config import FULL
from supcon.decision.merge import HEAD, PROTOTYPES, Logits, LogProbabilities, blend, merge_members, merge_views
from supcon.errors import UserError
from supcon.experiment import FULL_MODEL, Experiment

Predicted = Mapping[str, Logits]  # HEAD and, where asked for, PROTOTYPES
Content = Mapping[str, npt.NDArray[Any]]  # ids, logits [rows, views, classes], prototype_logits alike, classes, views


def write_predictions(path: Path, ids: pd.Series, predicted: Predicted, classes: list[str], views: list[str]) -> None:
    """Write one npz file: `predicted` [rows, views, classes] are natural-prior log-odds."""
    shape = (len(ids), len(views), len(classes))
    for name, logits in predicted.items():
        if logits.shape != shape:
            raise ValueError(f"{name} must be [rows, views, classes] = {list(shape)}, not {list(logits.shape)}")
    names = {"ids": np.array(list(ids), dtype=str), "classes": np.array(classes), "views": np.array(views)}
    arrays = {name: np.ascontiguousarray(logits, dtype=np.float32) for name, logits in predicted.items()}
    write_npz(path, {"ids": names["ids"], **arrays, **names})


def read_out_of_fold(experiment: Experiment, folds: Sequence[int] | None = None) -> Logits:
    """Return the logits of all scored training rows, or of some folds', each by the model that never saw it.

    [rows, views, classes], head and class means blended as `predict.prototype_weight` says.
    """
    folders = _fold_folders(experiment, folds)
    rows = experiment.fold >= 0 if folds is None else np.isin(experiment.fold, folds)
    ids = experiment.split["id"][rows]
    return _join_blended([read_npz(folder / "oof.npz") for folder in folders], ids, experiment)


def read_test(experiment: Experiment) -> list[Logits]:
    """Return each fold's logits of the test rows, blended alike, in the order of sample_submission.csv."""
    return [read_test_of(experiment, fold) for fold in range(experiment.call.settings.data.folds)]


def read_full(experiment: Experiment) -> list[Logits]:
    """Return the same of the model on all rows, where there is one that is up to date: one element, or none."""
    return [read_test_of(experiment, FULL)] if experiment.full_model else []


def renew_for_full(experiment: Experiment, ensemble: StageRun) -> None:
    """Let the ensemble be made anew, having said so, where all that changed is the model on all rows.

    It was asked for by hand and may come late: that is a new submission, the one before keeps its file and ledger row.
    """
    if experiment.call.force or ensemble.changed() != [f"input {FULL_MODEL}"]:
        return
    print(f"ensemble: the full model is {'new' if experiment.full_model else 'gone'}: a new submission", flush=True)
    ensemble.forget()


def read_test_of(experiment: Experiment, fold: int) -> Logits:
    """Return the logits of the test rows by one fold's model, [rows, views, classes]."""
    content = read_npz(experiment.call.fold_folder(fold) / "test.npz")
    return _join_blended([content], experiment.competition.test["id"], experiment)


def _join_blended(parts: Sequence[Content], ids: pd.Series, experiment: Experiment) -> Logits:
    weight = experiment.call.settings.predict.prototype_weight
    names = (HEAD, PROTOTYPES) if weight > 0 else (HEAD,)
    return blend({name: join_rows(parts, ids, experiment.classes, name) for name in names}, weight)


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


def write_tables(experiment: Experiment) -> None:
    """Write the run's oof.csv and test.csv, id and a probability column a class, once every fold is predicted."""
    if not all((folder / "predict.done.json").exists() for folder in _fold_folders(experiment)):
        return
    folder, classes = experiment.call.run_folder, experiment.classes
    oof = merge_views(read_out_of_fold(experiment), 1.0)
    members, full = ([merge_views(logits, 1.0) for logits in read(experiment)] for read in (read_test, read_full))
    test, _ = merge_members(members, beside=full)
    _write_probabilities(folder / "oof.csv", experiment.split["id"].iloc[experiment.scored_rows], oof, classes)
    _write_probabilities(folder / "test.csv", experiment.competition.test["id"], test, classes)


def _fold_folders(experiment: Experiment, folds: Sequence[int] | None = None) -> list[Path]:
    folds = range(experiment.call.settings.data.folds) if folds is None else folds
    return [experiment.call.fold_folder(fold) for fold in folds]


def _write_probabilities(path: Path, ids: pd.Series, log_probabilities: LogProbabilities, classes: list[str]) -> None:
    table = pd.DataFrame(np.exp(log_probabilities), columns=classes)
    table.insert(0, "id", ids.to_numpy(), allow_duplicates=True)
    write_csv(path, table)
