"""sample_submission.csv: what the host wants to get, to the letter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.errors import UserError
from supcon.metrics.top_k import Candidates, Matrix
from supcon.storage.tables import Dialect, read_with_dialect

_DIGITS = 12  # of a probability: rows of thousands of classes still sum to 1 within 1e-9


@dataclass(frozen=True)
class Sample:
    """The form of the submission: its first column holds ids, the rest what is asked for."""

    path: Path
    ids: pd.Series
    id_column: str
    targets: list[str]  # one column: of labels; several: a probability of the class of that name each
    dialect: Dialect

    @property
    def one_hot(self) -> bool:
        """Whether a column of probabilities a class is asked for, not a label."""
        return len(self.targets) > 1


def read_sample(path: Path) -> Sample:
    """Read sample_submission.csv. Raises `UserError` where it holds no id and target columns, or an id twice."""
    table, dialect = read_with_dialect(path)
    if len(table.columns) < 2:
        raise UserError(f"{path} has the columns {list(table.columns)}; needed are an id column and what to submit")
    ids = table.iloc[:, 0]
    check_unique(ids, path)
    return Sample(path, ids, table.columns[0], list(table.columns[1:]), dialect)


def shown_columns(columns: list[str]) -> str:
    """Return column names for a message, the first of many."""
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
    asked: Matrix,
) -> pd.DataFrame:
    """Return what the sample asks for of `ids`: class numbers [rows], or log-probabilities [rows, classes]."""
    values = asked.dense() if isinstance(asked, Candidates) else asked
    if sample.one_hot:
        return probability_rows(sample, ids, np.exp(values), classes)
    return label_rows(sample, {name: classes[label] for name, label in zip(ids, values.tolist(), strict=True)})


def label_rows(sample: Sample, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return `labels` (id -> class name) as the rows that the sample asks for; `UserError` where an id has none."""
    lacking = [name for name in sample.ids if name not in labels]
    if lacking:
        raise UserError(f"{len(lacking)} test rows have no prediction, first {lacking[0]!r}: run predict")
    return pd.DataFrame({sample.id_column: sample.ids, sample.targets[0]: [labels[name] for name in sample.ids]})


def probability_rows(
    sample: Sample, ids: Sequence[str], probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> pd.DataFrame:
    """Return probabilities [rows, classes] of `ids` as the rows and columns that the sample asks for."""
    table = pd.DataFrame(probabilities, index=list(ids), columns=list(classes)).loc[sample.ids, sample.targets]
    table = table.map(lambda share: f"{share:.{_DIGITS}g}")
    table.insert(0, sample.id_column, sample.ids.to_numpy(), allow_duplicates=True)
    return table
