"""The submission: the sample's exact rows, order, columns and line ends, verified after writing."""

from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.files.index import SAMPLE
from supcon.competition.read import Competition
from supcon.competition.sample import check_unique, from_one_hot, shown_columns
from supcon.competition.spelling import respelled
from supcon.errors import UserError
from supcon.storage.tables import read_table, read_with_dialect, write_table

_TOLERANCE = 1e-3  # of a row's sum, which must be 1: files from elsewhere are rounded


def write_submission(path: Path, competition: Competition, rows: pd.DataFrame) -> None:
    """Write `rows` in the form of sample_submission.csv; read the file back and check it."""
    write_table(path, rows, competition.sample.dialect)
    verify_submission(path, competition)


def verify_submission(path: Path, competition: Competition) -> None:
    """Raise `UserError` naming the first line of `path` that does not have the form of sample_submission.csv."""
    sample = competition.sample
    table, dialect = read_with_dialect(path)
    if (dialect.delimiter, dialect.encoding) != (sample.dialect.delimiter, sample.dialect.encoding):
        raise UserError(
            f"{path} line 1: written as {dialect.encoding} with {dialect.delimiter!r} between cells, the sample as"
            f" {sample.dialect.encoding} with {sample.dialect.delimiter!r}: save it like the sample"
        )
    columns = sample.columns
    if list(table.columns) != columns:
        raise UserError(
            f"{path} line 1: the columns are {shown_columns(list(table.columns))}, needed are {shown_columns(columns)}"
        )
    ids, wanted = table[sample.id_column].to_numpy(), sample.ids.to_numpy()
    common = min(len(ids), len(wanted))
    different = np.flatnonzero(ids[:common] != wanted[:common])
    if len(different):
        row = different[0]
        raise UserError(f"{path} line {row + 2}: the id is {ids[row]!r}, the sample has {wanted[row]!r} there")
    if len(ids) != len(wanted):
        raise UserError(
            f"{path} has {len(ids)} rows, the sample has {len(wanted)}: line {common + 2} is where they part"
        )
    if competition.form.of_probabilities:
        _check_probabilities(path, table[sample.targets])
    elif competition.form.labels > 1:
        _check_likeliest(path, table[sample.targets[0]], competition)
    else:
        _check_classes(path, table[sample.targets[0]], competition)


def _check_classes(path: Path, labels: pd.Series, competition: Competition) -> None:
    odd = labels[~labels.isin(competition.classes)]
    if len(odd):
        raise UserError(f"{path} line {odd.index[0] + 2}: {odd.iloc[0]!r} is no class of the training rows")


def _check_likeliest(path: Path, cells: pd.Series, competition: Competition) -> None:
    form = competition.form
    labels = cells.str.split(form.separator, regex=False)
    odd = cells[(labels.map(len) > form.labels) | (labels.map(lambda names: len(set(names)) < len(names)))]
    if len(odd):
        raise UserError(
            f"{path} line {odd.index[0] + 2}: {odd.iloc[0]!r} is not up to {form.labels} different labels with"
            f" {form.separator!r} between them"
        )
    _check_classes(path, labels.explode(), competition)


def _check_probabilities(path: Path, cells: pd.DataFrame) -> None:
    """Raise `UserError` naming the first cell that is no probability, or, of a column a class, the first odd sum."""
    shares = cells.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    bad = ~(np.isfinite(shares) & (shares >= 0) & (shares <= 1))
    odd = np.flatnonzero(bad.any(axis=1))
    if len(odd):
        row, column = odd[0], int(bad[odd[0]].argmax())
        raise UserError(
            f"{path} line {row + 2}: {cells.iloc[row, column]!r} in column {cells.columns[column]!r} is no probability"
        )
    if len(cells.columns) == 1:
        return
    off = np.flatnonzero(np.abs(shares.sum(axis=1) - 1) > _TOLERANCE)
    if len(off):
        raise UserError(f"{path} line {off[0] + 2}: the probabilities sum to {shares[off[0]].sum():.6g}, not to 1")


def read_solution(folder: Path, competition: Competition) -> pd.Series | None:
    """Return the private leaderboard's labels by id, or None where there is no input/solution.csv.

    Its columns are those of the sample, or an id and a label. Only the final score of a run may use it. Raises
    `UserError` where its columns, ids or labels do not fit.
    """
    path, sample = folder / "solution.csv", competition.sample
    if not path.exists():
        return None
    table = read_table(path)
    if sample.id_column not in table.columns or len(table.columns) < 2:
        raise UserError(f"{path} must have the column {sample.id_column!r}, as {SAMPLE} has, and one of labels")
    check_unique(table[sample.id_column], path)
    if sample.one_hot and set(sample.targets) <= set(table.columns):
        labels = from_one_hot(table[sample.targets], path)
    else:
        others = [name for name in table.columns if name != sample.id_column]
        named = [name for name in others if name in sample.targets] or others
        labels = table[named[0]]
    labels = respelled(labels, competition.spelling)
    solution = pd.Series(labels.to_numpy(), index=table[sample.id_column])
    if set(solution.index) != set(competition.test["id"]):
        raise UserError(f"{path} does not hold the ids of {SAMPLE}: it is another competition's")
    unknown = solution[~solution.isin(competition.classes)]
    if len(unknown):
        name, label = unknown.index[0], unknown.iloc[0]
        raise UserError(f"{path}: the label {label!r} of {name!r} is no class of the training rows")
    return solution.loc[competition.test["id"]]
