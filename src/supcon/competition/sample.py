"""sample_submission.csv: the exact form in which the host wants the submission."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.arrays import Labels, Probabilities
from supcon.errors import UserError
from supcon.metrics.top_k import Matrix, TopK
from supcon.storage.tables import Dialect, read_with_dialect

_DIGITS = 12  # of a probability: rows of thousands of classes still sum to 1 within 1e-9


@dataclass(frozen=True)
class Sample:
    """The form of the submission: a first column of ids, then one column of labels or a column for each class."""

    path: Path
    ids: pd.Series
    id_column: str
    targets: list[str]  # the other columns: one of labels, or several, each of one class's probabilities
    dialect: Dialect

    @property
    def one_hot(self) -> bool:
        """Whether the host asks for the probability of each class, in a column of its own, and not for a label."""
        return len(self.targets) > 1


def read_sample(path: Path) -> Sample:
    """Read sample_submission.csv. Raises `UserError` where it has fewer than two columns, or an id twice."""
    table, dialect = read_with_dialect(path)
    if len(table.columns) < 2:
        raise UserError(f"{path} has the columns {list(table.columns)}; needed are an id column and what to submit")
    ids = table.iloc[:, 0]
    check_unique(ids, path)
    return Sample(path, ids, table.columns[0], list(table.columns[1:]), dialect)


def shown_columns(columns: list[str]) -> str:
    """Return column names for a message: all, or the first few of many."""
    return str(columns) if len(columns) <= 8 else f"{columns[:7]} and {len(columns) - 7} more"


def check_unique(ids: pd.Series, path: Path) -> None:
    """Raise `UserError` naming the first id that stands in two rows."""
    twice = ids[ids.duplicated()]
    if len(twice):
        raise UserError(f"{path}: the id {twice.iloc[0]!r} stands in two rows; {len(twice)} rows repeat an id: mend it")


def submission_rows(
    sample: Sample,
    ids: Sequence[str],
    classes: Sequence[str],
    predicted: Labels | Matrix,
) -> pd.DataFrame:
    """Return the submission's rows.

    `predicted` are class numbers [rows] or, where the sample has a column for each class, log-probabilities
    [rows, classes], of the rows with `ids`. Raises `UserError` where an id of the sample has no prediction.
    """
    values = predicted.dense() if isinstance(predicted, TopK) else predicted
    if sample.one_hot:
        return probability_rows(sample, ids, np.exp(values), classes)
    return label_rows(sample, {name: classes[label] for name, label in zip(ids, values.tolist(), strict=True)})


def label_rows(sample: Sample, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the submission's rows for `labels` (id -> class name). Raises `UserError` where an id has no label."""
    lacking = [name for name in sample.ids if name not in labels]
    if lacking:
        raise UserError(f"{len(lacking)} test rows have no prediction, first {lacking[0]!r}: run predict")
    return pd.DataFrame({sample.id_column: sample.ids, sample.targets[0]: [labels[name] for name in sample.ids]})


def probability_rows(
    sample: Sample, ids: Sequence[str], probabilities: Probabilities, classes: Sequence[str]
) -> pd.DataFrame:
    """Return the submission's rows for the probabilities [rows, classes] of the rows with `ids`."""
    table = pd.DataFrame(probabilities, index=list(ids), columns=list(classes)).loc[sample.ids, sample.targets]
    table = table.map(lambda share: f"{share:.{_DIGITS}g}")
    table.insert(0, sample.id_column, sample.ids.to_numpy(), allow_duplicates=True)
    return table
