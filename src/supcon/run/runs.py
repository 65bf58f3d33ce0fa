"""The predictions of one run, or of several that are blended, from their folds' files or from their tables."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from supcon.arrays import Labels
from supcon.decision.logits import LoadedLogits, Logits, plain_mean
from supcon.decision.merge import HEAD, Shares, head_and_class_means, mean_entropy, merge_members, sharpen
from supcon.errors import UserError
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.metrics.top_k import TopK, keeps_all, map_values
from supcon.run.done import intact
from supcon.run.experiment import Experiment
from supcon.run.predictions import LARGE_TABLES, TABLES, FinishedRun, read_blended, write_predictions
from supcon.run.stage import StageRun
from supcon.run.stages import FULL_MODEL
from supcon.settings import FULL
from supcon.storage import lock
from supcon.storage.files import remove, remove_leftovers, write_csv
from supcon.storage.tables import Dialect, read_table, write_table

LABELS = "cross_fitted.csv"  # of a tuned run: id and label of the scored rows, fold k's by the rule of the other folds
LEAST_PROBABILITY = 1e-12  # in place of a 0 in a table
Part = Literal["oof", "test"]  # of the rows that a table holds


@dataclass(frozen=True)
class RunLogits:
    """The logits of one run, or of one of its members beside the head."""

    name: str
    out_of_fold: Logits  # of the scored training rows [rows, views, classes], each by the model that never saw it
    test: Sequence[Logits]  # of the test rows, in the sample's order, by each fold's model
    full: Logits | None = None  # of the test rows, by the model on all rows
    beside_head: bool = False  # it has no weight before tuning gives it one


def read_runs(experiment: Experiment) -> list[RunLogits]:
    """Return the predictions of the runs that the decision is made from, each followed by its members beside the head.

    Raises `UserError`, naming the run, where its rows, classes or folds are not those of the split.
    """
    found = []
    for run in experiment.runs:
        found.append(_read_run(run, experiment, run.name, run.shares))
        found += [
            replace(_read_run(run, experiment, name, shares), beside_head=True)
            for name, shares in run.beside(experiment.settings.tune.members).items()
        ]
    return found


def _read_run(run: FinishedRun, experiment: Experiment, name: str, shares: Shares) -> RunLogits:
    ids, test_ids = experiment.split.scored_ids, experiment.competition.test["id"]
    try:
        if not run.fold_folders:
            return _read_tables(run, experiment, ids, test_ids)
        classes = experiment.split.classes
        oof = read_blended([folder / "oof.npz" for folder in run.fold_folders], ids, classes, shares)
        test = [read_blended([folder / "test.npz"], test_ids, classes, shares) for folder in run.fold_folders]
        full = read_blended([run.folder / "full" / "test.npz"], test_ids, classes, shares) if run.full else None
        return RunLogits(name, oof, test, full)
    except UserError as error:
        raise error if run.name == experiment.request.run else UserError(f"run {run.name}: {error}") from None


def read_test_of(experiment: Experiment, fold: int) -> Logits:
    """Return the logits of the test rows by one fold's model, [rows, views, classes]."""
    request = experiment.request
    file, shares = (
        request.fold_folder(fold) / "test.npz",
        head_and_class_means(request.settings.predict.class_mean_weight),
    )
    return read_blended([file], experiment.competition.test["id"], experiment.split.classes, shares)


def renew_for_full(experiment: Experiment, ensemble: StageRun) -> None:
    """Let the ensemble be made anew, and say so, where nothing but the model on all rows has changed.

    That model is asked for by hand and may come late: it gives a new submission. The one before keeps its file and its
    row in the ledger.
    """
    if experiment.request.force or list(ensemble.changed()) != [f"input {FULL_MODEL}"]:
        return
    print(f"ensemble: the full model is {'new' if experiment.full_model else 'gone'}: a new submission", flush=True)
    ensemble.forget()


