"""Pseudo-labels by an earlier run, fold by fold, from which a second round may learn without a leak (law 1).

Fold k's pseudo-labels are the predictions of the first round's model of fold k, which never saw a label of fold k's
held-out rows. The other folds' models did, so they are not used. Only the temperature comes from elsewhere: it is
fitted to the other folds' held-out rows, as fold k's cross-fitted decision is.

Fold k's held-out rows get pseudo-labels just as test rows do (law 3). A model is more confident of rows that it was
trained on, rightly or not. If only test rows were learned from, wrong pseudo-labels would lower the test score, and the
out-of-fold score would not show it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.arrays import Labels, Rows
from supcon.decision.calibration import calibration_temperature
from supcon.decision.logits import Logits, plain_mean
from supcon.decision.merge import log_doubts
from supcon.errors import UserError
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.run.done import intact
from supcon.run.experiment import Experiment
from supcon.run.predictions import read_blended
from supcon.settings import FULL
from supcon.storage.tables import read_table

FILE = "pseudo.csv"  # of each fold: part, id, label, confidence
TEST_ROWS, HELD_OUT_ROWS = "test", "held out"  # parts


def pseudo_labels(experiment: Experiment, fold: int) -> tuple[pd.DataFrame, float]:
    """Return a fold's pseudo-labels (part, id, label, confidence) of test and held-out rows, and their temperature.

    Rows without a readable image get none. FULL has no held-out rows: its temperature is fitted to those of all folds.
    """
    run, ids = experiment.first_round, experiment.split.ids
    others = (experiment.split.fold >= 0) & (experiment.split.fold != fold)
    files = [folder / "oof.npz" for other, folder in enumerate(run.fold_folders) if other != fold]
    temperature = calibration_temperature(_read(experiment, files, ids[others]), experiment.split.labels[others])

    own = run.fold_folder(fold)
    test_ids = experiment.competition.test["id"]
    readable = experiment.readable_test_positions(experiment.open_training_images()) - len(experiment.split)
    test = _read(experiment, [own / "test.npz"], test_ids)[readable]
    parts = [_labelled(experiment, TEST_ROWS, test_ids.iloc[readable], plain_mean(test, temperature))]
    if fold != FULL:
        held_out = ids.iloc[experiment.split.rows_of(fold)]
        logits = _read(experiment, [own / "oof.npz"], held_out)
        parts.append(_labelled(experiment, HELD_OUT_ROWS, held_out, plain_mean(logits, temperature)))
    return pd.concat(parts, ignore_index=True), temperature


def _read(experiment: Experiment, files: Sequence[Path], ids: pd.Series) -> Logits:
    return read_blended(files, ids, experiment.split.classes, experiment.first_round.shares)


def _labelled(experiment: Experiment, part: str, ids: pd.Series, log_probabilities: LogProbabilities) -> pd.DataFrame:
    settings = experiment.settings.pseudo
    rows = surest(log_probabilities, settings.share, settings.min_confidence)
    chosen = log_probabilities[rows]
    labels = [experiment.split.classes[label] for label in chosen.argmax(axis=1)]
    confidence = np.exp(chosen.max(axis=1)).round(6)
    return pd.DataFrame({"part": part, "id": ids.to_numpy()[rows], "label": labels, "confidence": confidence})


def surest(log_probabilities: LogProbabilities, share: float, min_confidence: float) -> Rows:
    """Return the most confident rows, ascending: of each predicted class the same `share` of its rows.

    `log_probabilities` [rows, classes]. Frequent and easy classes are predicted with more confidence than rare and hard
    ones: one threshold for all would take almost only the former, and training would forget the latter. At least one
    row of each predicted class is taken, but none below `min_confidence`. Of equally confident rows the earlier counts.
    """
    predicted, doubt = log_probabilities.argmax(axis=1), log_doubts(log_probabilities)
    taken = np.zeros(len(predicted), bool)
    for label in np.unique(predicted):
        rows = np.flatnonzero(predicted == label)
        count = int(np.ceil(share * len(rows) - 1e-9))  # 0.1 of 30 is 3, not 4
        taken[rows[np.argsort(doubt[rows], kind="stable")[:count]]] = True
    return np.flatnonzero(taken & (log_probabilities.max(axis=1) >= np.log(max(min_confidence, 1e-300))))


def read_pseudo(experiment: Experiment, fold: int) -> tuple[Rows, Labels]:
    """Return a fold's rows with pseudo-labels, as positions in the image cache, and their class numbers.

    No rows where `pseudo.run` is empty. `UserError` where the file has other rows or classes than the competition.
    """
    if not experiment.settings.pseudo.run:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    learned = experiment.averaged[0] if experiment.averaged else experiment.request
    path = learned.fold_folder(fold) / FILE
    table, held_out = read_table(intact(path), may_be_empty=True), experiment.split.rows_of(fold).tolist()
    test = zip(experiment.competition.test["id"], experiment.test_positions.tolist(), strict=True)
    position = {(TEST_ROWS, name): number for name, number in test}
    position |= {(HELD_OUT_ROWS, experiment.split.ids.iloc[row]): row for row in held_out}
    class_number = {name: number for number, name in enumerate(experiment.split.classes)}
    try:
        positions = [position[row] for row in zip(table["part"], table["id"], strict=True)]
        labels = [class_number[name] for name in table["label"]]
    except KeyError as error:
        raise UserError(f"{path}: {error} is no such row, class or column: run src/pseudo.py with --force") from None
    return np.array(positions, dtype=np.int64), np.array(labels, dtype=np.int64)
