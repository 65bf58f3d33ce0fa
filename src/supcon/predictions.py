"""A run's prediction files: logits of every view as npz, probabilities as CSV, rows joined by id (law 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.artifacts.files import read_csv, read_npz, write_csv, write_npz
from supcon.artifacts.runs import TABLES, FinishedRun
from supcon.decision.merge import (
    HEAD,
    PROTOTYPES,
    Logits,
    LogProbabilities,
    blend,
    mean_entropy,
    merge_members,
    merge_views,
    sharpen,
)
from supcon.errors import UserError
from supcon.experiment import Experiment

LEAST_PROBABILITY = 1e-12  # what a table's 0 is taken for
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


@dataclass(frozen=True)
class RunLogits:
    """What one run predicts."""

    name: str
    out_of_fold: Logits  # of the scored training rows [rows, views, classes], each by the model that never saw it
    test: Sequence[Logits]  # of the test rows, in the sample's order, by each fold's model


def read_runs(experiment: Experiment) -> list[RunLogits]:
    """Return the predictions of the runs that the decision is made from.

    Raises `UserError` naming the run whose rows, classes or folds are others.
    """
    return [_read_run(run, experiment) for run in experiment.runs]


def _read_run(run: FinishedRun, experiment: Experiment) -> RunLogits:
    ids, test_ids = experiment.split["id"].iloc[experiment.scored_rows], experiment.competition.test["id"]
    try:
        if not run.fold_folders:
            return _read_tables(run, experiment, ids, test_ids)
        classes, weight = experiment.classes, run.prototype_weight
        oof = _read_blended([folder / "oof.npz" for folder in run.fold_folders], ids, classes, weight)
        test = [_read_blended([folder / "test.npz"], test_ids, classes, weight) for folder in run.fold_folders]
        return RunLogits(run.name, oof, test)
    except UserError as error:
        raise error if len(experiment.runs) == 1 else UserError(f"run {run.name}: {error}") from None


def read_out_of_fold(experiment: Experiment, folds: Sequence[int] | None = None) -> Logits:
    """Return this run's logits of all scored training rows, or of some folds', each by the model that never saw it.

    [rows, views, classes], head and class means blended as `predict.prototype_weight` says. Of a blend: one view, the
    log-probabilities that each fold's rule, made on the other folds, gives.
    """
    folders = [
        experiment.call.run_folder / f"fold{fold}" for fold in folds or range(experiment.call.settings.data.folds)
    ]
    rows = experiment.fold >= 0 if folds is None else np.isin(experiment.fold, folds)
    ids = experiment.split["id"][rows]
    if experiment.call.settings.tune.runs:
        return _read_probabilities(experiment.call.run_folder / "oof.csv", ids, experiment.classes)
    weight = experiment.call.settings.predict.prototype_weight
    return _read_blended([folder / "oof.npz" for folder in folders], ids, experiment.classes, weight)


def _read_blended(files: Sequence[Path], ids: pd.Series, classes: list[str], weight: float) -> Logits:
    """Return the logits of `ids` out of a run's files, the class means blended in with `weight`."""
    parts = [read_npz(file) for file in files]
    names = (HEAD, PROTOTYPES) if weight > 0 else (HEAD,)
    return blend({name: join_rows(parts, ids, classes, name) for name in names}, weight)


def _read_tables(run: FinishedRun, experiment: Experiment, ids: pd.Series, test_ids: pd.Series) -> RunLogits:
    """Return what a run's tables say, its test rows the same for every fold.

    They are the mean of its folds, flatter than one model; they get the mean entropy of its out-of-fold rows, on which
    the decision is tuned.
    """
    _require_split(run, experiment)
    oof, test = (
        _read_probabilities(run.folder / table, rows, experiment.classes)
        for table, rows in zip(TABLES, (ids, test_ids), strict=True)
    )
    sharpened, _ = sharpen(merge_views(test, 1.0), mean_entropy(merge_views(oof, 1.0)))
    return RunLogits(run.name, oof, [sharpened[:, None].astype(np.float32)] * experiment.call.settings.data.folds)


def _require_split(run: FinishedRun, experiment: Experiment) -> None:
    """Check the split that lies beside a run's tables; without one, say that it is taken on trust."""
    path = run.folder / "folds.csv"
    if not path.exists():
        print(f"run {run.name}: no folds.csv beside its oof.csv, so its folds are taken on trust", flush=True)
        return
    table = read_csv(path)
    if not {"id", "fold"} <= set(table.columns):
        raise UserError(f"{path} needs the columns id and fold: copy the folds/folds.csv it was made with")
    theirs = dict(zip(table["id"], table["fold"], strict=True))
    for row, fold in zip(experiment.split["id"], experiment.fold, strict=True):
        if fold >= 0 and theirs.get(row) != str(fold):
            raise UserError(f"its fold of {row!r} is {theirs.get(row)}, here {fold}: leave it out, or share folds.csv")


def _read_probabilities(path: Path, ids: pd.Series, classes: list[str]) -> Logits:
    """Return the logarithms of a table's probabilities, [rows, 1, classes], in the order of `ids`."""
    table = read_csv(path)
    columns = [name for name in table.columns if name != "id"]
    if "id" not in table.columns or sorted(columns) != classes:
        odd = sorted(set(columns) ^ set(classes))
        raise UserError(f"{path} needs the column id and one a class, first that differs: {(odd or ['id'])[0]!r}")
    place = pd.Series(np.arange(len(table)), index=table["id"])
    if place.index.has_duplicates or set(place.index) != set(ids):
        odd = sorted(set(place.index) ^ set(ids)) or list(place.index[place.index.duplicated()])
        raise UserError(f"{path} does not hold every row once, first {odd[0]!r}: leave the run out")
    try:
        found = table[classes].to_numpy(dtype=np.float64)[place.loc[list(ids)].to_numpy()]
    except ValueError as error:
        raise UserError(f"{path} holds what is no number ({error}): leave the run out") from None
    if not (np.isfinite(found).all() and (found >= 0).all() and (found.sum(axis=1) > 0).all()):
        raise UserError(f"{path} holds what are no probabilities: they are finite, not negative, and not all 0")
    return np.log(np.maximum(found, LEAST_PROBABILITY))[:, None].astype(np.float32)


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
    folds = range(experiment.call.settings.data.folds)
    if not all((experiment.call.run_folder / f"fold{fold}" / "predict.done.json").exists() for fold in folds):
        return
    (run,) = read_runs(experiment)
    write_out_of_fold(experiment, merge_views(run.out_of_fold, 1.0))
    write_test(experiment, merge_members([merge_views(logits, 1.0) for logits in run.test])[0])


def write_out_of_fold(experiment: Experiment, log_probabilities: LogProbabilities) -> None:
    """Write the run's oof.csv of the scored rows, [rows, classes]."""
    ids = experiment.split["id"].iloc[experiment.scored_rows]
    _write_probabilities(experiment.call.run_folder / TABLES[0], ids, log_probabilities, experiment.classes)


def write_test(experiment: Experiment, log_probabilities: LogProbabilities) -> None:
    """Write the run's test.csv, [rows, classes]."""
    ids = experiment.competition.test["id"]
    _write_probabilities(experiment.call.run_folder / TABLES[1], ids, log_probabilities, experiment.classes)


def _write_probabilities(path: Path, ids: pd.Series, log_probabilities: LogProbabilities, classes: list[str]) -> None:
    table = pd.DataFrame(np.exp(log_probabilities), columns=classes)
    table.insert(0, "id", ids.to_numpy(), allow_duplicates=True)
    write_csv(path, table)