def read_out_of_fold(experiment: Experiment, folds: Sequence[int] | None = None) -> Logits:
    """Return this run's logits [rows, views, classes] of all scored rows, or of those of `folds`.

    Each row is predicted by the model that never saw it; head and class means are blended by
    `predict.class_mean_weight`. A blend of runs has one view: log-probabilities by the rule fitted on the other folds.
    """
    rows = experiment.split.fold >= 0 if folds is None else np.isin(experiment.split.fold, folds)
    ids = experiment.split.ids[rows]
    if experiment.settings.tune.runs:
        return _read_table(experiment.request.run_folder, "oof", ids, experiment.split.classes)
    every = range(experiment.settings.data.folds)
    shares = head_and_class_means(experiment.settings.predict.class_mean_weight)
    files = [experiment.request.fold_folder(fold) / "oof.npz" for fold in folds or every]
    return read_blended(files, ids, experiment.split.classes, shares)


def _read_tables(run: FinishedRun, experiment: Experiment, ids: pd.Series, test_ids: pd.Series) -> RunLogits:
    """Return the logits of a run's tables; those of the test rows are the same for every fold.

    The test rows are the mean of the run's folds, which is flatter than one model. They are sharpened to the mean
    entropy of its out-of-fold rows, on which the decision is tuned.
    """
    _require_split(run, experiment)
    oof = _read_table(run.folder, "oof", ids, experiment.split.classes)
    test = _read_table(run.folder, "test", test_ids, experiment.split.classes)
    sharpened, _ = sharpen(plain_mean(test), mean_entropy(plain_mean(oof)))
    return RunLogits(run.name, oof, [_one_view(sharpened)] * experiment.settings.data.folds)


def _one_view(log_probabilities: LogProbabilities) -> LoadedLogits:
    return map_values(log_probabilities, lambda values, _: values[:, None].astype(np.float32))


def _read_table(folder: Path, part: Part, ids: pd.Series, classes: list[str]) -> Logits:
    wanted = TABLES if keeps_all(len(classes)) else LARGE_TABLES
    path = folder / (part + (".csv" if wanted == TABLES else ".npz"))
    if not path.exists():
        raise UserError(f"{path} is missing: of {len(classes):,} classes a run is shared as {' and '.join(wanted)}")
    return (
        _read_probabilities(path, ids, classes) if wanted == TABLES else read_blended([path], ids, classes, {HEAD: 1.0})
    )


def _require_split(run: FinishedRun, experiment: Experiment) -> None:
    """Compare the split beside a run's tables with ours; without one, say that it is taken on trust."""
    path = run.folder / "folds.csv"
    if not path.exists():
        print(f"run {run.name}: no folds.csv beside its oof.csv, so its folds are taken on trust", flush=True)
        return
    table = read_table(path)
    if not {"id", "fold"} <= set(table.columns):
        raise UserError(f"{path} needs the columns id and fold: copy the folds/folds.csv it was made with")
    theirs = dict(zip(table["id"], table["fold"], strict=True))
    for row, fold in zip(experiment.split.ids, experiment.split.fold, strict=True):
        if fold >= 0 and theirs.get(row) != str(fold):
            raise UserError(f"its fold of {row!r} is {theirs.get(row)}, here {fold}: leave it out, or share folds.csv")


def _read_probabilities(path: Path, ids: pd.Series, classes: list[str]) -> Logits:
    """Return the logarithms of a table's probabilities, [rows, 1, classes], in the order of `ids`."""
    table = read_table(intact(path), may_be_empty=len(ids) == 0)
    columns = [name for name in table.columns if name != "id"]
    if "id" not in table.columns or sorted(columns) != classes:
        odd = sorted(set(columns) ^ set(classes))
        raise UserError(f"{path} needs the column id and one a class, first that differs: {(odd or ['id'])[0]!r}")
    position = pd.Series(np.arange(len(table)), index=table["id"])
    if position.index.has_duplicates or set(position.index) != set(ids):
        odd = sorted(set(position.index) ^ set(ids)) or list(position.index[position.index.duplicated()])
        raise UserError(f"{path} does not hold every row once, first {odd[0]!r}: leave the run out")
    try:
        values = table[classes].to_numpy(dtype=np.float64)[position.loc[list(ids)].to_numpy()]
    except ValueError as error:
        raise UserError(f"{path} holds what is no number ({error}): leave the run out") from None
    if not (np.isfinite(values).all() and (values >= 0).all() and (values.sum(axis=1) > 0).all()):
        raise UserError(f"{path} holds what are no probabilities: they are finite, not negative, and not all 0")
    return np.log(np.maximum(values, LEAST_PROBABILITY))[:, None].astype(np.float32)


