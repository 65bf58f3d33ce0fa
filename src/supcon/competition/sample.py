"""sample_submission.csv: what the host wants to get, to the letter."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from supcon.competition.tables import Dialect, read_dialect, read_table
from supcon.errors import UserError


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
    table = read_table(path)
    if len(table.columns) < 2:
        raise UserError(f"{path} has the columns {list(table.columns)}; needed are an id column and what to submit")
    ids = table.iloc[:, 0]
    check_unique(ids, path)
    return Sample(path, ids, table.columns[0], list(table.columns[1:]), read_dialect(path))


def check_unique(ids: pd.Series, path: Path) -> None:
    """Raise `UserError` naming the first id that stands in two rows."""
    twice = ids[ids.duplicated()]
    if len(twice):
        raise UserError(f"{path}: the id {twice.iloc[0]!r} stands in two rows; {len(twice)} rows repeat an id: mend it")