def remove_tables(experiment: Experiment) -> None:
    """Remove the run's oof.csv and test.csv, because one of its folds is predicted anew."""
    with _tables_alone(experiment):
        for table in TABLES:
            remove(experiment.request.run_folder / table)


def write_tables(experiment: Experiment, *, anew: bool = False) -> None:
    """Write the run's oof.csv and test.csv, id and a probability column a class, once every fold is predicted.

    Existing tables stay, unless `anew`. Processes that predict folds side by side take turns here: the last of them
    sees the files of all folds. With more classes than are all kept there are none: the folds' own files can be shared.
    """
    if not keeps_all(len(experiment.split.classes)):
        return
    folder = experiment.request.run_folder
    folds = range(experiment.settings.data.folds)
    done = [experiment.request.fold_folder(fold) / "predict.done.json" for fold in folds]
    if not anew and all((folder / table).exists() for table in TABLES):
        return
    with _tables_alone(experiment):
        remove_leftovers(folder)
        if not all(path.exists() for path in done):
            return
        try:
            out_of_fold = plain_mean(read_out_of_fold(experiment))
            members = [plain_mean(read_test_of(experiment, fold)) for fold in folds]
            full = [plain_mean(read_test_of(experiment, FULL))] if experiment.own_full_model else []
        except UserError:
            if all(path.exists() for path in done):
                raise
            return  # another process has begun to predict a fold anew, and will write the tables
        write_probabilities(experiment, "oof", out_of_fold)
        write_probabilities(experiment, "test", merge_members(members, full)[0])


def _tables_alone(experiment: Experiment) -> AbstractContextManager[None]:
    request = experiment.request
    return lock.alone(request.run_folder / ".tables.lock", f"{' and '.join(TABLES)} of run {request.run}")


def write_probabilities(experiment: Experiment, part: Part, log_probabilities: LogProbabilities) -> None:
    """Write the run's oof.csv of the scored rows or its test.csv, [rows, classes]; npz where not all are kept."""
    folder, classes = experiment.request.run_folder, experiment.split.classes
    ids = experiment.competition.test["id"] if part == "test" else experiment.split.scored_ids
    if isinstance(log_probabilities, TopK):
        predicted = {HEAD: _one_view(log_probabilities)}
        write_predictions(folder / f"{part}.npz", ids, predicted, classes, ["merged"])
        return
    table = pd.DataFrame(np.exp(log_probabilities), columns=classes)
    table.insert(0, "id", ids.to_numpy(), allow_duplicates=True)
    write_csv(folder / f"{part}.csv", table)


def write_labels(experiment: Experiment, labels: Labels) -> None:
    """Write the ids of the scored rows and the names of their cross-fitted labels [rows]."""
    ids = experiment.split.scored_ids.to_numpy()
    names = np.array(experiment.split.classes, dtype=object)[labels]
    write_table(experiment.request.run_folder / LABELS, pd.DataFrame({"id": ids, "label": names}), Dialect())


def read_labels(experiment: Experiment) -> Labels:
    """Return the cross-fitted labels, [rows]: fold k's rows by the rule that was fitted on the other folds.

    Raises `UserError` where cross_fitted.csv is missing, or has other rows or classes than the split.
    """
    path, ids = experiment.request.run_folder / LABELS, experiment.split.scored_ids
    table = read_table(intact(path))
    if not {"id", "label"} <= set(table.columns):
        raise UserError(f"{path} needs the columns id and label: run tune with --force")
    table_ids = pd.Index(table["id"])
    position = table_ids.get_indexer(pd.Index(ids)) if table_ids.is_unique else np.full(len(ids), -1)
    number = pd.Index(experiment.split.classes).get_indexer(pd.Index(table["label"]))
    if (position < 0).any() or (number < 0).any():
        raise UserError(f"{path} is of other rows or classes than the split: run tune with --force")
    return number[position]
